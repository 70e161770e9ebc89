"""Copies a bundle, with detectors that say they were made for another input size.

    python bench/bundle_at.py bundles/demo OUT 640

YOLOv8 takes any size; the one that its file names (`imgsz`) is the one that both sides of the benchmark feed it.
"""

import hashlib
import pathlib
import shutil
import sys
import tomllib

import onnx


def main():
    source, out, size = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    shutil.copytree(source, out, dirs_exist_ok=True)
    text = (source / "bundle.toml").read_text()
    for entry in tomllib.loads(text)["detector"].values():
        if not isinstance(entry, dict) or "file" not in entry:
            continue
        path = out / entry["file"]
        model = onnx.load(path)
        for property in model.metadata_props:
            if property.key == "imgsz":
                property.value = f"[{size}, {size}]"
        onnx.save(model, path)
        text = text.replace(entry["sha256"], hashlib.sha256(path.read_bytes()).hexdigest())
    (out / "bundle.toml").write_text(text)


if __name__ == "__main__":
    main()
