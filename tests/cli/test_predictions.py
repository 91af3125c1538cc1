"""What a dry run says the files will measure is what a run writes."""

import json
import pathlib
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import quantize
from small_models import calibration_ids, encoder, llama, save
from small_products import linear_forms, mixture_of_experts, with_branches


def convolutions():
    """A convolution, a transposed one of groups, a product; no size is a multiple of 8."""
    rng = np.random.default_rng(7)
    shapes = {"c.weight": (35, 13, 3), "up.weight": (35, 11, 3), "proj.weight": (13, 17)}
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["h"], name="c", pads=[1, 1]),
        helper.make_node("ConvTranspose", ["h", "up.weight"], ["u"], name="up", group=5),
        helper.make_node("MatMul", ["x", "proj.weight"], ["y"], name="proj"),
    ]
    values = [("x", [1, 13, 13]), ("u", [1, 55, 15]), ("y", [1, 13, 17])]
    x, *outputs = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in values)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "g", [x], outputs, weights)
    imports = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


MODELS = {
    "llama": llama,
    "tied": lambda: llama(tied=True),
    "odd": lambda: llama(hidden=34, ffn=37, heads=2, vocabulary=1031),
    "odd and tied": lambda: llama(hidden=36, ffn=50, heads=2, vocabulary=1031, tied=True),
    "odd halves": lambda: llama("float16", hidden=34, ffn=37, heads=2, vocabulary=1031),
    "convolutions": convolutions,
    "halves": lambda: llama("float16"),
    "wide in halves": lambda: llama("bfloat16"),
    "stored halves": lambda: llama("float32", stored="float16"),
    "constants in nodes": lambda: llama(constants_as_nodes=True),
    "encoder": encoder,
    "forms": linear_forms,
    "branches": with_branches,
    "experts": mixture_of_experts,
    "experts in halves": lambda: mixture_of_experts(np.float16, bias=False, normalize_routing_weights=1),
    "old opset": lambda: llama(opset=14),
}


EXPORTS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "onnx" / "exports"


