"""Filters of convolutions as INT8 codes: ONNX Runtime makes floats of them when it loads the model,
and its outputs are those of our executor."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (
    QUANTIZE,
    REPOSITORY,
    SHARED,
    check_metadata,
    cosine,
    forward,
    quantize,
    quantized,
    relative_error,
    run_session,
    session,
)

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

# Operator, shape of the filters, shape of what they see, attributes.
KINDS = {
    "conv1d": ("Conv", (48, 32, 3), (2, 32, 11), {"pads": [1, 1]}),
    "conv2d": ("Conv", (32, 16, 3, 3), (1, 16, 9, 8), {"strides": [2, 2]}),
    "conv3d": ("Conv", (24, 8, 2, 3, 2), (1, 8, 4, 5, 6), {}),
    "grouped": ("Conv", (48, 8, 5), (1, 32, 12), {"group": 4}),
    "depthwise": ("Conv", (160, 1, 3, 3), (1, 160, 7, 7), {"group": 160, "dilations": [2, 1]}),
    "transposed": ("ConvTranspose", (32, 24, 4), (1, 32, 9), {"strides": [2]}),
    "transposed2d": ("ConvTranspose", (16, 8, 4, 4), (2, 16, 5, 6), {"strides": [2, 3]}),
    "transposed-grouped": ("ConvTranspose", (48, 6, 5), (1, 48, 8), {"group": 4}),
    "transposed-depthwise": ("ConvTranspose", (272, 1, 4), (1, 272, 8), {"group": 272}),
}


def filters_of(shape, seed=3):
    """Of output channels with very different sizes, some of them zero."""
    values = 0.01 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    values *= (10.0 ** (np.arange(shape[1]) % 3)).reshape((1, -1) + (1,) * (len(shape) - 2))
    values *= (3.0 ** (np.arange(shape[0]) % 4)).reshape((-1, 1) + (1,) * (len(shape) - 2))
    values[5, 0] = 0
    return values


def save(folder, kind, dtype=TensorProto.FLOAT):
    """One convolution with a bias, and a product beside it so that there is a linear."""
    operator, shape, seen, attributes = KINDS[kind]
    outputs = shape[0]
    if operator == "ConvTranspose":
        outputs = shape[1] * attributes.get("group", 1)
    element = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    rng = np.random.default_rng(8)
    weights = {
        "enc.conv.weight": filters_of(shape),
        "enc.conv.bias": rng.standard_normal(outputs),
        "proj.weight": rng.standard_normal((seen[-1], 16)),
    }
    nodes = [
        helper.make_node(operator, ["x", "enc.conv.weight", "enc.conv.bias"], ["y"], name="conv",
                         **attributes),
        helper.make_node("MatMul", ["x", "proj.weight"], ["out"], name="proj"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "convolutions",
        [helper.make_tensor_value_info("x", dtype, ["n", *seen[1:]])],
        [helper.make_tensor_value_info("y", dtype, [None] * len(seen)),
         helper.make_tensor_value_info("out", dtype, ["n", *seen[1:-1], 16])],
        [numpy_helper.from_array(array.astype(element), name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    feeds = {"x": rng.standard_normal(seen).astype(element)}
    np.savez(folder / "feeds.npz", **feeds)
    return folder, feeds, weights["enc.conv.weight"]


def run(folder, destination, *arguments):
    """Calibrated with the model's own inputs, so that the result is verified with them."""
    return quantized(folder, destination, "--bits", 8, "--calib", folder / "feeds.npz", *arguments)


def entries(report):
    """Convolutions that stay floats are listed with the linears."""
    return {entry["name"]: entry for entry in report["linears"] + report["constants"]}


