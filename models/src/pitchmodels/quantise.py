"""Static int8 quantisation (QDQ) and what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from .classifiers import preprocess
from .pipeline import Detector, input_side, iou, letterbox, read_photo, to_tensor

CALIBRATION_PHOTOS = 60


class _Reader(CalibrationDataReader):
    """Feeds prepared inputs to the calibrator, one at a time."""

    def __init__(self, name: str, inputs: Iterable[np.ndarray]) -> None:
        self._name = name
        self._inputs: Iterator[np.ndarray] = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        value = next(self._inputs, None)
        return None if value is None else {self._name: value}


def quantise_detector(source: Path, target: Path, photos: list[Path]) -> None:
    """Quantise a detector, calibrating on photos letterboxed as at prediction."""
    side = input_side(metadata(source))
    inputs = (to_tensor(letterbox(read_photo(path), side).image) for path in photos)
    _quantise(source, target, "images", inputs, excluded=decode_nodes)


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def quantise_classifier(source: Path, target: Path, crops: list[Path]) -> None:
    """Quantise a classifier, calibrating on crops preprocessed as at prediction."""
    inputs = (preprocess(read_photo(path)[..., ::-1]) for path in crops)
    _quantise(source, target, "input", inputs, excluded=lambda model: [])


def decode_nodes(model: onnx.ModelProto) -> list[str]:
    """The head's nodes that turn features into boxes.

    They mix coordinates of hundreds of pixels with scores below one in one
    tensor; a single int8 scale for both would leave the scores with no digits.
    The head's own convolutions are quantised as usual.
    """
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    head = _head_prefix(convolutions[-1].name)
    branches = tuple(f"{head}{branch}" for branch in ("cv2.", "cv3."))
    return [node.name for node in model.graph.node if node.name.startswith(head) and not node.name.startswith(branches)]


def _head_prefix(name: str) -> str:
    """`/model.22/` from the name of any node in the head."""
    return "/".join(name.split("/")[:2]) + "/"


def _quantise(source: Path, target: Path, input_name: str, inputs, excluded) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        # fp16 storage is undone by the optimiser, which folds the casts.
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        properties = metadata(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        quantize_static(
            str(prepared),
            str(target),
            _Reader(input_name, inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded(onnx.load(prepared)),
        )
    model = onnx.load(target)
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, target)


@dataclass(frozen=True)
class DetectorCost:
    """How an int8 detector's best boxes differ from its fp32 original's."""

    photos: int
    found_fp32: int
    found_int8: int
    found_both: int
    median_iou: float
    worst_iou: float
    worst_confidence: float

    def __str__(self) -> str:
        return (
            f"detector int8: fp32 finds a pitch in {self.found_fp32} of {self.photos} photos, "
            f"int8 in {self.found_int8}, both in {self.found_both}; IoU of the best boxes "
            f"median {self.median_iou:.3f}, worst {self.worst_iou:.3f}; "
            f"confidence differs by at most {self.worst_confidence:.3f}"
        )


def detector_cost(fp32: Detector, int8: Detector, photos: list[Path], confidence: float) -> DetectorCost:
    """Compare best boxes on photos that neither training nor calibration saw."""
    overlaps, differences, found = [], [], [0, 0]
    for path in photos:
        photo = read_photo(path)
        best = [detector.detect(photo, confidence)[:1] for detector in (fp32, int8)]
        found = [count + bool(boxes) for count, boxes in zip(found, best, strict=True)]
        if all(best):
            overlaps.append(float(iou(np.array(best[0][0].box), np.array(best[1][0].box))[0, 0]))
            differences.append(abs(best[0][0].confidence - best[1][0].confidence))
    return DetectorCost(
        len(photos),
        found[0],
        found[1],
        len(overlaps),
        float(np.median(overlaps)) if overlaps else float("nan"),
        min(overlaps, default=float("nan")),
        max(differences, default=float("nan")),
    )


@dataclass(frozen=True)
class ClassifierCost:
    """How an int8 classifier's answers differ from its fp32 original's."""

    crops: int
    same_top_class: int
    worst_probability: float

    def __str__(self) -> str:
        return (
            f"classifier int8: same top class on {self.same_top_class} of {self.crops} crops; "
            f"a probability differs by at most {self.worst_probability:.3f}"
        )


def classifier_cost(fp32, int8, crops: list[Path]) -> ClassifierCost:
    """Compare the probabilities of two classifier sessions on held-back crops."""
    from .classifiers import softmax

    same, worst = 0, 0.0
    for path in crops:
        value = preprocess(read_photo(path)[..., ::-1])
        first, second = (softmax(s.run(None, {"input": value})[0][0]) for s in (fp32, int8))
        same += int(first.argmax() == second.argmax())
        worst = max(worst, float(np.abs(first - second).max()))
    return ClassifierCost(len(crops), same, worst)
