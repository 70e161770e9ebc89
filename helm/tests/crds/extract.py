"""Writes the schemas beside it: JSON Schemas of the custom resources that the chart makes.

They come from two packages on PyPI (Apache-2.0) whose classes are generated from the operators' own definitions:

    pip download --no-deps --ignore-requires-python --only-binary :all: --python-version 3.14 \
        cloudcoil-models-keda==2.20.2.1 cloudcoil-models-prometheus-operator==0.93.1.1
    pip install pydantic
    python extract.py cloudcoil_models_*.whl

The packages themselves need a newer Python and more packages than the tests are worth: only the fields' annotations
are taken from them, and given to pydantic.
"""

import ast
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

import pydantic

KINDS = {
    "keda": ("v1alpha1", ["ScaledObject", "TriggerAuthentication"]),
    "prometheus_operator": ("v1", ["PodMonitor", "PrometheusRule", "ServiceMonitor"]),
}
HEAD = """
from __future__ import annotations
from typing import Annotated, Any, Literal
from pydantic import AwareDatetime, BaseModel as Base, ConfigDict, Field, RootModel
class BaseModel(Base):
    model_config = ConfigDict(extra="forbid")
Resource = BaseModel
ObjectMeta = dict[str, Any]
"""


def classes(source: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


def bare(node: ast.ClassDef) -> ast.ClassDef:
    """The class with its fields and nothing else."""
    fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
    fields = [field for field in fields if "ClassVar" not in ast.unparse(field.annotation)]
    return ast.ClassDef(node.name, node.bases, [], fields or [ast.Pass()], [], type_params=[])


def needed(known: dict[str, ast.ClassDef], roots: list[str]) -> list[ast.ClassDef]:
    """The classes of `roots` and those that they are made of."""
    found: dict[str, ast.ClassDef] = {}
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found[name] = bare(known[name])
        inner = {node.id for node in ast.walk(found[name]) if isinstance(node, ast.Name)}
        queue += inner & known.keys()
    return list(found.values())


def tidy(schema):
    """Without what explains, and without null, which stands for absent in Python only."""
    if isinstance(schema, list):
        return [tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: tidy(inner) for name, inner in value.items()}
        elif key == "pattern":
            # Go takes flags anywhere, Python at the start.
            kept[key] = re.sub(r"^\^\(\?i\)", "(?i)^", value)
        elif key not in ("title", "description", "default"):
            kept[key] = tidy(value)
    choices = [choice for choice in kept.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del kept["anyOf"]
        kept |= choices[0]
    elif choices:
        kept["anyOf"] = choices
    return kept


def main(wheels: list[str]) -> None:
    for path in wheels:
        package = next(name for name in KINDS if f"models_{name}-" in Path(path).name)
        version, kinds = KINDS[package]
        with zipfile.ZipFile(path) as wheel:
            source = wheel.read(f"cloudcoil/models/{package}/{version}.py").decode()
        module = ast.Module(needed(classes(source), kinds), type_ignores=[])
        space: dict = {"__name__": __name__}
        exec(compile(HEAD + ast.unparse(ast.fix_missing_locations(module)), package, "exec"), space)
        release = Path(path).name.split("-")[1]
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for kind in kinds:
            model = space[kind]
            model.model_rebuild(_types_namespace=space)
            schema = tidy(pydantic.TypeAdapter(model).json_schema())
            # They have defaults in Python.
            schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata", "spec"})
            comment = f"PyPI cloudcoil-models-{package.replace('_', '-')} {release}, Apache-2.0, wheel sha256 {digest}"
            text = json.dumps({"$comment": comment, **schema}, indent=1, sort_keys=True)
            Path(__file__).with_name(f"{kind.lower()}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
