"""Export PyTorch weights to ONNX with dynamic shapes, and check the result against PyTorch."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from .classifiers import INPUT_SIDE, load_classifier
from .onnx_storage import store_weights_as_fp16

OPSET = 17
DEFAULT_SIDE = 640
"""Where weights do not say what size they were trained at."""


def export_detector(
    weights: Path, target: Path, *, side: int | None = None, half_storage: bool = True
) -> tuple[str, list[str]]:
    """Export an ultralytics YOLOv8 `.pt` with dynamic batch, height and width.

    `side` is the input size that the engine will feed it; left out, the size that it was trained at.
    Returns the architecture's name, as far as the weights tell it, and the classes.
    Ultralytics' own exporter writes the metadata (`names`, `stride`, `imgsz`,
    `task`, `license`) that the engine reads.
    """
    from ultralytics import YOLO

    with tempfile.TemporaryDirectory() as scratch:
        # The exporter writes beside the weights; keep the user's folder clean.
        copy = Path(shutil.copy(weights, Path(scratch) / "detector.pt"))
        yolo = YOLO(copy, task="detect")
        architecture = Path(str(yolo.model.yaml.get("yaml_file", "yolov8"))).stem
        classes = [yolo.names[index] for index in sorted(yolo.names)]
        exported = yolo.export(
            format="onnx", dynamic=True, simplify=False, opset=OPSET, imgsz=side or trained_side(yolo)
        )
        model = onnx.load(exported)
    # The exporter leaves the number of rows to a name; the engine wants to know it.
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4 + len(classes)
    save_model(model, target, half_storage=half_storage)
    return architecture, classes


def trained_side(yolo) -> int:
    """The input size in the settings that ultralytics saves with weights."""
    side = (yolo.ckpt or {}).get("train_args", {}).get("imgsz", DEFAULT_SIDE)
    return int(max(side) if isinstance(side, (list, tuple)) else side)


def export_classifier(weights: Path, target: Path, *, half_storage: bool = True) -> str:
    """Export a MobileNetV2 or ResNet18 state dict; returns the architecture found."""
    architecture, model = load_classifier(weights)
    export_classifier_module(model, target, half_storage=half_storage)
    return architecture


def export_classifier_module(model: nn.Module, target: Path, *, half_storage: bool = True) -> Path:
    """Export a classifier in eval mode with a dynamic batch."""
    model = model.eval()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "classifier.onnx"
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE),),
            str(path),
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
        exported = onnx.load(path)
    return save_model(exported, target, half_storage=half_storage)


def save_model(model: onnx.ModelProto, target: Path, *, half_storage: bool) -> Path:
    """Write a model as one file, its weights halved if wanted."""
    # Exporters leave the name of a temporary file or a host's path in the doc strings.
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    if half_storage:
        model = store_weights_as_fp16(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)
    return target


def session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def detector_error(weights: Path, exported: Path) -> float:
    """Largest difference of the raw output between PyTorch and ONNX.

    Box coordinates are in pixels, so this is dominated by them: a value below
    0.1 on random input means that the graphs agree.
    """
    from ultralytics import YOLO

    model = YOLO(weights, task="detect").model.float().eval()
    runtime = session(exported)
    worst = 0.0
    generator = np.random.default_rng(0)
    for batch, height, width in ((1, 640, 640), (1, 480, 640), (2, 320, 224)):
        images = generator.random((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(images))
        expected = (expected[0] if isinstance(expected, (list, tuple)) else expected).numpy()
        actual = runtime.run(None, {"images": images})[0]
        worst = max(worst, float(np.abs(actual - expected).max()))
    return worst


def classifier_error(weights: Path, exported: Path) -> float:
    """Largest difference of the class probabilities between PyTorch and ONNX."""
    _, model = load_classifier(weights)
    runtime = session(exported)
    worst = 0.0
    generator = np.random.default_rng(0)
    for batch in (1, 3):
        images = generator.standard_normal((batch, 3, INPUT_SIDE, INPUT_SIDE), np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(images)).softmax(-1).numpy()
        logits = torch.from_numpy(runtime.run(None, {"input": images})[0])
        worst = max(worst, float(np.abs(logits.softmax(-1).numpy() - expected).max()))
    return worst
