"""NF4 and FP4 weights, as MatMulBnb4: run in ONNX Runtime, and compared with bitsandbytes' tables and
with ONNX Runtime's own quantizer of that operator."""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from quantize_cli import QUANTIZE, quantize, quantized, run_session, session  # noqa: E402
from small_models import calibration_ids, feeds_of, llama, save  # noqa: E402
from test_formats import HELPER, emit, linear_model, relative_error  # noqa: E402
from test_small_models import check  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists() or not HELPER.exists(),
    reason=f"{QUANTIZE} or {HELPER} is absent: build them, or set PTQ_BUILD_DIR",
)

# By code: bitsandbytes/functional.py, get_4bit_type.
NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
                -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
                0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32)  # fmt: skip
FP4 = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3], np.float32) / 12
TABLES = {"nf4": (1, NF4), "fp4": (0, FP4)}
RTN = ["--method", "rtn", "--group-size", 32]
FORMS = pytest.mark.parametrize("form", TABLES)


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def products(model):
    return [node for node in model.graph.node if node.op_type == "MatMulBnb4"]


def tensors_of(folder):
    graph = onnx.load(folder / "model.onnx").graph
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def codes_of(packed):
    return np.stack([packed >> 4, packed & 15], axis=-1).ravel()


# ---- The operator -------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [16, 32, 64, 128, 256])
@pytest.mark.parametrize(
    "kind,n,dtype", [("MatMul", 33, "float32"), ("Gemm", 7, "float32"), ("MatMul", 48, "float16")]
)
@FORMS
def test_product_equals_dequantized_weights(tmp_path, form, kind, n, dtype, group):
    """Scales of both signs among them."""
    source = tmp_path / "source.onnx"
    x, bias = linear_model(source, kind, 512, n, dtype)
    written, weights, _ = emit(source, tmp_path, form, 4, group, True)
    graph = onnx.load(written).graph
    (node,) = [node for node in graph.node if node.op_type == "MatMulBnb4"]
    own = attributes(node)
    assert (own["K"], own["N"], own["block_size"]) == (512, n, group)
    assert own["quant_type"] == TABLES[form][0]
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    packed, scales = (stored[name] for name in node.input[1:])
    values = TABLES[form][1][codes_of(packed)] * np.repeat(scales.astype(np.float32), group)
    np.testing.assert_allclose(values.reshape(n, 512), weights["y"], rtol=1e-6)
    expected = x.astype(np.float64) @ weights["y"].astype(np.float64).T
    actual = session(written).run(None, {"x": x})[0]
    error = relative_error(actual, expected if bias is None else expected + bias)
    assert error < (2e-3 if dtype == "float16" else 5e-6)


# ---- Whole models -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@FORMS
def test_decoder_runs_as_expected_in_both_engines(tmp_path, form, dtype):
    arguments = [*RTN, "--format", form]
    limit = 1e-2 if dtype == "float16" else 1e-4
    report, described, written = check(
        llama(dtype), tmp_path, *arguments, limit=limit, least_cosine=0.94
    )
    assert report["totals"]["linears_quantized"] == 7 == len(products(written))
    for linear in described["linears"]:
        if linear["decision"] != "quantize":
            continue
        assert linear["quantized"]["form"] == form and linear["quantized"]["bits"] == 4
        weights = linear["n"] * linear["k"]
        assert linear["bytes_after"] == weights // 2 + weights // 32 * (2 if limit > 1e-3 else 4)


@pytest.mark.parametrize("method", ["awq", "gptq", "adaround", "best"])
@FORMS
def test_calibrated_decoder_loses_less_than_nearest_codes(tmp_path, form, method):
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = ["--method", method, "--group-size", 32, "--form", form, "--calib", ids]
    _, described, _ = check(llama(), tmp_path, *arguments, least_cosine=0.94)
    losses = [linear["quantized"] for linear in described["linears"] if linear["quantized"]]
    assert len(losses) == 7
    assert all(x["loss_after"] <= x["loss_before"] for x in losses)
    assert sum(x["loss_after"] for x in losses) < 0.9 * sum(x["loss_before"] for x in losses)


@FORMS
def test_nearest_codes_are_those_of_onnxruntimes_quantizer(tmp_path, form):
    bnb4 = pytest.importorskip("onnxruntime.quantization.matmul_bnb4_quantizer")
    source = save(llama(), tmp_path / "source")
    quantized(source, tmp_path / "out", *RTN, "--format", form)
    quantizer = bnb4.MatMulBnb4Quantizer(
        onnx.load(source / "model.onnx"), TABLES[form][0], block_size=32
    )
    quantizer.process()
    theirs = {t.name: numpy_helper.to_array(t) for t in quantizer.model.model.graph.initializer}
    ours = tensors_of(tmp_path / "out")
    nodes = {n.name.removesuffix("_Bnb4"): n for n in products(quantizer.model.model)}
    compared = 0
    for node in products(onnx.load(tmp_path / "out" / "model.onnx")):
        other = nodes[node.name]
        table = TABLES[form][1]
        np.testing.assert_array_equal(ours[node.input[2]], theirs[other.input[2]])
        a, b = (table[codes_of(t[n.input[1]])] for t, n in ((ours, node), (theirs, other)))
        assert np.mean(a != b) < 1e-3  # their borders between FP4's values are rounded
        compared += 1
    assert compared == 7


