"""Write what PyTorch and ultralytics say about a few photos, for the engine's tests to compare with."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import __version__ as pillow_version

from .bundle import Bundle, sha256_of
from .classifiers import load_classifier, preprocess
from .export import session
from .pipeline import input_side, read_photo

SCHEMA = "pitchfleet.reference/1"


def _rounded(values, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


def _detections(model, photo: np.ndarray, side: int, confidence: float, iou_threshold: float) -> list[dict]:
    result = model.predict(
        photo, imgsz=side, conf=confidence, iou=iou_threshold, device="cpu", rect=True, verbose=False
    )[0]
    boxes = result.boxes
    return [
        {"box": _rounded(box, 3), "confidence": round(float(score), 6)}
        for box, score in zip(boxes.xyxy.tolist(), boxes.conf.tolist(), strict=True)
    ]


def _probabilities(model, rgb: np.ndarray) -> list[float]:
    with torch.no_grad():
        return _rounded(model(torch.from_numpy(preprocess(rgb))).softmax(-1)[0].tolist(), 6)


def write_reference(
    bundle: Bundle, detector_weights: Path, classifier_weights: Path, photos: Path, confidence: float
) -> Path:
    """Write `reference.json` beside the photos; returns its path.

    The numbers come from the weights that the bundle was exported from, run by
    PyTorch in fp32; the bundle's hashes say which export they belong to.
    """
    import torchvision
    import ultralytics
    from ultralytics import YOLO

    detector = YOLO(detector_weights, task="detect")
    _, classifier = load_classifier(classifier_weights)
    side = input_side(session(bundle.path("detector")).get_modelmeta().custom_metadata_map)
    iou_threshold = bundle.detector.thresholds["iou_threshold"]
    entries = []
    for path in sorted(p for p in photos.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        photo = read_photo(path)
        rgb = np.ascontiguousarray(photo[..., ::-1])
        found = _detections(detector, photo, side, confidence, iou_threshold)
        entry = {
            "file": path.name,
            "width": photo.shape[1],
            "height": photo.shape[0],
            "detections": found,
            "whole_frame": _probabilities(classifier, rgb),
        }
        if found:
            x1, y1, x2, y2 = (int(value) for value in found[0]["box"])
            entry["crop"] = [x1, y1, x2, y2]
            entry["crop_probabilities"] = _probabilities(classifier, rgb[y1:y2, x1:x2])
        entries.append(entry)
    document = {
        "schema": SCHEMA,
        "bundle": {
            model: {precision: sha256_of(bundle.path(model, precision)) for precision in getattr(bundle, model).files}
            for model in ("detector", "classifier")
        },
        "settings": {
            "imgsz": side,
            "confidence_threshold": confidence,
            "iou_threshold": iou_threshold,
            "classes": bundle.classifier.classes,
            "decoder": f"OpenCV {cv2.__version__} imread, EXIF orientation applied",
            "resize": f"Pillow {pillow_version} bilinear, straight to 224x224",
        },
        "versions": {
            "torch": torch.__version__.split("+")[0],
            "torchvision": torchvision.__version__.split("+")[0],
            "ultralytics": ultralytics.__version__,
        },
        "photos": entries,
    }
    target = photos / "reference.json"
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return target
