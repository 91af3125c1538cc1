"""What run, --dry-run and inspect tell of sizes, quality and the next step."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from quantize_cli import QUANTIZE, metadata, quantize, quantized
from small_models import calibration_ids, encoder, llama, save, word_tokenizer
from small_products import linear_forms

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

RTN = ["--method", "rtn", "--group-size", 32]
TABLE = 96 * 64 * 4  # of llama(): vocabulary x hidden, float32


def succeeded(*arguments, **options):
    done = quantize(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def size_of(folder):
    """The model's files: the .onnx file and its data."""
    return sum(f.stat().st_size for f in folder.rglob("*") if re.search(r"\.onnx(\.?_?data)?$", f.name))


@pytest.fixture
def source(tmp_path):
    save(llama(), tmp_path / "source")
    word_tokenizer(tmp_path / "source" / "tokenizer.json")
    return tmp_path / "source"


# ---- Where the bytes are ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model,options",
    [
        (llama(), []),
        (llama(), ["--float", "fp16"]),
        (llama(), ["--lm-head", "int8", "--bits", 8]),
        (llama(), ["--lm-head", "keep", "--float", "fp16"]),
        (llama(), ["--format", "qdq"]),
        (llama(tied=True), []),
        (llama(tied=True), ["--lm-head", "int8"]),
        (llama(tied=True), ["--float", "fp16"]),
        (llama(stored="float16"), []),
        (llama(constants_as_nodes=True), []),
        (encoder(), ["--exclude", "*inner*", "--float", "fp16"]),
        (linear_forms(), []),
    ],
    ids=lambda value: " ".join(map(str, value)) or "default" if isinstance(value, list) else "model",
)
def test_parts_add_up_to_the_files(tmp_path, model, options):
    source = save(model, tmp_path / "source")
    arguments = [*RTN, "--no-verify", *options]
    found = quantized(source, tmp_path / "out", *arguments)
    assert set(found["bytes"]) == {"linears", "head", "tables", "rest"}
    for when, folder in (("before", source), ("after", tmp_path / "out")):
        sizes = {name: part[when] for name, part in found["bytes"].items()}
        assert min(sizes.values()) >= 0, sizes
        assert sum(sizes.values()) == found[f"bytes_{when}"] == size_of(folder)
    planned = json.loads(
        succeeded("run", "--src", source, "--dst", tmp_path / "o", "--dry-run", "--json", *arguments)
    )
    assert planned["bytes_before"] == found["bytes_before"]
    assert set(planned["bytes"]) == set(found["bytes"])
    for name in ("linears", "head", "tables"):
        assert planned["bytes"][name] == found["bytes"][name]


