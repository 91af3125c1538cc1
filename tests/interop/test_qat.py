"""Hand-over to and from quantization-aware training: fake-quantized models and those that training
frameworks export are packed with the codes and scales that they have."""

import itertools
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (
    QUANTIZE,
    quantize,
    quantized,
    relative_error,
    run_session,
    session,
)
from small_models import Builder, feeds_of, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
RTN = ["--method", "rtn", "--lm-head", "keep"]
INTEGERS = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}


def packed(path):
    """Of each quantized linear: type, shape and bytes of its codes, scales and zero points, and what
    its node says of groups."""
    model = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("MatMulNBits", "DequantizeLinear") or node.input[0] in (
            output for other in model.graph.node for output in other.output
        ) and node.op_type == "DequantizeLinear":
            continue
        parts = [tensors[name] for name in node.input if name in tensors]
        found[node.name] = (
            [(part.data_type, tuple(part.dims), part.raw_data) for part in parts],
            sorted((a.name, a.i) for a in node.attribute if a.name != "accuracy_level"),
        )
    return found


@pytest.fixture(scope="module", params=["float32", "float16"])
def source(request, tmp_path_factory):
    model = llama(request.param, hidden=128, ffn=256, opset=25)
    return request.param, save(model, tmp_path_factory.mktemp("qat") / "source")


GRIDS = list(itertools.product((2, 3, 4, 8), (16, 32, 128, "channel"), (True, False)))


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize(
    "bits, group, symmetric",
    [pytest.param(*grid, marks=[] if grid[:2] in ((4, 32), (8, "channel")) else pytest.mark.slow)
     for grid in GRIDS],
)  # fmt: skip
def test_codes_and_scales_come_back_bit_for_bit(source, tmp_path, bits, group, symmetric, form):
    dtype, folder = source
    grid = ["--bits", bits, "--group-size", group, *([] if symmetric else ["--asymmetric"])]
    quantized(folder, tmp_path / "direct", *RTN, *grid, "--format", form)
    quantized(folder, tmp_path / "fake", *RTN, *grid, "--format", "fake-quant")
    # Of the grid's options only what decides between equal ones, and lets 2 bits be written.
    allowed = ["--bits", 2 if bits == 2 else 4, "--group-size", group]
    report = quantized(
        tmp_path / "fake", tmp_path / "out", "--from-qat", "--lm-head", "keep", "--format", form,
        "--accuracy-level", 0, *allowed,
    )  # fmt: skip
    direct, found = (packed(tmp_path / name / "model.onnx") for name in ("direct", "out"))
    assert len(direct) > 5 and found == direct
    taken = [entry for entry in report["linears"] if entry["decision"] == "quantize"]
    assert {entry["reason"] for entry in taken} == {"lies on a grid"}
    assert report["calibration"]["samples"] == 0
    if dtype == "float32":
        assert all(entry["relative_loss"] == 0 for entry in taken)
    if bits == 2:
        return  # ONNX Runtime fails to fold a QuantizeLinear to 2 bits
    feeds = feeds_of(onnx.load(folder / "model.onnx"))
    expected = run_session(session(tmp_path / "fake" / "model.onnx"), feeds)
    limit = 1e-4 if dtype == "float32" else 2e-2
    actual = run_session(session(tmp_path / "out" / "model.onnx"), feeds)
    for name, array in expected.items():
        assert relative_error(actual[name], array) < limit, name


