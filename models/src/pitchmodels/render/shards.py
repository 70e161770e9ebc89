"""Render training sets: folders of JPEGs, each complete once its `labels.json` is there."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .clutter import clutter, given_picture
from .scene import Photo, Wish, photograph

SHARD = 32
LABELS = "labels.json"
CHARACTERS_FILE = "characters.json"
"""Beside the boxes: which character the first strip of each photo has."""

JPEG_QUALITY = 92


@dataclass(frozen=True)
class DetectorSet:
    """A set of photographs with boxes."""

    output: Path
    photos: int
    seed: int
    long_side: int = 576
    negatives: float = 0.22
    smallest_share: float = 0.04
    trees: Path | None = None
    pictures: Path | None = None


def render_one(job: DetectorSet, rng: np.random.Generator) -> Photo:
    """One photograph, with or without a strip."""
    if rng.random() < job.negatives:
        kind = rng.random()
        if kind < 0.12:
            return Photo(clutter(rng, job.long_side), [], None, "clutter")
        if kind < 0.24 and job.pictures:
            picture = given_picture(rng, job.pictures, job.long_side)
            if picture is not None:
                return Photo(picture, [], None, "picture")
        wish = Wish(job.long_side, negative=True, trees=job.trees)
    else:
        wish = Wish(job.long_side, smallest_share=job.smallest_share, trees=job.trees)
    while True:
        photo = photograph(rng, wish)
        if photo is not None:
            return photo


def _render_shard(task: tuple[DetectorSet, int]) -> int:
    job, shard = task
    folder = job.output / f"{job.seed}-{shard:04d}"
    if (folder / LABELS).exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    count = min(SHARD, job.photos - shard * SHARD)
    labels, characters = {}, {}
    for index in range(count):
        photo = render_one(job, np.random.default_rng([job.seed, shard, index]))
        name = f"{index:03d}.jpg"
        cv2.imwrite(str(folder / name), photo.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        labels[name], characters[name] = photo.boxes, photo.character
    (folder / CHARACTERS_FILE).write_text(json.dumps(characters))
    _write_last(folder / LABELS, labels)
    return count


def _write_last(path: Path, labels: dict) -> None:
    """Write labels at once, so that a reader never sees half a shard."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(labels))
    partial.rename(path)


def render_detector_set(job: DetectorSet, processes: int | None = None) -> int:
    """Render a set, skipping shards that are complete; returns how many photos were made."""
    tasks = [(job, shard) for shard in range(-(-job.photos // SHARD))]
    with worker_pool(processes) as pool:
        return sum(pool.imap_unordered(_render_shard, tasks))


def worker_pool(processes: int | None):
    # OpenCV's threads do not survive a fork, so workers start afresh with one thread each.
    context = multiprocessing.get_context("spawn")
    return context.Pool(processes or os.cpu_count(), initializer=cv2.setNumThreads, initargs=(1,))
