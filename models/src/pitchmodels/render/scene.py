"""Compose a photograph of a ground, with or without a strip, and say where the strip is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import turf
from .camera import NEAR_VIEWS, VIEWS, Camera, Ground, place_camera
from .figures import Stage, add_bowler_in_front, add_delivery, add_nets, add_people, add_sight_screen
from .finish import caption, finish
from .noise import noise
from .paint import inside, mix
from .strip import CHARACTERS, CREASE_BOWLING, Strip, paint_strip, random_strip
from .surroundings import Belt, cutouts, paint_sky, plant_trees

ASPECTS = ((4 / 3, 0.27), (3 / 2, 0.22), (16 / 9, 0.24), (1.0, 0.07), (3 / 4, 0.14), (9 / 16, 0.06))
SMALLEST_CONTRAST = 0.075
"""Mean colour difference between a strip and its surroundings that a person notices."""


@dataclass(frozen=True)
class Wish:
    """What a photograph should show; `None` leaves it to chance."""

    long_side: int = 576
    view: str | None = None
    character: str | None = None
    negative: bool = False
    aspect: float | None = None
    quality: float = 0.0
    smallest_share: float = 0.04
    """Share of the frame that a strip's box covers at least."""
    trees: Path | None = None
    ground_seed: int | None = None
    """Photographs with the same seed show the same ground and the same strip."""


@dataclass(frozen=True)
class Photo:
    """A finished photograph."""

    image: np.ndarray
    """8-bit BGR."""
    boxes: list[list[int]]
    """Strips' boxes as x1, y1, x2, y2; empty if there is none."""
    character: str | None
    view: str


def photograph(rng: np.random.Generator, wish: Wish) -> Photo | None:
    """Render one photograph; `None` if the strip came out too small or too hidden."""
    width, height = _frame(rng, wish)
    view = wish.view or str(rng.choice(list(VIEWS), p=list(VIEWS.values())))
    camera = place_camera(rng, view, width, height)
    if not wish.negative and _projected_share(camera) < wish.smallest_share:
        return None
    ground = camera.ground()
    place = _generators(rng, wish.ground_seed)
    night = rng.random() < (0.2 if view == "stadium" else 0.03) * (wish.quality < 1)
    sun = rng.random() < 0.65 and not night
    colour = turf.turf_colour(place.turf, bare=place.turf.random() < 0.1 * (wish.quality < 1))
    image = turf.paint_turf(place.turf, ground, colour)
    radius = place.turf.uniform(42, 75)
    if view in NEAR_VIEWS:
        radius = max(radius, min(float(np.hypot(*camera.position[:2])) + 5, 110))
    for _ in range(rng.integers(0, 2) + wish.negative * rng.integers(0, 3)):
        image = turf.paint_distractor(rng, image, ground, near=wish.negative)
    image = turf.paint_boundary(place.turf, image, ground, radius)
    character, masks = None, []
    if not wish.negative:
        character = wish.character or str(rng.choice([*CHARACTERS, "mat"], p=[0.24, 0.2, 0.24, 0.22, 0.1]))
        painted = _strips(place.strip, image, ground, character, colour, view)
        if painted is None:
            return None
        image, masks = painted
    light = rng.uniform(0.8, 1.12 - 0.14 * wish.quality)
    if sun and rng.random() < 0.3:
        image = image * _edge_of_shade(rng, ground)[..., None]
    image, occlusion = _around(place.around, image, ground, camera, view, radius, light, night, wish)
    boxes = [box for box in (_box(mask, ground, occlusion) for mask in masks) if box]
    if not wish.negative and (not boxes or _area(boxes[0]) < wish.smallest_share * width * height):
        return None
    canvas = np.ascontiguousarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    stage = Stage(rng, camera, canvas, rng.uniform(0.65, 1) * (1 if sun else 0.9), sun)
    _furnish(rng, stage, view, radius, wish)
    image = stage.draw().astype(np.float32) / 255
    finished = finish(rng, image, night=night, quality=wish.quality)
    if wish.quality < 1:
        boxes = caption(rng, finished, boxes, bar=rng.random() < (0.6 if view == "broadcast" else 0.02))
        if not wish.negative and not boxes:
            return None
    return Photo(finished, boxes, character, view)


@dataclass(frozen=True)
class _Generators:
    """Separate sources of chance, so that one part of a ground does not depend on another."""

    turf: np.random.Generator
    strip: np.random.Generator
    around: np.random.Generator


def _generators(rng: np.random.Generator, seed: int | None) -> _Generators:
    if seed is None:
        return _Generators(rng, rng, rng)
    return _Generators(*(np.random.default_rng([seed, part]) for part in range(3)))


def _frame(rng: np.random.Generator, wish: Wish) -> tuple[int, int]:
    aspect = wish.aspect
    if aspect is None:
        aspect = rng.choice([a for a, _ in ASPECTS], p=[p for _, p in ASPECTS])
    side = wish.long_side
    return (side, int(side / aspect)) if aspect >= 1 else (int(side * aspect), side)


def _projected_share(camera: Camera) -> float:
    """Roughly, how much of the frame the strip's box will cover; cheap, before painting."""
    grid = [(x, y, 0) for x in (-1.5, 0, 1.5) for y in np.linspace(-11, 11, 23)]
    pixels, depth = camera.project(grid)
    seen = pixels[depth > 0.3].clip(0, [camera.width, camera.height])
    if len(seen) < 3:
        return 0.0
    return float((seen.max(0) - seen.min(0)).prod() / (camera.width * camera.height))


