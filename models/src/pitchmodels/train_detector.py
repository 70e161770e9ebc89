"""Train YOLOv8n on rendered photographs: ultralytics' model and loss in a loop for small CPUs."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from . import PITCH_CLASSES
from .dataset import Batch, Prefetch, Sample, find_samples, make_batch
from .schedule import Progress, cosine

STAGES = ((0.6, 256), (1.01, 384))
"""Input side until each fraction of the training: small inputs first, the real size last.

An export says its size (`imgsz`) in its metadata, and the engine feeds it that. Two shared cores
learn far more in an hour at 384 pixels than at the usual 640, where a step costs three times as much.
"""

MOSAIC_UNTIL = 0.8
SAVE_EVERY = 50
RESCAN_EVERY = 50
EMA_DECAY = 0.998


@dataclass(frozen=True)
class DetectorTraining:
    """What to train on, for how long, and where the weights go."""

    data: Path
    output: Path
    seconds: float
    start_from: Path | None = None
    learning_rate: float = 2.5e-3
    batch: int = 12
    seed: int = 0
    stages: tuple[tuple[float, int], ...] = STAGES
    threads: int = 1
    """One, on a busy machine: threads that wait for each other there spend four times the time."""


class Average:
    """Exponential moving average of a model's weights and buffers."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()
        self.updates = 0
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        self.updates += 1
        # Early weights are worthless, so the average forgets them quickly.
        decay = EMA_DECAY * (1 - math.exp(-self.updates / 300))
        current = model.state_dict()
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                value.mul_(decay).add_(current[name].detach(), alpha=1 - decay)
            else:
                value.copy_(current[name])


def new_detector() -> torch.nn.Module:
    """An untrained YOLOv8n for one class, with the settings its loss reads."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolov8n.yaml", nc=len(PITCH_CLASSES), verbose=False)
    model.names = dict(enumerate(PITCH_CLASSES))
    model.args = get_cfg()
    return model


def load_detector(path: Path) -> torch.nn.Module:
    """The model of an ultralytics checkpoint, ready to be trained further."""
    from ultralytics.cfg import get_cfg

    model = torch.load(path, map_location="cpu", weights_only=False)["model"].float()
    model.args = get_cfg()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def save_detector(model: torch.nn.Module, path: Path, side: int = 640) -> None:
    """Save in the form that `ultralytics.YOLO(path)` loads."""
    saved = copy.deepcopy(model).eval()
    saved.criterion = None
    saved.args = {"task": "detect", "imgsz": side}
    temporary = path.with_suffix(".part")
    torch.save({"model": saved, "train_args": saved.args}, temporary)
    temporary.replace(path)


def _optimiser(model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW with weight decay on convolution kernels only."""
    kernels = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    rest = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999))


def stage_side(stages: tuple[tuple[float, int], ...], progress: float) -> int:
    """The input side at a point of the training."""
    return next((side for until, side in stages if progress < until), stages[-1][1])


def _loss_input(batch: Batch) -> dict[str, torch.Tensor]:
    images = torch.from_numpy(batch.images).contiguous(memory_format=torch.channels_last)
    return {
        "img": images.float() / 255.0,
        "batch_idx": torch.from_numpy(batch.owner),
        "cls": torch.zeros(len(batch.owner), 1),
        "bboxes": torch.from_numpy(batch.boxes),
    }


def _wait_for_samples(data: Path) -> list[Sample]:
    """The samples so far; waits for the first ones if a renderer is still at work."""
    while not (samples := find_samples(data)):
        time.sleep(5)
    return samples


def train_detector(job: DetectorTraining) -> Path:
    """Train until the time is up; the averaged weights are saved as they improve with time."""
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    cv2.setNumThreads(1)
    job.output.mkdir(parents=True, exist_ok=True)
    model = load_detector(job.start_from) if job.start_from else new_detector()
    model = model.to(memory_format=torch.channels_last).train()
    average, optimiser = Average(model), _optimiser(model)
    criterion = model.init_criterion()
    progress = Progress(time.time() + job.seconds)
    state: dict = {"side": job.stages[0][1], "mosaic": 0.5, "samples": _wait_for_samples(job.data)}
    rng = np.random.default_rng(job.seed)

    def make() -> Batch:
        samples: list[Sample] = state["samples"]
        side = state["side"]
        return make_batch(samples, job.batch, side, rng, state["mosaic"])

    weights = job.output / "detector.pt"
    fraction, shown = 0.0, np.zeros(3)
    started = time.time()
    for step, batch in enumerate(Prefetch(make), start=1):
        rate = cosine(fraction, job.learning_rate)
        for group in optimiser.param_groups:
            group["lr"] = rate
        values = _loss_input(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predictions = model(values["img"])
        # The loss is a sum of small numbers: keep it out of bf16.
        loss, parts = criterion(_to_float(predictions), values)
        optimiser.zero_grad(set_to_none=True)
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        average.update(model)
        shown += np.array([float(part) for part in parts.values()])
        fraction = progress.advance()
        state["side"] = stage_side(job.stages, fraction)
        state["mosaic"] = 0.5 if fraction < MOSAIC_UNTIL else 0.1
        if step % RESCAN_EVERY == 0:
            state["samples"] = find_samples(job.data)
        if step % SAVE_EVERY == 0 or fraction >= 1.0:
            save_detector(average.model, weights, job.stages[-1][1])
            box, label, shape = shown / SAVE_EVERY
            shown[:] = 0
            print(
                f"{time.time() - started:6.0f} s  step {step}  {fraction:5.1%}  "
                f"{batch.images.shape[-1]} px  lr {rate:.2e}  box {box:.3f}  class {label:.3f}  "
                f"shape {shape:.3f}  photos {len(state['samples'])}",
                flush=True,
            )
        if fraction >= 1.0:
            break
    return weights


def _to_float(value):
    """Cast every tensor in a nested prediction to fp32."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype.is_floating_point else value
    if isinstance(value, dict):
        return {key: _to_float(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_float(item) for item in value)
    return value


def average_detectors(sources: list[Path], target: Path) -> Path:
    """Average the weights of checkpoints of one training; steadier than any of them when steps are few."""
    loaded = [torch.load(path, map_location="cpu", weights_only=False) for path in sources]
    states = [checkpoint["model"].float().state_dict() for checkpoint in loaded]
    averaged = {
        name: sum(state[name] for state in states) / len(states) if value.dtype.is_floating_point else value
        for name, value in states[0].items()
    }
    loaded[0]["model"].load_state_dict(averaged)
    torch.save(loaded[0], target)
    return target