# ---- What the operator cannot hold --------------------------------------------------------------


def test_rows_that_end_within_a_block_become_blocks_of_integers(tmp_path):
    """Those of the down projection have 96 weights, the others 64."""
    arguments = ["--method", "rtn", "--accuracy-level", 0, "--group-size", 64, "--format", "nf4"]
    _, described, written = check(llama(), tmp_path, *arguments)
    forms = {x["name"].split(".")[-1]: x["quantized"] for x in described["linears"]}
    assert forms["up_proj"]["form"] == "nf4"
    assert forms["down_proj"]["form"] == "matmulnbits"
    assert [n.op_type for n in written.graph.node].count("MatMulNBits") == 1
    (reason,) = [x["reason"] for x in described["linears"] if "down_proj" in x["name"]]
    assert "not nf4" in reason and "rows of 96 weights" in reason


def test_a_head_of_8_bits_and_a_table_of_4_stand_beside_it(tmp_path):
    arguments = [*RTN, "--accuracy-level", 0, "--format", "nf4", "--lm-head", "int8"]
    arguments += ["--embeddings", "int4"]
    _, described, written = check(llama(vocabulary=1500), tmp_path, *arguments)
    assert described["linears"][-1]["quantized"]["form"] == "matmulnbits"
    assert described["tables"][0]["quantized"]["form"] == "gatherblockquantized"
    assert len(products(written)) == 7


def test_a_tied_table_has_codes_of_its_own(tmp_path):
    """No lookup reads the operator's codes."""
    arguments = [*RTN, "--accuracy-level", 0, "--format", "nf4", "--lm-head", "int4"]
    arguments += ["--embeddings", "int4"]
    _, described, written = check(llama(vocabulary=1500, tied=True), tmp_path, *arguments)
    assert described["linears"][-1]["quantized"]["form"] == "nf4"
    assert described["tables"][0]["quantized"]["form"] == "gatherblockquantized"
    assert len(products(written)) == 8


def test_a_rule_names_it(tmp_path):
    arguments = [*RTN, "--accuracy-level", 0, "--rule", "*.q_proj: form=nf4 group=16"]
    _, described, _ = check(llama(), tmp_path, *arguments)
    forms = [x["quantized"]["form"] for x in described["linears"] if x["quantized"]]
    assert sorted(forms) == ["matmulnbits"] * 6 + ["nf4"]


@pytest.mark.parametrize("named,operator", [("first", "MatMulBnb4"), ("second", "MatMulNBits")])
def test_a_weight_that_is_used_twice_has_the_form_of_its_first_use(tmp_path, named, operator):
    weight = np.random.default_rng(3).standard_normal((64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="first"),
            helper.make_node("Tanh", ["x"], ["t"]),
            helper.make_node("MatMul", ["t", "w"], ["z"], name="second"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3, 32]) for n in "yz"],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    arguments = [*RTN, "--accuracy-level", 0, "--lm-head", "int4", "--rule", f"{named}: form=nf4"]
    _, _, written = check(model, tmp_path, *arguments, least_cosine=0.9)
    kinds = [n.op_type for n in written.graph.node if n.op_type.startswith("MatMul")]
    assert kinds == [operator, operator]


@pytest.mark.parametrize(
    "options,expected",
    [
        (["--bits", "8"], "codes of nf4 have 4 bits, not 8"),
        (["--asymmetric"], "nf4 has no zero points"),
        (["--group-size", "channel"], "not whole rows"),
        (["--rule", "*: bits=2"], "'*': codes of nf4 have 4 bits, not 2"),
    ],
)
def test_what_no_tensor_can_have_is_a_usage_error(tmp_path, options, expected):
    source = save(llama(), tmp_path / "source")
    done = quantize("run", "--src", source, "--method", "rtn", "--format", "nf4", *options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert expected in line


# ---- Again --------------------------------------------------------------------------------------


@FORMS
def test_its_result_can_be_quantized_again(tmp_path, form):
    source = save(llama(), tmp_path / "source")
    quantized(source, tmp_path / "first", *RTN, "--format", form)
    done = quantize("run", "--src", tmp_path / "first", "--dry-run")
    assert done.returncode == 4 and "quantized already" in done.stderr
    again = ["--requantize", "--method", "rtn"]
    quantized(tmp_path / "first", tmp_path / "same", *again, "--group-size", 32, "--format", form)
    quantized(tmp_path / "first", tmp_path / "wide", *again, "--bits", 8, "--group-size", 32)
    feeds = feeds_of(llama())
    first, same, wide = (
        run_session(session(tmp_path / name / "model.onnx"), feeds)["logits"]
        for name in ("first", "same", "wide")
    )
    assert relative_error(same, first.astype(np.float64)) < 1e-5  # the weights lie on the levels
    assert relative_error(wide, first.astype(np.float64)) < 0.1
