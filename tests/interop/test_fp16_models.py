"""FP16 together with what else a model may have: BF16, bodies, masks, codes, tables, rules.

Everything is built here and run in ONNX Runtime.
"""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ort = pytest.importorskip("onnxruntime")
from quantize_cli import QUANTIZE, cosine, forward, metadata, quantize, quantized, relative_error, run_session, session  # noqa: E402
from small_models import encoder, feeds_of, llama, save  # noqa: E402
from test_tables import tied  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

RTN = ["--method", "rtn", "--group-size", 32, "--accuracy-level", 0]


def types_of(model):
    return {stored.name: stored.data_type for stored in model.graph.initializer}


def scale_types(model, operator):
    """The types of the scales of an operator of codes."""
    types = types_of(model)
    return {types[node.input[2]] for node in model.graph.node if node.op_type == operator}


def in_float(model):
    """A BF16 model with the same numbers in FP32."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for stored in wide.graph.initializer:
        if stored.data_type == TensorProto.BFLOAT16:
            bits = np.frombuffer(stored.raw_data, "<u2").astype(np.uint32) << 16
            values = bits.view(np.float32).reshape(list(stored.dims))
            stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    for value in [*wide.graph.input, *wide.graph.output, *wide.graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in wide.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
    return wide


def test_bf16_becomes_fp16_and_runs(tmp_path):
    model = llama("bfloat16")
    source = save(model, tmp_path / "source")
    quantized(source, tmp_path / "out", "--method", "fp16", "--io-types", "fp16")
    written = onnx.load(tmp_path / "out" / "model.onnx")
    # What the FP32 islands read alone is widened there, exactly.
    bf16 = [name for name, kind in types_of(written).items() if kind == TensorProto.BFLOAT16]
    assert bf16 == ["epsilon"]
    assert written.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    feeds = feeds_of(model)
    expected = run_session(session(save(in_float(model), tmp_path / "wide") / "model.onnx"), feeds)
    actual = run_session(session(tmp_path / "out" / "model.onnx"), feeds)
    assert actual["logits"].dtype == np.float16
    assert relative_error(actual["logits"], expected["logits"]) < 4e-3


def body_model(operator):
    """Four times state = tanh(state·W + row), by Loop or Scan; the states are kept, too."""
    rng = np.random.default_rng(4)
    weight = numpy_helper.from_array(rng.standard_normal((8, 8)).astype(np.float32), "w")
    loop = operator == "Loop"

    def info(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    nodes, inputs, outputs = [], [], []
    if loop:
        inputs += [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, [])]
        nodes += [helper.make_node("Identity", ["go"], ["go_on"])]
        nodes += [helper.make_node("Gather", ["rows", "i"], ["row"])]
        outputs += [info("go_on", TensorProto.BOOL, [])]
    inputs += [info("state", TensorProto.FLOAT, [1, 8])]
    if not loop:
        inputs += [info("row", TensorProto.FLOAT, [8])]
    nodes += [
        helper.make_node("MatMul", ["state", "w"], ["p"], name="step"),
        helper.make_node("Add", ["p", "row"], ["a"]),
        helper.make_node("Tanh", ["a"], ["next"]),
        helper.make_node("Identity", ["next"], ["kept"]),
    ]
    outputs += [info("next", TensorProto.FLOAT, [1, 8]), info("kept", TensorProto.FLOAT, [1, 8])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    if loop:
        outer = [helper.make_node("Loop", ["four", "", "x"], ["y", "all"], body=body)]
    else:
        outer = [
            helper.make_node("Scan", ["x", "rows"], ["y", "all"], body=body, num_scan_inputs=1)
        ]
    four = numpy_helper.from_array(np.array(4, np.int64), "four")
    graph = helper.make_graph(
        outer,
        "g",
        [info("x", TensorProto.FLOAT, [1, 8]), info("rows", TensorProto.FLOAT, [4, 8])],
        [info("y", TensorProto.FLOAT, [1, 8]), info("all", TensorProto.FLOAT, [4, 1, 8])],
        [weight, four] if loop else [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("io_types", ["keep", "fp16"])
@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_bodies_compute_in_fp16(tmp_path, operator, io_types):
    source = save(body_model(operator), tmp_path / "source")
    quantized(source, tmp_path / "out", "--method", "fp16", "--io-types", io_types)
    written = onnx.load(tmp_path / "out" / "model.onnx")
    assert types_of(written)["w"] == TensorProto.FLOAT16
    (node,) = [node for node in written.graph.node if node.op_type == operator]
    (body,) = [a.g for a in node.attribute if a.name == "body"]
    assert "Cast" not in [inner.op_type for inner in body.node]
    rng = np.random.default_rng(9)
    feeds = {"x": rng.standard_normal((1, 8)), "rows": rng.standard_normal((4, 8))}
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    expected = run_session(session(source / "model.onnx"), feeds)
    kind = np.float16 if io_types == "fp16" else np.float32
    actual = run_session(
        session(tmp_path / "out" / "model.onnx"), {n: a.astype(kind) for n, a in feeds.items()}
    )
    for name, value in expected.items():
        assert actual[name].dtype == kind
        assert relative_error(actual[name].astype(np.float32), value) < 5e-3


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_codes_and_fp16_in_one_model(tmp_path, form):
    model = llama()
    source = save(model, tmp_path / "source")
    (source / "config.json").write_text('{"model_type": "llama"}')
    arguments = [*RTN, "--bits", 4, "--format", form, "--layout", "transformers.js"]
    quantized(source, tmp_path / "q4", *arguments)
    quantized(source, tmp_path / "q4f16", *arguments, "--compute", "fp16")
    written = onnx.load(tmp_path / "q4f16" / "onnx" / "model_q4f16.onnx")
    operator = "MatMulNBits" if form == "matmulnbits" else "DequantizeLinear"
    position = 2 if form == "matmulnbits" else 1
    types = types_of(written)
    scales = [n.input[position] for n in written.graph.node if n.op_type == operator]
    assert len(scales) == 7 and {types[name] for name in scales} == {TensorProto.FLOAT16}
    config = json.loads((tmp_path / "q4f16" / "config.json").read_text())
    assert config["transformers.js_config"]["dtype"] == "q4f16"
    feeds = feeds_of(model)
    path = tmp_path / "q4f16" / "onnx" / "model_q4f16.onnx"
    actual = run_session(session(path), feeds)["logits"]
    assert relative_error(actual, forward(path, feeds, tmp_path)["logits"]) < 5e-3
    (plain,) = (tmp_path / "q4" / "onnx").glob("*.onnx")  # the same but for FP16: codes may differ
    assert cosine(actual, run_session(session(plain), feeds)["logits"]) > 0.999


@pytest.mark.parametrize("far", [-1e9, -3.4028234663852886e38])
def test_masks_are_clamped_and_rows_without_a_token_stay_finite(tmp_path, far):
    model = encoder()
    for stored in model.graph.initializer:
        if stored.name == "far":
            stored.CopyFrom(numpy_helper.from_array(np.array(far, np.float32), "far"))
    source = save(model, tmp_path / "source")
    report = quantized(source, tmp_path / "out", "--method", "fp16")
    assert any("clamped to -65504" in note and "'far'" in note for note in report["notes"])
    ids = np.arange(10, dtype=np.int64).reshape(2, 5)
    mask = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask}
    expected = run_session(session(source / "model.onnx"), feeds)["last_hidden_state"]
    actual = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["last_hidden_state"]
    assert np.isfinite(actual).all()
    assert relative_error(actual[0], expected[0]) < 4e-3


@pytest.mark.parametrize("way", ["plain", "turned", "gemm"])
def test_codes_of_tables_follow_the_type_of_the_graph(tmp_path, way):
    """A table of INT8 that is the LM head, too."""
    source = tied(tmp_path / "source", 64, way)
    arguments = [*RTN, "--bits", 4, "--embeddings", "int8", "--lm-head", "int8"]
    quantized(source, tmp_path / "single", *arguments)
    report = quantized(source, tmp_path / "half", *arguments, "--compute", "fp16")
    written = onnx.load(tmp_path / "half" / "model.onnx")
    assert scale_types(written, "MatMulNBits") == {TensorProto.FLOAT16}
    (lookup,) = [n for n in written.graph.node if n.op_type == "GatherBlockQuantized"]
    readers = [n.op_type for n in written.graph.node if lookup.output[0] in n.input]
    assert "MatMulNBits" in readers  # without a Cast
    assert report["tables"][0]["decision"] == "quantize"
    feeds = {"ids": np.array([0, 11, 7, -1], np.int64)}
    plain = run_session(session(tmp_path / "single" / "model.onnx"), feeds)
    expected = forward(tmp_path / "half" / "model.onnx", feeds, tmp_path)
    actual = run_session(session(tmp_path / "half" / "model.onnx"), feeds)
    for name in ("rows", "logits"):
        assert relative_error(actual[name], expected[name]) < 4e-3, name
        assert cosine(actual[name], plain[name]) > 0.999, name  # the grids' scales are rounded


def test_rules_hold_in_a_graph_of_fp16(tmp_path):
    model = llama()
    source = save(model, tmp_path / "source")
    rules = ["*.o_proj: form=keep", "*embed*: form=keep", "*.down_proj: bits=4 group=32"]
    arguments = [word for rule in rules for word in ("--rule", rule)]
    quantized(source, tmp_path / "out", "--method", "fp16", "--accuracy-level", 0, *arguments)
    written = onnx.load(tmp_path / "out" / "model.onnx")
    types = types_of(written)
    kept = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
    assert {"model.layers.0.self_attn.o_proj.weight", "model.embed_tokens.weight"} <= kept
    assert types["model.layers.0.mlp.up_proj.weight"] == TensorProto.FLOAT16
    assert "model.layers.0.mlp.down_proj.weight" not in types
    assert scale_types(written, "MatMulNBits") == {TensorProto.FLOAT16}
    assert metadata(tmp_path / "out")["islands"]["asked for"] == 2
    feeds = feeds_of(model)
    expected = run_session(session(source / "model.onnx"), feeds)["logits"]
    actual = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["logits"]
    assert relative_error(actual, expected) < 0.1  # one linear in 4 bits


def test_constants_that_become_fp16_are_no_inputs_with_a_default(tmp_path):
    """Constants that are FP16 now are no longer inputs with a default, as ONNX Runtime 1.23 needs it."""
    model = llama()
    for stored in model.graph.initializer:
        if stored.data_type != TensorProto.FLOAT:
            continue
        model.graph.input.append(
            helper.make_tensor_value_info(stored.name, stored.data_type, list(stored.dims))
        )
    source = save(model, tmp_path / "source")
    quantized(source, tmp_path / "out", "--method", "fp16")
    written = onnx.load(tmp_path / "out" / "model.onnx")
    types = types_of(written)
    listed = {value.name for value in written.graph.input}
    assert "input_ids" in listed
    assert not [name for name in listed if types.get(name) == TensorProto.FLOAT16]
    feeds = feeds_of(llama())
    expected = run_session(session(source / "model.onnx"), feeds)["logits"]
    actual = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["logits"]
    assert relative_error(actual, expected) < 4e-3


def test_operators_that_nobody_knows_stay_as_they_are(tmp_path):
    model = llama()
    last = model.graph.node[-1]
    last.output[0] = "raw"
    model.graph.node.append(
        helper.make_node("Mystery", ["raw"], ["logits"], name="mystery", domain="my.domain")
    )
    model.opset_import.append(helper.make_opsetid("my.domain", 1))
    source = save(model, tmp_path / "source")
    done = quantize("run", "--src", source, "--dst", tmp_path / "out", "--method", "fp16")
    assert done.returncode == 0, done.stderr
    assert metadata(tmp_path / "out")["islands"]["unknown operator"] == 1
    written = onnx.load(tmp_path / "out" / "model.onnx")
    assert [n.op_type for n in written.graph.node][-2:] == ["Cast", "Mystery"]


def at_level(model, feeds, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    s = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return s.run(None, feeds)[0].astype(np.float64)


def half_product_in_a_branch():
    """A product of FP16 whose neighbours have no kernel for it, in both branches of an If."""
    rng = np.random.default_rng(7)
    w = numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float16) / 8, "w.weight")
    info = helper.make_tensor_value_info("z", TensorProto.FLOAT16, None)
    branches = {
        key: helper.make_graph(
            [
                helper.make_node(op, ["x"], ["a"], name=f"{key}/{op}"),
                helper.make_node("MatMul", ["a", "w.weight"], ["b"], name=f"{key}/MatMul"),
                helper.make_node("Sigmoid", ["b"], ["z"], name=f"{key}/Sigmoid"),
            ],
            key, [], [info],
        )
        for key, op in (("then_branch", "Tanh"), ("else_branch", "Softplus"))
    }  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["rows", 64]),
        helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["rows", 64])
    choice = helper.make_node("If", ["condition"], ["y"], name="choice", **branches)
    graph = helper.make_graph([choice], "g", inputs, [y], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("make", [lambda: llama("float16"), half_product_in_a_branch])
def test_products_of_rounded_activations_agree_at_each_optimization_level(tmp_path, make, bits):
    model = make()
    source = save(model, tmp_path / "source")
    for accuracy in (0, 4):
        quantized(source, tmp_path / f"{accuracy}", "--method", "rtn", "--group-size", 32,
                  "--bits", bits, "--accuracy-level", accuracy)  # fmt: skip
    feeds = feeds_of(model)
    levels = ort.GraphOptimizationLevel
    expected = at_level(tmp_path / "0" / "model.onnx", feeds, levels.ORT_ENABLE_ALL)
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_BASIC, levels.ORT_ENABLE_EXTENDED,
                  levels.ORT_ENABLE_ALL):  # fmt: skip
        actual = at_level(tmp_path / "4" / "model.onnx", feeds, level)
        assert np.linalg.norm(actual - expected) <= 0.05 * np.linalg.norm(expected), level
