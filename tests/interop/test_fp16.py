"""Whole graphs in FP16: what is too large is found, borders keep their types, exports run for real.

The models of the required tests are built here; those of ../shared (or PTQ_SHARED) are skipped when
they are absent. One line a model is printed at the end.
"""

import os
import pathlib

import numpy as np
import onnx
import onnx.shape_inference
import pytest
from onnx import TensorProto, helper, numpy_helper

ort = pytest.importorskip("onnxruntime")
from model_checks import arrays_of, is_half, models_below, nodes_below, sweep  # noqa: E402
from quantize_cli import QUANTIZE, SHARED, metadata, quantize, relative_error, run_session, session, summarize  # noqa: E402

EXPORTS = SHARED / "onnx" / "exports"
MINILM = pathlib.Path(os.environ.get("MINILM_DIR", "absent"))
MODELS = models_below(EXPORTS) if EXPORTS.exists() else []
# Of the largest output. Rounding the weights to FP16 is more than that by itself in some exports,
# whose weights are random: then the limit is a multiple of it, which is measured.
LARGEST_ERROR = 2e-3
OF_ROUNDED_WEIGHTS = 2

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def converted(source, destination, *arguments):
    done = quantize("run", "--src", source, "--dst", destination, "--method", "fp16", *arguments)
    assert done.returncode == 0, done.stderr
    return destination / "model.onnx", done


