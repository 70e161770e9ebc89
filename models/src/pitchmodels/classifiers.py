"""The two classifier architectures that a bundle may hold, and their preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models

from . import CLASS_NAMES

INPUT_SIDE = 224
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

ARCHITECTURES = ("mobilenet_v2", "resnet18")


def build_classifier(architecture: str, classes: int = len(CLASS_NAMES)) -> nn.Module:
    """An untrained classifier of the named architecture."""
    if architecture == "mobilenet_v2":
        return models.mobilenet_v2(num_classes=classes)
    if architecture == "resnet18":
        return models.resnet18(num_classes=classes)
    raise ValueError(f"unknown classifier {architecture!r}: expected one of {ARCHITECTURES}")


def detect_architecture(state: Mapping[str, torch.Tensor]) -> str:
    """Name the architecture that a state dict belongs to, by its parameter names."""
    if "classifier.1.weight" in state and "features.0.0.weight" in state:
        return "mobilenet_v2"
    if "fc.weight" in state and "layer4.1.conv2.weight" in state:
        return "resnet18"
    raise ValueError(
        "the state dict is neither torchvision's MobileNetV2 nor its ResNet18 "
        f"(its first parameters: {', '.join(list(state)[:4])})"
    )


def load_classifier(path: Path) -> tuple[str, nn.Module]:
    """Load a `.pth` state dict and return its architecture and the model in eval mode.

    Training scripts wrap state dicts in various ways; the usual wrappers
    (`state_dict`, `model_state_dict`, a `module.` prefix) are unwrapped.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    state = {name.removeprefix("module."): value for name, value in state.items()}
    architecture = detect_architecture(state)
    head = "classifier.1.weight" if architecture == "mobilenet_v2" else "fc.weight"
    model = build_classifier(architecture, classes=state[head].shape[0])
    model.load_state_dict(state)
    return architecture, model.eval()


def preprocess(rgb: np.ndarray) -> np.ndarray:
    """An RGB crop as the classifier's input, `1 x 3 x 224 x 224`.

    Pillow's bilinear filter is antialiased when it shrinks; OpenCV's is not.
    """
    resized = Image.fromarray(rgb).resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BILINEAR)
    scaled = np.asarray(resized, np.float32) / 255.0
    normalised = (scaled - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
