"""Sky, trees, stands, buildings and boards around the ground."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from .camera import Camera, Ground
from .noise import TILE, screen_noise, tile
from .paint import hsv, mix

SEGMENTS = 180
"""Pieces that a belt round the ground is built of."""


def paint_sky(rng: np.random.Generator, ground: Ground, night: bool) -> tuple[np.ndarray, np.ndarray]:
    """The sky and the colour of its haze at the horizon."""
    height, width = ground.x.shape
    haze = hsv(rng.uniform(190, 225), rng.uniform(0, 0.3), rng.uniform(0.65, 1))
    zenith = hsv(rng.uniform(198, 225), rng.uniform(0.15, 0.75), rng.uniform(0.5, 0.95))
    if night:
        haze, zenith = np.float32([0.05, 0.06, 0.08]), np.float32([0.02, 0.02, 0.05])
    elif rng.random() < 0.08:
        haze = hsv(rng.uniform(15, 45), rng.uniform(0.3, 0.6), rng.uniform(0.8, 1))
    rise = np.clip(ground.elevation * rng.uniform(1.5, 5), 0, 1)[..., None]
    sky = haze + (zenith - haze) * rise
    if not night and rng.random() < 0.7:
        clouds = screen_noise(rng, "smooth", height, width, rng.uniform(1.5, 4))
        clouds = clouds + 0.5 * screen_noise(rng, "pink", height, width, 2)
        cover = np.clip(clouds * rng.uniform(0.3, 0.7) - rng.uniform(-0.5, 0.5), 0, 1)
        sky = mix(sky, hsv(220, 0.03, rng.uniform(0.7, 1)), cover)
    return sky.astype(np.float32), haze


class Belt:
    """A ring of upright things around the ground, drawn over the picture."""

    def __init__(self, rng: np.random.Generator, camera: Camera, centre: tuple[float, float], nearest: float):
        self.rng, self.camera, self.centre, self.nearest = rng, camera, np.asarray(centre), nearest

    def _shape(self, radius: float, heights: np.ndarray | float, lean: float, base: float = 0.0):
        angle = np.linspace(0, 2 * math.pi, SEGMENTS + 1)
        foot = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], 1)
        foot[:, :2] += self.centre
        top = foot.copy()
        top[:, :2] += (foot[:, :2] - self.centre) / radius * lean
        foot[:, 2], top[:, 2] = base, heights
        low, low_depth = self.camera.project(foot)
        high, high_depth = self.camera.project(top)
        mask = np.zeros((self.camera.height, self.camera.width), np.uint8)
        depths = np.minimum(low_depth, high_depth)
        visible = np.minimum(depths[:-1], depths[1:]) > self.nearest
        for index in np.flatnonzero(visible):
            quad = np.stack([low[index], low[index + 1], high[index + 1], high[index]])
            if np.abs(quad).max() < 2e4:
                cv2.fillPoly(mask, [np.int32(quad * 16)], 255, cv2.LINE_AA, 4)
        depth = float(np.median(low_depth[:-1][visible])) if visible.any() else 50.0
        return mask.astype(np.float32) / 255, self.camera.focal / max(5.0, depth)

    def _profile(self, name: str, points: int) -> np.ndarray:
        row = np.roll(tile(name)[self.rng.integers(TILE)], self.rng.integers(TILE))[:points]
        return np.interp(np.arange(SEGMENTS + 1), np.linspace(0, SEGMENTS, points), row)

    def draw(self, image: np.ndarray, kind: str, radius: float, light: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw one belt; returns the picture and what the belt covers."""
        mask, texture = getattr(self, f"_{kind}")(radius)
        return mix(image, np.clip(texture, 0, 1) * light, mask), mask

    def _size(self) -> tuple[int, int]:
        return self.camera.height, self.camera.width

    def _foliage(self, colour, scale: float) -> np.ndarray:
        height, width = self._size()
        tone = 0.26 * screen_noise(self.rng, "pink", height, width, max(0.8, scale * 0.35))
        tone = tone + 0.2 * screen_noise(self.rng, "grain", height, width, 1.2)
        tone = tone + 0.18 * screen_noise(self.rng, "smooth", height, width, max(1, scale * 0.2))
        return colour * (1 + tone)[..., None]

    def _trees(self, radius: float):
        heights = self.rng.uniform(5, 16) * np.clip(
            1 + 0.35 * self._profile("pink", 110) + 0.12 * self.rng.standard_normal(SEGMENTS + 1), 0.25, 2
        )
        if self.rng.random() < 0.4:
            gaps = np.repeat(self.rng.random(SEGMENTS // 9 + 1) < 0.7, 9)[: SEGMENTS + 1]
            heights = heights * gaps + 0.05
        mask, scale = self._shape(radius, heights, 0)
        colour = hsv(self.rng.uniform(70, 130), self.rng.uniform(0.25, 0.65), self.rng.uniform(0.14, 0.4))
        return mask, self._foliage(colour, scale)

    def _hills(self, radius: float):
        heights = self.rng.uniform(20, 80) * np.clip(1 + 0.5 * self._profile("smooth", 40), 0.15, 3)
        mask, scale = self._shape(radius, heights, 0)
        colour = hsv(self.rng.uniform(60, 220), self.rng.uniform(0.1, 0.35), self.rng.uniform(0.3, 0.6))
        return mask, self._foliage(colour, scale)

    def _stand(self, radius: float):
        heights = self.rng.uniform(6, 24) * (
            1 if self.rng.random() < 0.5 else np.repeat(self.rng.uniform(0.4, 1.2, 19), 10)[: SEGMENTS + 1]
        )
        mask, scale = self._shape(radius, heights, self.rng.uniform(8, 40))
        return mask, self._crowd(max(1.5, scale * 0.55))

    def _crowd(self, seat: float) -> np.ndarray:
        """Rows of people and empty seats."""
        height, width = self._size()
        rows, columns = int(height / seat) + 2, int(width / seat) + 2
        seats = hsv(self.rng.uniform(0, 360), self.rng.uniform(0, 0.8), self.rng.uniform(0.25, 0.8))
        people = np.clip(self.rng.normal(0.45, 0.25, (rows, columns, 3)), 0.03, 1)
        grey = people.mean(-1, keepdims=True)
        people = grey + (people - grey) * self.rng.uniform(0.3, 1.2)
        taken = self.rng.random((rows, columns, 1)) < np.clip(
            self.rng.uniform(0.1, 1) + 0.3 * cv2.resize(tile("smooth")[:64, :64], (columns, rows))[..., None], 0, 1
        )
        picture = np.where(taken, people, seats) * (1 - 0.3 * (np.arange(rows) % 2))[:, None, None]
        picture = cv2.resize(
            picture.astype(np.float32), (int(columns * seat) + 1, int(rows * seat) + 1), interpolation=cv2.INTER_LINEAR
        )
        return picture[:height, :width]

    def _buildings(self, radius: float):
        blocks = np.repeat(self.rng.uniform(0.3, 1.6, 46) * (self.rng.random(46) < 0.6), 4)[: SEGMENTS + 1]
        mask, scale = self._shape(radius, self.rng.uniform(4, 16) * blocks + 0.01, 0)
        height, width = self._size()
        window = max(2.0, scale * 3)
        walls = np.stack(
            [
                hsv(self.rng.uniform(0, 60), self.rng.uniform(0, 0.5), self.rng.uniform(0.3, 0.95))
                for _ in range(int(width / window / 3) + 2)
            ]
        )
        texture = np.repeat(walls, int(window * 3) + 1, 0)[:width][None].repeat(height, 0)
        gy, gx = np.mgrid[:height, :width]
        glass = (gx % window < window * 0.45) & (gy % window < window * 0.5)
        return mask, np.where(glass[..., None], texture * self.rng.uniform(0.3, 0.7), texture)

    def _boards(self, radius: float):
        mask, scale = self._shape(radius, self.rng.uniform(0.6, 1.1), 0)
        height, width = self._size()
        piece = max(3, int(scale * self.rng.uniform(2, 7)))
        count = width // piece + 2
        colours = np.stack(
            [
                hsv(self.rng.uniform(0, 360), self.rng.choice([0, 0.5, 0.8]), self.rng.uniform(0.2, 1))
                for _ in range(count)
            ]
        )
        texture = np.repeat(colours, piece, 0)[:width][None].repeat(height, 0)
        letters = screen_noise(self.rng, "grain", height, width, max(1.0, scale * 0.2)) > 0.7
        return mask, np.where(letters[..., None], 1 - texture, texture)

    def _fence(self, radius: float):
        mask, _ = self._shape(radius, self.rng.uniform(1, 2.4), 0)
        height, width = self._size()
        colour = hsv(self.rng.uniform(0, 120), self.rng.uniform(0, 0.4), self.rng.uniform(0.3, 0.95))
        shade = 1 + 0.06 * screen_noise(self.rng, "pink", height, width, 2)
        return mask * self.rng.uniform(0.4, 1), colour * shade[..., None]


@cache
def cutouts(folder: Path) -> tuple[np.ndarray, ...]:
    """Cut-outs of trees and bushes (PNG with alpha) as premultiplied float RGBA."""
    pictures = []
    for path in sorted(folder.glob("*.png")):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
            continue
        rgba = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA).astype(np.float32) / 255
        rgba[..., :3] *= rgba[..., 3:]
        pictures.append(rgba)
    return tuple(pictures)


def plant_trees(
    rng: np.random.Generator,
    image: np.ndarray,
    occlusion: np.ndarray,
    camera: Camera,
    radius: float,
    pictures: tuple[np.ndarray, ...],
    light: float,
) -> None:
    """Draw cut-out trees outside the boundary, in place, from far to near."""
    kinds = rng.choice(len(pictures), min(len(pictures), rng.integers(1, 5)), replace=False)
    places = []
    for _ in range(rng.integers(4, 45)):
        angle, away = rng.uniform(0, 2 * math.pi), radius + rng.exponential(18)
        places.append((away * math.cos(angle), away * math.sin(angle), 0.0))
    tint = rng.uniform(0.65, 1.1, 3).astype(np.float32) * light
    for place in sorted(places, key=camera.depth, reverse=True):
        (foot,), (depth,) = camera.project(place)
        if depth < 8:
            continue
        tall = rng.uniform(4, 13) * camera.focal / depth
        if not 4 < tall < 2 * camera.height:
            continue
        picture = pictures[rng.choice(kinds)]
        size = (max(2, int(tall * picture.shape[1] / picture.shape[0])), int(tall))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        left, top = int(foot[0] - size[0] / 2), int(foot[1] - size[1])
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + size[0], camera.width), min(top + size[1], camera.height)
        if x2 <= x1 or y2 <= y1:
            continue
        part = small[y1 - top : y2 - top, x1 - left : x2 - left]
        region = image[y1:y2, x1:x2]
        region[:] = region * (1 - part[..., 3:]) + part[..., :3] * tint
        np.maximum(occlusion[y1:y2, x1:x2], part[..., 3], out=occlusion[y1:y2, x1:x2])
