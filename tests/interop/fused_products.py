"""What ONNX Runtime makes of products of integers, and how near their results are."""

import collections

import numpy as np
import onnx
from quantize_cli import forward, relative_error, run_session, session

# Two programs that round activations may choose other codes where a value lies between two of them, and
# what follows then differs by steps of 1/255; sums in float32 alone differ by 1e-6.
ROUNDING = 0.03


def operators(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def optimized(model, folder):
    """The operators that are left when ONNX Runtime has fused what it can."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return operators(onnx.load(folder / "optimized.onnx", load_external_data=False))


def rms_error(actual, expected):
    """Of all elements together: what rounding adds up to, where the largest error is an accident."""
    difference = np.asarray(actual, np.float64) - np.asarray(expected, np.float64)
    return np.linalg.norm(difference) / np.linalg.norm(np.asarray(expected, np.float64))


def errors(source, result, feeds, measure=relative_error):
    """Of ONNX Runtime against the source, and of ONNX Runtime against our own executor."""
    got = run_session(session(result / "model.onnx"), feeds)
    wanted = run_session(session(source / "model.onnx"), feeds)
    own = forward(result / "model.onnx", feeds, result.parent)
    assert got.keys() == wanted.keys()
    return (max(measure(got[name], wanted[name]) for name in got),
            max(relative_error(own[name], got[name]) for name in got))  # fmt: skip
