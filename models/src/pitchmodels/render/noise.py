"""Seamless noise tiles, sampled at points on the ground.

Every octave fades out where one pixel covers more ground than the octave's
finest detail, so that distant turf does not turn into aliased grain.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

TILE = 512
"""Texels along a tile's side."""

CRACK_CELLS = 240
"""Blocks of soil in the crack tile."""


def _spectrum() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fx, fy = np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE))
    return fx, fy, np.hypot(fx, fy) + 1e-6


@cache
def tile(name: str) -> np.ndarray:
    """A noise tile with zero mean and unit deviation.

    `grain` is nearly white, `pink` has all scales, `smooth` is large blobs and
    `streak` is drawn out along y, like the brush and roller marks of a strip.
    """
    _, fy, f = _spectrum()
    lowest = 2 / TILE
    shapes = {
        "grain": lambda: f**-0.35,
        "pink": lambda: (f + lowest) ** -1.1,
        "smooth": lambda: (f + lowest) ** -2.0,
        "streak": lambda: np.exp(-((fy / 0.012) ** 2)) * (f + lowest) ** -0.5,
    }
    rng = np.random.default_rng(sorted(shapes).index(name) + 7)
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TILE, TILE))) * shapes[name]()).real
    return ((values - values.mean()) / values.std()).astype(np.float32)


@cache
def crack_distance() -> np.ndarray:
    """Distance to the nearest crack in texels: the borders of a warped Voronoi diagram.

    A distance, unlike a drawn line, stays sharp at any magnification.
    """
    rng = np.random.default_rng(77)
    points = rng.uniform(0, TILE, (CRACK_CELLS, 2))
    shifts = [(a, b) for a in (-TILE, 0, TILE) for b in (-TILE, 0, TILE)]
    points = np.concatenate([points + shift for shift in shifts])
    points = points[((points > -90) & (points < TILE + 90)).all(axis=1)].astype(np.float32)
    gx, gy = np.meshgrid(np.arange(TILE, dtype=np.float32), np.arange(TILE, dtype=np.float32))
    # Bend the borders gently: rough noise here would tear the lines into specks.
    gx = gx + 6 * tile("smooth") + 1.2 * cv2.GaussianBlur(tile("pink"), (0, 0), 1.5)
    gy = gy + 6 * tile("smooth").T + 1.2 * cv2.GaussianBlur(tile("pink").T, (0, 0), 1.5)
    nearest = np.full((TILE, TILE), 1e9, np.float32)
    second = nearest.copy()
    for px, py in points:
        distance = np.hypot(gx - px, gy - py)
        second = np.minimum(second, np.maximum(distance, nearest))
        nearest = np.minimum(nearest, distance)
    return (second - nearest) / 2


def sample(texture: np.ndarray, x: np.ndarray, y: np.ndarray, metres: float) -> np.ndarray:
    """A tile that spans `metres` on the ground, at ground points."""
    scale = TILE / metres
    return cv2.remap(
        texture,
        np.mod(x * scale, TILE).astype(np.float32),
        np.mod(y * scale, TILE).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def noise(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    metres: float,
    footprint: np.ndarray | None = None,
    detail: float | None = None,
) -> np.ndarray:
    """Noise at ground points, fading where a pixel covers more than `detail` metres."""
    values = sample(tile(name), x, y, metres)
    if footprint is None:
        return values
    return values * np.clip((detail or metres / 40) / footprint, 0, 1)


def screen_noise(rng: np.random.Generator, name: str, height: int, width: int, zoom: float) -> np.ndarray:
    """A random piece of a tile stretched over a picture; `zoom` is pixels per texel."""
    rows = int(np.clip(height / zoom, 2, TILE))
    columns = int(np.clip(width / zoom, 2, TILE))
    top, left = rng.integers(0, TILE - rows + 1), rng.integers(0, TILE - columns + 1)
    piece = tile(name)[top : top + rows, left : left + columns]
    return cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)