def test_what_a_lookup_reads_is_a_table(source, tmp_path):
    found = quantized(source, tmp_path / "out", *RTN)["bytes"]
    assert found["tables"] == {"before": TABLE, "after": TABLE}
    assert found["head"] == {"before": TABLE, "after": TABLE // 2}
    halves = quantized(source, tmp_path / "half", *RTN, "--float", "fp16")["bytes"]
    assert halves["tables"] == {"before": TABLE, "after": TABLE // 2}


def test_codes_of_a_tied_head_come_on_top_of_the_table(tmp_path):
    source = save(llama(tied=True), tmp_path / "source")
    found = quantized(source, tmp_path / "out", *RTN, "--lm-head", "int8")["bytes"]
    assert found["tables"] == {"before": TABLE, "after": TABLE}
    assert found["head"]["before"] == 0 < found["head"]["after"]


def test_every_advice_saves_what_it_says(source, tmp_path):
    found = quantized(source, tmp_path / "out", *RTN, "--bits", 8)
    options = [saving["option"] for saving in found["savings"]]
    assert set(options) == {"--float fp16", "--lm-head int8", "--bits 4"}
    for i, saving in enumerate(found["savings"]):
        bits = [] if "--bits" in saving["option"] else ["--bits", 8]
        arguments = [*RTN, *bits, *saving["option"].split()]
        other = quantized(source, tmp_path / f"out{i}", *arguments)
        saved = found["bytes_after"] - other["bytes_after"]
        # Other constants become halves, too, and the graph changes by some nodes.
        assert abs(saved - saving["bytes"]) < 2500, saving
        assert saving["option"] not in [s["option"] for s in other["savings"]]
    text = succeeded("run", "--src", source, "--dst", tmp_path / "text", *RTN, "--bits", 8)
    for saving in found["savings"]:
        assert re.search(rf"^smaller       {saving['option']} saves [\d.]+ [KM]iB \(", text, re.M)


def test_a_tied_head_is_not_advised_to_grow(tmp_path):
    source = save(llama(tied=True), tmp_path / "source")
    found = quantized(source, tmp_path / "out", *RTN)
    assert not any("--lm-head" in saving["option"] for saving in found["savings"])


# ---- Warnings -----------------------------------------------------------------------------------


def test_two_bits_are_warned_of_before_and_after(source, tmp_path):
    arguments = ["run", "--src", source, "--dst", tmp_path / "out", *RTN, "--bits", 2]
    assert re.search(r"^warning +7 linears have 2 bits", succeeded(*arguments, "--dry-run"), re.M)
    assert re.search(r"^warning +7 linears have 2 bits", succeeded(*arguments), re.M)
    found = metadata(tmp_path / "out")
    assert any("2 bits" in note for note in found["notes"])


def test_large_errors_are_named(source, tmp_path):
    report = quantized(source, tmp_path / "out", *RTN, "--bits", 2)
    errors = {
        linear["name"]: linear["quantized"]["relative_loss"]
        for linear in metadata(tmp_path / "out")["linears"]
        if linear["quantized"]
    }
    large = {name for name, error in errors.items() if error > 0.1}
    assert len(large) >= 3
    (warning,) = [w for w in report["warnings"] if "10 %" in w]
    assert f"in {len(large)} of {len(errors)} linears" in warning
    worst = sorted(errors, key=errors.get, reverse=True)[:3]
    places = [warning.index(name) for name in worst]
    assert places == sorted(places)


def test_good_results_have_no_warning(source, tmp_path):
    report = quantized(source, tmp_path / "out", *RTN, "--bits", 8)
    assert report["warnings"] == []


# ---- What to do next ----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["flat", "transformers.js"])
def test_the_last_lines_can_be_copied(source, tmp_path, layout):
    pytest.importorskip("onnxruntime")
    (tmp_path / "texts.txt").write_text("w1 w2 w3\n\nw4 w5\n")
    out = tmp_path / "it's an output"
    text = succeeded("run", "--src", source, "--dst", out, "--layout", layout, *RTN)
    lines = [line[14:] for line in text.splitlines()[-4:]]
    (command, *python) = lines
    assert shlex.split(command)[:2] == ["quantize", "eval"]
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False,
        env=dict(os.environ, PATH=f"{QUANTIZE.parent}:{os.environ['PATH']}"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "KL " in done.stdout
    code = "\n".join(python)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "input_ids" in done.stdout
    report = quantized(source, tmp_path / "again", "--layout", layout, *RTN)
    assert report["next"]["python"][1].endswith('.onnx")')


def test_only_models_of_tokens_are_measured_on_text(tmp_path):
    source = save(linear_forms(), tmp_path / "source")
    report = quantized(source, tmp_path / "out", *RTN, "--no-verify")
    assert report["next"]["command"] is None


# ---- inspect ------------------------------------------------------------------------------------


def names_of(text, known):
    """The linears in the order in which a table has them."""
    first = [line.split()[0] for line in text.splitlines() if line.strip()]
    return [name for name in first if name in known]


def test_inspect_sorts_results_and_takes_the_first(source, tmp_path):
    arguments = [*RTN, "--calib", calibration_ids(tmp_path / "ids.npy")]
    quantized(source, tmp_path / "out", *arguments)
    linears = {x["name"]: x for x in metadata(tmp_path / "out")["linears"]}

    def error(name):
        made = linears[name]["quantized"]
        return -1 if made is None else made["relative_loss"]

    in_file = names_of(succeeded("inspect", tmp_path / "out"), linears)
    assert in_file == list(linears)
    by_error = names_of(succeeded("inspect", tmp_path / "out", "--sort", "error", "--top", 3), linears)
    assert by_error == sorted(linears, key=error, reverse=True)[:3]
    by_name = names_of(succeeded("inspect", tmp_path / "out", "--sort", "name"), linears)
    assert by_name == sorted(linears)
    found = json.loads(succeeded("inspect", tmp_path / "out", "--sort", "size", "--json"))
    sizes = [linear["bytes_after"] for linear in found["linears"]]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == len(linears)


def test_inspect_sorts_plans(source):
    text = succeeded("inspect", source, "--sort", "shape", "--top", 2)
    names = ["lm_head", "model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"]
    assert len(names_of(text, names)) == 2
    assert "linears       7 quantized" in text  # of all
    done = quantize("inspect", source, "--sort", "error")
    assert done.returncode == 2 and "--sort" in done.stderr


def test_inspect_tells_files_and_dimensions_by_name(source, tmp_path):
    quantized(source, tmp_path / "out", *RTN)
    for folder in (source, tmp_path / "out"):
        text = succeeded("inspect", folder)
        assert re.search(r"^files +model\.onnx [\d.]+ [KM]iB$", text, re.M), text
        assert "input_ids int64 batch x length\n" in text
        assert "logits float32 batch x length x 96\n" in text
        found = json.loads(succeeded("inspect", folder, "--json"))
        model = found["model_files"][0] if "model_files" in found else found
        assert model["inputs"][0]["dimensions"] == ["batch", "length"]
        sizes = {file["name"]: file["bytes"] for file in model["files"]}
        assert sizes == {name: (folder / name).stat().st_size for name in sizes}
        assert sum(sizes.values()) == size_of(folder)


def test_inspect_shows_the_metadata_of_models_that_are_gone(source, tmp_path):
    quantized(source, tmp_path / "out", *RTN)
    (tmp_path / "alone").mkdir()
    name = "quantization_metadata.json"
    (tmp_path / "out" / name).rename(tmp_path / "alone" / name)
    assert "lm_head" in succeeded("inspect", tmp_path / "alone" / name)


@pytest.fixture
def many(tmp_path):
    """A directory of two models."""
    (tmp_path / "many").mkdir()
    for name in ("encoder_model", "decoder_model"):
        save(llama(), tmp_path / name)
        (tmp_path / name / "model.onnx").rename(tmp_path / "many" / f"{name}.onnx")
    return tmp_path / "many"


def test_parts_of_a_directory_add_up(many, tmp_path):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    text = succeeded("run", "--src", many, "--dst", out, *RTN, "--bits", 2)
    assert re.search(r"^bytes +linears .* of the result$", text, re.M)
    assert "2 bits" in text
    code = "\n".join(line[14:] for line in text.splitlines()[-3:])
    check = code + "\nprint(sorted(sessions))"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "decoder_model.onnx" in done.stdout and "encoder_model.onnx" in done.stdout
    found = quantized(many, tmp_path / "again", *RTN)
    for model in found["models"]:
        name = model["file"]
        written = sum(f.stat().st_size for f in (tmp_path / "again").glob(f"{name}*"))
        assert sum(part["after"] for part in model["bytes"].values()) == written
        before = sum(part["before"] for part in model["bytes"].values())
        assert before == (many / name).stat().st_size


def test_inspect_shows_all_models_of_a_directory(many):
    text = succeeded("inspect", many)
    assert len(re.findall(r"^model +(?:en|de)coder_model\.onnx", text, re.M)) == 2
    found = json.loads(succeeded("inspect", many, "--json", "--top", 1))
    assert [len(model["linears"]) for model in found["models"]] == [1, 1]
