"""Exports agree with PyTorch, and say what the engine needs to know."""

import ast

import onnx
import pytest
import torch

from pitchmodels import export, quantise
from pitchmodels.bundle import Bundle, pitch_classifier_entry, pitch_detector_entry, sha256_of
from pitchmodels.classifiers import load_classifier
from pitchmodels.cli import main


@pytest.fixture(scope="module")
def exported_detector(detector_weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "detector.onnx"
    assert export.export_detector(detector_weights, path, side=640) == ("yolov8n", ["pitch"])
    return path


def test_detector_agrees_with_pytorch(detector_weights, exported_detector):
    assert export.detector_error(detector_weights, exported_detector) < 0.5


def test_fp32_storage_is_exact(detector_weights, tmp_path):
    export.export_detector(detector_weights, tmp_path / "full.onnx", half_storage=False)
    assert export.detector_error(detector_weights, tmp_path / "full.onnx") < 0.01


def test_detector_describes_itself(exported_detector):
    model = onnx.load(exported_detector)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert ast.literal_eval(metadata["names"]) == {0: "pitch"}
    assert metadata["stride"] == "32"
    assert ast.literal_eval(metadata["imgsz"]) == [640, 640]
    assert metadata["task"] == "detect"
    assert "AGPL-3.0" in metadata["license"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, "height", "width"]
    assert model.graph.input[0].name == "images"
    assert model.graph.output[0].name == "output0"
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 5


def test_halved_storage_halves_the_file(exported_detector):
    assert exported_detector.stat().st_size < 7_000_000


def test_classifier_agrees_with_pytorch(classifier_weights, tmp_path):
    architecture, weights = classifier_weights
    target = tmp_path / "classifier.onnx"
    assert export.export_classifier(weights, target) == architecture
    assert export.classifier_error(weights, target) < 0.005


def test_an_unknown_classifier_is_refused(tmp_path):
    torch.save({"stem.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="neither"):
        load_classifier(tmp_path / "odd.pth")


def test_decode_nodes_leave_convolutions_to_be_quantised(exported_detector):
    model = onnx.load(exported_detector)
    excluded = set(quantise.decode_nodes(model))
    kinds = {node.op_type for node in model.graph.node if node.name in excluded}
    assert {"Concat", "Sigmoid", "Softmax"} <= kinds
    quantised = [n for n in model.graph.node if n.op_type == "Conv" and n.name not in excluded]
    # Only the head's distribution-to-distance convolution stays in float.
    assert len(quantised) == sum(n.op_type == "Conv" for n in model.graph.node) - 1


def test_export_command_writes_a_bundle(detector_weights, classifier_weights, tmp_path):
    architecture, weights = classifier_weights
    folder = tmp_path / "bundle"
    arguments = ["export", "--detector", str(detector_weights), "--classifier", str(weights), "--bundle", str(folder)]
    assert main([*arguments, "--name", "mine", "--confidence", "0.3"]) == 0
    bundle = Bundle.read(folder)
    assert bundle.name == "mine"
    assert bundle.classifier.architecture == architecture
    assert bundle.detector.thresholds == {"confidence_threshold": 0.3, "iou_threshold": 0.7}
    assert sha256_of(bundle.path("detector")) in (folder / "bundle.toml").read_text()


def test_bundle_round_trip(tmp_path):
    detector, classifier = pitch_detector_entry(0.25), pitch_classifier_entry("resnet18")
    for entry, name in ((detector, "detector"), (classifier, "classifier")):
        entry.files = {p: f"{name}.{p}.onnx" for p in ("fp32", "int8")}
        for file in entry.files.values():
            (tmp_path / file).write_bytes(file.encode())
    Bundle(tmp_path, detector, classifier).write()
    again = Bundle.read(tmp_path)
    assert (again.detector, again.classifier) == (detector, classifier)