def weight(name, array):
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def save(folder, nodes, initializers, inputs, outputs, opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def large_model(folder):
    """Activations pass 65504 between `grow` and `shrink`."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], "embed"),
        helper.make_node("MatMul", ["x", "up"], ["a"], "up_proj"),
        helper.make_node("Mul", ["a", "factor"], ["b"], "grow"),
        helper.make_node("Div", ["b", "factor"], ["c"], "shrink"),
        helper.make_node("MatMul", ["c", "down"], ["d"], "down_proj"),
        helper.make_node("MatMul", ["d", "head"], ["logits"], "lm_head"),
    ]
    initializers = [
        weight("table", rng.standard_normal((64, 32))),
        weight("up", 60 * rng.standard_normal((32, 32))),
        weight("factor", [400.0]),
        weight("down", 1e-3 * rng.standard_normal((32, 32))),
        weight("head", 0.1 * rng.standard_normal((32, 64))),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "s"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "s", 64])
    return save(folder, nodes, initializers, [ids], [logits])


def test_values_too_large_for_fp16_are_found_and_stay_fp32(tmp_path):
    source = large_model(tmp_path / "source")
    written, done = converted(source, tmp_path / "out")
    assert "'grow'" in done.stdout and "32768" in done.stdout
    assert metadata(tmp_path / "out")["islands"] == {"large values": 2}
    model = onnx.load(written)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["up"] == types["down"] == types["head"] == TensorProto.FLOAT16
    assert types["factor"] == TensorProto.FLOAT
    feeds = {"input_ids": np.arange(8, dtype=np.int64)[None]}
    expected = session(source).run(None, feeds)[0]
    assert relative_error(session(written).run(None, feeds)[0], expected) < 1e-3


@pytest.mark.parametrize("io_types", ["keep", "fp16"])
def test_borders_keep_their_types_unless_they_are_asked_to_change(tmp_path, io_types):
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "linear"),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
    ]
    source = save(
        tmp_path / "source",
        nodes,
        [weight("w", rng.standard_normal((16, 16)))],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 16])],
    )
    written, _ = converted(source, tmp_path / "out", "--io-types", io_types)
    graph = onnx.load(written).graph
    types = [v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]]
    assert [v.name for v in [*graph.input, *graph.output]] == ["x", "z"]
    half = io_types == "fp16"
    assert types == [TensorProto.FLOAT16 if half else TensorProto.FLOAT] * 2
    assert sum(node.op_type == "Cast" for node in graph.node) == (0 if half else 2)


def test_a_branch_casts_what_it_gives_out_itself(tmp_path):
    def branch(name, operator):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16])
        return helper.make_graph([helper.make_node(operator, ["y"], [name])], name, [], [out])

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "linear"),
        helper.make_node(
            "If", ["c"], ["z"], then_branch=branch("t", "Relu"), else_branch=branch("e", "Softmax")
        ),
    ]
    rng = np.random.default_rng(2)
    source = save(
        tmp_path / "source",
        nodes,
        [weight("w", rng.standard_normal((16, 16)))],
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 16])],
    )
    written, _ = converted(source, tmp_path / "out")
    for condition in (True, False):
        feeds = {"x": rng.standard_normal((1, 16)).astype(np.float32), "c": np.array(condition)}
        expected = session(source).run(None, feeds)[0]
        assert relative_error(session(written).run(None, feeds)[0], expected) < 2e-3


def constants_of(graph):
    """Constants by name, those of Constant nodes and of subgraphs included."""
    for stored in graph.initializer:
        yield stored.name, stored
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from constants_of(attribute.g)


def around_attention(graph):
    """Casts to FP16 in front of Attention and behind it, which the runtime computes in FP16 itself."""
    floats = {
        v.name for v in [*graph.value_info, *graph.input, *graph.output]
        if v.type.tensor_type.elem_type == TensorProto.FLOAT
    }  # fmt: skip
    floats |= {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    nodes = []
    for node in graph.node:
        attends = node.op_type == "Attention" and not node.domain
        for i, name in enumerate(node.input if attends else []):
            if name in floats:
                half = f"{node.name or node.output[0]}_{i}"
                nodes.append(helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16))
                node.input[i] = half
        nodes.append(node)
        for i, name in enumerate(list(node.output) if attends else []):
            if name:
                node.output[i] = name + "_half"
                nodes.append(
                    helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT)
                )
    del graph.node[:]
    graph.node.extend(nodes)


def with_rounded_weights(source, written, path):
    """The source with the constants rounded that the written model holds in FP16: it computes in
    FP32, but where the runtime itself computes in FP16."""
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    halves = {
        name for name, stored in constants_of(written.graph)
        if stored.data_type == TensorProto.FLOAT16
    }  # fmt: skip
    for name, stored in constants_of(model.graph):
        if name in halves and stored.data_type == TensorProto.FLOAT:
            values = np.clip(numpy_helper.to_array(stored), -65504, 65504).astype(np.float16)
            stored.CopyFrom(numpy_helper.from_array(values.astype(np.float32), stored.name))
    around_attention(model.graph)
    onnx.save(model, path)
    return path


def error_of(model, feeds, expected):
    """The largest of the outputs of floats."""
    actual = run_session(session(model), feeds)
    return max(
        relative_error(actual[key], value)
        for key, value in expected.items()
        if value.dtype.kind == "f" and value.size
    )


def casts_in(model):
    return sum(node.op_type == "Cast" for node in nodes_below(model.graph.node))


@pytest.mark.parametrize("name", sweep(MODELS))
def test_exports_load_and_are_close(name, tmp_path):
    source = EXPORTS / name / "model.onnx"
    path, _ = converted(EXPORTS / name, tmp_path / "out")
    written = onnx.load(path)
    feeds, expected = arrays_of(EXPORTS / name)
    rounded = with_rounded_weights(source, written, tmp_path / "rounded.onnx")
    weights = error_of(rounded, feeds, expected)
    found = error_of(path, feeds, expected)
    summarize(
        "FP16 of exports",
        f"{name:34} within {found:.1e} of FP32, {weights:.1e} by its weights alone, "
        f"{casts_in(written)} Casts",
    )
    # A source in FP16 rounds as much itself: the difference is that of two.
    limit = LARGEST_ERROR * (2**0.5 if is_half(source) else 1)
    assert found <= max(limit, OF_ROUNDED_WEIGHTS * weights)


@pytest.mark.slow
@pytest.mark.skipif(not (MINILM / "model.onnx").exists(), reason="MINILM_DIR names no model")
@pytest.mark.parametrize("length", [8, 128])
def test_a_trained_encoder_is_closer(tmp_path, length):
    path, _ = converted(MINILM, tmp_path / "out")
    source = session(MINILM / "model.onnx")
    ids = np.random.default_rng(0).integers(1000, 30000, (2, length))
    mask = np.ones_like(ids)
    mask[1, length // 2 :] = 0
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
    feeds = {value.name: arrays[value.name] for value in source.get_inputs()}
    found = error_of(path, feeds, run_session(source, feeds))
    summarize("FP16 of exports", f"MiniLM, length {length}: within {found:.1e} of FP32")
    assert found <= 8e-4


def test_exports_are_found():
    if not MODELS:
        pytest.skip(f"{EXPORTS} is absent")
    assert len(MODELS) > 50
