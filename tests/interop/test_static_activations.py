"""Activations of levels found beforehand (--activations static) in ONNX Runtime: that every product is
fused, whatever stands around it, where the levels lie, and what 16 bits do."""

import json

import numpy as np
import onnx
import pytest
from fused_products import ROUNDING, errors, operators, optimized, rms_error
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (QUANTIZE, check_metadata, quantize, quantized, relative_error, run_session,
                          session)  # fmt: skip
from small_models import Builder, calibration_ids, encoder, feeds_of, llama, save
from small_products import with_branches

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

# Of 7 bits, since signed weights of 8 saturate in ONNX Runtime on processors without VNNI.
STATIC = ["--method", "int8", "--activations", "static", "--bits", "7", "--calib-samples", "512"]
FUSED = ("MatMulIntegerToFloat", "QLinearMatMul", "QGemm")
MODELS = {
    "llama": (lambda: llama(layers=2), 15),
    "llama fp16": (lambda: llama("float16"), 8),
    "encoder": (encoder, 6),
}


@pytest.mark.parametrize("name", MODELS)
def test_levels_are_those_of_calibration_and_everything_is_fused(tmp_path, name):
    build, linears = MODELS[name]
    model = build()
    source = save(model, tmp_path / "source")
    # What lies outside of the range that was seen is cut off: many tokens.
    ids = calibration_ids(tmp_path / "ids.npy", rows=128)
    report = quantized(source, tmp_path / "out", *STATIC, "--calib", ids)
    assert report["verification"]["done"]
    for linear in check_metadata(tmp_path / "out")["linears"]:
        assert linear["quantized"]["activations"] == "uint8 static"
        assert linear["quantized"]["activation_scale"] > 0
    left = optimized(tmp_path / "out" / "model.onnx", tmp_path)
    assert sum(left[kind] for kind in FUSED) == linears and left["DynamicQuantizeLinear"] == 0, left
    feeds = feeds_of(model)
    if "attention_mask" in feeds:
        feeds["attention_mask"][:] = 1
    against_source, against_own = errors(source, tmp_path / "out", feeds)
    assert against_own < ROUNDING
    assert against_source < 0.1


WIDTH, OUT = 64, 48


def products(shape, opset, declared=True):
    """x through products of every kind, with something added to them or not."""
    b = Builder(seed=8)
    outputs = []
    matrix = len(shape) == 2
    # Behind an operator that is not known here it takes ONNX Runtime to tell the dimensions.
    x = "x" if declared else b.node("Softsign", ["x"])

    def out(value, name):
        b.nodes.append(helper.make_node("Tanh", [value], [name], name=f"{name}_node"))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def bias(name, dims=(OUT,)):
        return b.constant(b.rng.standard_normal(dims).astype(np.float32), name)

    def product(name):
        return b.node("MatMul", [x, b.weight((WIDTH, OUT), f"{name}.weight")], name)

    out(product("plain"), "y_plain")
    out(b.node("Add", [product("behind"), bias("behind.bias")]), "y_behind")
    out(b.node("Add", [bias("front.bias"), product("front")]), "y_front")
    if declared:
        out(b.node("Add", [product("rest"), "r"]), "y_rest")
        out(b.node("Add", [product("row"), bias("row.bias", (1, OUT))]), "y_row")
    if matrix and declared:
        for trans in (0, 1):
            for has in (0, 1):
                weight = b.weight((OUT, WIDTH) if trans else (WIDTH, OUT), f"gemm{trans}{has}.weight")
                inputs = [x, weight] + ([bias(f"gemm{trans}.bias")] if has else [])
                made = b.node("Gemm", inputs, f"gemm{trans}{has}", transB=trans)
                out(made, f"y_gemm{trans}{has}")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if declared:
        rest = [*shape[:-1], OUT]
        inputs.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, rest))
    return b.model(inputs, outputs, opset, 8 if opset < 19 else 10), len(outputs)


def feeds_for(shape, declared, rows=256, seed=9):
    rng = np.random.default_rng(seed)
    dims = [d if isinstance(d, int) else rows if i == 0 else 3 for i, d in enumerate(shape)]
    feeds = {"x": rng.standard_normal(dims).astype(np.float32)}
    if declared:
        feeds["r"] = rng.standard_normal([*dims[:-1], OUT]).astype(np.float32)
    return feeds


SHAPES = {"matrix": ["n", WIDTH], "fixed matrix": [300, WIDTH], "rows": ["b", "t", WIDTH],
          "fixed rows": [100, 3, WIDTH], "batches": ["a", "b", 3, WIDTH]}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("name", SHAPES)
