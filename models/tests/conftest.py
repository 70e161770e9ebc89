"""Untrained weights, made once: exports must agree with PyTorch whatever the weights are."""

import pytest
import torch

from pitchmodels.classifiers import build_classifier
from pitchmodels.train_detector import new_detector, save_detector


def _settle(model: torch.nn.Module, shape: tuple[int, ...]) -> torch.nn.Module:
    """Give batch norms statistics of their own, so that fusing them is put to the test."""
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.rand(shape))
    return model.eval()


@pytest.fixture(scope="session")
def detector_weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "detector.pt"
    save_detector(_settle(new_detector(), (2, 3, 64, 96)), path)
    return path


@pytest.fixture(scope="session", params=["mobilenet_v2", "resnet18"])
def classifier_weights(request, tmp_path_factory):
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    model = _settle(build_classifier(request.param), (4, 3, 96, 96))
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    return request.param, path
