"""Renders are reproducible, their boxes lie in the frame, and training reads what rendering wrote."""

import json

import numpy as np
import pytest

from pitchmodels.dataset import find_samples, make_batch
from pitchmodels.render.scene import Wish, photograph
from pitchmodels.render.shards import DetectorSet, render_detector_set
from pitchmodels.render.strip import CHARACTERS
from pitchmodels.schedule import Progress, cosine


def _photo(seed: int, **wish):
    for attempt in range(40):
        photo = photograph(np.random.default_rng([seed, attempt]), Wish(long_side=160, **wish))
        if photo is not None:
            return photo
    raise AssertionError("forty attempts gave no photograph")


@pytest.mark.parametrize("view", ["end", "high", "side", "drone", "close", "nets", "stadium", "surface"])
def test_every_view_gives_boxes_in_the_frame(view):
    photo = _photo(3, view=view, smallest_share=0.0)
    height, width = photo.image.shape[:2]
    assert photo.boxes
    for x1, y1, x2, y2 in photo.boxes:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


def test_the_same_seed_gives_the_same_photo():
    first, second = _photo(5, view="end"), _photo(5, view="end")
    assert np.array_equal(first.image, second.image)
    assert first.boxes == second.boxes


def test_negatives_have_no_boxes():
    assert _photo(6, negative=True).boxes == []


def test_a_grassy_strip_is_greener_than_a_cracked_one():
    def excess_green(character):
        photo = _photo(8, view="surface", character=character, quality=1.0)
        x1, y1, x2, y2 = photo.boxes[0]
        blue, green, red = photo.image[y1:y2, x1:x2].reshape(-1, 3).mean(0)
        return green - (blue + red) / 2

    assert excess_green("bowling_friendly") > excess_green("spin_friendly")


def test_training_reads_a_rendered_set(tmp_path):
    job = DetectorSet(tmp_path, photos=4, seed=1, long_side=128, negatives=0.25)
    assert render_detector_set(job, processes=1) == 4
    assert render_detector_set(job, processes=1) == 0
    samples = find_samples(tmp_path)
    assert len(samples) == 4
    characters = json.loads(next(tmp_path.rglob("characters.json")).read_text())
    assert set(characters.values()) <= {*CHARACTERS, "mat", None}
    batch = make_batch(samples, 3, 96, np.random.default_rng(0), mosaic=0.5)
    assert batch.images.shape == (3, 3, 96, 96)
    assert batch.boxes.shape == (len(batch.owner), 4)
    assert (batch.boxes >= 0).all() and (batch.boxes <= 1).all()


def test_a_pause_shortens_the_rest_instead_of_overrunning(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("pitchmodels.schedule.time.time", lambda: now[0])
    progress = Progress(deadline=1100.0)
    progress._last = now[0]
    now[0] += 10
    assert progress.advance() == pytest.approx(0.1)
    now[0] += 80  # stopped for most of it
    assert progress.advance() == pytest.approx(30 / 40)
    now[0] += 10
    assert progress.advance() == 1.0


def test_learning_rate_warms_up_and_falls():
    rates = [cosine(p, 1.0) for p in (0.0, 0.02, 0.5, 1.0)]
    assert rates[0] < 0.05 < rates[3] + 0.05 < rates[2] < rates[1] == pytest.approx(1.0)
