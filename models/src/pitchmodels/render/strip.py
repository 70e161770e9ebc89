"""The strip: soil, grass, cracks, wear and creases, in four characters and as matting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from .camera import Ground
from .noise import crack_distance, noise, sample
from .paint import Colour, inside, line, mix

CREASE_POPPING = 8.84
CREASE_BOWLING = 10.06
"""Metres from the middle of the strip."""

SOILS = {
    "straw": (205, 188, 145),
    "buff": (190, 170, 132),
    "pale": (222, 208, 172),
    "brown": (165, 138, 104),
    "red": (172, 108, 74),
    "black": (118, 106, 90),
    "grey": (168, 162, 148),
}
MATS = {
    "green mat": (48, 128, 78),
    "bright mat": (70, 165, 80),
    "coir mat": (150, 116, 78),
    "concrete": (175, 172, 165),
}

CHARACTERS = ("batting_friendly", "bowling_friendly", "seam_friendly", "spin_friendly")


@dataclass(frozen=True)
class Strip:
    """What a strip is made of."""

    soil: Colour
    grass: Colour
    cover: float
    """Share of the surface under grass."""
    cracks: float
    """0 for none, 1 for gaping."""
    crack_metres: float
    """Span of the crack tile: larger blocks for larger values."""
    roughness: float
    wear: float
    width: float = 3.05
    length: float = 22.0
    edge: float = 0.06
    is_mat: bool = False
    creases: bool = True


def random_strip(rng: np.random.Generator, character: str, turf: Colour) -> Strip:
    """A strip of one of the four characters, or `mat`."""
    between = rng.uniform
    soil_names = {
        "batting_friendly": ("straw", "buff", "straw", "grey", "pale"),
        "bowling_friendly": ("straw", "buff", "brown", "black"),
        "seam_friendly": ("buff", "brown", "pale", "grey", "straw"),
        "spin_friendly": ("red", "brown", "black", "buff", "pale", "red"),
        "mat": ("straw",),
    }[character]
    soil = np.float32(SOILS[rng.choice(soil_names)]) / 255
    soil = soil * between(0.93, 1.06, 3).astype(np.float32) * between(0.9, 1.1)
    lush = turf * between(0.85, 1.15, 3).astype(np.float32)
    dry_grass = lush + (np.float32([0.72, 0.68, 0.42]) - lush) * between(0.1, 0.55)
    strip = Strip(
        soil=soil,
        grass=dry_grass,
        cover=0.0,
        cracks=0.0,
        crack_metres=between(4, 9),
        roughness=between(0.4, 1.0),
        wear=between(0.2, 1.0),
        width=between(2.6, 3.3),
        length=between(20.6, 23.5),
        edge=float(np.exp(between(np.log(0.015), np.log(0.15)))),
        creases=rng.random() < 0.8,
    )
    if character == "batting_friendly":
        return replace(strip, cover=between(0.2, 0.48), roughness=between(0.15, 0.5), wear=between(0.1, 0.5))
    if character == "bowling_friendly":
        green = lush * between(0.95, 1.25) + (soil - lush) * between(0.0, 0.2)
        return replace(strip, cover=between(0.65, 0.95), grass=green, wear=between(0.0, 0.5))
    if character == "seam_friendly":
        return replace(strip, cover=between(0.0, 0.14), roughness=between(0.8, 1.8), wear=between(0.3, 1.0))
    if character == "spin_friendly":
        return replace(
            strip,
            cover=between(0.0, 0.15),
            cracks=between(0.45, 1.0),
            roughness=between(0.6, 1.6),
            wear=between(0.4, 1.4),
        )
    mat = np.float32(MATS[rng.choice(list(MATS))]) / 255 * between(0.85, 1.1)
    return replace(
        strip, soil=mat, roughness=between(0.1, 0.5), wear=between(0.0, 0.4),
        width=between(1.9, 2.9), length=between(18, 24), edge=0.015, is_mat=True,
    )  # fmt: skip


def paint_strip(
    rng: np.random.Generator,
    image: np.ndarray,
    ground: Ground,
    strip: Strip,
    *,
    strength: float = 1.0,
    shift: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a strip along y, `shift` metres to the side; returns picture and coverage."""
    x, y, fp = ground.x - shift, ground.y, ground.footprint
    coverage = _outline(rng, x, y, fp, strip)
    ox, oy = rng.uniform(0, 100, 2)
    surface = _soil(rng, x + ox, y + oy, fp, strip)
    if not strip.is_mat:
        surface = _grass(rng, surface, x + ox, y + oy, fp, strip)
        surface = _cracks(rng, surface, x + ox, y + oy, fp, strip)
        surface = _wear(rng, surface, x, y, fp, strip)
    painted = image + (surface - image) * (coverage * strength)[..., None]
    if strip.creases:
        white = _creases(rng, x, y, fp) * np.clip(rng.uniform(0.6, 1.1) + 0.3 * noise("pink", x, y, 4), 0, 1)
        painted = mix(painted, np.full(3, rng.uniform(0.8, 1.05), np.float32), white)
    return painted, coverage


