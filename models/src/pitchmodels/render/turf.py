"""The outfield: grass, mowing, patches, and things on it that are not strips."""

from __future__ import annotations

import math

import numpy as np

from .camera import Ground
from .noise import noise
from .paint import Colour, hsv, inside, line, mix


def turf_colour(rng: np.random.Generator, bare: bool) -> Colour:
    """The outfield's base colour; `bare` for grounds of earth or dead grass."""
    if bare:
        return hsv(rng.uniform(25, 50), rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.7))
    return hsv(rng.uniform(66, 115), rng.uniform(0.35, 0.75), rng.uniform(0.26, 0.55))


def paint_turf(rng: np.random.Generator, ground: Ground, colour: Colour) -> np.ndarray:
    """Grass over the whole ground plane."""
    x, y, fp = ground.x + rng.uniform(0, 99), ground.y + rng.uniform(0, 99), ground.footprint
    depth = rng.uniform(0.4, 1.3)
    tone = (
        noise("grain", x, y, 1.7, fp, 0.006) * 0.14
        + noise("grain", y, x, 6.3, fp, 0.03) * 0.09
        + noise("pink", y, x, 19, fp, 0.15) * 0.07
        + noise("smooth", x, y, 90, fp, 2) * 0.07
    )
    image = colour * (1 + depth * tone)[..., None]
    # Blades differ in hue, too: some are yellower than others.
    yellow = np.clip(noise("grain", x + 3, y, 2.9, fp, 0.012) * 0.3 + noise("pink", x, y, 40) * 0.15, 0, 0.5)
    image = mix(image, colour * np.float32([1.35, 1.12, 0.9]), yellow * rng.uniform(0, 1))
    straw = hsv(rng.uniform(36, 58), rng.uniform(0.25, 0.5), rng.uniform(0.5, 0.72))
    for _ in range(rng.integers(0, 3)):
        patch = noise("smooth", x + rng.uniform(0, 99), y, rng.uniform(30, 160)) * 0.6
        patch = patch + noise("pink", x, y, 30, fp, 0.4) * 0.22 - rng.uniform(0.2, 1.3)
        tint = straw if rng.random() < 0.7 else colour * 0.75
        image = mix(image, tint, np.clip(patch * rng.uniform(0.3, 1.0), 0, rng.uniform(0.3, 0.8)))
    if rng.random() < 0.6:
        image = image * (1 + _mowing(rng, ground))[..., None]
    return image.astype(np.float32)


def _mowing(rng: np.random.Generator, ground: Ground) -> np.ndarray:
    angle = rng.choice([0, math.pi / 2]) + rng.normal(0, 0.05) if rng.random() < 0.6 else rng.uniform(0, math.pi)
    pitch, hard = rng.uniform(1.6, 7), rng.uniform(2, 12)

    def bands(distance: np.ndarray) -> np.ndarray:
        return np.clip(np.sin(distance * math.pi / pitch) * hard, -1, 1)

    cos, sin = math.cos(angle), math.sin(angle)
    if rng.random() < 0.15:
        stripes = bands(np.hypot(ground.x, ground.y))
    else:
        stripes = bands(ground.x * cos + ground.y * sin)
        if rng.random() < 0.3:
            stripes = stripes + bands(-ground.x * sin + ground.y * cos)
    fade = np.clip(pitch / ground.footprint / 2, 0, 1)
    return stripes * fade * rng.uniform(0.02, 0.13)


def paint_square(rng: np.random.Generator, image: np.ndarray, ground: Ground) -> np.ndarray:
    """The mown square around the strips."""
    half_width, half_length = rng.uniform(6, 16), rng.uniform(11, 14)
    edge = np.maximum(np.abs(ground.x + rng.uniform(-2, 2)) - half_width, np.abs(ground.y) - half_length)
    mown = inside(edge, np.maximum(ground.footprint, 0.3))
    return image * (1 + mown[..., None] * rng.uniform(-0.08, 0.16, 3) + mown[..., None] * rng.uniform(-0.03, 0.12))


