"""Colours and soft edges. Pictures are float RGB, 0 to 1, until they are finished."""

from __future__ import annotations

import colorsys

import numpy as np

Colour = np.ndarray


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """An RGB colour from hue in degrees, saturation and value."""
    return np.float32(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value))


def inside(distance: np.ndarray, ramp: np.ndarray | float) -> np.ndarray:
    """1 where a signed distance is negative, 0 where positive, with a ramp between."""
    return np.clip(0.5 - distance / (2 * ramp), 0, 1)


def mix(image: np.ndarray, colour: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Blend a colour, or a picture, over a picture."""
    return image + (np.asarray(colour, np.float32) - image) * amount[..., None]


def line(distance: np.ndarray, half_width: float, footprint: np.ndarray) -> np.ndarray:
    """Coverage of a painted line that may be thinner than a pixel."""
    return np.clip((half_width - np.abs(distance)) / footprint + 0.5, 0, 1) * np.minimum(1, 2 * half_width / footprint)


def to_bytes(colour: Colour, gain: float = 1.0) -> tuple[int, int, int]:
    """A colour as OpenCV wants it for drawing on 8-bit RGB."""
    return tuple(int(v) for v in np.clip(np.asarray(colour) * gain, 0, 1) * 255)