def by_output(kind, values):
    """A row for each output channel."""
    operator, shape, _, attributes = KINDS[kind]
    if operator == "Conv":
        return values.reshape(shape[0], -1)
    groups = attributes.get("group", 1)
    parts = values.reshape(groups, shape[0] // groups, shape[1], -1)
    return np.moveaxis(parts, 2, 1).reshape(groups * shape[1], -1)


def optimized(model, folder):
    """The graph that ONNX Runtime runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")  # beside the data file
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_compute_with_the_floats_of_the_codes(tmp_path, kind):
    folder, feeds, weight = save(tmp_path / "m", kind)
    report = run(folder, tmp_path / "out", "--conv", "int8")
    assert report["verification"]["done"] and report["verification"]["max_relative"] < 1e-5
    entry = entries(report)["enc.conv"]
    assert entry["decision"] == "quantize" and entry["quantized"]["form"] == "castmul"
    assert entry["quantized"]["relative_loss"] <= entry["quantized"]["relative_loss_rtn"]
    rows = by_output(kind, weight)
    assert (entry["n"], entry["k"]) == rows.shape
    assert entry["bytes_after"] == rows.size + 4 * rows.shape[0]
    check_metadata(tmp_path / "out")

    model = tmp_path / "out" / "model.onnx"
    before = run_session(session(folder / "model.onnx"), feeds)["y"]
    after = run_session(session(model), feeds)["y"]
    own = forward(model, feeds, tmp_path)["y"]
    assert relative_error(own, after) < 1e-5
    assert cosine(after, before) > 0.9995
    # Each output channel has a scale of its own: small ones are as good as large ones.
    for channel in range(before.shape[1]):
        if np.abs(before[:, channel]).max() > 0:
            assert cosine(after[:, channel], before[:, channel]) > 0.999
    folded = optimized(model, tmp_path / "out")
    assert not {"Cast", "Mul", "Reshape"} & set(operators(folded))
    # The folded floats are within a step of the filters.
    tensors = {t.name: numpy_helper.to_array(t) for t in folded.graph.initializer}
    (found,) = [t for t in tensors.values() if t.shape == weight.shape and t.dtype == np.float32]
    step = 2 * np.abs(rows).max(axis=1, keepdims=True) / 254
    assert (np.abs(by_output(kind, found) - rows) <= 2.5 * step + 1e-6).all()


@pytest.mark.parametrize("kind", ["conv2d", "transposed-grouped"])
def test_the_file_holds_what_was_predicted(tmp_path, kind):
    folder, _, weight = save(tmp_path / "m", kind)
    run(folder, tmp_path / "out", "--conv", "int8")
    written = onnx.load(tmp_path / "out" / "model.onnx")
    tensors = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    (entry,) = [e for e in check_metadata(tmp_path / "out")["constants"] if "quantized" in e]
    held = [a for name, a in tensors.items() if name.startswith("enc.conv.weight_")]
    assert sorted(str(a.dtype) for a in held if a.dtype != np.int64) == ["float32", "int8"]
    assert sum(a.nbytes for a in held if a.dtype != np.int64) == entry["bytes_after"]
    assert "enc.conv.weight" not in tensors
    assert entry["bytes_after"] < 0.27 * weight.nbytes


def test_fp16_is_cast_in_front(tmp_path):
    folder, feeds, weight = save(tmp_path / "m", "conv1d")
    report = run(folder, tmp_path / "out", "--conv", "fp16")
    assert report["verification"]["done"]
    entry = entries(report)["enc.conv"]
    assert entry["decision"] == "fp16" and entry["bytes_after"] == weight.nbytes // 2
    assert entries(report)["enc.conv.bias"]["decision"] == "keep"
    model = tmp_path / "out" / "model.onnx"
    before = run_session(session(folder / "model.onnx"), feeds)["y"]
    assert relative_error(run_session(session(model), feeds)["y"], before) < 1e-3
    assert "Cast" not in operators(optimized(model, tmp_path / "out"))


def test_models_in_fp16_get_scales_of_fp16(tmp_path):
    folder, feeds, _ = save(tmp_path / "m", "transposed-grouped", TensorProto.FLOAT16)
    report = run(folder, tmp_path / "out", "--conv", "int8")
    assert report["verification"]["done"]
    model = tmp_path / "out" / "model.onnx"
    written = onnx.load(model)
    scales = [t for t in written.graph.initializer if t.name.endswith("weight_scales")]
    assert [t.data_type for t in scales] == [TensorProto.FLOAT16]
    before = run_session(session(folder / "model.onnx"), feeds)["y"]
    assert cosine(run_session(session(model), feeds)["y"], before) > 0.9995


@pytest.mark.parametrize("method", [["--method", "fp16"], ["--compute", "fp16"]])
@pytest.mark.parametrize("kind", ["conv2d", "transposed-grouped"])
def test_graphs_that_become_fp16_cast_to_it(tmp_path, kind, method):
    folder, feeds, _ = save(tmp_path / "m", kind)
    report = run(folder, tmp_path / "out", *method, "--conv", "int8")
    assert report["verification"]["done"]
    entry = entries(report)["enc.conv"]
    assert entry["decision"] == "quantize"
    assert entry["bytes_after"] == entry["n"] * (entry["k"] + 2)
    model = tmp_path / "out" / "model.onnx"
    written = onnx.load(model)
    codes = [t.name for t in written.graph.initializer if t.data_type == TensorProto.INT8]
    (cast,) = [node for node in written.graph.node if node.input[0] in codes]
    assert helper.get_node_attr_value(cast, "to") == TensorProto.FLOAT16
    before = run_session(session(folder / "model.onnx"), feeds)["y"]
    assert cosine(run_session(session(model), feeds)["y"], before) > 0.9995


def test_rules_name_convolutions(tmp_path):
    folder, _, _ = save(tmp_path / "m", "conv1d")
    kept = run(folder, tmp_path / "kept", "--conv", "int8", "--rule", "enc.conv: form=keep")
    assert entries(kept)["enc.conv"]["decision"] == "keep"
    assert "enc.conv" in entries(kept)["enc.conv"]["reason"]
    asked = run(folder, tmp_path / "asked", "--rule", "enc.conv: bits=8")
    assert entries(asked)["enc.conv"]["decision"] == "quantize"
    run(folder, tmp_path / "option", "--conv", "int8")
    held = [
        {t.name: t.raw_data for t in onnx.load(tmp_path / name / "model.onnx").graph.initializer}
        for name in ("asked", "option")
    ]
    assert held[0]["enc.conv.weight_q8"] == held[1]["enc.conv.weight_q8"]


def test_nothing_changes_unless_asked(tmp_path):
    folder, _, weight = save(tmp_path / "m", "conv1d")
    report = run(folder, tmp_path / "out")
    assert entries(report)["enc.conv"]["decision"] == "keep"
    assert entries(report)["enc.conv"]["reason"] == "convolution"
    assert "conv" not in check_metadata(tmp_path / "out")["recipe"]
    written = onnx.load(tmp_path / "out" / "model.onnx")
    (same,) = [t for t in written.graph.initializer if t.name == "enc.conv.weight"]
    assert np.array_equal(numpy_helper.to_array(same), weight)


def test_convolutions_of_one_weight_share_its_codes(tmp_path):
    folder, feeds, _ = save(tmp_path / "m", "conv1d")
    model = onnx.load(folder / "model.onnx")
    twin = helper.make_node("Conv", ["x", "enc.conv.weight"], ["y2"], name="twin", pads=[1, 1])
    model.graph.node.append(twin)
    model.graph.output.append(
        helper.make_tensor_value_info("y2", TensorProto.FLOAT, [None] * 3))  # fmt: skip
    onnx.save(model, folder / "model.onnx")
    report = run(folder, tmp_path / "out", "--conv", "int8")
    assert report["verification"]["done"]
    written = onnx.load(tmp_path / "out" / "model.onnx")
    codes = [t for t in written.graph.initializer if t.data_type == TensorProto.INT8]
    assert len(codes) == 1
    results = run_session(session(tmp_path / "out" / "model.onnx"), feeds)
    bias = results["y"] - results["y2"]
    assert np.abs(bias - bias[:, :, :1]).max() < 1e-3 * np.abs(results["y"]).max()


def test_a_graph_of_convolutions_alone_can_be_quantized(tmp_path):
    folder, feeds, _ = save(tmp_path / "m", "conv2d")
    model = onnx.load(folder / "model.onnx")
    del model.graph.node[1], model.graph.output[1], model.graph.initializer[2]
    onnx.save(model, folder / "model.onnx")
    quantized(folder, tmp_path / "out", "--method", "rtn", "--conv", "int8")
    before = run_session(session(folder / "model.onnx"), feeds)["y"]
    after = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["y"]
    assert cosine(after, before) > 0.9995


@pytest.mark.parametrize("name", ["vit-ts14", "dinov2-dynamo23"])
def test_patches_of_vision_models(tmp_path, name):
    source = SHARED / "onnx" / "exports" / name
    if not (source / "model.onnx").exists():
        pytest.skip(f"{source} is absent")
    s = session(source / "model.onnx")
    (given,) = s.get_inputs()
    shape = [2] + [d if isinstance(d, int) else 30 for d in given.shape[1:]]
    feeds = {given.name: np.random.default_rng(1).standard_normal(shape, np.float32)}
    np.savez(tmp_path / "feeds.npz", **feeds)
    options = ["--bits", 8, "--accuracy-level", 0, "--calib", tmp_path / "feeds.npz"]
    plain = quantized(source, tmp_path / "plain", *options)
    report = quantized(source, tmp_path / "out", *options, "--conv", "int8")
    assert report["verification"]["done"]
    (entry,) = [e for e in report["constants"] if "quantized" in e]
    assert entry["bytes_after"] < 0.27 * entry["bytes_before"]
    assert report["bytes_after"] < plain["bytes_after"] - 0.7 * entry["bytes_before"]
    expected = run_session(session(tmp_path / "plain" / "model.onnx"), feeds)
    for output, value in run_session(session(tmp_path / "out" / "model.onnx"), feeds).items():
        assert cosine(value, expected[output]) > 0.999


def speech(path):
    """What is in front of the transformer of a small speech encoder."""
    rng = np.random.default_rng(2)
    weights = {"encoder.conv1.weight": (384, 80, 3), "encoder.conv2.weight": (384, 384, 3),
               "encoder.proj.weight": (384, 384)}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["mel", "encoder.conv1.weight"], ["a"], pads=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "encoder.conv2.weight"], ["c"], pads=[1, 1], strides=[2]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["d", "encoder.proj.weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "speech", [helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, 100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 50, 384])],
        [numpy_helper.from_array(0.05 * rng.standard_normal(shape).astype(np.float32), name)
         for name, shape in weights.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_the_plan_is_as_docs_convolutions_shows_it(tmp_path):
    speech(tmp_path / "speech.onnx")
    page = (REPOSITORY / "docs" / "convolutions.md").read_text()
    (example,) = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
    command, *lines = [line.strip() for line in example.strip().split("\n")]
    done = quantize(*command.split()[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = [line.strip() for line in done.stdout.splitlines()]
    for line in lines:
        assert line in shown
