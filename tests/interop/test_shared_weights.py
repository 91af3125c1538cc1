"""A weight that multiplies an activation and a constant, as DeBERTa's relative positions do."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (
    QUANTIZE, forward, quantized, relative_error, run_session, session,
)  # fmt: skip
from small_models import VOCABULARY, Builder, calibration_ids, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

HIDDEN = 64


def relative_attention(rows, layers=2, form="MatMul"):
    """input_ids [batch, 8] -> y: queries are compared with keys, and with the keys of `rows`
    relative places, which the same weight makes of a normalised table."""
    b = Builder()
    b.constant(np.array([-1], np.int64), "last_axis")
    b.constant(np.array(1e-5, np.float32), "epsilon")
    b.constant(np.array(HIDDEN**-0.5 / 8, np.float32), "scale")
    b.constant(np.array([0, 8], np.int64), "ends")
    table = b.weight((VOCABULARY, HIDDEN), "embeddings.weight", 1.0)
    places = b.rms_norm(b.weight((rows, HIDDEN), "rel_embeddings.weight", 1.0), HIDDEN, "rel_norm")
    b.constant(np.arange(8, dtype=np.int64), "first")
    x = b.node("Gather", [table, "input_ids"])
    for layer in range(layers):
        weight = b.weight((HIDDEN, HIDDEN), f"layer.{layer}.key_proj.weight")

        def product(left, name, weight=weight):  # "Transpose": each use has a node of its own
            right = b.node("Transpose", [weight], perm=(1, 0)) if form == "Transpose" else weight
            if form == "Gemm" and name == "pos_key":
                return b.node("Gemm", [left, right], f"/layer.{layer}/{name}/Gemm")
            return b.node("MatMul", [left, right], f"/layer.{layer}/{name}/MatMul")

        keys, far = product(x, "key_proj"), product(places, "pos_key")
        far = b.node("Gather", [far, "first"])
        query = b.linear(x, HIDDEN, HIDDEN, f"layer.{layer}.query_proj")
        own = b.node("MatMul", [query, b.node("Transpose", [keys], perm=(0, 2, 1))])
        relative = b.node("MatMul", [query, b.node("Transpose", [far], perm=(1, 0))])
        scores = b.node("Mul", [b.node("Add", [own, relative]), "scale"])
        mixed = b.node("MatMul", [b.node("Softmax", [scores], axis=-1), x])
        x = b.node("Add", [x, b.linear(mixed, HIDDEN, HIDDEN, f"layer.{layer}.out")])
    b.nodes.append(helper.make_node("Identity", [x], ["y"], name="last"))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 8])
    return b.model([ids], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, HIDDEN])])


@pytest.mark.parametrize("format_", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("form", ["MatMul", "Gemm", "Transpose"])
@pytest.mark.parametrize("rows", [16, 256])
def test_the_floats_do_not_stay(tmp_path, rows, form, format_):
    folder = save(relative_attention(rows, form=form), tmp_path / "m")
    report = quantized(
        folder, tmp_path / "out", "--bits", 8, "--group-size", 32, "--format", format_,
        "--accuracy-level", 0, "--calib", calibration_ids(tmp_path / "ids.npy", length=8))  # fmt: skip
    assert report["verification"]["done"]
    assert not [note for note in report["notes"] if "floats" in note]
    written = onnx.load(tmp_path / "out" / "model.onnx")
    floats = [t.name for t in written.graph.initializer
              if t.data_type == TensorProto.FLOAT and list(t.dims) == [HIDDEN, HIDDEN]]  # fmt: skip
    assert floats == []
    feeds = {"input_ids": np.random.default_rng(2).integers(0, VOCABULARY, (2, 8))}
    got = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["y"]
    own = forward(tmp_path / "out" / "model.onnx", feeds, tmp_path)["y"]
    expected = run_session(session(folder / "model.onnx"), feeds)["y"]
    assert relative_error(own, got) < 1e-4
    assert relative_error(got, expected) < 0.05


@pytest.mark.parametrize("method", ["rtn", "best"])
def test_every_method_knows_the_second_use(tmp_path, method):
    """The verification compares with what the codes give in both places."""
    folder = save(relative_attention(32, layers=3), tmp_path / "m")
    report = quantized(
        folder, tmp_path / "out", "--bits", 4, "--group-size", 32, "--method", method,
        "--checkpoint-seconds", 0,
        "--calib", calibration_ids(tmp_path / "ids.npy", length=8))  # fmt: skip
    assert report["verification"]["done"]
    assert report["verification"]["max_relative"] < 1e-3


@pytest.mark.parametrize("symmetry", ["--symmetric", "--asymmetric"])
@pytest.mark.parametrize("bits", [4, 8])
def test_equal_weights_of_qdq_products_are_all_fused(tmp_path, bits, symmetry):
    """Since 1.27 ONNX Runtime expands a weight at each run whose tensors another product reads."""
    import onnxruntime

    rng = np.random.default_rng(2)
    weight = numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), "same.weight")
    twin = numpy_helper.from_array(numpy_helper.to_array(weight), "twin.weight")
    nodes = [
        helper.make_node("MatMul", ["x", "same.weight"], ["a"], name="first"),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "same.weight"], ["c"], name="second"),
        helper.make_node("MatMul", ["c", "twin.weight"], ["y"], name="third"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "same",
        [value("x", TensorProto.FLOAT, ["n", 64])],
        [value("y", TensorProto.FLOAT, ["n", 64])],
        [weight, twin],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (tmp_path / "source").mkdir()
    onnx.save(model, tmp_path / "source" / "model.onnx")
    arguments = ["--method", "rtn", "--format", "qdq", "--bits", bits, "--group-size", 32, symmetry]
    report = quantized(tmp_path / "source", tmp_path / "out", *arguments)
    written = onnx.load(tmp_path / "out" / "model.onnx", load_external_data=False)
    read = [n for node in written.graph.node if node.op_type == "DequantizeLinear" for n in node.input]
    assert len(read) == len(set(read)) == 3 * (2 if symmetry == "--symmetric" else 3)
    places = {str(t.external_data): t.external_data for t in written.graph.initializer}
    stored = sum(len(t.raw_data) for t in written.graph.initializer)
    stored += sum(int(e.value) for place in places.values() for e in place if e.key == "length")
    assert stored == sum(linear["bytes_after"] for linear in report["linears"])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", options)
    optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    types = [n.op_type for n in optimized.graph.node]
    assert types.count("MatMulNBits") == 3 and "DequantizeLinear" not in types
