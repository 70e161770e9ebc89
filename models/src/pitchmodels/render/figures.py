"""Players, stumps, screens and nets, drawn on 8-bit RGB from far to near."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .camera import Camera
from .paint import hsv, to_bytes

SUBPIXELS = 4
"""OpenCV's fixed-point bits for coordinates."""


@dataclass(frozen=True)
class Kit:
    """What a person wears."""

    shirt: tuple[int, int, int]
    trousers: tuple[int, int, int]
    skin: tuple[int, int, int]
    cap: tuple[int, int, int]


def random_kit(rng: np.random.Generator, light: float) -> Kit:
    """Whites, an umpire's coat, coloured clothing or everyday clothes."""

    def colour():
        return to_bytes(hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.95), rng.uniform(0.15, 0.95)), light)

    white = to_bytes(np.full(3, rng.uniform(0.8, 0.97)), light)
    tone = rng.uniform(0.35, 1)
    skin = to_bytes(np.float32([0.88, 0.68, 0.55]) * tone, light)
    kind = rng.random()
    if kind < 0.45:
        return Kit(white, white, skin, white if rng.random() < 0.4 else colour())
    if kind < 0.58:
        return Kit(white, to_bytes(np.full(3, 0.1), light), skin, white)
    shirt = colour()
    return Kit(shirt, shirt if rng.random() < 0.5 else colour(), skin, colour())


def draw_person(rng: np.random.Generator, image: np.ndarray, foot, tall: float, kit: Kit) -> None:
    """A person made of limbs; `foot` in pixels, `tall` in pixels."""
    if tall < 2:
        return
    lean, stride = rng.uniform(-0.12, 0.12), rng.uniform(0.03, 0.16)
    hip = (lean * 0.4, 0.5)

    def at(dx: float, dy: float) -> tuple[int, int]:
        scale = 1 << SUBPIXELS
        return int((foot[0] + dx * tall) * scale), int((foot[1] - dy * tall) * scale)

    def limb(start, end, colour, width: float) -> None:
        cv2.line(image, at(*start), at(*end), colour, max(1, round(width * tall)), cv2.LINE_AA, SUBPIXELS)

    for side in (-1, 1):
        knee = (side * stride * 0.7 + lean * 0.2, 0.27)
        limb(hip, knee, kit.trousers, 0.1)
        limb(knee, (side * stride, 0.02), kit.trousers, 0.075)
        elbow = (lean + side * rng.uniform(0.1, 0.22), rng.uniform(0.55, 0.85))
        hand = (elbow[0] + rng.uniform(-0.15, 0.15), elbow[1] + rng.uniform(-0.18, 0.2))
        limb((lean + side * 0.07, 0.79), elbow, kit.shirt, 0.06)
        limb(elbow, hand, kit.skin, 0.05)
        if rng.random() < 0.12:
            bat = (hand[0] + rng.uniform(-0.3, 0.3), hand[1] + rng.uniform(-0.4, 0.4))
            limb(hand, bat, (190, 160, 110), 0.05)
    torso = [at(lean - 0.11, 0.81), at(lean + 0.11, 0.81), at(hip[0] + 0.085, 0.47), at(hip[0] - 0.085, 0.47)]
    cv2.fillPoly(image, [np.int32(torso)], kit.shirt, cv2.LINE_AA, SUBPIXELS)
    scale = 1 << SUBPIXELS
    cv2.circle(image, at(lean * 1.2, 0.915), int(0.058 * tall * scale), kit.skin, -1, cv2.LINE_AA, SUBPIXELS)
    crown = tuple(v / scale for v in at(lean * 1.2, 0.95))
    cv2.ellipse(image, (crown, (max(1, 0.13 * tall), max(1, 0.08 * tall)), 0), kit.cap, -1, cv2.LINE_AA)


