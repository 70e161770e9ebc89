"""fp16 models for cards: 16-bit floats while they run, 32-bit ones in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.transformers.float16 import convert_float_to_float16

from .quantise import decode_nodes

ERROR_ON_NOISE = 0.02
"""Part of the largest value by which outputs may differ on noise; fp16 has three digits."""


def halve_detector(source: Path, target: Path) -> None:
    """Convert a detector; box decoding stays fp32, since coordinates of hundreds of pixels need more digits."""
    _halve(source, target, decode_nodes)


def halve_classifier(source: Path, target: Path) -> None:
    """Convert a classifier."""
    _halve(source, target, lambda model: [])


def _halve(source: Path, target: Path, kept) -> None:
    options = onnxruntime.SessionOptions()
    # The optimiser folds the casts of fp16 storage, which would be converted twice.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    target.parent.mkdir(parents=True, exist_ok=True)
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(target)
    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    model = convert_float_to_float16(folded, keep_io_types=True, node_block_list=kept(folded))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, target)


def largest_difference(fp32: Path, fp16: Path, shape: tuple[int, ...]) -> float:
    """Difference of the outputs on noise of shape N x 3 x H x W, as a part of the largest value."""
    noise = np.random.default_rng(1).random(shape, dtype=np.float32)
    (a, *_), (b, *_) = (_run(path, noise) for path in (fp32, fp16))
    return float(np.abs(a - b).max() / np.abs(a).max())


def _run(path: Path, values: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: values})