def paint_boundary(rng: np.random.Generator, image: np.ndarray, ground: Ground, radius: float) -> np.ndarray:
    """A boundary rope or line, the thirty-yard circle and the ground beyond."""
    away = np.hypot(ground.x, ground.y)
    if rng.random() < 0.45:
        image = mix(image, hsv(0, 0, rng.uniform(0.75, 1)), line(away - radius + 3, 0.08, ground.footprint))
    if rng.random() < 0.15:
        image = mix(
            image,
            hsv(0, 0, 0.95),
            line(away - 27.4, 0.06, ground.footprint) * (np.sin(away * 0 + np.arctan2(ground.y, ground.x) * 60) > 0),
        )
    if rng.random() < 0.5:
        beyond = hsv(rng.uniform(0, 90), rng.uniform(0.1, 0.5), rng.uniform(0.25, 0.7))
        outside = inside(radius + 1 - away, np.maximum(ground.footprint, 0.3))
        image = mix(image, beyond, outside * rng.uniform(0.3, 1))
    return image


def paint_distractor(rng: np.random.Generator, image: np.ndarray, ground: Ground, near: bool) -> np.ndarray:
    """Something pale or coloured on the ground that is not a strip."""
    angle = rng.uniform(0, math.pi)
    if near:
        offset_x, offset_y = rng.uniform(-15, 15, 2)
    else:
        offset_x, offset_y = rng.uniform(14, 60, 2) * rng.choice([-1, 1], 2)
    dx, dy = ground.x - offset_x, ground.y - offset_y
    u = dx * math.cos(angle) + dy * math.sin(angle)
    v = -dx * math.sin(angle) + dy * math.cos(angle)
    kind = rng.choice(["path", "court", "bare", "advert", "lines", "cover"], p=[0.32, 0.18, 0.2, 0.08, 0.14, 0.08])
    fp = ground.footprint
    colour = hsv(rng.uniform(10, 55), rng.uniform(0, 0.4), rng.uniform(0.3, 0.8))
    if kind == "path":
        bend = rng.uniform(0, 4) * np.sin(v / rng.uniform(12, 60))
        shape = inside(np.abs(u + bend) - rng.uniform(0.3, 4), np.maximum(0.15, fp))
        shape = shape * (1 - 0.25 * np.clip(noise("pink", ground.x, ground.y, 8, fp, 0.2), -1, 1))
        return mix(image, colour, shape)
    if kind == "court":
        shape = inside(np.maximum(np.abs(u) - 8, np.abs(v) - 17), np.maximum(0.05, fp))
        image = mix(image, hsv(rng.choice([10, 120, 150, 215]), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.7)), shape)
        lines = np.maximum.reduce(
            [
                line(np.maximum(np.abs(u) - 5.5, np.abs(v) - 11.9), 0.05, fp),
                line(v, 0.05, fp) * (np.abs(u) < 5.5),
                line(np.abs(u) - 4.1, 0.05, fp) * (np.abs(v) < 11.9),
                line(np.abs(v) - 6.4, 0.05, fp) * (np.abs(u) < 4.1),
            ]
        )
        return mix(image, hsv(0, 0, 0.95), lines)
    if kind == "lines":
        half_w, half_l = rng.uniform(15, 35), rng.uniform(25, 55)
        lines = np.maximum.reduce(
            [
                line(np.maximum(np.abs(u) - half_w, np.abs(v) - half_l), 0.06, fp),
                line(v, 0.06, fp) * (np.abs(u) < half_w),
                line(np.hypot(u, v) - 9.15, 0.06, fp),
                line(np.maximum(np.abs(u) - 16, np.abs(np.abs(v) - half_l) - 16), 0.06, fp) * (np.abs(v) < half_l),
            ]
        )
        return mix(
            image, hsv(rng.uniform(0, 360), rng.choice([0, 0.6], p=[0.85, 0.15]), 0.95), lines * rng.uniform(0.5, 1)
        )
    if kind == "bare":
        blob = np.hypot(u, v * rng.uniform(0.35, 1)) - rng.uniform(1, 8)
        shape = inside(blob + noise("pink", ground.x, ground.y, 20) * 1.5, 1.0)
        return mix(image, colour, shape * rng.uniform(0.4, 1))
    if kind == "advert":
        colour = hsv(rng.uniform(0, 360), rng.uniform(0, 0.9), rng.uniform(0.2, 1))
    else:
        colour = hsv(rng.choice([0, 210, 140]), rng.uniform(0, 0.5), rng.uniform(0.3, 0.95))
    half_u, half_v = rng.uniform(2, 9), rng.uniform(2, 6)
    return mix(image, colour, inside(np.maximum(np.abs(u) - half_u, np.abs(v) - half_v), fp))
