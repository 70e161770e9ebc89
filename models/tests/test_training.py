"""Short trainings run through, and leave weights that can be exported."""

import cv2
import numpy as np

from pitchmodels import CLASS_NAMES, export
from pitchmodels.train_classifier import ClassifierTraining, train_classifier


def test_a_classifier_trains_and_exports(tmp_path):
    rng = np.random.default_rng(0)
    for index, name in enumerate(CLASS_NAMES):
        folder = tmp_path / "crops" / name
        folder.mkdir(parents=True)
        for number in range(3):
            crop = rng.integers(0, 60, (64, 64, 3)).astype(np.uint8) + np.uint8(index * 40)
            cv2.imwrite(str(folder / f"{number}.jpg"), crop)
    job = ClassifierTraining(tmp_path / "crops", tmp_path / "run", seconds=1, batch=4, stages=((1.01, 64),))
    weights = train_classifier(job)
    assert export.export_classifier(weights, tmp_path / "classifier.onnx") == "mobilenet_v2"
    assert export.classifier_error(weights, tmp_path / "classifier.onnx") < 0.005
