"""Tables of codes in ONNX Runtime: the rows that a lookup gives are those that the codes mean, and a
table that is the LM head, too, is stored once."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import QUANTIZE, forward, quantized, relative_error, run_session, session

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

ROWS = 1030
FLOAT = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def save(folder, nodes, weights, outputs, dtype=TensorProto.FLOAT, indices=TensorProto.INT64):
    graph = helper.make_graph(
        nodes, "tables", [helper.make_tensor_value_info("ids", indices, ["n"])],
        [helper.make_tensor_value_info(name, dtype, ["n", width]) for name, width in outputs],
        weights)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    return folder


def table_of(width, seed=3):
    values = np.random.default_rng(seed).standard_normal((ROWS, width)).astype(np.float32)
    values[::7] *= 5
    values[11] = 0
    return values


def lookup(folder, width, dtype="fp32", indices=TensorProto.INT64):
    """ids -> rows, and a product of them so that there is something to quantize."""
    element = FLOAT[dtype]
    kind = np.float16 if dtype == "fp16" else np.float32
    table = table_of(width).astype(kind)
    weight = np.eye(width, dtype=kind)
    nodes = [helper.make_node("Gather", ["embed.weight", "ids"], ["rows"], name="lookup"),
             helper.make_node("MatMul", ["rows", "proj.weight"], ["y"], name="proj")]  # fmt: skip
    weights = [numpy_helper.from_array(table, "embed.weight"),
               numpy_helper.from_array(weight, "proj.weight")]  # fmt: skip
    outputs = [("rows", width), ("y", width)]
    return save(folder, nodes, weights, outputs, element, indices), table.astype(np.float32)


def check_rows(rows, table, ids, bits, group):
    """Within half a step of each group, and the float's own rounding."""
    for row, index in zip(rows.astype(np.float64), ids):
        for begin in range(0, table.shape[1], group):
            part = table[index][begin : begin + group].astype(np.float64)
            step = 2 * np.abs(part).max() / (2**bits - 2)
            # The searched grid may clip the largest for the sake of the others.
            assert np.abs(row[begin : begin + group] - part).max() <= 2.5 * step + 1e-6


@pytest.mark.parametrize("symmetry", ["--symmetric", "--asymmetric"])
@pytest.mark.parametrize("bits,group", [(8, 128), (4, 16), (4, 64), (4, 256), (2, 16), (2, 64)])
@pytest.mark.parametrize("width", [24, 128, 130, 256])
def test_lookups_give_the_rows_of_the_codes(tmp_path, width, bits, group, symmetry):
    if width * bits % 8 != 0:
        pytest.skip("rows that do not fill bytes get 8 bits")
    folder, table = lookup(tmp_path / "m", width)
    asked = ["--rule", "embed: bits=2"] if bits == 2 else ["--embeddings", f"int{bits}"]
    report = quantized(
        folder, tmp_path / "out", "--method", "rtn", *asked, "--group-size",
        group, "--exclude", "*proj*", "--float", "keep", symmetry)  # fmt: skip
    assert report["verification"]["done"] and report["verification"]["max_relative"] < 1e-6
    (entry,) = report["tables"]
    assert entry["decision"] == "quantize" and entry["quantized"]["bits"] == bits
    assert entry["quantized"]["relative_loss"] <= entry["quantized"]["relative_loss_rtn"]
    feeds = {"ids": np.array([0, 11, 7, ROWS - 1, -1, -ROWS], np.int64)}
    rows = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["rows"]
    own = forward(tmp_path / "out" / "model.onnx", feeds, tmp_path)["rows"]
    assert relative_error(own, rows) < 1e-6
    assert np.array_equal(rows[3], rows[4]) and np.array_equal(rows[0], rows[5])
    assert not rows[1].any()
    check_rows(rows, table, feeds["ids"], bits, group)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("symmetry", ["--symmetric", "--asymmetric"])
