"""Where photographs of a pitch are taken from.

The world is in metres: the strip's centre is the origin, x runs across the
strip, y along it, z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FULL_FRAME_DIAGONAL = 43.3
"""Millimetres; focal lengths below are those of a full-frame camera."""


@dataclass(frozen=True)
class Ground:
    """What each pixel sees of the ground plane."""

    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray
    footprint: np.ndarray
    """Metres that a pixel covers, the geometric mean of both directions."""
    elevation: np.ndarray
    """Sine of the line of sight's elevation; negative below the horizon."""

    @property
    def is_land(self) -> np.ndarray:
        return self.elevation < -0.0012


class Camera:
    """A pinhole camera."""

    def __init__(self, position, target, focal: float, width: int, height: int, roll: float = 0.0):
        self.position = np.asarray(position, float)
        self.focal, self.width, self.height = focal, width, height
        forward = np.asarray(target, float) - self.position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= max(np.linalg.norm(right), 1e-6)
        down = np.cross(forward, right)
        cos, sin = math.cos(roll), math.sin(roll)
        self.axes = np.stack([cos * right + sin * down, -sin * right + cos * down, forward])

    def project(self, points) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and depths of points in the world."""
        local = (np.atleast_2d(np.asarray(points, float)) - self.position) @ self.axes.T
        depth = np.maximum(local[:, 2], 0.05)
        pixels = local[:, :2] / depth[:, None] * self.focal
        return pixels + np.array([self.width / 2, self.height / 2]), local[:, 2]

    def depth(self, point) -> float:
        """Distance along the line of sight."""
        return float((np.asarray(point, float) - self.position) @ self.axes[2])

    def ground(self) -> Ground:
        """Intersect every pixel's ray with the ground."""
        u, v = np.meshgrid(
            (np.arange(self.width) + 0.5 - self.width / 2) / self.focal,
            (np.arange(self.height) + 0.5 - self.height / 2) / self.focal,
        )
        ray = u[..., None] * self.axes[0] + v[..., None] * self.axes[1] + self.axes[2]
        elevation = ray[..., 2] / np.linalg.norm(ray, axis=-1)
        reach = np.where(ray[..., 2] < -1e-4, self.position[2] / np.maximum(-ray[..., 2], 1e-4), 1e4)
        footprint = reach / self.focal / np.sqrt(np.clip(-elevation, 0.02, 1))
        parts = (
            self.position[0] + reach * ray[..., 0],
            self.position[1] + reach * ray[..., 1],
            reach,
            footprint,
            elevation,
        )
        return Ground(*(part.astype(np.float32) for part in parts))


VIEWS = {
    "end": 0.26,
    "broadcast": 0.2,
    "high": 0.15,
    "side": 0.1,
    "drone": 0.1,
    "close": 0.08,
    "nets": 0.07,
    "stadium": 0.04,
}
"""How often each kind of view is taken; `surface`, straight at the soil, only on request."""

NEAR_VIEWS = ("end", "broadcast", "high", "side", "close", "nets", "surface")


def place_camera(rng: np.random.Generator, view: str, width: int, height: int) -> Camera:
    """A camera for one of the `VIEWS`."""

    def between(low: float, high: float) -> float:
        return rng.uniform(low, high)

    def log_between(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    angle = between(0, 2 * math.pi)
    if view == "end":
        position = (between(-1.8, 1.8), -between(9, 22), log_between(0.5, 3.2))
        target = (between(-1, 1), between(-6, 8), between(-0.3, 0.8))
        millimetres = log_between(22, 55)
    elif view == "high":
        away, turn = between(12, 60), between(-0.5, 0.5)
        position = (
            away * math.sin(turn),
            -8 - away * math.cos(turn),
            away * between(0.15, 0.8),
        )
        target = (between(-3, 3), between(-4, 5), 0)
        millimetres = (away + 4) * log_between(1.2, 4.0)
    elif view == "side":
        away = log_between(7, 40)
        position = (away * math.cos(angle), away * math.sin(angle), between(1.4, 4) + away * between(0, 0.2))
        target = (between(-2, 2), between(-5, 5), between(-0.5, 1))
        millimetres = away * log_between(1.0, 2.6)
    elif view == "drone":
        away, climb = log_between(14, 80), math.radians(between(25, 88))
        position = (
            away * math.cos(climb) * math.cos(angle),
            away * math.cos(climb) * math.sin(angle),
            away * math.sin(climb),
        )
        target = (between(-0.12, 0.12) * away, between(-0.12, 0.12) * away, 0)
        millimetres = away * log_between(0.7, 2.0)
    elif view == "close":
        position = (between(-2.2, 2.2), -between(2, 12), between(1.0, 2.4))
        target = (between(-0.8, 0.8), position[1] + between(3, 8), between(-0.4, 0.4))
        millimetres = between(20, 40)
    elif view == "broadcast":
        # The television camera behind the bowler's arm: high, far, and a long lens.
        away, turn = between(35, 75), between(-0.06, 0.06)
        position = (away * math.sin(turn), -8 - away * math.cos(turn), away * between(0.1, 0.3))
        target = (between(-1.5, 1.5), between(-3, 9), between(-0.5, 1))
        millimetres = (away + 8) * log_between(2.2, 6.5)
    elif view == "surface":
        position = (between(-0.8, 0.8), -between(-6, 9), between(1.0, 1.8))
        target = (between(-0.4, 0.4), position[1] + between(0.3, 2.0), 0)
        millimetres = between(22, 40)
    elif view == "stadium":
        away = between(55, 120)
        position = (away * math.cos(angle), away * math.sin(angle), away * between(0.15, 0.5))
        target = (between(-8, 8), between(-8, 8), between(-4, 6))
        millimetres = away * log_between(0.5, 2.2)
    else:
        position = (between(-1, 1), -between(8, 18), between(0.9, 2.6))
        target = (between(-0.6, 0.6), between(-4, 8), between(-0.2, 0.9))
        millimetres = between(22, 45)
    focal = math.hypot(width, height) * float(np.clip(millimetres, 18, 500)) / FULL_FRAME_DIAGONAL
    roll = rng.normal(0, 0.02) if rng.random() < 0.6 else 0.0
    return Camera(position, target, focal, width, height, roll)
