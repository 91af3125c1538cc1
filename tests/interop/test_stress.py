"""Weights at the edges of the numbers: what codes make of them is read back by ONNX Runtime, one row
of the identity at a time. Nothing becomes infinite, zeros stay zeros, and what has no codes is
refused in one line."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ort = pytest.importorskip("onnxruntime")
from quantize_cli import QUANTIZE, quantize  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

# Of a code: the largest error of a weight by the largest weight of its column.
FORMS = {
    "w2": (["--bits", "2"], 1.1),
    "w3": (["--bits", "3"], 0.26),
    "w4": (["--bits", "4"], 0.13),
    "w4 asymmetric": (["--bits", "4", "--asymmetric"], 0.1),
    "w8": (["--bits", "8"], 0.01),
    "qdq8": (["--format", "qdq", "--bits", "8"], 0.01),
    "nf4": (["--format", "nf4"], 0.2),
}


def save_product(folder, weight):
    k, n = weight.shape
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="/linear/MatMul")],
        "g",
        [helper.make_tensor_value_info("x", kind, ["rows", k])],
        [helper.make_tensor_value_info("y", kind, ["rows", n])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    return folder


def codes_of(weight, folder, *arguments):
    """The weight as the written model has it."""
    source = save_product(folder / "source", weight)
    done = quantize("run", source, folder / "out", "-q", *arguments)
    assert done.returncode == 0, done.stderr
    session = ort.InferenceSession(folder / "out" / "model.onnx")
    identity = np.eye(weight.shape[0], dtype=weight.dtype)
    return session.run(None, {"x": identity})[0].astype(np.float64)


def normal(k=64, n=48, scale=1.0):
    return (np.random.default_rng(k * n).standard_normal((k, n)) * scale).astype(np.float32)


def error(found, weight):
    largest = np.abs(weight.astype(np.float64)).max(axis=0)
    return (np.abs(found - weight).max(axis=0) / np.where(largest > 0, largest, 1)).max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e-35, 1e-30, 1e-7, 1e-4, 1e30])
def test_the_size_of_weights_does_not_matter(tmp_path, form, scale):
    arguments, limit = FORMS[form]
    weight = normal(scale=scale)
    assert error(codes_of(weight, tmp_path, "--method", "rtn", *arguments), weight) <= limit


@pytest.mark.parametrize("form", FORMS)
def test_zeros_stay_zeros(tmp_path, form):
    arguments, limit = FORMS[form]
    weight = normal()
    weight[:, ::2] = 0
    weight[32:] = 0
    found = codes_of(weight, tmp_path, "--method", "rtn", *arguments)
    assert not found[:, ::2].any()  # whole groups
    assert np.abs(found[32:]).max() <= 1e-5  # a part of one: sums of products with a zero point
    assert error(found, weight) <= limit
    (tmp_path / "all").mkdir()
    nothing = codes_of(np.zeros_like(weight), tmp_path / "all", "--method", "rtn", *arguments)
    assert not nothing.any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(8, 1), (3, 5), (33, 2), (16, 1)])
def test_shapes_smaller_than_a_group(tmp_path, form, shape):
    arguments, limit = FORMS[form]
    weight = normal(*shape)
    assert error(codes_of(weight, tmp_path, "--method", "rtn", *arguments), weight) <= limit


@pytest.mark.parametrize("method", ["awq", "gptq", "best"])
@pytest.mark.parametrize("activations", ["one token", "constant", "zero", "one channel", "huge"])
def test_activations_at_the_edges(tmp_path, method, activations):
    rng = np.random.default_rng(3)
    x = {
        "one token": rng.standard_normal((1, 64)),
        "constant": np.full((32, 64), 0.7),
        "zero": np.zeros((32, 64)),
        "one channel": np.outer(rng.standard_normal(32), np.arange(64) == 5),
        "huge": rng.standard_normal((32, 64)) * 1e15,
    }[activations].astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    weight = normal()
    found = codes_of(weight, tmp_path, "--method", method, "--bits", "4",
                     "--calib", tmp_path / "x.npz")
    assert np.isfinite(found).all()
    (tmp_path / "rtn").mkdir()
    nearest = codes_of(weight, tmp_path / "rtn", "--method", "rtn", "--bits", "4")
    of = lambda w: np.square((x.astype(np.float64) @ (w - weight))).sum()  # noqa: E731
    assert of(found) <= of(nearest) * (1 + 1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38])
@pytest.mark.parametrize("method", ["rtn", "best", "int8"])
def test_weights_without_codes_are_refused_by_name(tmp_path, method, value):
    weight = normal()
    weight[7, 5] = value
    source = save_product(tmp_path / "source", weight)
    np.savez(tmp_path / "x.npz", x=normal(32, 64))
    calibration = ["--calib", tmp_path / "x.npz"] if method == "best" else []
    done = quantize("run", source, tmp_path / "out", "-q", "--method", method, *calibration)
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "weight 'w'" in done.stderr or "weight 'linear'" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("form", ["w4", "w8", "qdq8"])
def test_half_models_of_small_weights_keep_their_digits(tmp_path, form, scale):
    """Their scales are FP16, too, and below its normal numbers have few digits."""
    arguments, _ = FORMS[form]
    weight = normal(scale=scale).astype(np.float16)
    found = codes_of(weight, tmp_path, "--method", "rtn", *arguments)
    wide = weight.astype(np.float64)
    relative = np.sqrt(np.square(found - wide).sum() / np.square(wide).sum())
    assert relative <= (0.012 if "8" in form else 0.13)


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e-7, 1e-30, 1e30])
def test_conversion_to_half_keeps_what_half_cannot_hold(tmp_path, scale):
    weight = normal(scale=scale)
    found = codes_of(weight, tmp_path, "--method", "fp16")
    assert error(found, weight) <= 5e-3
