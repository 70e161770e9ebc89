"""Read rendered photographs and turn them into augmented training batches."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

PAD_GREY = 114
LABELS = "labels.json"
MOST_SHEAR = 0.03


@dataclass(frozen=True)
class Sample:
    """A photo on disk and the boxes in it, in pixels."""

    path: Path
    boxes: tuple[tuple[float, float, float, float], ...]


def find_samples(root: Path) -> list[Sample]:
    """Every labelled photo below `root`; a folder counts once its `labels.json` is written.

    The renderer writes the labels of a shard last, so a training that runs
    beside it can call this again and again and sees only complete shards.
    """
    samples = []
    for labels in sorted(root.rglob(LABELS)):
        for name, boxes in json.loads(labels.read_text()).items():
            samples.append(Sample(labels.parent / name, tuple(tuple(box) for box in boxes)))
    return samples


def _read(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    image = cv2.imread(str(sample.path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{sample.path} cannot be read")
    return image, np.array(sample.boxes, np.float32).reshape(-1, 4)


def _warp(
    image: np.ndarray, boxes: np.ndarray, side: int, rng: np.random.Generator, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scale, shift and shear a photo into a square, keeping the boxes mostly inside it."""
    height, width = image.shape[:2]
    scale = side / max(height, width) * np.exp(rng.uniform(np.log(low), np.log(high)))
    matrix = np.float32([[scale, 0, 0], [0, scale, 0]])
    matrix[0, 1] = scale * rng.uniform(-MOST_SHEAR, MOST_SHEAR)
    matrix[1, 0] = scale * rng.uniform(-MOST_SHEAR, MOST_SHEAR)
    slack = np.array([side - width * scale, side - height * scale])
    matrix[:, 2] = slack * rng.uniform(0, 1, 2) + rng.normal(0, 0.03 * side, 2)
    # Shrinking without averaging would teach the network aliasing that a
    # letterboxed photo has too, so the engine's plain bilinear filter is right here.
    warped = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(PAD_GREY,) * 3)
    return warped, _move_boxes(boxes, matrix, side)


def _move_boxes(boxes: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    if not len(boxes):
        return boxes
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    full = np.concatenate([moved.min(1), moved.max(1)], 1)
    clipped = full.clip(0, side)
    area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])  # noqa: E731
    sides = np.minimum(clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1])
    keep = (area(clipped) > 0.35 * area(full)) & (sides > 5)
    return clipped[keep]


def _mosaic(samples: list[Sample], side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four photos in a square around a random centre."""
    canvas = np.empty((side, side, 3), np.uint8)
    cx, cy = (rng.uniform(0.3, 0.7, 2) * side).astype(int)
    tiles = [(0, 0, cx, cy), (cx, 0, side, cy), (0, cy, cx, side), (cx, cy, side, side)]
    boxes = []
    for (x1, y1, x2, y2), index in zip(tiles, rng.integers(0, len(samples), 4), strict=True):
        image, found = _read(samples[index])
        tile = max(x2 - x1, y2 - y1)
        warped, found = _warp(image, found, tile, rng, 0.9, 1.6)
        canvas[y1:y2, x1:x2] = warped[: y2 - y1, : x2 - x1]
        if len(found):
            limit = np.float32([x2 - x1, y2 - y1] * 2)
            clipped = np.minimum(found, limit)
            visible = (clipped[:, 2:] - clipped[:, :2]).prod(1)
            whole = (found[:, 2:] - found[:, :2]).prod(1)
            keep = (visible > 0.35 * whole) & ((clipped[:, 2:] - clipped[:, :2]).min(1) > 5)
            boxes.append(clipped[keep] + np.float32([x1, y1, x1, y1]))
    return canvas, np.concatenate(boxes) if boxes else np.zeros((0, 4), np.float32)


def _recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift hue, saturation and brightness, sometimes to grey, sometimes blurred."""
    gain = rng.uniform(-1, 1, 3) * np.array([0.02, 0.6, 0.45]) + 1
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
    steps = np.arange(256)
    hue = cv2.LUT(hue, ((steps * gain[0]) % 180).astype(np.uint8))
    saturation = cv2.LUT(saturation, np.clip(steps * gain[1], 0, 255).astype(np.uint8))
    value = cv2.LUT(value, np.clip(steps * gain[2], 0, 255).astype(np.uint8))
    image = cv2.cvtColor(cv2.merge((hue, saturation, value)), cv2.COLOR_HSV2BGR)
    if rng.random() < 0.04:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.1:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))
    return image


def augmented(
    samples: list[Sample], side: int, rng: np.random.Generator, mosaic: float
) -> tuple[np.ndarray, np.ndarray]:
    """One training image (BGR, square) and its boxes in pixels."""
    if rng.random() < mosaic:
        image, boxes = _mosaic(samples, side, rng)
    else:
        image, boxes = _read(samples[rng.integers(len(samples))])
        image, boxes = _warp(image, boxes, side, rng, 0.6, 1.5)
    if rng.random() < 0.5:
        image = image[:, ::-1]
        boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
    return _recolour(np.ascontiguousarray(image), rng), boxes


@dataclass(frozen=True)
class Batch:
    """Images `N x 3 x S x S` (uint8 RGB) and boxes as the YOLO loss wants them."""

    images: np.ndarray
    owner: np.ndarray
    boxes: np.ndarray


def make_batch(samples: list[Sample], size: int, side: int, rng: np.random.Generator, mosaic: float) -> Batch:
    """Assemble a batch; boxes become normalised centre, width, height."""
    images, owner, boxes = [], [], []
    for index in range(size):
        image, found = augmented(samples, side, rng, mosaic)
        images.append(image[..., ::-1].transpose(2, 0, 1))
        centre, extent = (found[:, :2] + found[:, 2:]) / 2, found[:, 2:] - found[:, :2]
        boxes.append(np.concatenate([centre, extent], 1) / side)
        owner.append(np.full(len(found), index))
    return Batch(
        np.ascontiguousarray(images),
        np.concatenate(owner).astype(np.float32),
        np.concatenate(boxes).astype(np.float32),
    )


class Prefetch:
    """Makes batches in a background thread, so that the optimiser does not wait for JPEGs."""

    def __init__(self, make, depth: int = 2) -> None:
        self._make = make
        self._queue: queue.Queue = queue.Queue(depth)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._queue.put(self._make())
        except BaseException as error:
            self._queue.put(error)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item