def test_every_product_is_fused_whatever_is_added_to_it(tmp_path, name, opset):
    model, linears = products(SHAPES[name], opset)
    source = save(model, tmp_path / "source")
    feeds = feeds_for(SHAPES[name], True)
    np.savez(tmp_path / "x.npz", **feeds)
    report = quantized(source, tmp_path / "out", *STATIC, "--calib", tmp_path / "x.npz")
    assert len(report["linears"]) == linears
    left = optimized(tmp_path / "out" / "model.onnx", tmp_path)
    assert sum(left[kind] for kind in FUSED) == linears, left
    assert left["Gemm"] == left["FusedGemm"] == left["MatMul"] == 0, left
    against_source, against_own = errors(source, tmp_path / "out", feeds, rms_error)
    assert against_own < ROUNDING
    assert against_source < 0.03


@pytest.mark.parametrize("name", ["matrix", "fixed rows"])
def test_biases_are_fused_where_the_dimensions_become_known_later(tmp_path, name):
    """As where users fix them when they load the model."""
    shape = ["n" if isinstance(d, int) and i + 1 < len(SHAPES[name]) else d
             for i, d in enumerate(SHAPES[name])]  # fmt: skip
    model, _ = products(shape, 17)
    source = save(model, tmp_path / "source")
    np.savez(tmp_path / "x.npz", **feeds_for(shape, True))
    quantized(source, tmp_path / "out", *STATIC, "--calib", tmp_path / "x.npz")
    written = onnx.load(tmp_path / "out" / "model.onnx")
    for dim, value in zip(written.graph.input[0].type.tensor_type.shape.dim, (6, 6, WIDTH)):
        if not dim.HasField("dim_value"):
            dim.dim_value = value
    onnx.save(written, tmp_path / "fixed.onnx")
    left = optimized(tmp_path / "fixed.onnx", tmp_path)
    assert left["Gemm"] == left["FusedGemm"] == left["MatMul"] == 0, left


def test_biases_are_fused_where_nothing_says_how_many_dimensions_there_are(tmp_path):
    model, linears = products(["n", WIDTH], 17, declared=False)
    source = save(model, tmp_path / "source")
    feeds = feeds_for(["n", WIDTH], False)
    np.savez(tmp_path / "x.npz", **feeds)
    quantized(source, tmp_path / "out", *STATIC, "--calib", tmp_path / "x.npz")
    left = optimized(tmp_path / "out" / "model.onnx", tmp_path)
    assert sum(left[kind] for kind in FUSED) == linears, left
    against_source, against_own = errors(source, tmp_path / "out", feeds, rms_error)
    assert against_own < ROUNDING and against_source < 0.03


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_biases_are_codes_of_32_bits_within_half_a_step(tmp_path, kind):
    """Corrected ones included; one that 32 bits do not hold stays a float."""
    b = Builder(seed=12)
    large = np.zeros(OUT, np.float32)
    large[3] = 1e9
    outputs = []
    for name, bias in (("small", b.rng.standard_normal(OUT) * 3), ("large", large)):
        weight = b.weight((WIDTH, OUT), f"{name}.weight")
        bias = b.constant(bias.astype(np.float32), f"{name}.bias")
        made = (b.node("Gemm", ["x", weight, bias], name) if kind == "Gemm" else
                b.node("Add", [b.node("MatMul", ["x", weight], name), bias]))  # fmt: skip
        b.nodes.append(helper.make_node("Identity", [made], [f"y_{name}"], name=f"{name}_out"))
        outputs.append(helper.make_tensor_value_info(f"y_{name}", TensorProto.FLOAT, None))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])
    source = save(b.model([x], outputs, 17, 8), tmp_path / "source")
    x = np.random.default_rng(13).standard_normal((256, WIDTH)).astype(np.float32) + 0.3
    np.savez(tmp_path / "x.npz", x=x)
    quantized(source, tmp_path / "out", *STATIC, "--calib", tmp_path / "x.npz")
    written = onnx.load(tmp_path / "out" / "model.onnx")
    tensors = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    codes = [name for name, array in tensors.items() if array.dtype == np.int32]
    assert len(codes) == 1 and codes[0].startswith("small")
    left = optimized(tmp_path / "out" / "model.onnx", tmp_path)
    assert sum(left[kind] for kind in FUSED) == 2 and left["Add"] == 1, left
    (node,) = [n for n in written.graph.node if n.input and n.input[0] == codes[0]]
    steps = tensors[node.input[1]].astype(np.float64)
    floats = numpy_helper.to_array(
        [t for t in onnx.load(source / "model.onnx").graph.initializer if t.name == "small.bias"][0]
    )
    # Besides half a step, the correction of the mean error: small parts of the output.
    assert np.abs(tensors[codes[0]] * steps - floats).max() < 0.5 * steps.max() + 0.05
    against_source, against_own = errors(source, tmp_path / "out", {"x": x[:6]})
    assert against_own < ROUNDING and against_source < 0.05


