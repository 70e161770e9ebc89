"""fp16 models for cards, made from the demo bundle."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest

from pitchmodels.bundle import Bundle
from pitchmodels.half import ERROR_ON_NOISE, halve_classifier, halve_detector, largest_difference

DEMO = Path(__file__).parents[2] / "bundles" / "demo"


@pytest.mark.parametrize(("name", "halve", "side"), [("detector", halve_detector, 256), ("classifier", halve_classifier, 224)])
def test_fp16_computes_the_same_to_three_digits(tmp_path, name, halve, side):
    source, target = Bundle.read(DEMO).path(name), tmp_path / f"{name}.onnx"
    halve(source, target)
    assert largest_difference(source, target, (2, 3, side, side)) < ERROR_ON_NOISE
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    for place in (*session.get_inputs(), *session.get_outputs()):
        assert place.type == "tensor(float)"
    convolutions = [node for node in onnx.load(target).graph.node if node.op_type == "Conv"]
    weights = {tensor.name: tensor.data_type for tensor in onnx.load(target).graph.initializer}
    halved = [weights.get(node.input[1]) == onnx.TensorProto.FLOAT16 for node in convolutions]
    assert sum(halved) > 0.9 * len(halved)


def test_metadata_stays(tmp_path):
    source = Bundle.read(DEMO).path("detector")
    halve_detector(source, tmp_path / "d.onnx")
    kept = [{e.key: e.value for e in onnx.load(path).metadata_props} for path in (source, tmp_path / "d.onnx")]
    assert kept[0] == kept[1]
