"""Render the sample photos of the repository and the photos of the engine's test fixture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .bundle import Bundle
from .export import session
from .pipeline import Detector, iou
from .render.scene import Photo, Wish, photograph

EXIF_ORIENTATION, EXIF_SOFTWARE, EXIF_SUB = 0x0112, 0x0131, 0x8769
EXIF_DATE_TIME_ORIGINAL = 0x9003
TURNED_CLOCKWISE = 6
"""The EXIF orientation of a phone held upright whose sensor lies on its side."""

TRIES = 12
WELL_FOUND = 0.6
"""IoU of the detector's best box with the true one that a sample photo must reach."""


@dataclass(frozen=True)
class Group:
    """Photos of one end on one day."""

    folder: str
    character: str
    ground_seed: int
    shots: tuple[tuple[str, str, bool], ...]
    """View, time of day, and whether the photo is taken upright."""


GROUPS = (
    Group(
        "day-1/north-end",
        "bowling_friendly",
        11,
        (
            ("end", "09:35:10", False),
            ("high", "09:41:52", False),
            ("end", "12:58:31", True),
            ("close", "15:40:07", False),
        ),
    ),
    Group(
        "day-1/south-end",
        "batting_friendly",
        12,
        (
            ("end", "09:50:44", False),
            ("broadcast", "11:32:18", False),
            ("high", "14:05:59", True),
            ("end", "17:21:36", False),
        ),
    ),
    Group(
        "day-2/north-end",
        "seam_friendly",
        13,
        (
            ("end", "09:33:02", False),
            ("high", "12:47:25", False),
            ("close", "14:15:40", True),
            ("end", "17:02:11", False),
        ),
    ),
    Group(
        "day-2/south-end",
        "spin_friendly",
        14,
        (
            ("end", "09:44:29", False),
            ("high", "11:58:03", True),
            ("close", "14:31:55", False),
            ("drone", "16:49:20", False),
        ),
    ),
)

DAYS = {"day-1": "2026:07:11", "day-2": "2026:07:12"}


class NoPhotoFound(RuntimeError):
    """The detector found no candidate well enough."""


def best_photo(detector: Detector, wish: Wish, seed: list[int], threshold: float) -> Photo:
    """The first of a few renders whose strip the detector finds well."""
    for attempt in range(TRIES):
        photo = photograph(np.random.default_rng([*seed, attempt]), wish)
        if photo is None:
            continue
        found = detector.detect(photo.image, threshold)
        if found and iou(np.array(found[0].box), np.array(photo.boxes[0], float))[0, 0] >= WELL_FOUND:
            return photo
    raise NoPhotoFound(f"no photo for {wish} in {TRIES} tries")


def _found_or_not(detector: Detector, wish: Wish, seed: list[int], threshold: float) -> Photo:
    """A well-found photo, or else any: a test fixture may show what the detector misses."""
    try:
        return best_photo(detector, wish, seed, threshold)
    except NoPhotoFound:
        return next(
            photo
            for attempt in range(TRIES)
            if (photo := photograph(np.random.default_rng([*seed, attempt]), wish)) is not None
        )


def save_jpeg(
    path: Path, bgr: np.ndarray, quality: int, *, taken: datetime | None = None, upright: bool = False
) -> None:
    """Save a JPEG; `upright` stores it on its side with the EXIF orientation that turns it back."""
    if upright:
        bgr = np.rot90(bgr)
    picture = Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))
    exif = Image.Exif()
    if upright:
        exif[EXIF_ORIENTATION] = TURNED_CLOCKWISE
    if taken:
        exif[EXIF_SOFTWARE] = "pitchmodels"
        exif.get_ifd(EXIF_SUB)[EXIF_DATE_TIME_ORIGINAL] = taken.strftime("%Y:%m:%d %H:%M:%S")
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality, subsampling="4:2:0", optimize=True, exif=exif)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())


def _open_detector(bundle: Bundle) -> tuple[Detector, float]:
    thresholds = bundle.detector.thresholds
    detector = Detector(session(bundle.path("detector"), 2), thresholds["iou_threshold"])
    return detector, thresholds["confidence_threshold"]


def write_samples(bundle: Bundle, output: Path, *, side: int = 1280, quality: int = 82, seed: int = 1) -> list[Path]:
    """Render the sample photos: two ends, two days, through the day."""
    detector, threshold = _open_detector(bundle)
    written = []
    for number, group in enumerate(GROUPS):
        day = DAYS[group.folder.split("/")[0]]
        for index, (view, clock, upright) in enumerate(group.shots):
            wish = Wish(
                long_side=side if index else 1600,
                view=view,
                character=group.character,
                aspect=3 / 4 if upright else 4 / 3,
                quality=1.0,
                smallest_share=0.06,
                ground_seed=group.ground_seed,
            )
            try:
                photo = best_photo(detector, wish, [seed, number, index], threshold)
            except NoPhotoFound as problem:
                print(problem)
                continue
            taken = datetime.strptime(f"{day} {clock}", "%Y:%m:%d %H:%M:%S")
            path = output / group.folder / f"IMG_{taken:%m%d_%H%M}.jpg"
            save_jpeg(path, photo.image, quality, taken=taken, upright=upright)
            written.append(path)
    return written


@dataclass(frozen=True)
class FixturePhoto:
    """One photo of the engine's test fixture."""

    name: str
    width: int
    height: int
    view: str
    character: str | None
    quality: int = 88
    upright: bool = False


FIXTURE = (
    FixturePhoto("landscape-640x480.jpg", 640, 480, "end", "batting_friendly"),
    FixturePhoto("portrait-480x640.jpg", 480, 640, "end", "bowling_friendly"),
    FixturePhoto("exif-turned-600x800.jpg", 600, 800, "high", "seam_friendly", upright=True),
    FixturePhoto("odd-1001x639.jpg", 1001, 639, "broadcast", "spin_friendly"),
    FixturePhoto("odd-333x517.jpg", 333, 517, "high", "batting_friendly"),
    FixturePhoto("wide-1280x540.jpg", 1280, 540, "high", "seam_friendly"),
    FixturePhoto("square-768x768.jpg", 768, 768, "drone", "spin_friendly"),
    FixturePhoto("small-256x192.png", 256, 192, "end", "bowling_friendly"),
    FixturePhoto("large-3000x2000.jpg", 3000, 2000, "end", "spin_friendly", quality=62),
    FixturePhoto("no-pitch-800x600.jpg", 800, 600, "high", None),
)


def write_fixture_photos(bundle: Bundle, output: Path, seed: int = 2) -> list[Path]:
    """Render photos of many shapes for the engine's tests."""
    detector, threshold = _open_detector(bundle)
    written = []
    for number, shape in enumerate(FIXTURE):
        wish = Wish(
            long_side=max(shape.width, shape.height),
            view=shape.view,
            character=shape.character,
            negative=shape.character is None,
            aspect=shape.width / shape.height,
            quality=1.0,
            smallest_share=0.06,
        )
        if wish.negative:
            photo = photograph(np.random.default_rng([seed, number]), wish)
        else:
            photo = _found_or_not(detector, wish, [seed, number], threshold)
        # The frame's shorter side is rounded down; these photos are about exact sizes.
        image = cv2.resize(photo.image, (shape.width, shape.height), interpolation=cv2.INTER_LINEAR)
        path = output / shape.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            cv2.imwrite(str(path), image)
        else:
            save_jpeg(path, image, shape.quality, upright=shape.upright)
        written.append(path)
    return written
