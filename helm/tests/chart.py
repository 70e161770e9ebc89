"""Renders the chart with the real helm, for the tests beside it."""

import copy
import functools
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CHART = HERE.parent / "pitchfleet"
ROOT = HERE.parent.parent
HELM = os.environ["PITCHFLEET_TEST_HELM"]
VALUES = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm with nothing of the user's own."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"]}
        return subprocess.run([HELM, *arguments], env=environment, capture_output=True, text=True, check=False)


def values(name: str) -> dict:
    return yaml.safe_load((HERE / "values" / f"{name}.yaml").read_text())


def merged(base: dict, over: dict) -> dict:
    """As helm lays one file of values over another."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        deeper = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if deeper else value
    return result


def template(over: dict) -> subprocess.CompletedProcess[str]:
    """`helm template` of a release called `day-1`."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(over, file)
        file.flush()
        return helm("template", "day-1", str(CHART), "--namespace", "cricket", "--values", file.name)


@functools.cache
def text(name: str) -> str:
    """What values/`name`.yaml renders to."""
    rendered = helm("template", "day-1", str(CHART), "--namespace", "cricket", "--values", f"{HERE}/values/{name}.yaml")
    if rendered.returncode != 0:
        raise AssertionError(f"{name}: {rendered.stderr}")
    return rendered.stdout


def golden(name: str) -> str:
    """The part of the render that golden files hold: rules and dashboards have a source and a test of their own."""
    documents = text(name).split("---\n")
    copied = ("/templates/dashboards.yaml", "/templates/prometheusrule.yaml")
    return "---\n".join(part for part in documents if not part.split("\n", 1)[0].endswith(copied))


def parse(rendered: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(rendered) if document]


def objects(name: str, kind: str | None = None) -> list[dict]:
    return [item for item in parse(text(name)) if kind in (None, item["kind"])]


def pods(name: str) -> dict[str, dict]:
    """Specs of all pods by the name of what makes them."""
    found = {}
    for item in objects(name):
        if item["kind"] in ("Deployment", "StatefulSet"):
            found[item["metadata"]["name"]] = item["spec"]["template"]["spec"]
        elif item["kind"] == "Pod":
            found[item["metadata"]["name"]] = item["spec"]
    return found
