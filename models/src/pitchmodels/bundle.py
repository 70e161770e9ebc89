"""Write and read bundles: a folder with `bundle.toml` and the ONNX files it names."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from . import CLASS_NAMES, PITCH_CLASSES

SCHEMA = "pitchfleet.bundle/1"
MANIFEST = "bundle.toml"
PRECISIONS = ("fp32", "fp16", "int8")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class ModelEntry:
    """One model of a bundle: what it is, and its file for each precision."""

    architecture: str
    licence: str
    classes: list[str]
    files: dict[str, str]
    thresholds: dict[str, float] = field(default_factory=dict)

    def to_toml(self, name: str, folder: Path) -> str:
        lines = [f"[{name}]", f'architecture = "{self.architecture}"', f'licence = "{self.licence}"']
        quoted = ", ".join(f'"{label}"' for label in self.classes)
        lines.append(f"classes = [{quoted}]")
        lines += [f"{key} = {value}" for key, value in self.thresholds.items()]
        for precision, file in self.files.items():
            digest = sha256_of(folder / file)
            lines += ["", f"[{name}.{precision}]", f'file = "{file}"', f'sha256 = "{digest}"']
        return "\n".join(lines)


@dataclass
class Bundle:
    """A detector, a classifier and the folder that holds them."""

    folder: Path
    detector: ModelEntry
    classifier: ModelEntry
    name: str = "demo"
    version: str = "1"

    def write(self) -> Path:
        """Write the manifest, hashing the files as they are now."""
        text = "\n\n".join(
            [
                f'schema = "{SCHEMA}"\nname = "{self.name}"\nversion = "{self.version}"',
                self.detector.to_toml("detector", self.folder),
                self.classifier.to_toml("classifier", self.folder),
            ]
        )
        path = self.folder / MANIFEST
        path.write_text(text + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Read a bundle whose models are files beside the manifest."""
        raw = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if raw.get("schema") != SCHEMA:
            raise ValueError(f"{folder / MANIFEST}: expected schema {SCHEMA!r}")

        def entry(section: dict) -> ModelEntry:
            files = {p: section[p]["file"] for p in PRECISIONS if p in section}
            thresholds = {k: section[k] for k in section if k.endswith("_threshold")}
            return ModelEntry(section["architecture"], section["licence"], section["classes"], files, thresholds)

        return cls(folder, entry(raw["detector"]), entry(raw["classifier"]), raw["name"], raw["version"])

    def path(self, model: str, precision: str = "fp32") -> Path:
        """The file of `detector` or `classifier` in a precision."""
        return self.folder / getattr(self, model).files[precision]


def pitch_detector_entry(confidence: float, iou: float = 0.7) -> ModelEntry:
    """The manifest entry of a YOLOv8n detector, without files yet."""
    return ModelEntry(
        "yolov8n",
        "AGPL-3.0",
        list(PITCH_CLASSES),
        {},
        {"confidence_threshold": confidence, "iou_threshold": iou},
    )


def pitch_classifier_entry(architecture: str, licence: str = "Apache-2.0") -> ModelEntry:
    """The manifest entry of a surface classifier, without files yet."""
    return ModelEntry(architecture, licence, list(CLASS_NAMES), {})
