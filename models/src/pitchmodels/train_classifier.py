"""Train the surface classifier on rendered crops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from . import CLASS_NAMES
from .classifiers import IMAGENET_MEAN, IMAGENET_STD, INPUT_SIDE, build_classifier
from .dataset import Prefetch
from .schedule import Progress, cosine
from .train_detector import Average, stage_side

REPORT_EVERY = 50

STAGES = ((0.8, 128), (1.01, INPUT_SIDE))
"""Input side until each fraction of the training: most is learnt from small crops, which cost a third."""


@dataclass(frozen=True)
class ClassifierTraining:
    """What to train on, for how long, and where the weights go."""

    data: Path
    output: Path
    seconds: float
    architecture: str = "mobilenet_v2"
    learning_rate: float = 2e-3
    batch: int = 24
    stages: tuple[tuple[float, int], ...] = STAGES
    start_from: Path | None = None
    seed: int = 0


def find_crops(root: Path) -> list[tuple[Path, int]]:
    """Crops and their class, from folders named for the classes."""
    return [(path, label) for label, name in enumerate(CLASS_NAMES) for path in sorted((root / name).glob("*.jpg"))]


def _augmented(path: Path, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a crop, mirrored and relit. Hue stays: green is what grass is known by."""
    image = cv2.imread(str(path))
    height, width = image.shape[:2]
    h, w = (int(extent * rng.uniform(0.75, 1)) for extent in (height, width))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    image = cv2.resize(image[top : top + h, left : left + w], (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.3:
        image = image[::-1]
    relit = image[..., ::-1].astype(np.float32) / 255 * rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)
    if rng.random() < 0.15:
        relit = cv2.GaussianBlur(relit.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    return ((np.clip(relit, 0, 1) - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1).astype(np.float32)


def train_classifier(job: ClassifierTraining) -> Path:
    """Train until the time is up; saves the averaged weights as a state dict."""
    torch.manual_seed(job.seed)
    cv2.setNumThreads(1)
    job.output.mkdir(parents=True, exist_ok=True)
    crops, rng = find_crops(job.data), np.random.default_rng(job.seed)
    if not crops:
        raise ValueError(f"no crops below {job.data}")
    by_class = [[path for path, label in crops if label == wanted] for wanted in range(len(CLASS_NAMES))]
    model = build_classifier(job.architecture)
    if job.start_from:
        model.load_state_dict(torch.load(job.start_from, weights_only=True))
    model = model.to(memory_format=torch.channels_last).train()
    average = Average(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=job.learning_rate, weight_decay=0.02)
    progress = Progress(time.time() + job.seconds)
    state = {"side": job.stages[0][1]}

    def make() -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, len(CLASS_NAMES), job.batch)
        images = [_augmented(by_class[k][rng.integers(len(by_class[k]))], state["side"], rng) for k in labels]
        return np.stack(images), labels

    weights, fraction, losses = job.output / "classifier.pth", 0.0, []
    for step, (images, labels) in enumerate(Prefetch(make), start=1):
        for group in optimiser.param_groups:
            group["lr"] = cosine(fraction, job.learning_rate)
        batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch)
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(labels), label_smoothing=0.08)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        average.update(model)
        losses.append(float(loss.detach()))
        fraction = progress.advance()
        state["side"] = stage_side(job.stages, fraction)
        if step % REPORT_EVERY == 0 or fraction >= 1.0:
            torch.save(average.model.state_dict(), weights)
            recent = float(np.mean(losses[-REPORT_EVERY:]))
            print(f"step {step}  {fraction:5.1%}  loss {recent:.3f}  crops {len(crops)}", flush=True)
        if fraction >= 1.0:
            break
    recalibrate(average.model, lambda: torch.from_numpy(make()[0]))
    torch.save(average.model.state_dict(), weights)
    return weights


@torch.no_grad()
def recalibrate(model: torch.nn.Module, next_batch: Callable[[], torch.Tensor], batches: int = 16) -> None:
    """Measure the batch norms' statistics again, on crops of the size that the engine uses.

    Those kept while training are mostly of smaller crops, which costs several points of accuracy.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average of all batches
    model.train()
    for _ in range(batches):
        model(next_batch())
    model.eval()