class Stage:
    """Collects upright things and draws them in order of depth."""

    def __init__(self, rng: np.random.Generator, camera: Camera, image: np.ndarray, light: float, sun: bool):
        self.rng, self.camera, self.image, self.light, self.sun = rng, camera, image, light, sun
        self.shadow = rng.uniform(-2.2, 2.2, 2)
        self.kits = [random_kit(rng, light) for _ in range(5)]
        self._things: list[tuple[float, object, tuple]] = []

    def add_person(self, x: float, y: float) -> None:
        self._add((x, y, 0), self._person, x, y)

    def add_stumps(self, y: float, coloured: bool) -> None:
        self._add((0, y, 0), self._stumps, y, (240, 225, 60) if coloured else (222, 192, 140))

    def add_panel(self, corners, colour, opacity: float = 1.0) -> None:
        self._add(np.mean(corners, axis=0), self._panel, corners, colour, opacity)

    def add_pole(self, foot, top, width: float, colour) -> None:
        self._add(foot, self._pole, foot, top, width, colour)

    def draw(self) -> np.ndarray:
        for _, thing, arguments in sorted(self._things, key=lambda item: -item[0]):
            thing(*arguments)
        return self.image

    def _add(self, place, thing, *arguments) -> None:
        self._things.append((self.camera.depth(place), thing, arguments))

    def _person(self, x: float, y: float) -> None:
        (foot, head), depth = self.camera.project([(x, y, 0), (x, y, self.rng.uniform(1.5, 1.95))])
        tall = math.hypot(*(head - foot))
        if depth[0] < 0.8 or tall > 3 * self.camera.height:
            return
        if self.sun:
            ends, depths = self.camera.project([(x, y, 0), (x + self.shadow[0], y + self.shadow[1], 0)])
            if depths.min() > 0.5 and np.abs(ends).max() < 5e3:
                shade = self.image.copy()
                start, end = (tuple(int(v) for v in point) for point in ends)
                cv2.line(shade, start, end, (15, 20, 12), max(1, int(tall * 0.14)), cv2.LINE_AA)
                cv2.addWeighted(shade, 0.55, self.image, 0.45, 0, self.image)
        draw_person(self.rng, self.image, foot, tall, self.kits[self.rng.integers(len(self.kits))])

    def _stumps(self, y: float, colour) -> None:
        wood = to_bytes(np.float32(colour) / 255, self.light)
        for x in (-0.11, 0.0, 0.11):
            self._pole((x, y, 0), (x, y, 0.71), 0.038, wood)

    def _pole(self, foot, top, width: float, colour) -> None:
        ends, depths = self.camera.project([foot, top])
        if depths.min() < 0.2 or np.abs(ends).max() > 2e4:
            return
        scale = 1 << SUBPIXELS
        start, end = (tuple(int(v * scale) for v in point) for point in ends)
        thick = max(1, round(width * self.camera.focal / depths[0]))
        cv2.line(self.image, start, end, colour, thick, cv2.LINE_AA, SUBPIXELS)

    def _panel(self, corners, colour, opacity: float) -> None:
        pixels, depths = self.camera.project(corners)
        if depths.min() < 0.3 or np.abs(pixels).max() > 2e4:
            return
        over = self.image.copy()
        cv2.fillPoly(over, [np.int32(pixels * 16)], colour, cv2.LINE_AA, SUBPIXELS)
        cv2.addWeighted(over, opacity, self.image, 1 - opacity, 0, self.image)


def add_people(rng: np.random.Generator, stage: Stage, near_view: bool, on_strip: float = 0.7) -> None:
    """A match in progress, a few people talking on the strip, or nobody."""
    if rng.random() > 0.75:
        return
    for _ in range(rng.integers(0, 4)):
        if rng.random() < on_strip:
            stage.add_person(rng.uniform(-1, 1) + rng.choice([-1.2, 1.2]), rng.choice([-9.5, 9.5]) + rng.uniform(-2, 2))
    for _ in range(rng.integers(0, 12)):
        stage.add_person(rng.uniform(-35, 35), rng.uniform(-45, 45))
    camera = stage.camera
    if near_view and rng.random() < 0.2:
        # Somebody close to the camera, or a row of people.
        away, count = rng.uniform(3.5, 9), rng.integers(1, 4)
        for _ in range(count):
            spot = camera.position + camera.axes[2] * away + camera.axes[0] * rng.uniform(-0.5, 0.5) * away
            stage.add_person(spot[0], spot[1])


def add_delivery(rng: np.random.Generator, stage: Stage) -> None:
    """A ball being bowled, as television shows it: batsmen, bowler, umpire and keeper."""
    stage.add_person(rng.uniform(-0.6, 0.6), 8.6 + rng.uniform(-0.5, 0.8))
    stage.add_person(rng.choice([-1, 1]) * rng.uniform(0.9, 1.8), -8.5 + rng.uniform(-1, 1.5))
    stage.add_person(rng.uniform(-1.2, 1.2), -9 + rng.uniform(-2, 4))
    if rng.random() < 0.7:
        stage.add_person(rng.uniform(-0.5, 0.5), -11 - rng.uniform(0, 1.5))
    if rng.random() < 0.7:
        stage.add_person(rng.uniform(-1.5, 1.5), 12 + rng.uniform(0, 8))


def add_bowler_in_front(rng: np.random.Generator, stage: Stage) -> None:
    """Somebody running in, close to the camera and partly in the way."""
    camera, away = stage.camera, rng.uniform(2.5, 6)
    spot = camera.position + camera.axes[2] * away + camera.axes[0] * rng.uniform(-0.45, 0.45) * away
    stage.add_person(spot[0], spot[1])


def add_nets(rng: np.random.Generator, stage: Stage) -> None:
    """A practice lane: side nets, a back net and posts."""
    half, post = rng.uniform(1.7, 2.6), to_bytes(np.full(3, rng.uniform(0.2, 0.85)), stage.light)
    mesh = to_bytes(hsv(rng.choice([130, 0, 220]), rng.choice([0, 0.5]), rng.uniform(0.15, 0.95)), stage.light)
    stage.add_panel([(-half, 12, 0), (half, 12, 0), (half, 12, 3), (-half, 12, 3)], mesh, rng.uniform(0.3, 1))
    pitch = rng.uniform(2.5, 4)
    for x in (-half, half):
        for y in np.arange(12, -14, -pitch):
            stage.add_pole((x, y, 0), (x, y, 3), 0.06, post)
            if rng.random() < 0.9:
                corners = [(x, y, 0), (x, y - pitch, 0), (x, y - pitch, 3), (x, y, 3)]
                stage.add_panel(corners, mesh, rng.uniform(0.08, 0.4))


def add_sight_screen(rng: np.random.Generator, stage: Stage, radius: float) -> None:
    """A white or black screen behind the bowler's arm."""
    y, half = rng.choice([-1, 1]) * (radius - 2), rng.uniform(2, 5)
    colour = to_bytes(np.full(3, 0.95 if rng.random() < 0.8 else 0.12), stage.light)
    stage.add_panel([(-half, y, 0.5), (half, y, 0.5), (half, y, 5), (-half, y, 5)], colour)
