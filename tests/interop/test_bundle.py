"""Two forms of a model in one: each gives, in the real ONNX Runtime, what it gives alone, bit for bit."""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    forward,
    hashes,
    quantize,
    quantized,
    run_session,
    session,
)
from small_models import calibration_ids, encoder, feeds_of, llama, save  # noqa: E402
from small_products import with_branches, with_function  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

FORMS = {
    "int4": ["--method", "rtn", "--group-size", 32],
    "fp16": ["--method", "rtn", "--rule", "*: form=fp16", "--float", "fp16"],
    "int8": ["--method", "int8"],
    "qdq": ["--method", "rtn", "--group-size", 32, "--format", "qdq"],
}
PAIRS = [("fp32", "int4"), ("fp32", "int8"), ("fp16", "int4"), ("fp32", "qdq"), ("int4", "qdq")]


def make(model, folder, *names):
    """The forms of a model, each in a directory of its name; feeds for any of them."""
    save(model, folder / "fp32", external=True)
    ids = calibration_ids(folder / "ids.npy")
    for name in names:
        if name != "fp32":
            calibration = ["--calib", ids] if name == "int8" else []
            quantized(folder / "fp32", folder / name, *FORMS[name], *calibration)
    return feeds_of(model)


def bundle(folder, a, b, *options, out="both"):
    done = quantize(
        "bundle", folder / a, folder / b, "--dst", folder / out, "--names", f"{a},{b}", "--json",
        *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder / out


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


def check_switch(folder, out, names, feeds):
    """Both forms, in turns, and the default."""
    both = session(out / "model.onnx")
    alone = [run_session(session(folder / name / "model.onnx"), feeds) for name in names]
    assert any(not np.array_equal(alone[0][key], alone[1][key]) for key in alone[0])
    for chosen in (0, 1, 0, 1):
        got = run_session(both, {**feeds, "precision": np.array(chosen, np.int64)})
        assert_same(got, alone[chosen])
    return run_session(both, feeds), alone


@pytest.mark.parametrize("switch", ["linear", "whole"])
@pytest.mark.parametrize("a,b", PAIRS)
def test_each_form_of_a_decoder_gives_what_it_gives_alone(tmp_path, a, b, switch):
    feeds = make(llama(layers=2), tmp_path, a, b)
    report, out = bundle(tmp_path, a, b, "--switch", switch)
    default, alone = check_switch(tmp_path, out, (a, b), feeds)
    assert_same(default, alone[0])
    assert report["verification"]["done"]
    assert report["verification"]["max_relative_error"] <= 1e-6
    check_metadata(out)
    # The larger and the other's own tensors; small ones, and nodes of both, are in the graph.
    sizes = [v["source_bytes"] for v in report["variants"]]
    smaller = report["variants"][int(sizes[0] > sizes[1])]
    graph = sum((tmp_path / name / "model.onnx").stat().st_size for name in (a, b))
    assert report["bytes"] <= max(sizes) + smaller["own_bytes"] + graph
    written = sum(f["bytes"] for f in report["files"] if f["file"].startswith("model.onnx"))
    assert written == report["bytes"]


@pytest.mark.parametrize("switch", ["linear", "whole"])
def test_forms_of_an_encoder_and_of_models_with_branches_and_functions(tmp_path, switch):
    models = {"encoder": encoder(), "branches": with_branches(), "function": with_function()}
    for name, model in models.items():
        feeds = make(model, tmp_path / name, "int4")
        _, out = bundle(tmp_path / name, "fp32", "int4", "--switch", switch)
        check_switch(tmp_path / name, out, ("fp32", "int4"), feeds)


def test_default_is_what_is_asked_for_and_the_input_has_any_name(tmp_path):
    feeds = make(llama(), tmp_path, "int4")
    report, out = bundle(tmp_path, "fp32", "int4", "--default", "B", "--input", "quality")
    assert report["default"] == "int4"
    s = session(out / "model.onnx")
    assert "quality" not in [i.name for i in s.get_inputs()]  # it has a default
    expected = run_session(session(tmp_path / "int4" / "model.onnx"), feeds)
    assert_same(run_session(s, feeds), expected)
    props = {p.key: p.value for p in onnx.load(out / "model.onnx").metadata_props}
    described = json.loads(props["quantization.bundle"])
    assert described == {"input": "quality", "values": ["fp32", "int4"], "default": 1}


def test_own_executor_takes_the_input_too(tmp_path):
    feeds = make(llama(), tmp_path, "int4")
    _, out = bundle(tmp_path, "fp32", "int4")
    for chosen, name in enumerate(("fp32", "int4")):
        got = forward(out, {**feeds, "precision": np.array(chosen, np.int64)}, tmp_path)
        expected = forward(tmp_path / name, feeds, tmp_path)
        assert got.keys() == expected.keys()
        for output in expected:  # matrix libraries take sums in another order where operands lie
            np.testing.assert_allclose(got[output], expected[output], rtol=1e-4, atol=1e-5)


def test_siblings_that_read_one_quantized_activation_are_switched_together(tmp_path):
    feeds = make(encoder(), tmp_path, "int8")
    report, out = bundle(tmp_path, "fp32", "int8")
    check_switch(tmp_path, out, ("fp32", "int8"), feeds)
    assert report["regions"] == 4  # q, k and v; the output; two of the feed-forward layer
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(out / "model.onnx"), options)
    graph = onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph
    branches = [a.g for n in graph.node for a in n.attribute if a.name == "then_branch"]
    fused = {"MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
    assert sum(n.op_type in fused for b in branches for n in b.node) == 6
    assert not any(n.op_type == "MatMulInteger" for b in branches for n in b.node)


def test_halves_are_cast_outside_of_the_branches_and_codes_of_qdq_lie_inside(tmp_path):
    make(llama(), tmp_path, "fp16", "qdq")
    _, out = bundle(tmp_path, "fp16", "qdq")
    graph = onnx.load(out / "model.onnx", load_external_data=False).graph
    outer = {t.name: t for t in graph.initializer}
    casts = [n for n in graph.node if n.op_type == "Cast" and n.input[0] in outer]
    assert any(outer[n.input[0]].data_type == TensorProto.FLOAT16 for n in casts)
    inside = []
    for node in graph.node:
        for branch in (a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
            own = {t.name for t in branch.initializer}
            for n in branch.node:
                if n.op_type == "DequantizeLinear":
                    inside.append(n)
                    assert set(n.input) - {""} <= own
                assert not (n.op_type == "Cast" and n.input[0] in outer)
    assert len(inside) >= 7


def test_two_files_share_what_is_equal(tmp_path):
    feeds = make(llama(), tmp_path, "int4")
    report, out = bundle(tmp_path, "fp32", "int4", "--as", "files")
    check_metadata(out)
    for name in ("fp32", "int4"):
        got = run_session(session(out / f"model_{name}.onnx"), feeds)
        assert_same(got, run_session(session(tmp_path / name / "model.onnx"), feeds))
    places = [
        {
            t.name: (t.external_data[0].value, int(t.external_data[1].value))
            for t in onnx.load(out / f"model_{name}.onnx", load_external_data=False).graph.initializer
            if t.data_location == TensorProto.EXTERNAL
        }
        for name in ("fp32", "int4")
    ]
    table = "model.embed_tokens.weight"
    assert places[0][table] == places[1][table]
    assert report["shared_bytes"] >= 96 * 64 * 4


def test_a_model_package_gives_each_form_by_its_name(tmp_path):
    if not hasattr(onnxruntime, "ModelPackageContext"):
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} knows no model packages")
    feeds = make(llama(), tmp_path, "int4")
    _, out = bundle(tmp_path, "fp32", "int4", "--as", "package")
    check_metadata(out)
    onnxruntime.ModelPackage.open(str(out)).close()  # strict about unknown fields
    package = onnxruntime.ModelPackageContext(str(out))
    options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
    assert set(package.get_component_names()) == {"fp32", "int4"}
    [asset] = (out / "shared_assets").iterdir()
    uri = onnxruntime.ModelPackage.compute_directory_hash(str(asset))
    assert uri.replace(":", "-") == asset.name
    for name in ("fp32", "int4"):
        s = package.select_component(name, options).create_session()
        assert_same(run_session(s, feeds), run_session(session(tmp_path / name / "model.onnx"), feeds))


def test_the_same_bundle_is_the_same_bytes(tmp_path):
    make(llama(), tmp_path, "int4")
    _, one = bundle(tmp_path, "fp32", "int4", out="one")
    _, two = bundle(tmp_path, "fp32", "int4", "--no-verify", out="two")
    a, b = hashes(one), hashes(two)
    a.pop("quantization_metadata.json"), b.pop("quantization_metadata.json")
    assert a == b


def test_dry_run_tells_the_sizes_and_writes_nothing(tmp_path):
    make(llama(), tmp_path, "int4")
    for options in (["--switch", "linear"], ["--switch", "whole"], ["--as", "files"]):
        planned, out = bundle(tmp_path, "fp32", "int4", "--dry-run", *options)
        assert not out.exists() and planned["files"] == []
        made, _ = bundle(tmp_path, "fp32", "int4", "--overwrite", *options)
        assert planned["bytes"] == made["bytes"]
        for path in out.iterdir():
            path.unlink()
        out.rmdir()


def test_sidecars_come_along_and_only_an_earlier_result_is_replaced(tmp_path):
    make(llama(), tmp_path, "int4")
    (tmp_path / "fp32" / "tokenizer.json").write_text("{}")
    _, out = bundle(tmp_path, "fp32", "int4")
    assert (out / "tokenizer.json").read_text() == "{}"
    again = quantize("bundle", tmp_path / "fp32", tmp_path / "int4", "--dst", out)
    assert again.returncode == 5 and "--overwrite" in again.stderr
    bundle(tmp_path, "fp32", "int4", "--overwrite")
    shown = quantize("inspect", out)
    assert shown.returncode == 0 and "input 'precision'" in shown.stdout


def refused(folder, a, b, status, *words, options=()):
    done = quantize("bundle", folder / a, folder / b, "--dst", folder / "refused", *options)
    assert done.returncode == status, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr, done.stderr
    assert not (folder / "refused").exists()


def test_what_is_not_one_model_is_refused_in_one_line(tmp_path):
    model = llama()
    make(model, tmp_path, "int4")
    save(encoder(), tmp_path / "encoder")
    refused(tmp_path, "fp32", "encoder", 4, "'attention_mask'", "second model")
    refused(tmp_path, "fp32", "fp32", 2, "nothing to switch")
    refused(tmp_path, "fp32", "absent", 3, "absent")
    refused(tmp_path, "fp32", "int4", 2, "--input", "'logits'", options=["--input", "logits"])
    refused(tmp_path, "fp32", "int4", 2, "--names", options=["--names", "one"])
    refused(tmp_path, "fp32", "int4", 2, "--names", options=["--names", "one,one"])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    save(model, tmp_path / "double")
    refused(tmp_path, "fp32", "double", 4, "'logits'", "another type")
    inside = quantize("bundle", tmp_path / "fp32", tmp_path / "int4", "--dst", tmp_path / "int4")
    assert inside.returncode == 5 and "holds the source" in inside.stderr


def test_functions_of_one_name_with_other_bodies_are_refused_in_a_graph_but_not_in_files(tmp_path):
    model = with_function()
    save(model, tmp_path / "a")
    model.functions[0].node[0].attribute[0].ints[:] = [0, 1]
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(
            numpy_helper.to_array(model.graph.initializer[0]).T.copy(),
            model.graph.initializer[0].name,
        )
    )
    save(model, tmp_path / "b")
    refused(tmp_path, "a", "b", 4, "'local:Linear'", "--as files", options=["--no-verify"])
    done = quantize("bundle", tmp_path / "a", tmp_path / "b", "--dst", tmp_path / "files", "--as",
                    "files", "--no-verify")  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", ["linear", "whole"])
