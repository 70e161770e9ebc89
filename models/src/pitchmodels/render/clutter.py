"""Photographs without any ground: rooms, walls, tables, close-ups of people, and given pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from .figures import draw_person, random_kit
from .finish import finish
from .noise import screen_noise
from .paint import hsv, to_bytes

WORDS = ("CRICKET", "220-9", "Club", "SCORE 106", "FIXTURES", "2024", "LIVE")


def clutter(rng: np.random.Generator, long_side: int) -> np.ndarray:
    """Shapes, words and big figures before a wall and a floor; 8-bit BGR."""
    aspect = rng.choice([4 / 3, 3 / 2, 16 / 9, 3 / 4])
    width, height = (long_side, int(long_side / aspect)) if aspect > 1 else (int(long_side * aspect), long_side)

    def colour():
        return hsv(rng.uniform(0, 360), rng.uniform(0, 0.8), rng.uniform(0.1, 0.95))

    wall = 1 + 0.2 * screen_noise(rng, "smooth", height, width, 3) + 0.08 * screen_noise(rng, "pink", height, width, 2)
    image = colour() * wall[..., None]
    horizon = int(height * rng.uniform(0.3, 0.95))
    floor = (
        1 + 0.15 * screen_noise(rng, "pink", height, width, 1.5) + 0.1 * screen_noise(rng, "grain", height, width, 1)
    )
    image[horizon:] = (colour() * floor[..., None])[horizon:]
    canvas = np.ascontiguousarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    for _ in range(rng.integers(2, 24)):
        _draw_thing(rng, canvas, to_bytes(colour()))
    return finish(rng, canvas.astype(np.float32) / 255)


def _draw_thing(rng: np.random.Generator, canvas: np.ndarray, colour) -> None:
    height, width = canvas.shape[:2]
    points = rng.uniform(-0.1, 1.1, (4, 2)) * [width, height]
    first = tuple(int(v) for v in points[0])
    kind = rng.choice(["box", "polygon", "ellipse", "line", "word", "person"], p=[0.35, 0.15, 0.1, 0.1, 0.08, 0.22])
    if kind == "box":
        size = rng.uniform(0.02, 0.45, 2) * [width, height]
        cv2.rectangle(canvas, first, tuple(int(v) for v in points[0] + size), colour, -1)
    elif kind == "polygon":
        shape = points[0] + (points - points[0]) * rng.uniform(0.1, 0.6)
        cv2.fillPoly(canvas, [np.int32(shape)], colour, cv2.LINE_AA)
    elif kind == "ellipse":
        axes = tuple(float(v) for v in rng.uniform(10, 0.25 * width, 2))
        cv2.ellipse(canvas, (tuple(map(float, points[0])), axes, rng.uniform(0, 180)), colour, -1, cv2.LINE_AA)
    elif kind == "line":
        cv2.line(canvas, first, tuple(int(v) for v in points[1]), colour, int(rng.uniform(1, 9)), cv2.LINE_AA)
    elif kind == "word":
        scale, thick = rng.uniform(0.5, 3), int(rng.integers(1, 5))
        cv2.putText(canvas, str(rng.choice(WORDS)), first, int(rng.integers(0, 5)), scale, colour, thick, cv2.LINE_AA)
    else:
        kit = random_kit(rng, rng.uniform(0.6, 1))
        draw_person(rng, canvas, (points[0, 0], height * rng.uniform(0.6, 1.5)), height * rng.uniform(0.2, 1.3), kit)


@cache
def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")))


def given_picture(rng: np.random.Generator, folder: Path, long_side: int) -> np.ndarray | None:
    """A random part of a picture from a folder of pictures that show no pitch; 8-bit BGR."""
    paths = _pictures(folder)
    if not paths:
        return None
    # Wallpapers are large; a reduced decode is plenty.
    image = cv2.imread(str(paths[rng.integers(len(paths))]), cv2.IMREAD_REDUCED_COLOR_4)
    if image is None:
        return None
    height, width = image.shape[:2]
    share = rng.uniform(0.35, 1)
    h, w = int(height * share), int(width * share)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    part = image[top : top + h, left : left + w]
    scale = long_side / max(h, w)
    return cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
