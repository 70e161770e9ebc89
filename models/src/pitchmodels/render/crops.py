"""Render crops for the classifier: strips cut out by their boxes, and views straight at the soil."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .scene import Photo, Wish, photograph
from .shards import CHARACTERS_FILE, LABELS, worker_pool
from .strip import CHARACTERS

CROP_SIDE = 256
"""Crops are stored squashed to a square, as the classifier sees them, a little larger than its input."""

VIEWS = ("surface", "surface", "close", "end", "high", "drone", "side")


@dataclass(frozen=True)
class CropSet:
    """A set of crops per class, in folders named for the classes."""

    output: Path
    per_class: int
    seed: int
    trees: Path | None = None


def jittered_crop(rng: np.random.Generator, photo: np.ndarray, box: list[int], jitter: float = 0.08) -> np.ndarray:
    """A crop by a box whose sides are a little off, as a detector's are."""
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = np.asarray(box, float) + rng.normal(0, jitter, 4) * np.tile([box[2] - box[0], box[3] - box[1]], 2)
    x1, y1 = int(np.clip(x1, 0, width - 16)), int(np.clip(y1, 0, height - 16))
    x2, y2 = int(np.clip(x2, x1 + 12, width)), int(np.clip(y2, y1 + 12, height))
    return photo[y1:y2, x1:x2]


def store_crop(path: Path, crop: np.ndarray) -> None:
    """Squash a crop to a square and save it."""
    shrinks = crop.shape[0] * crop.shape[1] > CROP_SIDE**2
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(crop, (CROP_SIDE, CROP_SIDE), interpolation=mode), [cv2.IMWRITE_JPEG_QUALITY, 93])


def crops_of_detector_set(source: Path, output: Path, seed: int = 0) -> int:
    """Cut the strips out of a rendered detector set; returns how many crops there are."""
    rng, count = np.random.default_rng(seed), 0
    for labels in sorted(source.rglob(LABELS)):
        characters = json.loads((labels.parent / CHARACTERS_FILE).read_text())
        for name, boxes in json.loads(labels.read_text()).items():
            character = characters[name]
            if character not in CHARACTERS or not boxes:
                continue
            photo = cv2.imread(str(labels.parent / name))
            crop = jittered_crop(rng, photo, boxes[0])
            store_crop(output / character / f"{labels.parent.name}-{name}", crop)
            count += 1
    return count


def _render(task: tuple[CropSet, str, int]) -> None:
    job, character, index = task
    rng = np.random.default_rng([job.seed, CHARACTERS.index(character), index])
    wish = Wish(
        long_side=400, view=str(rng.choice(VIEWS)), character=character,
        smallest_share=0.08, quality=float(rng.choice([0, 0.5])), trees=job.trees,
    )  # fmt: skip
    photo: Photo | None = None
    while photo is None:
        photo = photograph(rng, wish)
    crop = photo.image if rng.random() < 0.2 else jittered_crop(rng, photo.image, photo.boxes[0])
    store_crop(job.output / character / f"{job.seed}-{index:05d}.jpg", crop)


def render_crop_set(job: CropSet, processes: int | None = None) -> int:
    """Render crops for every class, skipping those that exist."""
    tasks = [
        (job, character, index)
        for character in CHARACTERS
        for index in range(job.per_class)
        if not (job.output / character / f"{job.seed}-{index:05d}.jpg").exists()
    ]
    with worker_pool(processes) as pool:
        return sum(1 for _ in pool.imap_unordered(_render, tasks, chunksize=4))
