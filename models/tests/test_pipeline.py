"""Letterboxing, overlaps and suppression."""

import numpy as np
import pytest

from pitchmodels.pipeline import iou, letterbox, suppress


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1280, 960, (640, 480)),
        (4000, 3000, (640, 480)),
        (1000, 1000, (640, 640)),
        (1080, 1920, (384, 640)),
        (333, 77, (640, 160)),
    ],
)
def test_letterbox_pads_to_the_stride_only(width, height, expected):
    fitted = letterbox(np.zeros((height, width, 3), np.uint8))
    assert fitted.image.shape[1::-1] == expected


def test_letterbox_puts_the_odd_pixel_last():
    fitted = letterbox(np.zeros((639, 1001, 3), np.uint8), side=640)
    inner = round(639 * fitted.ratio)
    assert fitted.top == (-inner % 32) // 2


def test_iou():
    box = np.array([0, 0, 10, 10.0])
    assert iou(box, np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]]))[0] == pytest.approx([1, 1 / 3, 0])


def test_suppression_keeps_the_best_of_each_cluster():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9.5], [30, 30, 40, 40.0]])
    assert suppress(boxes, np.array([0.6, 0.9, 0.3]), 0.7) == [1, 2]