def test_plain_gathers_give_rows_of_a_scale_each(tmp_path, symmetry, dtype):
    folder, table = lookup(tmp_path / "m", 33, dtype)
    report = quantized(folder, tmp_path / "out", "--method", "rtn", "--embeddings", "int4",
                       "--format", "qdq", "--exclude", "*proj*", symmetry)  # fmt: skip
    assert "whole bytes" in report["tables"][0]["reason"]
    written = onnx.load(tmp_path / "out" / "model.onnx")
    assert "com.microsoft" not in [entry.domain for entry in written.opset_import]
    feeds = {"ids": np.array([0, 11, 7, -1], np.int64)}
    rows = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["rows"]
    own = forward(tmp_path / "out" / "model.onnx", feeds, tmp_path)["rows"]
    assert relative_error(own, rows) < (1e-6 if dtype == "fp32" else 2e-3)
    check_rows(rows, table, feeds["ids"], 7.5, 33)


@pytest.mark.parametrize("indices", [TensorProto.INT32, TensorProto.INT64])
def test_fp16_tables_and_both_types_of_indices(tmp_path, indices):
    folder, table = lookup(tmp_path / "m", 64, "fp16", indices)
    report = quantized(folder, tmp_path / "out", "--method", "rtn", "--embeddings", "int8",
                       "--exclude", "*proj*")  # fmt: skip
    assert report["tables"][0]["quantized"]["form"] == "gatherblockquantized"
    kind = np.int32 if indices == TensorProto.INT32 else np.int64
    feeds = {"ids": np.array([5, 11, -2], kind)}
    rows = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["rows"]
    assert rows.dtype == np.float16
    check_rows(rows, table, feeds["ids"], 7.5, 64)


def tied(folder, width, way):
    """A table that is looked up, and gives the logits: stored [V, K] with a Transpose, [K, V] with
    one in front of the lookup, or [V, K] in a Gemm."""
    table = table_of(width) * np.float32(width**-0.5)
    weight = np.random.default_rng(8).standard_normal((width, width)).astype(np.float32)
    stored = np.ascontiguousarray(table.T) if way == "turned" else table
    nodes = []
    source = "embed.weight"
    if way == "turned":
        nodes.append(helper.make_node("Transpose", ["embed.weight"], ["table"], perm=[1, 0]))
        source = "table"
    nodes.append(helper.make_node("Gather", [source, "ids"], ["rows"], name="lookup"))
    nodes.append(helper.make_node("MatMul", ["rows", "proj.weight"], ["x"], name="proj"))
    if way == "gemm":
        nodes.append(helper.make_node("Gemm", ["x", "embed.weight"], ["logits"], transB=1))
    else:
        if way == "plain":
            nodes.append(helper.make_node("Transpose", ["embed.weight"], ["wt"], perm=[1, 0]))
        nodes.append(helper.make_node("MatMul", ["x", "embed.weight" if way == "turned" else "wt"],
                                      ["logits"], name="lm_head"))  # fmt: skip
    weights = [numpy_helper.from_array(stored, "embed.weight"),
               numpy_helper.from_array(weight, "proj.weight")]  # fmt: skip
    return save(folder, nodes, weights, [("rows", width), ("logits", ROWS)])


@pytest.mark.parametrize("way", ["plain", "turned", "gemm"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [64, 72])
def test_a_tied_table_is_stored_once(tmp_path, width, bits, way):
    folder = tied(tmp_path / "m", width, way)
    report = quantized(folder, tmp_path / "out", "--method", "rtn", "--bits", 4, "--group-size", 32,
                       "--lm-head", f"int{bits}", "--embeddings", "int4",
                       "--accuracy-level", 0)  # fmt: skip
    assert report["verification"]["done"]
    written = onnx.load(tmp_path / "out" / "model.onnx")
    codes = [t for t in written.graph.initializer
             if t.data_type == TensorProto.UINT8 and t.dims[0] == ROWS]  # fmt: skip
    assert len(codes) == 1
    blocks = -(-width // 32)
    assert report["tables"][0]["bytes_after"] == ROWS * blocks * (32 * bits // 8 + 4)
    assert not [t.name for t in written.graph.initializer
                if t.data_type == TensorProto.FLOAT and sorted(t.dims) == sorted([ROWS, width])]  # fmt: skip
    feeds = {"ids": np.array([3, 11, -5], np.int64)}
    got = run_session(session(tmp_path / "out" / "model.onnx"), feeds)
    own = forward(tmp_path / "out" / "model.onnx", feeds, tmp_path)
    expected = run_session(session(folder / "model.onnx"), feeds)
    for name in ("rows", "logits"):
        assert relative_error(own[name], got[name]) < 1e-4
        assert relative_error(got[name], expected[name]) < 0.25