def run(*arguments):
    done = quantize("run", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sizes(folder):
    """Bytes of the .onnx file and of its data."""
    (model,) = folder.rglob("*.onnx")
    data = [*folder.rglob("*.data"), *folder.rglob("*_data")]
    return model.stat().st_size, sum(file.stat().st_size for file in data)


# "inner#2" are products by the weight of "inner", whichever of them holds the codes.
CODES = re.compile(r"(?P<of>.+?)(#[0-9]+)?\.weight_(q[248]|scales|zero_points)(_[0-9]+)?")


def initializers(graph):
    """Those of the branches, too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from initializers(attribute.g)


def stored(out):
    """Bytes of the codes, scales and zero points in a result, by the tensor that they are of. What
    has one place in the data file counts for the first that is there."""
    (path,) = out.rglob("*.onnx")
    found, places = {}, set()
    for tensor in initializers(onnx.load(path, load_external_data=False).graph):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        size = int(entries.get("length", len(tensor.raw_data)))
        match = CODES.fullmatch(tensor.name)
        if match is None:
            continue
        if entries and entries["offset"] in places:
            continue
        places.add(entries.get("offset"))
        found[match["of"]] = found.get(match["of"], 0) + size
    return found


def check_tensors(result, out):
    """Every tensor of weights that became codes has the bytes that are told; a linear that reads
    the codes of a table is told with the same. Experts of a node lie in one tensor."""
    told = {}
    tables = {table["name"]: table["bytes_after"] for table in result["tables"]}
    tied = [e for e in result["linears"] if tables.get(e["name"]) == e["bytes_after"]]
    own = [entry for entry in result["linears"] if entry not in tied]
    for entry in own + result["tables"] + result["constants"]:
        if entry["decision"] == "quantize" and entry["bytes_after"] > 0:
            name = re.sub(r"^(moe\.fc\d)\.\d+$", r"\1", entry["name"].split("#")[0])
            told[name] = told.get(name, 0) + entry["bytes_after"]
    assert told == stored(out)


def compare(source, out, arguments, exact, padding=0):
    """The prediction of a dry run against the files; the same account of both. `padding`: bytes in
    front of tensors of the data file, which are others when scales lie between them."""
    plan = run(source, out, *arguments, "--dry-run")
    result = run(source, out, *arguments)
    predicted = plan["predicted"]
    model, data = sizes(out)
    assert predicted["bytes"] == predicted["model_bytes"] + predicted["data_bytes"]
    assert sum(part["after"] for part in plan["bytes"].values()) == predicted["bytes"]
    assert sum(part["after"] for part in result["bytes"].values()) == model + data
    as_predicted = (model, data) == (predicted["model_bytes"], predicted["data_bytes"])
    if exact:
        assert as_predicted, arguments
        assert predicted["exact"] and predicted["bytes_at_most"] == predicted["bytes"]
        assert plan["bytes"] == result["bytes"]
    else:
        assert as_predicted or not predicted["exact"]
        assert predicted["bytes"] - padding <= model + data <= predicted["bytes_at_most"] + padding
        if padding == 0:  # what is added lies in the model's file
            assert data == predicted["data_bytes"]
        if result["totals"]["linears_scaled"] == 0 and result["recipe"]["bias_correction"] != "all":
            assert as_predicted, arguments
    check_tensors(result, out)
    for key in ("linears", "tables", "constants"):
        for planned, done in zip(plan[key], result[key], strict=True):
            for part in ("bytes", "bytes_before", "bytes_after"):
                assert planned.get(part) == done.get(part), (arguments, planned["name"])
    for part in plan["bytes"].values():
        assert part["before"] >= 0 and part["after"] >= 0


SETTINGS = {
    "groups of 32": ["--group-size", "32"],
    "groups of 128": [],
    "channels": ["--group-size", "channel"],
    "asymmetric": ["--group-size", "16", "--asymmetric"],
    "8 bits": ["--bits", "8", "--group-size", "32"],
    "3 bits": ["--bits", "3", "--group-size", "32", "--asymmetric"],
    "2 bits": ["--bits", "2", "--group-size", "32"],
    "qdq": ["--format", "qdq", "--group-size", "32"],
    "qdq, channels": ["--format", "qdq", "--group-size", "channel", "--asymmetric", "--bits", "8"],
    "nf4": ["--format", "nf4", "--group-size", "16"],
    "floats as halves": ["--float", "fp16"],
    "tables": ["--embeddings", "int8", "--rule", "*embed*: bits=8"],
    "tables of 4 bits": ["--embeddings", "int4", "--lm-head", "int4", "--group-size", "32"],
    "tables in rows": ["--embeddings", "int8", "--format", "qdq", "--group-size", "32"],
    "head": ["--lm-head", "int8", "--group-size", "32"],
    "kept head": ["--lm-head", "keep", "--group-size", "32"],
    "filters": ["--conv", "int8", "--group-size", "32"],
    "one file": ["--layout", "flat", "--exclude", "*q_proj*"],
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("model", MODELS)
def test_rounded_models_have_the_predicted_bytes(tmp_path, model, setting):
    source = save(MODELS[model](), tmp_path / "model")
    arguments = ["--method", "rtn", *SETTINGS[setting]]
    planned = quantize("run", source, tmp_path / "out", *arguments, "--dry-run")
    if planned.returncode != 0:  # a setting that the model refuses is refused in the same way
        done = quantize("run", source, tmp_path / "out", *arguments)
        assert (planned.returncode, planned.stderr) == (done.returncode, done.stderr)
        assert planned.returncode in (2, 4)
        return
    compare(source, tmp_path / "out", arguments, exact=True)


HALVES = {
    "inputs kept": ["--method", "fp16"],
    "inputs converted": ["--method", "fp16", "--io-types", "fp16"],
    "codes": ["--method", "rtn", "--compute", "fp16", "--group-size", "32"],
    "codes of tables": ["--method", "rtn", "--compute", "fp16", "--embeddings", "int8"],
}


@pytest.mark.parametrize("setting", HALVES)
@pytest.mark.parametrize("model", MODELS)
def test_graphs_in_halves_have_the_predicted_bytes(tmp_path, model, setting):
    """No value of these is too large for FP16: only that a dry run cannot know."""
    source = save(MODELS[model](), tmp_path / "model")
    arguments = HALVES[setting]
    plan = run(source, tmp_path / "out", *arguments, "--dry-run")
    result = run(source, tmp_path / "out", *arguments)
    predicted = plan["predicted"]
    assert (predicted["model_bytes"], predicted["data_bytes"]) == sizes(tmp_path / "out")
    assert not predicted["exact"] and plan["bytes"] == result["bytes"]


def test_equal_weights_are_counted_once(tmp_path):
    """Two initializers of the same bytes get one set of codes where nothing else decides them."""
    model = llama(layers=2)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, tensor in tensors.items():
        if ".layers.1." in name and "proj" in name:
            tensor.raw_data = tensors[name.replace(".layers.1.", ".layers.0.")].raw_data
    source = save(model, tmp_path / "model")
    for form in ("matmulnbits", "qdq", "nf4"):
        arguments = ["--method", "rtn", "--group-size", "32", "--format", form]
        compare(source, tmp_path / form, arguments, exact=True)
    plan = ["--method", "rtn", "--group-size", "32", "--dry-run"]
    once = run(source, tmp_path / "out", *plan)
    twice = run(save(llama(layers=2), tmp_path / "unequal"), tmp_path / "out", *plan)
    assert once["bytes"]["linears"]["after"] < 0.6 * twice["bytes"]["linears"]["after"]


@pytest.mark.skipif(not EXPORTS.is_dir(), reason="../shared/onnx/exports is absent")
@pytest.mark.parametrize(
    "name",
    ["albert-dynamo18", "llama-ts14", "qwen2moe-ts17", "t5-encoder-ts13"],
)
def test_exports_have_the_predicted_bytes(tmp_path, name):
    for setting in ("groups of 32", "qdq", "floats as halves", "tables in rows"):
        arguments = ["--method", "rtn", "--no-verify", *SETTINGS[setting]]
        compare(EXPORTS / name, tmp_path / setting, arguments, exact=True)


@pytest.mark.parametrize("method", ["awq", "gptq", "best"])
@pytest.mark.parametrize("model", ["llama", "tied", "odd", "encoder", "halves"])
def test_what_calibration_adds_is_bounded(tmp_path, model, method):
    source = save(MODELS[model](), tmp_path / "model")
    ids = calibration_ids(tmp_path / "ids.npy")
    for more in ([], ["--format", "qdq"], ["--compute", "fp16"], ["--bias-correction", "all"]):
        arguments = ["--method", method, "--calib", ids, "--group-size", 32, *more]
        name = "out" + "".join(more)
        compare(source, tmp_path / name, arguments, exact=False)


@pytest.mark.parametrize("method", ["awq", "gptq", "smoothquant"])
def test_bounds_of_wide_models_leave_out_padding(tmp_path, method):
    """Gains and biases of 1 KiB lie in the data file. Where a scale is divided into one, it comes
    before others, and large tensors, which begin at pages, have other gaps before them."""
    source = save(llama(hidden=264, ffn=520, heads=4, layers=2), tmp_path / "model")
    ids = calibration_ids(tmp_path / "ids.npy")
    for more in ([], ["--format", "qdq"], ["--compute", "fp16"], ["--bias-correction", "all"]):
        arguments = ["--method", method, "--calib", ids, "--group-size", 32, *more]
        compare(source, tmp_path / f"out{more}", arguments, exact=False, padding=4096)


def parts(folder):
    """A directory of two models that belong together."""
    folder.mkdir()
    for name in ("text_model", "vision_model"):
        made = save(llama(), folder.parent / name)
        next(iter(made.rglob("*.onnx"))).rename(folder / f"{name}.onnx")
    return folder


def test_plan_of_a_directory_shows_the_memory_and_size_of_all(tmp_path):
    source = parts(tmp_path / "parts")
    arguments = [source, tmp_path / "out", "--method", "rtn", "--group-size", 32]
    plan = run(*arguments, "--dry-run")
    peaks = [model["predicted_peak_bytes"] for model in plan["models"]]
    assert min(peaks) > 0 and plan["predicted_peak_bytes"] == max(peaks)
    done = quantize("run", *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("all models ") and "peak memory" in last
    run(*arguments)
    for model in plan["models"]:
        written = tmp_path / "out" / model["file"]
        assert model["predicted"]["model_bytes"] == written.stat().st_size