def test_an_int8_channel_model_keeps_its_opset(tmp_path):
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal((64, 64)).astype(np.float32) for _ in range(2)]
    folder = save(products(weights, opset=14), tmp_path / "source")
    arguments = [*RTN, "--bits", 8, "--group-size", "channel", "--format", "fake-quant"]
    quantized(folder, tmp_path / "fake", *arguments)
    model = onnx.load(tmp_path / "fake" / "model.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [14]
    session(tmp_path / "fake" / "model.onnx")


def grid_matrix(rng, n, k, bits, group, symmetric):
    """W[n, k] on a grid: codes, scales, floats. Each group uses all the range and a code of one."""
    groups = -(-k // group)
    scales = np.exp(rng.standard_normal((n, groups)) - 4).astype(np.float32)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    zeros = np.zeros((n, groups), np.int64)
    if not symmetric:
        zeros = rng.integers(low + 2, high - 1, (n, groups))
    codes = rng.integers(low, high + 1, (n, k))
    of = np.arange(k) // group
    for g in range(groups):
        codes[:, g * group] = low
        codes[:, g * group + 1] = high
        codes[:, g * group + 2] = zeros[:, g] - 1
    floats = (codes - zeros[:, of]).astype(np.float32) * scales[:, of]
    return codes, scales, zeros, floats


def products(weights, opset=21, activations=False):
    """x·W₀·W₁…, by plain initializers [k, n]; with Q and DQ around the activations if so asked."""
    b = Builder()
    x = "x"
    for i, w in enumerate(weights):
        b.constant(w, f"layer.{i}.weight")
        if activations:
            scale, zero = f"scale{i}", f"zero{i}"
            b.initializers.append(numpy_helper.from_array(np.array(0.05, np.float32), scale))
            b.initializers.append(numpy_helper.from_array(np.array(128, np.uint8), zero))
            x = b.node("QuantizeLinear", [x, scale, zero])
            x = b.node("DequantizeLinear", [x, scale, zero])
        x = b.node("MatMul", [x, f"layer.{i}.weight"], f"/layer.{i}/MatMul")
    b.nodes.append(helper.make_node("Identity", [x], ["y"], name="last"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(weights[0])])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", weights[-1].shape[1]])]
    model = b.model(inputs, outputs)
    model.opset_import[0].version = opset
    return model


def dequantized(path):
    """The floats [k, n] of each linear of a qdq model, by the name of its node."""
    model = onnx.load(path)
    tensors = {t.name: t for t in model.graph.initializer}
    readers = {node.input[1]: node.name for node in model.graph.node if node.op_type == "MatMul"}
    found = {}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in tensors:
            continue
        arrays = [numpy_helper.to_array(tensors[name]) for name in node.input]
        codes = arrays[0].astype(np.float32)
        block = next((a.i for a in node.attribute if a.name == "block_size"), 0)
        scales = np.broadcast_to(arrays[1], codes.shape) if block == 0 else np.repeat(
            arrays[1], block, axis=0)[: len(codes)]  # fmt: skip
        if len(arrays) > 2:
            zeros = arrays[2].astype(np.float32)
            codes = codes - (zeros if block == 0 else np.repeat(zeros, block, axis=0)[: len(codes)])
        found[readers[node.output[0]]] = codes * scales
    return found


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 96])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rounded", [False, True])
def test_plain_floats_on_a_grid_are_found(tmp_path, bits, group, symmetric, rounded):
    rng = np.random.default_rng(bits * 1000 + group)
    floats = [grid_matrix(rng, 96, 96, bits, group, symmetric)[3].T for _ in range(2)]
    if rounded:
        floats = [w.astype(np.float16).astype(np.float32) for w in floats]
    source = save(products(floats), tmp_path / "source")
    report = quantized(source, tmp_path / "out", "--from-qat", "--format", "qdq")
    for entry in report["linears"]:
        assert entry["reason"] == "lies on a grid"
        assert (entry["bits"], entry["symmetric"]) == (bits, symmetric)
        assert entry["group_size"] == (128 if group == 96 else group)  # no smaller than K
    for i, w in enumerate(floats):
        written = dequantized(tmp_path / "out" / "model.onnx")[f"/layer.{i}/MatMul"]
        if rounded:
            written = written.astype(np.float16).astype(np.float32)
        assert np.array_equal(written, w)


