"""Products of 8-bit integers (--method int8) in ONNX Runtime: what is fused, what is computed, and that
activations with outliers and padding keep their answers."""

import numpy as np
import onnx
import pytest
from fused_products import ROUNDING, errors, operators, optimized
from layer_forms import packed_attention, packed_attention_with_past
from onnx import numpy_helper
from quantize_cli import (QUANTIZE, SHARED, check_metadata, hashes, quantize, quantized,
                          relative_error, run_session, session)  # fmt: skip
from small_models import VOCABULARY, calibration_ids, encoder, feeds_of, llama, save
from small_products import linear_forms

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

FUSED = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
MODELS = {
    "llama": (lambda: llama(layers=2), 15),
    "llama fp16": (lambda: llama("float16"), 8),
    "llama bf16 weights": (lambda: llama(stored="bfloat16"), 8),
    "encoder": (encoder, 6),
    "forms": (linear_forms, 12),
    "forms fp16": (lambda: linear_forms("float16"), 12),
}


@pytest.mark.parametrize("weights", [["--asymmetric"], ["--symmetric", "--bits", 7]])
@pytest.mark.parametrize("name", MODELS)
def test_every_linear_is_a_product_of_integers_that_is_fused(tmp_path, name, weights):
    """Signed weights of 8 bits saturate in ONNX Runtime on some processors, of 7 they do not."""
    build, linears = MODELS[name]
    model = build()
    source = save(model, tmp_path / "source")
    samples = ["--calib", calibration_ids(tmp_path / "ids.npy")] if "forms" not in name else []
    scaling = [] if samples else ["--scaling", "none", "--bias-correction", "none"]
    report = quantized(
        source, tmp_path / "out", "--method", "int8", *samples, *scaling, *weights
    )
    assert report["verification"]["done"] == bool(samples)  # x is no token ids
    found = check_metadata(tmp_path / "out")
    for linear in found["linears"]:
        assert linear["quantized"]["form"] == "matmulinteger"
    written = onnx.load(tmp_path / "out" / "model.onnx")
    assert operators(written)["MatMulInteger"] == linears
    left = optimized(tmp_path / "out" / "model.onnx", tmp_path)
    assert left["MatMulInteger"] == 0
    # Products of one weight and one activation that are the same are computed once.
    assert sum(left[kind] for kind in FUSED) == linears, left
    against_source, against_own = errors(source, tmp_path / "out", feeds_of(model))
    assert against_own < ROUNDING
    assert against_source < 0.1


def test_siblings_share_one_rounding(tmp_path):
    source = save(llama(), tmp_path / "source")
    quantized(source, tmp_path / "out", "--method", "int8", "--calib",
              calibration_ids(tmp_path / "ids.npy"))  # fmt: skip
    # Of q, k and v; of o; of gate and up; of down; of the head.
    found = operators(onnx.load(tmp_path / "out" / "model.onnx"))
    assert found["DynamicQuantizeLinear"] == 5 and found["MatMulInteger"] == 8


def test_no_integer_is_computed_otherwise_than_the_file_says(tmp_path):
    """The codes of one linear, multiplied in exact integers."""
    source = save(linear_forms(), tmp_path / "source")
    quantized(source, tmp_path / "out", "--method", "int8", "--scaling", "none",
              "--bias-correction", "none")  # fmt: skip
    model = onnx.load(tmp_path / "out" / "model.onnx")
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    (node,) = [n for n in model.graph.node if n.op_type == "MatMulInteger" and n.name == "direct"]
    codes, zeros = tensors[node.input[1]].astype(np.int64), tensors[node.input[3]].astype(np.int64)
    (name,) = [n for n in tensors if n.startswith("direct") and n.endswith("weight_scales")]
    x = feeds_of(model)["x"]
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = np.float32((high - low) / np.float32(255))
    zero = np.rint(-low / step)
    rounded = (np.clip(np.rint(x / step) + zero, 0, 255) - zero).astype(np.int64)
    expected = (rounded @ (codes - zeros)).astype(np.float64) * step * tensors[name]
    got = run_session(session(tmp_path / "out" / "model.onnx"), {"x": x})["y_direct"]
    assert relative_error(got, expected) < 1e-5


