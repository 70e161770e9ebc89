"""Halve a float model's file without changing what it computes with.

Weights are stored as fp16 and cast back to fp32 by `Cast` nodes, which ONNX
Runtime folds into constants when it loads the model. Every multiplication
still happens in fp32; only the weights have been rounded once.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST_WORTH_HALVING = 256
"""Elements below which a tensor is left alone: scales, shapes and biases."""

FP16_MAX = 65504.0


def store_weights_as_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace large fp32 initialisers by fp16 ones followed by a cast, in place."""
    graph = model.graph
    casts = []
    for initialiser in graph.initializer:
        if initialiser.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(initialiser)
        if values.size < SMALLEST_WORTH_HALVING or np.abs(values).max() > FP16_MAX:
            continue
        name = initialiser.name
        stored = numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16")
        initialiser.CopyFrom(stored)
        casts.append(helper.make_node("Cast", [stored.name], [name], f"{name}_to_fp32", to=TensorProto.FLOAT))
    # Casts come first, because a graph's nodes are in topological order.
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
