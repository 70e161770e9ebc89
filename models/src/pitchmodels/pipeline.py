"""The engine's detection path in NumPy: letterbox, decode, suppress.

It mirrors what ultralytics predicts with, so that quantisation and evaluation
judge a model under the conditions it will run in.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

STRIDE = 32
PAD_GREY = 114


@dataclass(frozen=True)
class Detection:
    """A box in the photo's pixels and its confidence."""

    box: tuple[float, float, float, float]
    confidence: float


@dataclass(frozen=True)
class Letterbox:
    """How a photo was fitted into the network's input."""

    image: np.ndarray
    ratio: float
    left: int
    top: int


def read_photo(path: Path) -> np.ndarray:
    """Decode a photo as BGR with its EXIF orientation applied."""
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise ValueError(f"{path}: not an image that OpenCV can read")
    return photo


def letterbox(photo: np.ndarray, side: int = 640) -> Letterbox:
    """Shrink or enlarge to `side` and pad to the next multiple of the stride."""
    height, width = photo.shape[:2]
    ratio = min(side / height, side / width)
    new_width, new_height = round(width * ratio), round(height * ratio)
    if (new_width, new_height) != (width, height):
        photo = cv2.resize(photo, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    pad_x, pad_y = (-new_width % STRIDE) / 2, (-new_height % STRIDE) / 2
    left, right = round(pad_x - 0.1), round(pad_x + 0.1)
    top, bottom = round(pad_y - 0.1), round(pad_y + 0.1)
    padded = cv2.copyMakeBorder(photo, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(PAD_GREY,) * 3)
    return Letterbox(padded, ratio, left, top)


def to_tensor(bgr: np.ndarray) -> np.ndarray:
    """A letterboxed BGR image as the detector's input, `1 x 3 x H x W`."""
    rgb = bgr[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(rgb, np.float32) / 255.0


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `N x 4` with boxes `M x 4`."""
    a, b = np.atleast_2d(a)[:, None], np.atleast_2d(b)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    area = lambda boxes: (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])  # noqa: E731
    return shared / np.maximum(area(a) + area(b) - shared, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Greedy non-maximum suppression; indices to keep, best first."""
    order = list(np.argsort(-scores, kind="stable"))
    kept: list[int] = []
    while order:
        best = order.pop(0)
        kept.append(best)
        if order:
            overlap = iou(boxes[best], boxes[order])[0]
            order = [index for index, value in zip(order, overlap, strict=True) if value <= threshold]
    return kept


def input_side(metadata: dict[str, str]) -> int:
    """The longer side of a detector's input, from the metadata that ultralytics writes."""
    return max(ast.literal_eval(metadata.get("imgsz", "[640, 640]")))


class Detector:
    """A detector's ONNX session with the engine's pre- and postprocessing."""

    def __init__(self, session: ort.InferenceSession, iou_threshold: float = 0.7, side: int | None = None) -> None:
        self.session = session
        self.iou_threshold = iou_threshold
        self.side = side or input_side(session.get_modelmeta().custom_metadata_map)

    def detect(self, photo: np.ndarray, confidence: float) -> list[Detection]:
        """Boxes whose score exceeds `confidence`, best first."""
        fitted = letterbox(photo, self.side)
        raw = self.session.run(None, {"images": to_tensor(fitted.image)})[0][0]
        scores = raw[4:].max(axis=0)
        keep = scores > confidence
        centre, size, scores = raw[:2, keep].T, raw[2:4, keep].T, scores[keep]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        kept = suppress(boxes, scores, self.iou_threshold)
        height, width = photo.shape[:2]
        offset = np.array([fitted.left, fitted.top] * 2)
        limit = np.array([width, height] * 2)
        mapped = np.clip((boxes[kept] - offset) / fitted.ratio, 0, limit)
        return [
            Detection(tuple(map(float, box)), float(score)) for box, score in zip(mapped, scores[kept], strict=True)
        ]
