"""Lens, sensor and file format: from a float picture to one as a phone or a press camera makes it."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np


def finish(rng: np.random.Generator, image: np.ndarray, *, night: bool = False, quality: float = 0.0) -> np.ndarray:
    """Float RGB to 8-bit BGR. `quality` 0 gives any camera, 1 only good ones."""
    height, width = image.shape[:2]
    harm = 1 - quality
    if rng.random() < 0.5:
        across = (np.arange(width) / width - 0.5) ** 2
        down = (np.arange(height) / height - 0.5) ** 2
        image = image * (1 - rng.uniform(0, 0.7) * (across[None] + down[:, None]))[..., None]
    image = (
        image
        * (1 + rng.uniform(-0.11, 0.11, 3) * (0.3 + 0.7 * harm))
        * (1 + rng.uniform(-0.25, 0.25) * (0.3 + 0.7 * harm))
    )
    grey = image.mean(-1, keepdims=True)
    image = grey + (image - grey) * rng.uniform(0.5 + 0.4 * quality, 1.45 - 0.25 * quality)
    image = np.clip(image, 0, 1) ** rng.uniform(0.78 + 0.14 * quality, 1.3 - 0.2 * quality)
    if rng.random() < 0.25 * harm:
        image = image * rng.uniform(0.75, 1) + rng.uniform(0, 0.18)
    image = _focus(rng, image, harm)
    noise = rng.uniform(0.002, 0.025 + 0.03 * night) * (0.2 + 0.8 * harm)
    image = image + rng.normal(0, noise, (height, width, 1)).astype(np.float32)
    image = image + rng.normal(0, noise * 0.4, (height, width, 3)).astype(np.float32)
    out = np.ascontiguousarray((np.clip(image, 0, 1) * 255).astype(np.uint8)[..., ::-1])
    if quality >= 1:
        return out
    setting = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 95))]
    return cv2.imdecode(cv2.imencode(".jpg", out, setting)[1], cv2.IMREAD_COLOR)


def _focus(rng: np.random.Generator, image: np.ndarray, harm: float) -> np.ndarray:
    """Softness, camera shake, or a phone's sharpening."""
    kind = rng.random()
    image = image.astype(np.float32)
    if kind < 0.35 * harm:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4))
    if kind < 0.42 * harm:
        angle = rng.uniform(0, math.pi)
        dx, dy = 4 * math.cos(angle), 4 * math.sin(angle)
        kernel = np.zeros((9, 9), np.float32)
        cv2.line(kernel, (int(4 - dx), int(4 - dy)), (int(4 + dx), int(4 + dy)), 1)
        return cv2.filter2D(image, -1, kernel / kernel.sum())
    if kind < 0.7:
        return image + (image - cv2.GaussianBlur(image, (0, 0), 1.5)) * rng.uniform(0.2, 1.0)
    return image


def caption(rng: np.random.Generator, image: np.ndarray, boxes: list[list[int]], bar: bool) -> list[list[int]]:
    """Draw a score bar or a caption over 8-bit BGR, in place; returns what is left of the boxes."""
    height, width = image.shape[:2]
    if bar:
        top, bottom = int(height * rng.uniform(0.82, 0.9)), int(height * rng.uniform(0.91, 1.0))
        left, right = int(width * rng.uniform(0, 0.15)), int(width * rng.uniform(0.8, 1))
        cells = np.linspace(left, right, rng.integers(2, 7)).astype(int)
        for start, end in pairwise(cells):
            colour = tuple(int(v) for v in rng.choice([235, 30, 120], 3) * rng.uniform(0.6, 1, 3))
            cv2.rectangle(image, (int(start), top), (int(end), bottom), colour, -1)
            ink = (255, 255, 255) if sum(colour) < 380 else (20, 20, 20)
            text = str(rng.choice(["IND 208-1", "4-1", "35.3", "ENG", "TARGET 267", "42 (51)"]))
            place = (int(start) + 3, int((top + bottom) / 2) + 4)
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, height / 1100, ink, 1, cv2.LINE_AA)
        # What lies behind the bar and below it is no longer to be seen.
        boxes = [[x1, y1, x2, min(y2, top)] for x1, y1, x2, y2 in boxes if y1 < top - 8]
    elif rng.random() < 0.04:
        place = (int(width * rng.uniform(0, 0.6)), int(height * rng.uniform(0.1, 0.95)))
        cv2.putText(image, "CRICKET CLUB", place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.4, 1.1), (255, 255, 255), 2)
    return boxes