def test_what_lies_on_no_grid_is_treated_as_the_method_says(tmp_path):
    rng = np.random.default_rng(4)
    on = grid_matrix(rng, 64, 64, 4, 32, True)[3].T
    near = on + 1e-3 * np.abs(on).max() * rng.standard_normal(on.shape).astype(np.float32)
    source = save(products([on, near]), tmp_path / "source")
    arguments = ["--from-qat", "--method", "rtn", "--bits", 8, "--group-size", 16]
    report = quantized(source, tmp_path / "out", *arguments)
    first, second = report["linears"]
    assert (first["bits"], first["group_size"], first["reason"]) == (4, 32, "lies on a grid")
    assert (second["bits"], second["group_size"]) == (8, 16)
    assert second["reason"] == "on no grid of 8 bits that matmulnbits holds"
    plan = quantize("run", source, tmp_path / "plan", *arguments, "--dry-run")
    assert "lies on a grid" in plan.stdout and "on no grid" in plan.stdout


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("dtype", [TensorProto.INT8, TensorProto.UINT8])
@pytest.mark.parametrize("per_tensor", [True, False])
def test_exports_with_pairs_keep_codes_and_activations(tmp_path, stored, dtype, per_tensor):
    """As PyTorch and TensorFlow export them: pairs around activations and float weights, or codes of
    weights with a DequantizeLinear behind."""
    rng = np.random.default_rng(9)
    low = -128 if dtype == TensorProto.INT8 else 0
    scales = np.exp(rng.standard_normal(1 if per_tensor else 48) - 4).astype(np.float32)
    zeros = np.full(scales.shape, 0 if dtype == TensorProto.INT8 else 120, INTEGERS[dtype])
    codes = rng.integers(low, low + 256, (64, 48))
    codes[0], codes[1] = low, low + 255
    w = (codes - zeros.astype(np.int64)).astype(np.float32) * scales
    model = products([w], opset=13, activations=True)
    graph = model.graph
    scale, zero = (scales[0], zeros[0]) if per_tensor else (scales, zeros)
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale), "w_scale"))
    graph.initializer.append(numpy_helper.from_array(np.asarray(zero), "w_zero"))
    axis = {} if per_tensor else {"axis": 1}
    product = next(node for node in graph.node if node.op_type == "MatMul")
    if stored:
        old = next(t for t in graph.initializer if t.name == product.input[1])
        old.CopyFrom(numpy_helper.from_array(codes.astype(INTEGERS[dtype]), old.name))
    pair = [helper.make_node("DequantizeLinear", [product.input[1], "w_scale", "w_zero"], ["w_dq"],
                             name="dq", **axis)]  # fmt: skip
    if not stored:
        pair.insert(0, helper.make_node("QuantizeLinear", list(pair[0].input), ["w_q"], name="q",
                                        **axis))  # fmt: skip
        pair[1].input[0] = "w_q"
    product.input[1] = "w_dq"
    nodes = [*pair, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    source = save(model, tmp_path / "source")
    refused = quantize("run", source, tmp_path / "out", *RTN)
    assert refused.returncode == 4 and "--from-qat" in refused.stderr
    report = quantized(source, tmp_path / "out", "--from-qat", "--format", "qdq")
    (entry,) = report["linears"]
    assert (entry["bits"], entry["reason"]) == (8, "lies on a grid")
    (written,) = dequantized(tmp_path / "out" / "model.onnx").values()
    assert np.array_equal(written, w)
    kinds = [node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node]
    assert kinds.count("QuantizeLinear") == 1 and kinds.count("DequantizeLinear") == 2
    feeds = {"x": rng.standard_normal((3, 64)).astype(np.float32)}
    expected, actual = (
        run_session(session(tmp_path / name / "model.onnx"), feeds) for name in ("source", "out")
    )
    assert relative_error(actual["y"], expected["y"]) < 1e-5


@pytest.mark.parametrize("forms", [("matmulnbits", "qdq"), ("qdq", "matmulnbits")])
def test_formats_are_converted_without_loss(tmp_path, forms):
    source = save(llama(), tmp_path / "source")
    grid = [*RTN, "--group-size", 32, "--asymmetric"]
    for form in forms:
        quantized(source, tmp_path / form, *grid, "--format", form)
    quantized(tmp_path / forms[0], tmp_path / "out", "--from-qat", "--lm-head", "keep", "--format",
              forms[1])  # fmt: skip
    expected = packed(tmp_path / forms[1] / "model.onnx")
    found = packed(tmp_path / "out" / "model.onnx")
    assert list(found.values()) == list(expected.values())


def test_known_linears_are_left_alone_by_scales_and_corrections(tmp_path):
    """Beside others at one activation, and behind a norm whose gain takes the scales of others."""
    source = save(llama(layers=2), tmp_path / "source")
    model = onnx.load(source / "model.onnx")
    rng = np.random.default_rng(2)
    chosen = {}
    for tensor in model.graph.initializer:
        if "q_proj" in tensor.name or "up_proj" in tensor.name:
            k, n = tensor.dims
            w = grid_matrix(rng, n, k, 4, 32, True)[3].T
            chosen[tensor.name] = w
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(w), tensor.name))
    assert len(chosen) == 4
    onnx.save(model, source / "model.onnx")
    ids = tmp_path / "ids.npy"
    np.save(ids, rng.integers(0, 90, (6, 16)))
    report = quantized(
        source, tmp_path / "out", "--from-qat", "--method", "best", "--format", "qdq",
        "--group-size", 16, "--calib", ids, "--bias-correction", "all",
    )  # fmt: skip
    written = dequantized(tmp_path / "out" / "model.onnx")
    known = [e for e in report["linears"] if e["reason"] == "lies on a grid"]
    assert len(known) == 4 and all(e["relative_loss"] == 0 for e in known)
    for entry in known:
        name = next(name for name in chosen if entry["name"] in name)
        assert np.array_equal(written[entry["node"]], chosen[name]), name
    recipe = json.loads((tmp_path / "out" / "quantization_metadata.json").read_text())["recipe"]
    assert recipe["from_qat"] is True


def test_codes_are_not_asked_of_a_method_without_any(tmp_path):
    source = save(llama(), tmp_path / "source")
    done = quantize("run", source, tmp_path / "out", "--method", "fp16", "--from-qat")
    assert done.returncode == 2 and "--from-qat keeps codes" in done.stderr