def test_half_products_of_rounded_activations_are_right_in_a_branch(tmp_path, form):
    feeds = make(llama("float16"), tmp_path, "int4")
    _, out = bundle(tmp_path, "fp32", "int4", "--switch", form)
    expected = run_session(session(tmp_path / "int4" / "model.onnx"), feeds)["logits"]
    got = run_session(session(out / "model.onnx"), {**feeds, "precision": np.array(1)})["logits"]
    error = np.abs(got.astype(np.float32) - expected).max() / np.abs(expected).max()
    assert error <= 0.02


def test_initializers_that_are_listed_as_inputs_are_none_unless_both_models_list_them(tmp_path):
    model = llama()
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)
    feeds = {"input_ids": feeds_of(llama())["input_ids"]}
    make(model, tmp_path, "int4")
    _, out = bundle(tmp_path, "fp32", "int4")
    check_switch(tmp_path, out, ("fp32", "int4"), feeds)


def product(opset, seed, node="MatMul", **attributes):
    weight = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node(node, ["m"], ["y"], name="last", **attributes),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 64]) for n in "xy"]
    graph = helper.make_graph(
        nodes, "g", values[:1], values[1:], [numpy_helper.from_array(weight, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_opsets_are_brought_together_where_operators_mean_the_same(tmp_path):
    a, b = product(13, 1, "Softmax", axis=1), product(17, 2, "Softmax", axis=1)
    save(a, tmp_path / "a"), save(b, tmp_path / "b")
    _, out = bundle(tmp_path, "a", "b", "--no-verify")
    assert onnx.load(out / "model.onnx").opset_import[0].version == 17
    check_switch(tmp_path, out, ("a", "b"), feeds_of(a))
    save(product(11, 1, "Softmax", axis=1), tmp_path / "old")
    refused(tmp_path, "old", "b", 4, "'last' (Softmax)", "opset", options=["--no-verify"])