def with_outliers(model, factor=60):
    """Two channels of each gain are large, and the rows of the weights behind it as much smaller:
    the model computes what it did."""
    tensors = {t.name: t for t in model.graph.initializer}
    readers = {"input_layernorm": ("q_proj", "k_proj", "v_proj"),
               "post_attention_layernorm": ("gate_proj", "up_proj")}  # fmt: skip
    for name, tensor in tensors.items():
        for norm, linears in readers.items():
            if norm not in name:
                continue
            factors = np.ones(tensor.dims[0], np.float32)
            factors[[3, 40]] = factor
            layer = name.split("input_layernorm")[0].split("post_attention_layernorm")[0]
            change = {name: numpy_helper.to_array(tensor) * factors}
            for other, weight in tensors.items():
                if other.startswith(layer) and any(part in other for part in linears):
                    change[other] = numpy_helper.to_array(weight) / factors[:, None]
            for changed, array in change.items():
                tensors[changed].CopyFrom(numpy_helper.from_array(array, changed))
    return model


def test_outliers_of_activations_go_into_the_weights(tmp_path):
    source = save(with_outliers(llama(layers=2)), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    feeds = feeds_of(llama(layers=2))
    error = {}
    for scaling in ("none", "smooth"):
        report = quantized(source, tmp_path / scaling, "--method", "int8", "--scaling", scaling,
                           "--calib", ids)  # fmt: skip
        error[scaling], _ = errors(source, tmp_path / scaling, feeds)
        for loss in report["linears"]:
            assert loss["relative_loss"] <= loss["relative_loss_rtn"] * 1.0001
    assert error["smooth"] < 0.25 * error["none"] and error["smooth"] < 0.05, error


def test_padding_does_not_take_the_levels_from_the_tokens(tmp_path):
    """The padding's own row of the table has values that no token has."""
    model = encoder()
    (table,) = [t for t in model.graph.initializer if t.name == "embeddings.weight"]
    rows = numpy_helper.to_array(table).copy()
    rows[0] = 0
    rows[0, [5, 6, 7]] = 40
    table.CopyFrom(numpy_helper.from_array(rows, table.name))
    source = save(model, tmp_path / "source")
    rng = np.random.default_rng(3)
    np.save(tmp_path / "ids.npy", rng.integers(1, VOCABULARY, (8, 24)))
    quantized(source, tmp_path / "out", "--method", "int8", "--calib", tmp_path / "ids.npy")
    ids = rng.integers(1, VOCABULARY, (2, 9))
    mask = np.ones_like(ids)
    ids[1, 4:] = mask[1, 4:] = 0
    feeds = {"input_ids": ids, "attention_mask": mask}
    got, wanted = (
        run_session(session(folder / "model.onnx"), feeds)["last_hidden_state"][mask == 1]
        for folder in (tmp_path / "out", source)
    )
    assert relative_error(got, wanted) < 0.05


@pytest.mark.parametrize("method", [["--rounding", "gptq"], ["--propagate", "--rounding", "descent"],
                                    ["--bias-correction", "all"]])  # fmt: skip
def test_any_method_finds_the_codes(tmp_path, method):
    source = save(llama(layers=2), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    report = quantized(source, tmp_path / "out", "--method", "int8", *method, "--calib", ids)
    assert report["verification"]["done"]
    against_source, _ = errors(source, tmp_path / "out", feeds_of(llama()))
    assert against_source < 0.1
    quantized(source, tmp_path / "again", "--method", "int8", *method, "--calib", ids, threads=2)
    one, two = hashes(tmp_path / "out"), hashes(tmp_path / "again")
    assert one["model.onnx"] == two["model.onnx"]


def test_statistics_of_a_file_give_the_same_model(tmp_path):
    source = save(encoder(), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    done = quantize("stats", "--src", source, "--out", tmp_path / "s", "--calib", ids)
    assert done.returncode == 0, done.stderr
    quantized(source, tmp_path / "a", "--method", "int8", "--calib", ids)
    quantized(source, tmp_path / "b", "--method", "int8", "--stats", tmp_path / "s")
    a, b = (onnx.load(tmp_path / name / "model.onnx") for name in "ab")
    for one, two in zip(a.graph.initializer, b.graph.initializer, strict=True):
        assert np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(two)), one.name


def test_what_is_quantized_to_int8_can_be_quantized_again(tmp_path):
    source = save(llama(), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    quantized(source, tmp_path / "int8", "--method", "int8", "--calib", ids)
    report = quantized(tmp_path / "int8", tmp_path / "int4", "--requantize", "--method", "rtn",
                       "--group-size", 16)  # fmt: skip
    assert report["verification"]["done"]


PACKED = {
    "no mask": lambda: packed_attention(0),
    "flags": lambda: packed_attention(2),
    "lengths": lambda: packed_attention(1),
    "causal": lambda: packed_attention(0, causal=True),
    "equal sizes": lambda: packed_attention(0, (64, 64, 64)),
}


@pytest.mark.parametrize("weights", [["--asymmetric"], ["--symmetric", "--bits", 7]])
@pytest.mark.parametrize("name", PACKED)
def test_a_packed_attention_is_one_node_of_integers(tmp_path, name, weights):
    source = save(PACKED[name]()[0], tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    report = quantized(source, tmp_path / "out", "--method", "int8", "--lm-head", "int8",
                       "--embeddings", "keep", "--calib", ids, *weights)  # fmt: skip
    assert report["verification"]["done"]
    model = onnx.load(tmp_path / "out" / "model.onnx")
    found = operators(model)
    assert found["QAttention"] == 1 and found["DynamicQuantizeLinear"] == 1
    assert not {"Attention", "MultiHeadAttention", "MatMulInteger", "Split"} & set(found)
    feeds = feeds_of(model)
    from_source, from_ours = errors(source, tmp_path / "out", feeds)
    assert from_source < 0.05 and from_ours < ROUNDING
    quantized(tmp_path / "out", tmp_path / "again", "--requantize", "--method", "rtn",
              "--bits", 8, "--group-size", 32, "--lm-head", "int8", "--embeddings", "keep")  # fmt: skip
    again = operators(onnx.load(tmp_path / "again" / "model.onnx"))
    assert again["MatMulNBits"] == 1 and again["QAttention"] == 0


@pytest.mark.parametrize("name, build", [("sizes", lambda: packed_attention(0, (32, 32, 64))),
                                         ("past", lambda: packed_attention_with_past(17))])  # fmt: skip
def test_other_packed_attentions_have_a_product_of_integers(tmp_path, name, build):
    source = save(build()[0], tmp_path / "source")
    quantized(source, tmp_path / "out", "--method", "int8", "--scaling", "none", "--embeddings", "keep",
              "--bias-correction", "none", "--lm-head", "int8")  # fmt: skip
    found = operators(onnx.load(tmp_path / "out" / "model.onnx"))
    assert found["MatMulInteger"] == 1 and found["QAttention"] == 0


def test_a_fused_encoder_as_an_optimizer_writes_it(tmp_path):
    source = SHARED / "onnx" / "exports" / "bert-ortfused"
    if not source.exists():
        pytest.skip(f"{source} is absent")
    quantized(source, tmp_path / "out", "--method", "int8", "--scaling", "none", "--embeddings", "keep",
              "--bias-correction", "none")  # fmt: skip
    written = onnx.load(tmp_path / "out" / "model.onnx")
    assert operators(written)["QAttention"] == 2
    assert not {"Range", "Less", "Split"} & set(operators(written))
    feeds = feeds_of(written)
    for name in feeds:
        if name != "input_ids":
            feeds[name] = np.full_like(feeds[name], 1 if "mask" in name else 0)
    from_source, from_ours = errors(source, tmp_path / "out", feeds)
    assert from_source < 0.1 and from_ours < ROUNDING


def test_other_bits_and_groups_are_refused(tmp_path):
    source = save(llama(), tmp_path / "source")
    for option, words in ((["--bits", "4"], "codes of 8 bits, not of 4"),
                          (["--group-size", "32"], "no groups of 32")):  # fmt: skip
        done = quantize("run", source, tmp_path / "out", "--method", "int8", *option)
        assert done.returncode == 2 and words in done.stderr, done.stderr


def matrices():
    """x [6, 64] through two Gemms, one with a bias."""
    rng = np.random.default_rng(8)
    weights = {"a.weight": rng.standard_normal((48, 64)), "b.weight": rng.standard_normal((48, 32)),
               "a.bias": rng.standard_normal(48)}  # fmt: skip
    nodes = [onnx.helper.make_node("Gemm", ["x", "a.weight", "a.bias"], ["h"], "a", transB=1),
             onnx.helper.make_node("Relu", ["h"], ["r"]),
             onnx.helper.make_node("Gemm", ["r", "b.weight"], ["y"], "b")]  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes, "matrices",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 32])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )


def test_products_of_matrices_with_a_bias_are_fused(tmp_path):
    source = save(matrices(), tmp_path / "source")
    x = np.random.default_rng(9).standard_normal((256, 64)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    report = quantized(source, tmp_path / "out", "--method", "int8", "--calib", tmp_path / "x.npz")
    left = optimized(tmp_path / "out" / "model.onnx", tmp_path)
    assert left["Gemm"] == left["MatMul"] == left["MatMulInteger"] == 0, left
    assert len(report["linears"]) == 2
    against_source, against_own = errors(source, tmp_path / "out", {"x": x[:6]})
    assert against_own < ROUNDING
    assert against_source < 0.05