def _strips(rng, image, ground: Ground, character: str, colour, view: str):
    strip = random_strip(rng, character, colour)
    boxed = []
    if not strip.is_mat and rng.random() < 0.6:
        image = turf.paint_square(rng, image, ground)
        spacing = rng.uniform(3.1, 4.2)
        for place in (p for p in range(-5, 6) if p):
            chance = rng.random()
            if chance > 0.45:
                continue
            # Mostly strips of earlier matches: grown over, and nobody's pitch of the day.
            fresh = chance < (0.1 if view in ("stadium", "drone") else 0.02)
            old = replace(strip, creases=bool(fresh and rng.random() < 0.3), edge=strip.edge + 0.05)
            opacity = rng.uniform(0.8, 1) if fresh else rng.uniform(0.06, 0.32)
            image, mask = paint_strip(rng, image, ground, old, strength=opacity, shift=place * spacing)
            if fresh:
                boxed.append(mask)
    if strip.is_mat and rng.random() < 0.6:
        apron = Strip(
            soil=np.float32([0.6, 0.52, 0.38]), grass=colour, cover=0.2, cracks=0, crack_metres=6, roughness=1,
            wear=0.5, width=strip.width + rng.uniform(0.5, 2), length=strip.length + rng.uniform(0.5, 4),
            edge=0.2, creases=False,
        )  # fmt: skip
        image, _ = paint_strip(rng, image, ground, apron)
    before = image
    image, mask = paint_strip(rng, image, ground, strip, strength=rng.uniform(0.88, 1))
    seen = (mask > 0.5) & ground.is_land
    if not seen.any():
        return None
    contrast = float(np.abs((image[seen] - before[seen]).mean(0)).mean())
    if contrast < SMALLEST_CONTRAST and rng.random() < 0.85:
        return None
    return image, [mask, *boxed]


def _edge_of_shade(rng, ground: Ground) -> np.ndarray:
    angle = rng.uniform(0, 2 * math.pi)
    side = ground.x * math.cos(angle) + ground.y * math.sin(angle) - rng.uniform(-25, 25)
    ragged = side + noise("pink", ground.x, ground.y, 60) * rng.uniform(0, 4)
    return 1 - rng.uniform(0.2, 0.5) * inside(ragged, np.maximum(ground.footprint, rng.uniform(0.3, 1.5)))


def _around(rng, image, ground: Ground, camera: Camera, view: str, radius, light, night, wish: Wish):
    """Sky, haze and the belts; returns the picture and what hides the ground."""
    sky, haze = paint_sky(rng, ground, night)
    fog = np.clip(1 - np.exp(-ground.distance / rng.uniform(300, 3000)), 0, 0.7)
    image = mix(image * light, haze, fog)
    image = np.where(ground.is_land[..., None], image, sky).astype(np.float32)
    occlusion = np.zeros(ground.x.shape, np.float32)
    away = float(np.hypot(*camera.position[:2]))
    near = view in NEAR_VIEWS
    nearest = min(away * 0.9, 60) if camera.position[2] < 8 or near else 2.0
    belt = Belt(rng, camera, rng.uniform(-6, 6, 2), nearest)
    stand = 0.85 if view == "stadium" else 0.15
    plan = [
        ("hills", 0.25, 900),
        ("buildings", 0.3, radius + rng.uniform(25, 120)),
        ("trees", 0.6, radius + rng.uniform(6, 70)),
        ("stand", stand, radius + rng.uniform(2, 8)),
        ("fence", 0.25, radius + rng.uniform(0, 8)),
        ("boards", 0.3, radius),
    ]
    for kind, chance, distance in plan:
        if rng.random() < chance:
            image, mask = belt.draw(image, kind, distance, light * (0.8 if night else 1))
            np.maximum(occlusion, mask, out=occlusion)
    pictures = cutouts(wish.trees) if wish.trees else ()
    if pictures and rng.random() < 0.6:
        plant_trees(rng, image, occlusion, camera, radius, pictures, light * (0.5 if night else 1))
    return image, occlusion


def _box(mask: np.ndarray, ground: Ground, occlusion: np.ndarray) -> list[int] | None:
    """The box of a strip, unless it is mostly hidden."""
    whole = (mask > 0.45) & ground.is_land
    seen = whole & (occlusion < 0.5)
    if seen.sum() < max(60, 0.6 * whole.sum()):
        return None
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    return box if box[2] - box[0] >= 8 and box[3] - box[1] >= 6 else None


def _area(box: list[int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _furnish(rng, stage: Stage, view: str, radius: float, wish: Wish) -> None:
    """People, stumps, screens and nets."""
    add_people(rng, stage, view in NEAR_VIEWS and wish.quality < 1, on_strip=0.7 if wish.quality < 1 else 0.2)
    if view == "broadcast" and rng.random() < 0.85:
        add_delivery(rng, stage)
    if view in ("nets", "end") and wish.quality < 1 and rng.random() < 0.3:
        add_bowler_in_front(rng, stage)
    if not wish.negative and rng.random() < 0.75:
        coloured = rng.random() < 0.25
        for end in (-1, 1):
            if rng.random() < 0.9:
                stage.add_stumps(end * CREASE_BOWLING, coloured)
    if rng.random() < 0.3:
        add_sight_screen(rng, stage, radius)
    if view == "nets":
        add_nets(rng, stage)
