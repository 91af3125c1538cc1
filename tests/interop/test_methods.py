"""What a method promises, held against ONNX Runtime: the loss in the metadata is the squared error of
the outputs that ONNX Runtime computes on the calibration data, and no method is worse than rounding
to nearest. The model is built in code."""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    forward,
    quantized,
    relative_error,
    run_session,
    session,
)

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

TOKENS, K, N = 400, 83, 40
PRESETS = ["awq", "smoothquant", "gptq", "awq-gptq", "adaround", "best"]
OUTPUTS = {"plain": "y_plain", "biased": "y_biased", "gemm": "y_gemm"}


def build(folder):
    """Three linears on one activation: without a bias, with an Add behind it, with its own."""
    random = np.random.default_rng(3)

    def constant(name, *shape):
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "plain.weight"], ["y_plain"], name="plain"),
        helper.make_node("MatMul", ["x", "biased.weight"], ["product"], name="biased"),
        helper.make_node("Add", ["product", "bias"], ["y_biased"], name="add"),
        helper.make_node("Gemm", ["x", "gemm.weight", "bias"], ["y_gemm"], name="gemm"),
    ]
    weights = [constant(f"{name}.weight", K, N) for name in OUTPUTS] + [constant("bias", N)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", K])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["tokens", N])
        for name in OUTPUTS.values()
    ]
    graph = helper.make_graph(nodes, "linears", [x], outputs, weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    (folder / "source").mkdir()
    onnx.save(model, folder / "source" / "model.onnx")
    # Correlated channels with a mean, a few of them loud, one silent.
    mixed = random.standard_normal((TOKENS, 20)) @ random.standard_normal((20, K))
    inputs = mixed + 0.3 * random.standard_normal((TOKENS, K)) + random.standard_normal(K)
    inputs[:, ::17] *= 12
    inputs[:, 5] = 0
    inputs = inputs.astype(np.float32)
    np.savez(folder / "x.npz", x=inputs)
    return folder / "source", inputs


def errors(folder, inputs, reference):
    got = run_session(session(folder / "model.onnx"), {"x": inputs})
    return {
        name: float(((got[name].astype(np.float64) - reference[name]) ** 2).sum())
        for name in OUTPUTS.values()
    }


@pytest.mark.parametrize("bias", ["none", "present", "all"])
@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_losses_are_those_of_onnx_runtime(tmp_path, form, bias):
    source, inputs = build(tmp_path)
    reference = run_session(session(source / "model.onnx"), {"x": inputs})
    common = ["--bits", 4, "--group-size", 16, "--format", form, "--accuracy-level", 0]
    quantized(source, tmp_path / "rtn", "--method", "rtn", *common)
    nearest = errors(tmp_path / "rtn", inputs, reference)
    for preset in PRESETS:
        folder = tmp_path / preset
        quantized(
            source, folder, "--method", preset, "--calib", tmp_path / "x.npz", "--calib-samples",
            TOKENS, "--bias-correction", bias, *common,
        )  # fmt: skip
        measured = errors(folder, inputs, reference)
        described = {entry["node"]: entry["quantized"] for entry in check_metadata(folder)["linears"]}
        for node, output in OUTPUTS.items():
            loss = described[node]["loss_after"]
            assert measured[output] == pytest.approx(loss, rel=2e-3), (preset, node)
            assert measured[output] <= nearest[output] * (1 + 1e-4), (preset, node)
        if preset in ("gptq", "best"):  # channels correlate, so their errors can make up for others
            assert measured["y_plain"] < 0.7 * nearest["y_plain"], preset
        for name, expected in forward(folder, {"x": inputs}, tmp_path).items():
            got = run_session(session(folder / "model.onnx"), {"x": inputs})
            assert relative_error(got[name], expected) <= 1e-4, (preset, name)


def test_a_bias_is_added_only_where_it_may_be(tmp_path):
    source, inputs = build(tmp_path)
    common = ["--method", "awq", "--calib", tmp_path / "x.npz", "--calib-samples", TOKENS]

    def biases(option):
        folder = tmp_path / option
        quantized(source, folder, *common, "--bias-correction", option, "--exclude", "gemm")
        graph = onnx.load(folder / "model.onnx").graph
        return [len(n.input) > 5 and n.input[5] != "" for n in graph.node if n.op_type == "MatMulNBits"]

    assert biases("none") == [False, False]
    # The site's linears share their statistics, so they are corrected together or not at all.
    assert biases("present") == [False, False]
    assert biases("all") == [True, False], "the other one's goes into the Add that it has"