def _outline(rng, x, y, fp, strip: Strip) -> np.ndarray:
    wobble = noise("pink", x + 31, y, 9) * strip.edge * 0.7 + noise("smooth", x, y + 17, 30) * strip.edge
    across, along = np.abs(x) - strip.width / 2, np.abs(y) - strip.length / 2
    end = strip.edge * (1 if strip.is_mat else rng.uniform(1, 4))
    return inside(across + wobble, np.maximum(strip.edge * 0.6 + 0.01, fp * 0.6)) * inside(
        along + wobble * 2, np.maximum(end + 0.01, fp)
    )


def _soil(rng, x, y, fp, strip: Strip) -> np.ndarray:
    rough, spread = strip.roughness, rng.uniform(0.01, 0.06)
    tone = (
        1
        + noise("grain", x, y, 2.2, fp, 0.008) * 0.05 * rough
        + noise("grain", y, x, 0.9, fp, 0.003) * 0.05 * rough
        + noise("pink", x, y, 6, fp, 0.06) * spread * (0.5 + rough)
        + noise("smooth", x, y, 14) * spread
        + noise("streak", x, y, 6, fp, 0.05) * rng.uniform(0, 0.04)
    )
    return strip.soil * tone[..., None]


def _grass(rng, surface, x, y, fp, strip: Strip) -> np.ndarray:
    if strip.cover < 0.005:
        return surface
    patches = 0.55 * noise("pink", x, y, 5) + 0.5 * noise("smooth", y, x, 17)
    tufts = 0.35 * noise("grain", x, y, 3.1, fp, 0.012) + 0.35 * noise("grain", y, x, 1.3, fp, 0.006)
    spread = np.sqrt(0.55 + 0.24 * np.clip(0.012 / fp, 0, 1) ** 2)
    threshold = NormalDist().inv_cdf(float(np.clip(strip.cover, 0.01, 0.99))) * spread
    # Where single tufts are too small to see, cover turns into a gradual tint.
    sharpness = np.clip(0.012 / fp, 0.45, 2.5)
    amount = np.clip((patches + tufts + threshold) * sharpness + 0.5, 0, 1)
    blades = 1 + noise("grain", x, y, 0.8, fp, 0.004) * 0.16 + noise("grain", y, x, 2.4, fp, 0.012) * 0.1
    return mix(surface, strip.grass * blades[..., None], amount * rng.uniform(0.8, 1.0))


def _cracks(rng, surface, x, y, fp, strip: Strip) -> np.ndarray:
    if strip.cracks < 0.02:
        return surface
    field = crack_distance()
    for metres, share in ((strip.crack_metres, 1.0), (strip.crack_metres * 0.4, 0.4)):
        texel = metres / field.shape[0]
        distance = sample(field, x, y * 0.8, metres) * texel
        # Cracks open and close along their length, and leave some blocks whole.
        opening = np.clip(0.55 + 0.6 * noise("pink", y, x, 7) + 0.35 * (strip.cracks - 0.5), 0, 1.3)
        half_width = (0.002 + 0.007 * strip.cracks) * share * opening
        covered = np.clip((half_width - distance) / fp + 0.5, 0, 1) * np.minimum(1, 2 * half_width / fp)
        surface = surface * (1 - covered * (0.5 + 0.35 * strip.cracks))[..., None]
        lip = np.exp(-((distance / (half_width * 3 + 0.004)) ** 2)) * np.clip(0.02 / fp, 0, 1)
        surface = surface * (1 + 0.06 * lip)[..., None]
    return surface


def _wear(rng, surface, x, y, fp, strip: Strip) -> np.ndarray:
    for end in (-1, 1):
        if rng.random() < 0.8:
            spot = np.exp(
                -(((y - end * rng.uniform(8.2, 10)) / rng.uniform(0.6, 2)) ** 2)
                - ((x - rng.uniform(-0.5, 0.5)) / rng.uniform(0.4, 1)) ** 2
            )
            mottled = 1 + 0.5 * noise("pink", x, y, 3, fp, 0.06)
            surface = surface * (1 + rng.uniform(-0.22, 0.18) * strip.wear * spot * mottled)[..., None]
    if rng.random() < 0.4:
        middle = inside(np.abs(x) - rng.uniform(0.5, 1.0), 0.35)
        surface = surface * (1 + rng.uniform(-0.1, 0.12) * middle)[..., None]
    return surface


def _creases(rng, x, y, fp) -> np.ndarray:
    half, painted = rng.uniform(0.02, 0.04), np.zeros_like(x)
    for end in (-1, 1):
        out = y * end
        painted = np.maximum(painted, line(out - CREASE_POPPING, half, fp) * (np.abs(x) < rng.uniform(1.6, 1.85)))
        painted = np.maximum(painted, line(out - CREASE_BOWLING, half, fp) * (np.abs(x) < 1.32))
        side = (out > CREASE_POPPING) & (out < rng.uniform(10.1, 11.2))
        painted = np.maximum(painted, line(np.abs(x) - 1.32, half, fp) * side)
    return painted
