"""What commands print with --json: one frame, one shape for plan and result, errors as JSON."""

import hashlib
import json

import numpy as np
import pytest
from quantize_cli import QUANTIZE, output_validator, quantize
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def valid(found):
    output_validator().validate(found)
    return found


@pytest.fixture
def source(tmp_path):
    return save(llama(), tmp_path / "tiny")


def printed(command, *arguments, **options):
    done = quantize(command, *arguments, "--json", **options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema_version"].split(".")[0] == "1"
    assert found["tool"]["name"] == "quantize" and found["tool"]["version"]
    return valid(found) if "command" in found else found  # else the metadata of a result


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_file(source):
    return source / "model.onnx" if source.is_dir() else source


# ---- Frames -------------------------------------------------------------------------------------


def test_run_names_recipe_and_hashes(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    found = printed("run", source, tmp_path / "out", "--calib", ids, "--bits", 8)
    assert found["command"] == "run" and found["dry_run"] is False
    assert found["recipe"]["bits"] == 8 and found["recipe"]["method"] == "awq"
    assert found["source"]["sha256"] == sha256(model_file(source))
    assert found["calibration"]["file_sha256"] == sha256(ids)
    first = found["linears"][0]
    assert first["bits"] == 8 and 0 <= first["relative_loss"] <= first["relative_loss_rtn"]


def test_other_commands(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    digest = sha256(model_file(source))
    stats = printed("stats", source, "-o", tmp_path / "x.stats", "--calib", ids)
    assert stats["source"]["sha256"] == digest and stats["recipe"]["seed"] == 13
    assert stats["calibration"]["file_sha256"] == sha256(ids)
    eval_ = printed("eval", source, "--against", source, "--text", ids)
    assert eval_["source"]["sha256"] == eval_["reference"]["sha256"] == digest
    assert eval_["text"] == {"file": "ids.npy", "sha256": sha256(ids)}
    recipe = {"task": "auto", "output": "auto", "pooling": "auto", "seq_len": 512}
    recipe |= {"stride": None, "step": None}
    assert eval_["recipe"] == recipe
    assert printed("inspect", source)["source"]["sha256"] == digest
    operators = printed("operators")["operators"]
    assert {"domain": "ai.onnx", "operator": "MatMul"}.items() <= next(
        entry for entry in operators if entry["operator"] == "MatMul"
    ).items()
    version = printed("version")
    assert version["version"] == version["tool"]["version"] and version["libraries"]["protobuf"]
    commands = {c["name"]: c for c in printed("help")["commands"]}
    options = {name: o for o in commands["run"]["options"] for name in o["names"]}
    assert options["--bits"]["choices"] == ["2", "3", "4", "7", "8"]
    assert options["--bits"]["default"] == "4" and options["--bits"]["group"] == "Method"


def test_inspect_of_a_result_is_its_metadata(source, tmp_path):
    printed("run", source, tmp_path / "out", "--method", "rtn")
    found = printed("inspect", tmp_path / "out")
    assert [model["file"] for model in found.pop("model_files")] == ["model.onnx"]
    assert found == json.loads((tmp_path / "out" / "quantization_metadata.json").read_text())


def test_forward(source, tmp_path):
    ids = np.arange(6, dtype=np.int64).reshape(1, 6)
    np.savez(tmp_path / "in.npz", input_ids=ids)
    out = tmp_path / "out.npz"
    written = printed("forward", source, "--inputs", tmp_path / "in.npz", "-o", out)
    assert written["file"] == str(out) and written["source"]["sha256"] == sha256(model_file(source))
    with np.load(out) as arrays:
        shapes = {name.removeprefix("out."): list(arrays[name].shape) for name in arrays.files}
        np.savez(tmp_path / "both.npz", input_ids=ids, **arrays)
    assert {o["name"]: o["shape"] for o in written["outputs"]} == shapes
    compared = printed("forward", source, "--inputs", tmp_path / "both.npz", "--against")
    for output in compared["outputs"]:
        assert output["max_difference"] == 0 and output["cosine"] == pytest.approx(1)


# ---- Plan and result ----------------------------------------------------------------------------


def common(plan, result):
    """The parts of both that are objects in both."""
    assert plan.keys() == result.keys()
    for key in plan:
        if isinstance(plan[key], dict) and isinstance(result[key], dict):
            assert plan[key].keys() <= result[key].keys(), key


@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_plan_and_result_have_one_shape(source, tmp_path, method):
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = [source, tmp_path / "out", "--method", method, "--calib", ids, "--group-size", 32]
    plan = printed("run", *arguments, "--dry-run")
    result = printed("run", *arguments)
    common(plan, result)
    assert plan["dry_run"] is True and not plan["bytes_after"]
    assert plan["recipe"] == result["recipe"] and plan["source"] == result["source"]
    assert len(plan["linears"]) == len(result["linears"]) == 8
    for planned, done in zip(plan["linears"], result["linears"]):
        assert planned.keys() == done.keys()
        for key in ("name", "n", "k", "decision", "bytes_before", "bytes_after"):
            assert planned[key] == done[key]
        assert planned["relative_loss"] is None
    for key in ("linears_quantized", "linears_fp16", "linears_kept", "bytes_after"):
        assert plan["totals"][key] == result["totals"][key]
    assert plan["verification"]["done"] is None and result["verification"]["done"] is True


def parts(tmp_path):
    """A directory of two models that belong together."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in ("text_model", "vision_model"):
        model_file(save(llama(), tmp_path / name)).rename(folder / f"{name}.onnx")
    return folder


def test_plan_and_result_of_several_models(tmp_path):
    folder = parts(tmp_path)
    arguments = [folder, tmp_path / "out", "--method", "rtn", "--group-size", 32]
    plan = printed("run", *arguments, "--dry-run")
    result = printed("run", *arguments)
    again = printed("run", *arguments)
    assert again["up_to_date"] and again["predicted_peak_bytes"] is None
    for done in (result, again):
        common(plan, done)
        assert [m["file"] for m in plan["models"]] == [m["file"] for m in done["models"]]
    for planned, done in zip(plan["models"], result["models"]):
        common(planned, done)
        assert [x.keys() for x in planned["linears"]] == [x.keys() for x in done["linears"]]
        for key in ("linears_quantized", "linears_fp16", "linears_kept", "bytes_after"):
            assert planned["totals"][key] == done["totals"][key]
        assert done["verification"]["done"] is True and done["source"]["file"] == done["file"]
    assert again["models"][0]["bytes"] is None


def test_result_that_is_up_to_date_predicts_nothing(source, tmp_path):
    arguments = [source, tmp_path / "out", "--method", "rtn", "--group-size", 32]
    first = printed("run", *arguments)
    again = printed("run", *arguments)
    assert first["predicted"]["bytes"] == first["bytes_after"] == again["bytes_after"]
    assert again["up_to_date"] and first.keys() == again.keys()
    for key in ("predicted", "predicted_peak_bytes", "bytes"):
        assert again[key] is None


def test_nodes_that_compute_in_fp32_are_counted(source, tmp_path):
    arguments = [source, tmp_path / "out", "--method", "rtn", "--compute", "fp16"]
    assert printed("run", *arguments, "--dry-run")["islands"].keys() >= {"softmax"}
    written = printed("run", *arguments)["islands"]
    metadata = json.loads((tmp_path / "out" / "quantization_metadata.json").read_text())
    assert written == metadata["islands"] and written["softmax"] == 1


# ---- The schema ---------------------------------------------------------------------------------

# Their keys are names of a model, of libraries or of reasons.
OPEN = {"opsets", "operators", "weights", "libraries", "islands", "units"}


def objects(found, name=""):
    """Every object whose members the program names."""
    if isinstance(found, dict):
        if name not in OPEN:
            yield found
        for key, value in found.items():
            yield from objects(value, key)
    elif isinstance(found, list):
        for value in found[:1] + found[-1:]:
            yield from objects(value, name)


def test_schema_refuses_members_that_it_does_not_know(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    folder = parts(tmp_path)
    calibrated = ["--calib", ids, "--rule", "*q_proj: bits=8"]
    outputs = [
        printed("run", source, tmp_path / "out", *calibrated, "--dry-run"),
        printed("run", source, tmp_path / "out", *calibrated),
        printed("run", source, tmp_path / "files", "--calib", ids, "--calib", ids),
        printed("run", folder, tmp_path / "all", *calibrated, "--dry-run"),
        printed("run", folder, tmp_path / "all", *calibrated),
        printed("stats", source, "-o", tmp_path / "x.stats", "--calib", ids),
        printed("eval", source, "--text", ids),
        printed("inspect", source),
        printed("inspect", folder),
        *(printed(command) for command in ("operators", "recipes", "version", "help")),
        printed("clean", tmp_path),
        error_of(2, "run", "x.onnx", "--bist", "4", "--json", whole=True),
    ]
    validator = output_validator()
    count = 0
    for output in outputs:
        for part in objects(output):
            part["forgotten"] = 0
            assert not validator.is_valid(output), part.keys()
            del part["forgotten"]
            count += 1
        assert validator.is_valid(output)
    assert count > 150


# ---- Errors -------------------------------------------------------------------------------------


def error_of(status, *arguments, whole=False, **options):
    done = quantize(*arguments, **options)
    assert done.returncode == status, (done.returncode, done.stderr)
    (line,) = done.stderr.splitlines()
    found = json.loads(done.stdout)
    error = valid(found)["error"]
    assert list(error) == ["status", "kind", "what", "where", "hint"]
    assert error["status"] == status
    assert line.startswith("quantize: " + error["what"])
    assert error["hint"] is None or line.endswith("; " + error["hint"])
    return found if whole else error


@pytest.mark.parametrize(
    "words,where",
    [
        (["run", "x.onnx", "--json", "--bits", "5"], "--bits"),
        (["run", "x.onnx", "--json", "--bist", "4"], "--bist"),
        (["--json", "run", "x.onnx", "--seq-len", "1e3"], "--seq-len"),
        (["fly", "--json"], "fly"),
        (["eval", "--json"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors(words, where):
    error = error_of(2, *words)
    assert error["kind"] == "usage"
    assert where is None or error["where"] == where


def test_hint_is_the_right_word():
    assert error_of(2, "run", "x.onnx", "--bist", "4", "--json")["hint"] == "did you mean '--bits'?"


def test_recipe_errors_name_file_and_line(tmp_path):
    (tmp_path / "r.toml").write_text("seed = 1\nbist = 4\n")
    error = error_of(2, "run", "x.onnx", "--config", "r.toml", "--json", cwd=tmp_path)
    assert (error["where"], error["hint"]) == ("r.toml:2", "did you mean 'bits'?")


@pytest.mark.parametrize("command", ["run", "inspect", "stats", "eval", "forward"])
def test_input_errors_of_every_command(tmp_path, command):
    (tmp_path / "broken.onnx").write_bytes(b"\xff\xff not a model")
    np.savez(tmp_path / "in.npz", x=np.zeros(1, np.int64))
    more = {
        "stats": ["-o", "x.stats"],
        "eval": ["--text", "in.npz"],
        "forward": ["--inputs", "in.npz", "-o", "o.npz"],
    }.get(command, [])
    error = error_of(3, command, "broken.onnx", "--json", *more, cwd=tmp_path)
    assert error["kind"] == "input" and "broken.onnx" in error["where"]


def test_output_errors(source, tmp_path):
    (tmp_path / "file").write_text("mine")
    error = error_of(5, "run", "tiny", "file/out", "--method", "rtn", "--json", cwd=tmp_path)
    assert error["kind"] == "output"
    assert (tmp_path / "file").read_text() == "mine"


def test_without_json_standard_output_stays_empty(tmp_path):
    done = quantize("inspect", tmp_path / "absent.onnx")
    assert (done.returncode, done.stdout) == (3, "")
    done = quantize("run", "--", "--json")  # a file of that name
    assert (done.returncode, done.stdout) == (3, "")
