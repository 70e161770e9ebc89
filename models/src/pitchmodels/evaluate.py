"""What a bundle's models are worth on labelled photographs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .bundle import Bundle
from .classifiers import preprocess, softmax
from .dataset import Sample, find_samples
from .export import session
from .pipeline import Detection, Detector, iou, read_photo
from .train_classifier import find_crops

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
LOWEST = 0.05


@dataclass(frozen=True)
class DetectorFigures:
    """A detector at one confidence threshold."""

    threshold: float
    with_strip: int
    found: int
    """Photos whose best box overlaps a true one with an IoU of at least 0.5."""
    misplaced: int
    """Photos with a strip whose best box lies elsewhere."""
    without_strip: int
    false_alarms: int
    median_iou: float
    """Of the best boxes that were found."""

    def __str__(self) -> str:
        return (
            f"at {self.threshold:.2f}: {self.found} of {self.with_strip} strips found "
            f"(median IoU {self.median_iou:.2f}), {self.misplaced} boxes elsewhere; "
            f"{self.false_alarms} false alarms on {self.without_strip} photos without a strip"
        )


def detect_all(detector: Detector, samples: list[Sample]) -> list[list[Detection]]:
    """Every photo's boxes above the lowest threshold."""
    return [detector.detect(read_photo(sample.path), LOWEST) for sample in samples]


def detector_figures(samples: list[Sample], found: list[list[Detection]], threshold: float) -> DetectorFigures:
    """Judge each photo's best box, as the engine crops that one."""
    hits, misplaced, alarms, overlaps = 0, 0, 0, []
    positives = sum(bool(sample.boxes) for sample in samples)
    for sample, detections in zip(samples, found, strict=True):
        best = detections[0] if detections and detections[0].confidence > threshold else None
        if best is None:
            continue
        if not sample.boxes:
            alarms += 1
            continue
        overlap = float(iou(np.array(best.box), np.array(sample.boxes, float)).max())
        if overlap >= 0.5:
            hits += 1
            overlaps.append(overlap)
        else:
            misplaced += 1
    median = float(np.median(overlaps)) if overlaps else 0.0
    return DetectorFigures(threshold, positives, hits, misplaced, len(samples) - positives, alarms, round(median, 3))


def evaluate_detector(bundle: Bundle, photos: Path, precision: str = "fp32") -> list[DetectorFigures]:
    """Figures at several thresholds on a folder of labelled photos."""
    samples = find_samples(photos)
    detector = Detector(session(bundle.path("detector", precision), 2), bundle.detector.thresholds["iou_threshold"])
    found = detect_all(detector, samples)
    return [detector_figures(samples, found, threshold) for threshold in THRESHOLDS]


@dataclass(frozen=True)
class ClassifierFigures:
    """A classifier on labelled crops."""

    crops: int
    correct: int
    confusion: list[list[int]]
    """Rows are true classes, columns predicted ones."""

    def __str__(self) -> str:
        rows = "\n".join("  " + " ".join(f"{count:5d}" for count in row) for row in self.confusion)
        return f"{self.correct} of {self.crops} crops right; rows true, columns predicted:\n{rows}"


def evaluate_classifier(bundle: Bundle, crops: Path, precision: str = "fp32") -> ClassifierFigures:
    """Top-1 figures on a folder of crops, one folder per class."""
    runtime = session(bundle.path("classifier", precision), 2)
    size = len(bundle.classifier.classes)
    confusion = np.zeros((size, size), int)
    for path, label in find_crops(crops):
        probabilities = softmax(runtime.run(None, {"input": preprocess(read_photo(path)[..., ::-1])})[0][0])
        confusion[label, int(probabilities.argmax())] += 1
    return ClassifierFigures(int(confusion.sum()), int(np.trace(confusion)), confusion.tolist())


def as_json(figures) -> dict:
    """Figures as plain values."""
    return asdict(figures)