def test_levels_need_samples_and_a_form_that_has_them(tmp_path):
    source = save(llama(), tmp_path / "source")
    for options, words in (
        (["--method", "rtn", "--format", "matmulnbits", "--activations", "static"],
         "'matmulnbits' cannot have uint8 static activations"),
        (["--method", "awq", "--format", "qdq", "--activations", "static"], "--bits 8"),
        (["--method", "int8", "--format", "matmulnbits"], "'matmulnbits' cannot have"),
        (["--method", "int8", "--activation-bits", "16"], "--activations static"),
    ):  # fmt: skip
        done = quantize("run", source, tmp_path / "out", *options)
        assert done.returncode == 2 and words in done.stderr, done.stderr


def test_a_layer_that_no_token_reaches_keeps_its_activations(tmp_path):
    """Levels that nobody has seen would cut everything off; here a branch is never taken."""
    model = with_branches()
    (choice,) = [node for node in model.graph.node if node.op_type == "If"]
    (other,) = [a.g for a in choice.attribute if a.name == "else_branch"]
    other.node[1].input[1] = "other.weight"
    weight = np.random.default_rng(4).standard_normal((64, 32)).astype(np.float32) * 0.2
    model.graph.initializer.append(numpy_helper.from_array(weight, "other.weight"))
    source = save(model, tmp_path / "source")
    feeds = feeds_of(model)
    np.savez(tmp_path / "x.npz", **{name: array[None] if array.ndim == 0 else array
                                    for name, array in feeds.items()})  # fmt: skip
    report = quantized(source, tmp_path / "out", *STATIC, "--calib", tmp_path / "x.npz")
    assert len(report["linears"]) == 3
    for value in (True, False):
        feeds = {name: np.array(value) if array.dtype == bool else array
                 for name, array in feeds.items()}  # fmt: skip
        against_source, against_own = errors(source, tmp_path / "out", feeds)
        assert against_source < 0.1 and against_own < ROUNDING


