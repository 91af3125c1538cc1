"""Models whose weights are quantized already: refused, or dequantized first with --requantize.

The sources come from our own program and from ONNX Runtime's quantizers; what is written must equal
what comes of the float model that NumPy makes of the same codes.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (
    QUANTIZE,
    check_metadata,
    cosine,
    quantize,
    quantized,
    run_session,
    session,
    summarize,
)
from small_models import VOCABULARY, calibration_ids, feeds_of, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

LINEARS = 7  # of one layer of the Llama-like decoder, without its head
CODES = {
    TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT4, TensorProto.INT4,
}  # fmt: skip


def feeds():
    return {"input_ids": np.random.default_rng(4).integers(0, VOCABULARY, (2, 12))}


def outputs(folder):
    return run_session(session(folder / "model.onnx"), feeds())["logits"]


def ops(folder):
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    return [node.op_type for node in model.graph.node]


# ---- Sources ------------------------------------------------------------------------------------


def by_us(float_model, folder, *options):
    sizes = () if "--group-size" in options else ("--group-size", "32")
    quantized(float_model, folder, "--method", "rtn", *sizes, *options)
    return folder


def by_nbits_quantizer(float_model, folder, **options):
    pytest.importorskip("onnx_ir")  # which ONNX Runtime needs for it and does not ask for
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    quantizer = nbits.MatMulNBitsQuantizer(
        onnx.load(float_model / "model.onnx"), block_size=32, **options
    )
    quantizer.process()
    return save(quantizer.model.model, folder)


def dynamic(float_model, folder, **options):
    from onnxruntime.quantization import quantize_dynamic

    folder.mkdir()
    quantize_dynamic(float_model / "model.onnx", folder / "model.onnx", **options)
    return folder


def static(float_model, folder, operators):
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.left = [feeds()] * 2

        def get_next(self):
            return self.left.pop() if self.left else None

    folder.mkdir()
    q.quantize_static(
        float_model / "model.onnx", folder / "model.onnx", Reader(), per_channel=True,
        op_types_to_quantize=["MatMul"],
        quant_format=q.QuantFormat.QOperator if operators else q.QuantFormat.QDQ,
    )  # fmt: skip
    return folder


SOURCES = {
    "matmulnbits-int8": lambda f, d: by_us(f, d, "--bits", "8"),
    "matmulnbits-int4-asym-head": lambda f, d: by_us(f, d, "--asymmetric", "--lm-head", "int8"),
    "matmulnbits-int2": lambda f, d: by_us(f, d, "--bits", "2", "--accuracy-level", "0"),
    "matmulnbits-int3": lambda f, d: by_us(f, d, "--bits", "3"),
    "matmulnbits-padded": lambda f, d: by_us(f, d, "--group-size", "128"),
    "qdq-int4": lambda f, d: by_us(f, d, "--format", "qdq"),
    "qdq-int3-asym": lambda f, d: by_us(f, d, "--format", "qdq", "--bits", "3", "--asymmetric"),
    "half-quantized": lambda f, d: by_us(f, d, "--include", "*.mlp.*"),
    "ort-nbits": by_nbits_quantizer,
    "ort-nbits-asym": lambda f, d: by_nbits_quantizer(f, d, is_symmetric=False),
    "ort-dynamic": dynamic,
    "ort-dynamic-per-channel": lambda f, d: dynamic(f, d, per_channel=True),
    "ort-static-qdq": lambda f, d: static(f, d, operators=False),
    "ort-static-operators": lambda f, d: static(f, d, operators=True),
}


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    return save(llama(), tmp_path_factory.mktemp("float") / "source")


@pytest.fixture(scope="module", params=SOURCES)
def source(request, float_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "quantized"
    return SOURCES[request.param](float_model, folder)


# ---- Refused ------------------------------------------------------------------------------------


def test_quantized_source_is_refused(source, tmp_path):
    for command in (
        ("run", "--src", source, "--dst", tmp_path / "out"),
        ("run", "--src", source, "--dry-run"),
        ("stats", "--src", source, "--out", tmp_path / "stats"),
    ):
        done = quantize(*command)
        assert done.returncode == 4, done.stderr
        (line,) = done.stderr.splitlines()
        assert "quantized already" in line and "--requantize" in line, line
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_names_what_was_found(float_model, tmp_path):
    whole = by_us(float_model, tmp_path / "whole", "--lm-head", "int8")
    line = quantize("run", "--src", whole, "--dry-run").stderr
    assert line == (
        f"quantize: '{whole}/model.onnx' is quantized already: 8 MatMulNBits (4 and 8 bits), such "
        "as '/model.layers.0.self_attn.q_proj/MatMul'; quantize the original model, give "
        "--from-qat to keep these codes, or --requantize to dequantize these weights first\n"
    )
    half = by_us(float_model, tmp_path / "half", "--include", "*.mlp.*", "--lm-head", "keep")
    line = quantize("run", "--src", half, "--dry-run").stderr
    assert "is partly quantized already: 3 MatMulNBits (4 bits)" in line
    assert "beside 5 products with float weights" in line


def test_a_quantized_bias_is_no_quantized_weight(tmp_path):
    b = llama()
    codes = numpy_helper.from_array(np.arange(64, dtype=np.int32), "bias_codes")
    scale = numpy_helper.from_array(np.float32(0.01), "bias_scale")
    b.graph.initializer.extend([codes, scale])
    add = next(n for n in b.graph.node if n.op_type == "Add" and "self_attn" in n.input[1])
    b.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["bias_codes", "bias_scale"], ["bias"])
    )
    at = list(b.graph.node).index(add)
    biased = helper.make_node("Add", [add.input[1], "bias"], ["biased"])
    add.input[1] = "biased"
    b.graph.node.insert(at, biased)
    done = quantize("run", "--src", save(b, tmp_path / "m"), "--dry-run", "--method", "rtn")
    assert done.returncode == 0, done.stderr


# ---- Requantized --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("--bits", "8"), ("--bits", "4", "--format", "qdq")])
def test_requantized_model_computes_what_the_source_does(source, tmp_path, options, request):
    ids = calibration_ids(tmp_path / "ids.npy")
    report = quantized(
        source, tmp_path / "out", "--requantize", "--group-size", "32", "--lm-head", "keep",
        "--calib", ids, *options,
    )  # fmt: skip
    assert report["totals"]["linears_quantized"] == LINEARS
    assert report["verification"]["done"]
    check_metadata(tmp_path / "out")
    result = cosine(outputs(tmp_path / "out"), outputs(source))
    summarize("requantized", f"{request.node.callspec.id}: cosine {result:.6f}")
    # ONNX Runtime rounds the activations of the dynamic and static sources to 8 bits, too.
    rounds = "ort-dynamic" in request.node.callspec.id or "ort-static" in request.node.callspec.id
    assert result >= (0.99 if options[1] == "8" else 0.95) - (0.02 if rounds else 0)


def test_old_codes_are_gone(source, tmp_path):
    quantized(source, tmp_path / "out", "--requantize", "--method", "rtn", "--bits", "8",
              "--format", "qdq", "--lm-head", "fp16")  # fmt: skip
    found = ops(tmp_path / "out")
    assert found.count("DequantizeLinear") >= LINEARS
    gone = {"MatMulNBits", "MatMulInteger", "DynamicQuantizeMatMul"}
    assert not gone & set(found)
    model = onnx.load(tmp_path / "out" / "model.onnx", load_external_data=False)
    matrices = [
        t for t in model.graph.initializer if t.data_type in CODES and min(t.dims, default=0) > 8
    ]
    assert len(matrices) == LINEARS


# ---- Against NumPy ------------------------------------------------------------------------------


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def unpack(packed, bits):
    per_byte = 8 // bits
    shifts = np.arange(per_byte) * bits
    codes = (packed[..., None].astype(np.int64) >> shifts) & (2**bits - 1)
    return codes.reshape(*packed.shape[:-1], -1)


def floats_of(node, tensors):
    """W[N, K] of a MatMulNBits, by the operator's definition."""
    a = attributes(node)
    n, k, bits, block = a["N"], a["K"], a.get("bits", 4), a["block_size"]
    blocks = -(-k // block)
    codes = unpack(tensors[node.input[1]].reshape(n, blocks, -1), bits)
    zeros = np.full((n, blocks), 2 ** (bits - 1))
    if len(node.input) > 3 and node.input[3]:
        zeros = unpack(tensors[node.input[3]].reshape(n, -1), bits)[:, :blocks]
    scales = tensors[node.input[2]].reshape(n, blocks, 1)
    w = (codes - zeros[..., None]).astype(np.float32) * scales
    return w.reshape(n, -1)[:, :k]


def dequantized(folder, target):
    model = onnx.load(folder / "model.onnx")
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        name = node.input[1].rsplit("_q", 1)[0]
        w = np.ascontiguousarray(floats_of(node, tensors).T)
        model.graph.initializer.append(numpy_helper.from_array(w, name))
        node.CopyFrom(
            helper.make_node("MatMul", [node.input[0], name], list(node.output), name=node.name)
        )
    return save(model, target)


@pytest.mark.parametrize("case", ["matmulnbits-int8", "matmulnbits-int4-asym-head",
                                  "matmulnbits-int2", "matmulnbits-int3", "matmulnbits-padded"])  # fmt: skip
@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_equals_dequantizing_with_numpy(case, method, float_model, tmp_path):
    source = SOURCES[case](float_model, tmp_path / "source")
    options = ("--method", method, "--bits", "4", "--group-size", "16", "--lm-head", "int8",
               "--calib", calibration_ids(tmp_path / "ids.npy"))  # fmt: skip
    quantized(source, tmp_path / "ours", "--requantize", *options)
    quantized(dequantized(source, tmp_path / "floats"), tmp_path / "numpy", *options)
    results = []
    for name in ("ours", "numpy"):
        model = onnx.load(tmp_path / name / "model.onnx")
        tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        results.append(
            [tensors[i].tobytes() for node in model.graph.node if node.op_type == "MatMulNBits"
             for i in node.input[1:] if i]
        )  # fmt: skip
    assert len(results[0]) >= 2 * (LINEARS + 1)
    assert results[0] == results[1]


def test_gathered_and_shared_tables_become_floats(tmp_path):
    """GatherBlockQuantized and MatMulNBits on one table, as GenAI writes tied embeddings."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 256, (VOCABULARY, 2, 16), np.uint8)
    scales = rng.uniform(0.01, 0.02, (VOCABULARY, 2)).astype(np.float32)
    constants = {"codes": codes, "table": codes.reshape(VOCABULARY, 32), "scales": scales}
    nodes = [
        helper.make_node("GatherBlockQuantized", ["table", "input_ids", "scales"], ["x"],
                         domain="com.microsoft", block_size=32, quantize_axis=1, bits=4),
        helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], name="/head/MatMul_Q4",
                         domain="com.microsoft", K=64, N=VOCABULARY, block_size=32, bits=4),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "t"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", "t", VOCABULARY])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
    )  # fmt: skip
    source = save(model, tmp_path / "m")
    quantized(source, tmp_path / "out", "--requantize", "--method", "rtn", "--bits", "8",
              "--group-size", "32", "--lm-head", "int8")  # fmt: skip
    written = ops(tmp_path / "out")
    assert "GatherBlockQuantized" not in written and "Gather" in written
    given = feeds_of(model)
    expected = run_session(session(source / "model.onnx"), given)["y"]
    actual = run_session(session(tmp_path / "out" / "model.onnx"), given)["y"]
    assert cosine(actual, expected) > 0.9999
