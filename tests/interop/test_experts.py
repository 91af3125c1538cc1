"""Experts of MoE nodes as codes: QMoE in the real ONNX Runtime against its own MoE, and against our executor."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ort = pytest.importorskip("onnxruntime")
from expert_models import Mixture  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    SHARED,
    check_metadata,
    forward,
    metadata,
    quantized,
    relative_error,
    run_session,
    session,
)
from small_models import save  # noqa: E402
from small_products import mixture_of_experts  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

E, K = 4, 64
RTN = ["--method", "rtn", "--lm-head", "keep"]
SWIGLU = {"activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 1.0}


def mixture(folder, *arguments, **named):
    return save(mixture_of_experts(*arguments, **named), folder)


def rows(dtype=np.float32, count=12):
    return {"x": np.random.default_rng(5).standard_normal((count, K)).astype(dtype)}


def calibration(folder):
    """64 rows."""
    path = folder / "feeds.npz"
    np.savez(path, x=np.random.default_rng(6).standard_normal((64, K)).astype(np.float32))
    return path


def nodes_of(model):
    return {node.op_type: node for node in onnx.load(model, load_external_data=False).graph.node}


def weights_of(folder):
    model = onnx.load(folder / "model.onnx")
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def unpacked(packed, bits):
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1)


def dequantized(stored, name, bits, block):
    """Floats [E, N, K] that the file's codes mean, by the operator's definition."""
    codes = unpacked(stored[f"{name}_q{bits}"], bits).astype(np.float64)
    scales = stored[f"{name}_scales"].astype(np.float64)
    experts, n, k = codes.shape
    block = block or k
    zeros = np.full((experts, n, k // block), 2.0 ** (bits - 1))
    if f"{name}_zero_points" in stored:
        zeros = unpacked(stored[f"{name}_zero_points"], bits).astype(np.float64)
        zeros = zeros.reshape(experts, n, -1)[:, :, : k // block]
    scales = scales.reshape(experts, n, -1)
    return (codes - zeros.repeat(block, 2)) * scales.repeat(block, 2)


def with_weights(source, destination, replaced):
    model = onnx.load(source / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name in replaced:
            tensor.CopyFrom(numpy_helper.from_array(replaced[tensor.name], tensor.name))
    destination.mkdir()
    onnx.save(model, destination / "model.onnx")
    return destination / "model.onnx"


# What ONNX Runtime adds: its kernels round activations to 8 bits (8 bits in blocks), or use tables.
TOLERANCE = {(4, 32): 1e-4, (4, "channel"): 1e-4, (8, 32): 3e-2, (8, "channel"): 1e-4, (2, 32): 1e-2,
             (3, 32): 1e-4}  # fmt: skip


@pytest.mark.parametrize("kind", ["", "--asymmetric"])
@pytest.mark.parametrize("bits, group", list(TOLERANCE))
@pytest.mark.parametrize("attributes", [{}, SWIGLU], ids=["silu", "swiglu"])
def test_codes_mean_what_float_experts_of_these_weights_compute(tmp_path, bits, group, kind, attributes):
    source = mixture(tmp_path / "source", **attributes)
    options = ["--method", "rtn", "--bits", bits, "--group-size", group, "--accuracy-level", 0,
               "--include", "moe.*", *filter(None, [kind])]  # fmt: skip
    report = quantized(source, tmp_path / "out", *options)
    out = tmp_path / "out"
    node = nodes_of(out / "model.onnx")["QMoE"]
    assert not any(a.name == "accuracy_level" for a in node.attribute)
    assert len(node.input) == 15 and node.input[14]
    stored = weights_of(out)
    held = 4 if bits == 3 else bits
    block = 0 if group == "channel" else group
    replaced = {
        name: dequantized(stored, name, held, block).astype(np.float32)
        for name in ("moe.fc1.weight", "moe.fc2.weight")
    }
    plain = with_weights(source, tmp_path / "plain", replaced)
    expected = run_session(session(plain), rows())["y"]
    actual = run_session(session(out / "model.onnx"), rows())["y"]
    assert relative_error(actual, expected) <= TOLERANCE[bits, group]
    ours = forward(out, rows(), tmp_path)["y"]
    assert relative_error(ours, expected) <= 1e-5
    experts = [linear for linear in report["linears"] if linear["name"].startswith("moe.")]
    assert len(experts) == 2 * E
    names = [n for n in stored if n.startswith("moe.fc") and "bias" not in n]
    assert sum(linear["bytes_after"] for linear in experts) == sum(stored[n].nbytes for n in names)


@pytest.mark.parametrize("normalize", [0, 1])
@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "swiglu"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_all_activations_and_routings_stay_close_at_8_bits(tmp_path, activation, normalize, bias):
    attributes = SWIGLU if activation == "swiglu" else {"activation_type": activation}
    source = mixture(tmp_path / "source", bias=bias, normalize_routing_weights=normalize, **attributes)
    quantized(source, tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", "channel",
              "--accuracy-level", 0)  # fmt: skip
    node = nodes_of(tmp_path / "out" / "model.onnx")["QMoE"]
    assert (len(node.input) == 15) == (normalize == 0)
    actual = run_session(session(tmp_path / "out" / "model.onnx"), rows())["y"]
    assert relative_error(actual, forward(source, rows(), tmp_path)["y"]) <= 3e-2
    if activation != "gelu":  # MoE of ONNX Runtime has the exact form
        assert relative_error(actual, run_session(session(source / "model.onnx"), rows())["y"]) <= 3e-2


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_fp16_activations(tmp_path, bits):
    source = mixture(tmp_path / "source", np.float16)
    quantized(source, tmp_path / "out", *RTN, "--group-size", 32, "--bits", bits, "--accuracy-level", 0)
    scales = weights_of(tmp_path / "out")["moe.fc1.weight_scales"]
    assert scales.dtype == np.float16
    feeds = rows(np.float16)
    ours = forward(tmp_path / "out", feeds, tmp_path)["y"]
    levels = ort.GraphOptimizationLevel
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_EXTENDED, levels.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        s = ort.InferenceSession(tmp_path / "out" / "model.onnx", options,
                                 providers=["CPUExecutionProvider"])  # fmt: skip
        assert relative_error(s.run(None, feeds)[0], ours) <= (4e-2 if bits == 8 else 2e-2), level


def test_each_expert_is_calibrated_with_its_own_tokens(tmp_path):
    source = mixture(tmp_path / "source", **SWIGLU)
    feeds = calibration(tmp_path)
    options = ["--bits", 4, "--group-size", 32, "--accuracy-level", 0]
    quantized(source, tmp_path / "out", "--method", "gptq", "--calib", feeds, *options)
    quantized(source, tmp_path / "rtn", *RTN, *options)
    experts = [one for one in metadata(tmp_path / "out")["linears"] if one["name"].startswith("moe.")]
    tokens = [one["quantized"]["calibration_tokens"] for one in experts]
    assert sum(tokens) == 2 * 2 * 64, "two experts of each token, each with two products"
    x = rows(count=256)
    expected = run_session(session(source / "model.onnx"), x)["y"]
    errors = {
        name: np.linalg.norm(run_session(session(tmp_path / name / "model.onnx"), x)["y"] - expected)
        for name in ("out", "rtn")
    }
    assert errors["out"] < errors["rtn"]


@pytest.mark.parametrize(
    "options, why",
    [
        (["--group-size", 32, "--exclude", "moe.fc1.2"], "gets no codes"),
        (["--group-size", 32, "--rule", "moe.fc2*: bits=8"], "would differ"),
        (["--group-size", 256], "do not divide"),
    ],
)
def test_experts_that_do_not_fit_together_stay_in_their_node(tmp_path, options, why):
    source = mixture(tmp_path / "source")
    report = quantized(source, tmp_path / "out", *RTN, *options)
    nodes = nodes_of(tmp_path / "out" / "model.onnx")
    assert "QMoE" not in nodes and "MoE" in nodes and "NonZero" not in nodes
    assert why in json.dumps(report)
    actual = forward(tmp_path / "out", rows(), tmp_path)["y"]
    assert relative_error(run_session(session(tmp_path / "out" / "model.onnx"), rows())["y"], actual) < 0.05


def test_half_storage_widens_the_biases_of_experts(tmp_path):
    source = mixture(tmp_path / "source")
    quantized(source, tmp_path / "out", *RTN, "--group-size", 32, "--bits", 8, "--float", "fp16", "--accuracy-level", 0)
    assert weights_of(tmp_path / "out")["moe.fc1.bias_fp16"].dtype == np.float16
    actual = run_session(session(tmp_path / "out" / "model.onnx"), rows())["y"]
    assert relative_error(actual, run_session(session(source / "model.onnx"), rows())["y"]) < 0.05


@pytest.mark.parametrize("options", [["--format", "qdq", "--group-size", 32], ["--method", "int8"]])
def test_forms_without_experts_give_way_to_qmoe(tmp_path, options):
    source = mixture(tmp_path / "source")
    calib = ["--calib", calibration(tmp_path)] if "int8" in options else ["--method", "rtn"]
    quantized(source, tmp_path / "out", *options, *calib)
    node = nodes_of(tmp_path / "out" / "model.onnx")["QMoE"]
    assert any(a.name == "block_size" for a in node.attribute) == ("qdq" in options)
    actual = run_session(session(tmp_path / "out" / "model.onnx"), rows())["y"]
    expected = run_session(session(source / "model.onnx"), rows())["y"]
    assert relative_error(actual, expected) < (0.3 if "qdq" in options else 0.06)


def test_the_router_stays_as_it_is(tmp_path):
    source = mixture(tmp_path / "source")
    report = quantized(source, tmp_path / "out", *RTN, "--group-size", 32)
    router = next(linear for linear in report["linears"] if linear["name"].startswith("router"))
    assert "router" in router["reason"]


@pytest.mark.parametrize("normalize", [0, 1])
def test_results_can_be_quantized_again(tmp_path, normalize):
    source = mixture(tmp_path / "source", normalize_routing_weights=normalize, **SWIGLU)
    options = ["--group-size", 32, "--accuracy-level", 0]
    quantized(source, tmp_path / "first", *RTN, *options, "--bits", 8)
    quantized(tmp_path / "first", tmp_path / "out", *RTN, *options, "--bits", 4, "--requantize")
    quantized(source, tmp_path / "direct", *RTN, *options, "--bits", 4)
    actual = run_session(session(tmp_path / "out" / "model.onnx"), rows())["y"]
    direct = run_session(session(tmp_path / "direct" / "model.onnx"), rows())["y"]
    expected = run_session(session(source / "model.onnx"), rows())["y"]
    distance = [np.linalg.norm(y - expected) for y in (actual, direct)]
    assert distance[0] < 1.2 * distance[1]


# --- mixtures that are spelled out in plain operators (expert_models.py) ---

SPELLINGS = ["looped", "gathered"]
AS_QMOE = ["--rule", "mlp.experts*: form=qmoe"]
AS_LINEARS = ["--rule", "mlp.experts*: form=matmulnbits"]


def spelled(folder, spelling, *, shared=True, up_first=None, **named):
    extra = {} if up_first is None else {"up_first": up_first}
    return save(Mixture(**named).model(spelling, shared=shared, **extra), folder)


def tokens(dtype=np.float32, batch=2, count=7):
    return {"x": np.random.default_rng(8).standard_normal((batch, count, K)).astype(dtype)}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("normalize", [False, True], ids=["plain", "normalized"])
@pytest.mark.parametrize("bits, group", [(4, 32), (3, 32), (2, 32), (8, "channel")])
def test_one_node_computes_what_a_mixture_of_the_same_codes_does(tmp_path, spelling, normalize, bits, group):
    source = spelled(tmp_path / "source", spelling, normalize=normalize)
    options = ["--method", "rtn", "--bits", bits, "--group-size", group, "--accuracy-level", 0]
    report = quantized(source, tmp_path / "out", *options, "--asymmetric", *AS_QMOE)
    quantized(source, tmp_path / "apart", *options, "--asymmetric", *AS_LINEARS)
    assert "QMoE" not in nodes_of(tmp_path / "apart" / "model.onnx")
    nodes = nodes_of(tmp_path / "out" / "model.onnx")
    assert "MatMulNBits" in nodes, "the shared expert"
    assert not {"NonZero", "ScatterElements", "GatherBlockQuantized", "TopK"} & set(nodes)
    node = nodes["QMoE"]
    assert (len(node.input) == 15 and node.input[14] != "") == (not normalize)
    experts = [one for one in report["linears"] if one["name"].startswith("mlp.experts")]
    assert len(experts) == (3 * E if spelling == "looped" else 2)
    for feeds in (tokens(), tokens(batch=1, count=1)):
        expected = run_session(session(tmp_path / "apart" / "model.onnx"), feeds)["y"]
        actual = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["y"]
        assert relative_error(actual, expected) <= TOLERANCE[bits, group]
        ours = forward(tmp_path / "out", feeds, tmp_path)["y"]
        assert relative_error(ours, expected) <= 1e-5
    stored = weights_of(tmp_path / "out")
    names = [n for n in stored if n.startswith("mlp.experts.") and "_q" in n]
    assert sorted(names) == [f"mlp.experts.{part}.weight_q{4 if bits == 3 else bits}" for part in ("down", "gate_up")]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_mixture_in_8_bits_is_close_to_the_source(tmp_path, spelling):
    source = spelled(tmp_path / "source", spelling)
    quantized(source, tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", 32, *AS_QMOE)
    expected = run_session(session(source / "model.onnx"), tokens())["y"]
    assert relative_error(run_session(session(tmp_path / "out" / "model.onnx"), tokens())["y"], expected) < 0.05


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_mixture_of_fp16_activations(tmp_path, spelling):
    source = spelled(tmp_path / "source", spelling, dtype=np.float16)
    options = ["--method", "rtn", "--bits", 4, "--group-size", 32, "--accuracy-level", 0]
    quantized(source, tmp_path / "out", *options, *AS_QMOE)
    stored = weights_of(tmp_path / "out")
    assert stored["mlp.experts.gate_up.weight_scales"].dtype == np.float16
    feeds = tokens(np.float16)
    ours = forward(tmp_path / "out", feeds, tmp_path)["y"]
    assert relative_error(run_session(session(tmp_path / "out" / "model.onnx"), feeds)["y"], ours) <= 2e-2


def test_gathered_experts_become_one_node_unasked_and_those_of_a_loop_do_not(tmp_path):
    for spelling in SPELLINGS:
        source = spelled(tmp_path / spelling, spelling)
        quantized(source, tmp_path / f"{spelling}-out", *RTN, "--group-size", 32)
        nodes = nodes_of(tmp_path / f"{spelling}-out" / "model.onnx")
        assert ("QMoE" in nodes) == (spelling == "gathered")
        assert ("NonZero" in nodes) == (spelling == "looped")
    quantized(tmp_path / "looped", tmp_path / "all", *RTN, "--group-size", 32, "--format", "qmoe")
    assert {"QMoE", "MatMulNBits"} <= set(nodes_of(tmp_path / "all" / "model.onnx"))


@pytest.mark.parametrize("change", [{"activation": "relu"}, {"activation": "sigmoid"}, {"up_first": True}])
def test_what_is_no_such_mixture_is_left_in_its_operators(tmp_path, change):
    source = spelled(tmp_path / "source", "gathered", **change)
    options = ["--method", "rtn", "--bits", 8, "--group-size", 32, "--accuracy-level", 0]
    report = quantized(source, tmp_path / "out", *options, *AS_QMOE)
    assert "QMoE" not in nodes_of(tmp_path / "out" / "model.onnx")
    assert "not qmoe" in json.dumps(report)
    expected = run_session(session(source / "model.onnx"), tokens())["y"]
    assert relative_error(run_session(session(tmp_path / "out" / "model.onnx"), tokens())["y"], expected) < 0.05


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_mixture_whose_groups_do_not_fit_stays_in_its_operators(tmp_path, spelling):
    source = spelled(tmp_path / "source", spelling, inner=40)
    report = quantized(source, tmp_path / "out", *RTN, "--group-size", 32, *AS_QMOE)
    assert "QMoE" not in nodes_of(tmp_path / "out" / "model.onnx")
    assert "not with the other experts in one node" in json.dumps(report)


def test_experts_of_a_loop_are_calibrated_with_their_own_tokens(tmp_path):
    source = spelled(tmp_path / "source", "looped")
    path = tmp_path / "feeds.npz"
    np.savez(path, x=np.random.default_rng(6).standard_normal((4, 32, K)).astype(np.float32))
    options = ["--bits", 4, "--group-size", 32, *AS_QMOE]
    quantized(source, tmp_path / "out", "--method", "gptq", "--calib", path, *options)
    quantized(source, tmp_path / "rtn", *RTN, *options)
    experts = [one for one in metadata(tmp_path / "out")["linears"] if one["name"].startswith("mlp.experts")]
    assert sum(one["quantized"]["calibration_tokens"] for one in experts) == 3 * 2 * 4 * 32
    assert {one["quantized"]["form"] for one in experts} == {"qmoe"}
    x = tokens(count=128)
    expected = run_session(session(source / "model.onnx"), x)["y"]
    errors = {
        name: np.linalg.norm(run_session(session(tmp_path / name / "model.onnx"), x)["y"] - expected)
        for name in ("out", "rtn")
    }
    assert errors["out"] < errors["rtn"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_mixture_in_one_node_can_be_quantized_again(tmp_path, spelling):
    source = spelled(tmp_path / "source", spelling)
    options = ["--method", "rtn", "--group-size", 32, "--accuracy-level", 0]
    quantized(source, tmp_path / "first", *options, "--bits", 8, *AS_QMOE)
    quantized(tmp_path / "first", tmp_path / "out", *options, "--bits", 4, "--requantize")
    assert "QMoE" in nodes_of(tmp_path / "out" / "model.onnx")
    check_metadata(tmp_path / "out")


@pytest.mark.parametrize("export", ["qwen2moe-ts17", "qwen2moe-ts17-torch24"])
def test_layers_of_a_real_export_become_one_node_each(tmp_path, export):
    source = SHARED / "onnx" / "exports" / export
    if not source.exists():
        pytest.skip(f"{source} is absent")
    options = ["--method", "rtn", "--bits", 8, "--group-size", "channel", "--accuracy-level", 0]
    quantized(source, tmp_path / "out", *options, "--format", "qmoe")
    model = onnx.load(tmp_path / "out" / "model.onnx", load_external_data=False)
    assert [node.op_type for node in model.graph.node].count("QMoE") == 2
    with np.load(source / "io.npz") as stored:
        feeds = {name.removeprefix("in."): stored[name] for name in stored.files if name.startswith("in.")}
        expected = stored["out.logits"]
    logits = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["logits"]
    assert np.linalg.norm(logits - expected) <= 0.05 * np.linalg.norm(expected)