def with_rare_values(rows=512, width=WIDTH):
    """A layer, and inputs of a distribution with long tails."""
    b = Builder(seed=21)
    made = b.node("MatMul", ["x", b.weight((width, OUT), "layer.weight")], "layer")
    b.nodes.append(helper.make_node("Identity", [made], ["y"], name="out"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    values = np.random.default_rng(22).standard_t(4, (rows, width)).astype(np.float32)
    return b.model([x], [y], 17, 8), values


def test_rules_for_the_range_differ_and_none_is_worse_than_the_extremes(tmp_path):
    model, x = with_rare_values()
    source = save(model, tmp_path / "source")
    np.savez(tmp_path / "x.npz", x=x)
    wanted = run_session(session(source / "model.onnx"), {"x": x})["y"]
    error, scale = {}, {}
    for rule in ("minmax", "mse", "percentile:99.9", "percentile:80", "entropy"):
        folder = tmp_path / rule.replace(":", "-")
        quantized(source, folder, *STATIC[:4], "--asymmetric", "--calib-samples", "512", "--scaling",
                  "none", "--bias-correction", "none",
                  "--activation-range", rule, "--calib", tmp_path / "x.npz")  # fmt: skip
        found = check_metadata(folder)
        wrote = found["recipe"]["activation_range"]
        assert wrote == rule
        scale[rule] = found["linears"][0]["quantized"]["activation_scale"]
        got = run_session(session(folder / "model.onnx"), {"x": x})["y"]
        error[rule] = rms_error(got, wanted)
    assert scale["mse"] < 0.95 * scale["minmax"] and error["mse"] < 0.98 * error["minmax"]
    assert scale["percentile:80"] == scale["minmax"]  # it would cut off a fifth
    assert max(error.values()) <= error["minmax"] * 1.01, error


def test_a_file_of_statistics_gives_the_same_levels(tmp_path):
    source = save(encoder(), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy", rows=64)
    done = quantize("stats", "--src", source, "--out", tmp_path / "s", "--calib", ids)
    assert done.returncode == 0, done.stderr
    quantized(source, tmp_path / "a", *STATIC, "--calib", ids)
    quantized(source, tmp_path / "b", *STATIC, "--stats", tmp_path / "s", threads=2)
    assert levels_in(tmp_path / "a") == levels_in(tmp_path / "b")
    minmax = [*STATIC, "--activation-range", "minmax"]
    quantized(source, tmp_path / "c", *minmax, "--calib", ids)
    assert levels_in(tmp_path / "a") != levels_in(tmp_path / "c")
    # A file of an older version has no tokens: the extremes are what is known, and a warning says so.
    bytes_ = (tmp_path / "s").read_bytes()
    length = int.from_bytes(bytes_[:8], "little")
    header = json.loads(bytes_[8 : 8 + length])
    header = {k: v for k, v in header.items() if not k.endswith(("/tokens", "/token_keys", "/token_count"))}
    text = json.dumps(header).encode().ljust(length)
    (tmp_path / "old").write_bytes(bytes_[:8] + text + bytes_[8 + length :])
    done = quantize("run", source, tmp_path / "d", *STATIC, "--stats", tmp_path / "old")
    assert done.returncode == 0 and "minmax" in done.stderr, done.stderr
    assert levels_in(tmp_path / "d") == levels_in(tmp_path / "c")


def levels_in(folder):
    found = check_metadata(folder)["linears"]
    return [(linear["quantized"]["activation_scale"], linear["quantized"]["activation_zero_point"])
            for linear in found]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_activations_of_16_bits_are_nearly_floats(tmp_path, name):
    build, _ = MODELS[name]
    model = build()
    source = save(model, tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy", rows=128)
    error = {}
    for bits in (8, 16):
        report = quantized(source, tmp_path / f"{bits}", *STATIC, "--activation-bits", bits,
                           "--calib", ids)  # fmt: skip
        assert report["verification"]["done"]
        found = check_metadata(tmp_path / f"{bits}")
        assert {linear["quantized"]["activations"] for linear in found["linears"]} == {
            f"uint{bits} static"
        }
        written = onnx.load(tmp_path / f"{bits}" / "model.onnx")
        zeros = {n.input[2] for n in written.graph.node if n.op_type == "QuantizeLinear"}
        types = {t.data_type for t in written.graph.initializer if t.name in zeros}
        assert types == {TensorProto.UINT8 if bits == 8 else TensorProto.UINT16}
        feeds = feeds_of(model)
        if "attention_mask" in feeds:
            feeds["attention_mask"][:] = 1
        # ONNX Runtime has no such kernel, and multiplies floats or rounds again on its way.
        error[bits], against_own = errors(source, tmp_path / f"{bits}", feeds)
        assert against_own < ROUNDING
    assert max(error.values()) < 0.1
    assert operators(written)["QuantizeLinear"] > 0


def test_sixteen_bits_are_65536_levels(tmp_path):
    """The codes of one linear in exact numbers, by ONNX Runtime without its optimizations."""
    import onnxruntime

    model, x = with_rare_values()
    source = save(model, tmp_path / "source")
    np.savez(tmp_path / "x.npz", x=x)
    quantized(source, tmp_path / "out", *STATIC, "--activation-bits", 16, "--scaling", "none",
              "--bias-correction", "none", "--calib", tmp_path / "x.npz")  # fmt: skip
    written = onnx.load(tmp_path / "out" / "model.onnx")
    tensors = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    (rounding,) = [n for n in written.graph.node if n.op_type == "QuantizeLinear"]
    (weight,) = [n for n in written.graph.node if n.name.endswith("/dequantize")]
    scale, zero = tensors[rounding.input[1]], int(tensors[rounding.input[2]])
    codes = np.clip(np.rint(x / scale) + zero, 0, 65535) - zero
    assert len(np.unique(codes)) > 5000
    w = tensors[weight.input[0]].astype(np.float64) * tensors[weight.input[1]]
    expected = codes.astype(np.float64) * float(scale) @ w
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), options,
                                         providers=["CPUExecutionProvider"])  # fmt: skip
    assert relative_error(plain.run(None, {"x": x})[0], expected) < 1e-5
    optimized(tmp_path / "out" / "model.onnx", tmp_path)  # it loads with them, too


def test_static_models_can_be_quantized_again(tmp_path):
    for name, (model, feeds) in {"encoder": (encoder(), None),
                                 "matrices": (products(["n", WIDTH], 17)[0],
                                              feeds_for(["n", WIDTH], True))}.items():  # fmt: skip
        source = save(model, tmp_path / name)
        samples = calibration_ids(tmp_path / "ids.npy") if feeds is None else tmp_path / "x.npz"
        if feeds is not None:
            np.savez(samples, **feeds)
        first = quantized(source, tmp_path / f"{name}-8", *STATIC, "--calib", samples)
        report = quantized(tmp_path / f"{name}-8", tmp_path / f"{name}-4", "--requantize", "--method",
                           "rtn", "--group-size", 16)  # fmt: skip
        assert len(report["linears"]) == len(first["linears"])
        found = check_metadata(tmp_path / f"{name}-4")["linears"]
        assert all(linear["quantized"]["bits"] == 4 for linear in found), found
