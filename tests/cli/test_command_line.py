"""Golden tests of the command line: texts, tables, JSON, options, recipes.

The texts are in golden/; PTQ_UPDATE_GOLDEN=1 writes them anew, for a look at the difference.
"""

import json
import os
import pathlib
import re

import pytest
from quantize_cli import QUANTIZE, check_metadata, metadata, quantize
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"


def assert_golden(name, text):
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("PTQ_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is absent; PTQ_UPDATE_GOLDEN=1 writes it"
    assert text == path.read_text(), f"differs from {path}; PTQ_UPDATE_GOLDEN=1 writes it anew"


def succeeded(done):
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stderr == ""
    return done.stdout


def failed(done, status, *words):
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("quantize: ")
    for word in words:
        assert word in line, line


@pytest.fixture
def source(tmp_path):
    return save(llama(), tmp_path / "tiny")


# ---- Texts --------------------------------------------------------------------------------------


def test_version_names_the_libraries():
    text = succeeded(quantize("--version"))
    assert re.match(r"quantize \d+\.\d+\.\d+\n", text)
    names = [line.split()[0] for line in text.splitlines()[1:]]
    for library in ("onnx", "protobuf", "Eigen", "BLAS", "oneTBB", "CLI11", "spdlog", "nlohmann"):
        assert library in names
    assert all(re.search(r"\d|not in this build", line) for line in text.splitlines())


# ---- Usage errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments,word",
    [
        (["fly"], "fly"),
        (["run"], "SRC"),
        (["run", "SRC", "--bits", "5"], "--bits"),
        (["run", "SRC", "--group-size", "33"], "--group-size"),
        (["run", "SRC", "--method", "magic"], "magic"),
        (["run", "SRC", "--method", "rtn", "--grid", "magic"], "magic"),
        (["run", "SRC", "--method", "rtn", "--rounding", "magic"], "magic"),
        (["run", "SRC", "--method", "rtn", "--scaling", "magic"], "magic"),
        (["run", "SRC", "--format", "magic"], "magic"),
        (["run", "SRC", "--lm-head", "int3"], "int3"),
        (["run", "SRC", "--float", "fp8"], "fp8"),
        (["run", "SRC", "--accuracy-level", "9"], "--accuracy-level"),
        (["run", "SRC", "--calib-samples", "0"], "--calib-samples"),
        (["run", "SRC", "--seq-len", "-5"], "--seq-len"),
        (["run", "SRC", "--threads", "-1"], "--threads"),
        (["run", "SRC", "--unheard"], "--unheard"),
        (["run", "SRC", "DST", "surplus"], "surplus"),
        (["run", "SRC", "--method", "rtn", "--exclude", "nothing.like.it"], "nothing.like.it"),
        (["run", "SRC", "--method", "rtn", "--include", "/no_such/"], "/no_such/"),
        (["run", "SRC", "--method", "rtn", "--exclude", "/(/"], "/(/"),
        (["forward", "SRC"], "inputs"),
        (["inspect"], "PATH"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_usage_errors(source, tmp_path, arguments, word):
    names = {"SRC": source, "DST": tmp_path / "out"}
    done = quantize(*[names.get(a, a) for a in arguments], cwd=tmp_path)
    failed(done, 2, word)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


# ---- The plan -----------------------------------------------------------------------------------


def test_dry_run_table(source, tmp_path):
    arguments = ["--method", "rtn", "--group-size", 32, "--dst", "out", "--dry-run"]
    text = succeeded(quantize("run", "tiny", *arguments, cwd=tmp_path))
    text = re.sub(r"(peak memory +)\S+ \S+", r"\1SIZE", text)
    # The graph's own size, and with it all shares, is that of the installed onnx.
    text = re.sub(r"^(size +| +rest +).*$", r"\1SIZE", text, flags=re.MULTILINE)
    text = re.sub(r" +[\d.]+ % of the result", " SHARE of the result", text)
    assert_golden("dry_run", text)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_dry_run_json(source, tmp_path):
    arguments = ["--method", "rtn", "--group-size", 32, "--exclude", "*.o_proj", "--dry-run", "--json"]
    plan = json.loads(succeeded(quantize("run", "tiny", *arguments, cwd=tmp_path)))
    linears = {linear["name"]: linear for linear in plan["linears"]}
    assert len(linears) == 8
    assert plan["predicted_peak_bytes"] > 0
    query = linears["model.layers.0.self_attn.q_proj"]
    assert (query["n"], query["k"], query["bits"], query["group_size"]) == (64, 64, 4, 32)
    assert query["decision"] == "quantize" and query["symmetric"] is True
    assert query["bytes_before"] == 64 * 64 * 4 and query["bytes_after"] == 64 * 64 // 2 + 64 * 2 * 4
    assert linears["lm_head"]["decision"] == "fp16" and linears["lm_head"]["reason"]
    excluded = linears["model.layers.0.self_attn.o_proj"]
    assert excluded["decision"] == "keep" and "*.o_proj" in excluded["reason"]


def test_dry_run_says_what_three_bit_codes_are_stored_in(source, tmp_path):
    plan = {}
    ids = ["--calib", calibration_ids(tmp_path / "ids.npy")]
    for bits in (3, 4):
        arguments = ["--bits", bits, "--group-size", 32, "--dry-run", "--json", *ids]
        report = json.loads(succeeded(quantize("run", source, *arguments)))
        (plan[bits],) = [x for x in report["linears"] if x["name"].endswith("q_proj")]
    assert report["destination"].endswith("tiny-awq_w4_g32_headfp16")
    assert (plan[3].pop("bits"), plan[4].pop("bits")) == (3, 4)
    assert plan[3] == plan[4] and plan[3]["stored_bits"] == 4
    text = succeeded(quantize("run", source, "--bits", 3, "--dry-run", "--asymmetric", *ids))
    assert "int3 g128 asym" in text and "-awq_w3_g128_asym_headfp16\n" in text


@pytest.mark.parametrize("layout,model", [("flat", "model"), ("transformers.js", "onnx/model_q4")])
def test_three_bit_codes_in_metadata_and_inspect(source, tmp_path, layout, model):
    arguments = ["--method", "rtn", "--bits", 3, "--group-size", 32, "--layout", layout]
    succeeded(quantize("run", source, tmp_path / "out", "-q", "--lm-head", "int8", *arguments))
    assert (tmp_path / "out" / f"{model}.onnx").exists()
    *layers, head = check_metadata(tmp_path / "out")["linears"]
    bits = {(x["quantized"]["bits"], x["quantized"]["stored_bits"]) for x in layers}
    assert bits == {(3, 4)}
    assert (head["quantized"]["bits"], head["quantized"]["stored_bits"]) == (8, 8)
    text = succeeded(quantize("inspect", tmp_path / "out"))
    assert text.count("int3 g32") == len(layers) and text.count("int8 g32") == 1
    assert text.endswith(" of linear weights, codes of 3 bits stored in 4\n")


@pytest.mark.parametrize(
    "patterns,kept",
    [
        (["--exclude", "*.q_proj"], {"q_proj"}),
        (["--exclude", "*.[qk]_proj"], {"q_proj", "k_proj"}),
        (["--exclude", "/self_attn/"], {"q_proj", "k_proj", "v_proj", "o_proj"}),
        (["--exclude", "/(up|gate)_proj$/", "*.o_proj"], {"up_proj", "gate_proj", "o_proj"}),
        (["--include", "*.mlp.*"], {"q_proj", "k_proj", "v_proj", "o_proj", "lm_head"}),
        (
            ["--include", "*.mlp.*", "--exclude", "*.down_proj"],
            {"q_proj", "k_proj", "v_proj", "o_proj", "lm_head", "down_proj"},
        ),
    ],
    ids=lambda value: " ".join(sorted(value) if isinstance(value, set) else value),
)
def test_patterns(source, patterns, kept):
    options = ["--method", "rtn", "--lm-head", "int8", *patterns]
    done = quantize("run", "--src", source, "--dry-run", "--json", *options)
    plan = json.loads(succeeded(done))
    found = {e["name"].split(".")[-1] for e in plan["linears"] if e["decision"] == "keep"}
    assert found == kept


def test_default_destination_says_what_was_done(source, tmp_path):
    succeeded(quantize("run", "tiny", "--method", "rtn", "-q", "--json", cwd=tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny", "tiny-rtn_w4_g128_headfp16"]
    written = tmp_path / "tiny-rtn_w4_g128_headfp16"
    assert {p.name for p in written.iterdir()} >= {"model.onnx", "quantization_metadata.json"}


def test_json_report(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    done = quantize("run", source, tmp_path / "out", "--calib", ids, "--group-size", 32, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    counts = {"linears_quantized": 7, "linears_fp16": 1, "linears_kept": 0}
    assert report["totals"] == {**report["totals"], **counts}
    calibration = report["calibration"]
    assert (calibration["samples"], calibration["tokens"]) == (8, 8 * 24)
    assert report["bytes_after"] < report["bytes_before"]
    assert report["relative_loss"] <= report["relative_loss_rtn"]
    assert report["verification"]["done"] is True


def test_no_verify(source, tmp_path):
    done = quantize("run", source, tmp_path / "out", "--method", "rtn", "--no-verify", "--json")
    assert json.loads(succeeded(done))["verification"]["done"] is False
    assert metadata(tmp_path / "out")["verification"] is None


def test_overwrite_replaces_the_destination(source, tmp_path):
    for bits in (4, 8):
        arguments = ["--method", "rtn", "--bits", bits, "--overwrite", "--json"]
        succeeded(quantize("run", source, tmp_path / "out", *arguments))
        assert metadata(tmp_path / "out")["recipe"]["bits"] == bits
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tiny"]


# ---- Recipes ------------------------------------------------------------------------------------

TOML = """method = "rtn"
bits = 8
group-size = "32"
symmetric = false
exclude = ["*.o_proj", "/up_proj/"]
lm-head = "keep"
seed = 99
"""
JSON = {
    "method": "rtn",
    "bits": 8,
    "group_size": "32",
    "symmetric": False,
    "exclude": ["*.o_proj", "/up_proj/"],
    "lm_head": "keep",
    "seed": 99,
}


def write_recipe(folder, form):
    path = folder / f"recipe.{form}"
    path.write_text(TOML if form == "toml" else json.dumps(JSON))
    return path


@pytest.mark.parametrize("form", ["toml", "json"])
def test_recipe_file(source, tmp_path, form):
    recipe = write_recipe(tmp_path, form)
    succeeded(quantize("--config", recipe, "run", source, tmp_path / "out"))
    found = metadata(tmp_path / "out")
    for key, value in JSON.items():
        assert str(found["recipe"][key]) == str(value), key
    assert found["totals"]["linears_quantized"] == 5


@pytest.mark.parametrize("form", ["toml", "json"])
def test_options_override_the_recipe_file(source, tmp_path, form):
    recipe = write_recipe(tmp_path, form)
    succeeded(quantize("run", "--config", recipe, source, tmp_path / "out", "--bits", 4))
    found = metadata(tmp_path / "out")["recipe"]
    assert found["bits"] == 4 and found["seed"] == 99


def test_recipe_of_a_result_makes_the_same_result(source, tmp_path):
    """What the metadata calls the recipe is itself a recipe file."""
    arguments = ["--method", "rtn", "--bits", 8, "--group-size", 32, "--asymmetric"]
    succeeded(quantize("run", source, tmp_path / "first", *arguments))
    (tmp_path / "again.json").write_text(json.dumps(metadata(tmp_path / "first")["recipe"]))
    succeeded(quantize("--config", tmp_path / "again.json", "run", source, tmp_path / "second"))
    for name in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("form", ["whole metadata", "directory", "report"])
def test_recipe_within_something_larger(source, tmp_path, form):
    arguments = ["--method", "rtn", "--bits", 8, "--group-size", "channel", "--exclude", "*.o_proj"]
    done = quantize("run", source, tmp_path / "first", "--json", *arguments)
    (tmp_path / "report.json").write_text(succeeded(done))
    recipe = {
        "whole metadata": tmp_path / "first" / "quantization_metadata.json",
        "directory": tmp_path / "first",
        "report": tmp_path / "report.json",
    }[form]
    succeeded(quantize("run", source, tmp_path / "second", "--config", recipe))
    assert metadata(tmp_path / "first")["recipe"] == metadata(tmp_path / "second")["recipe"]


@pytest.mark.parametrize(
    "name,content,words",
    [
        ("r.json", '{"bits": ', ["'r.json' line 1", "not valid JSON"]),
        ("r.json", '{\n"bitz": 4}', ["'r.json' line 2", "'bitz'", "did you mean 'bits'?"]),
        ("r.toml", "seed = 1\nbitz = 4\n", ["'r.toml' line 2", "'bitz'", "did you mean 'bits'?"]),
        ("r.toml", "bits 4\n", ["'r.toml' line 1", "'='"]),
        ("r.toml", "\nbits = 5\n", ["'r.toml' line 2: bits: '5' is none of 2, 3, 4, 7, 8"]),
        ("r.toml", 'bits = "four"\n', ["'r.toml' line 1: bits: 'four' is none of"]),
        ("r.toml", "seq_len = 4.5\n", ["'r.toml' line 1: seq_len: '4.5' is not a whole number"]),
        ("r.toml", 'requantize = "maybe"\n', ["line 1", "true or false", "'maybe'"]),
        ("r.toml", "bits = true\n", ["line 1: 'bits' needs a value", "not true"]),
        ("r.toml", "bits = [4, 8]\n", ["line 1: 'bits' takes one value, not a list"]),
        ("r.toml", 'exclude = ["/(/"]\n', ["line 1: exclude: '/(/' is no regular"]),
        ("r.toml", "bits = 4\nbits = 8\n", ["line 2: 'bits' stands twice"]),
        ("r.json", '{"method": "awqq"}', ["line 1: method: 'awqq'", "did you mean 'awq'?"]),
        ("r.json", '{"config": "other.toml"}', ["'config'"]),
        ("r.json", '{"bits": {"a": 4}}', ["line 1", "'a'"]),
    ],
)
def test_bad_recipe_file(source, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    done = quantize("--config", name, "run", "tiny", "out", cwd=tmp_path)
    failed(done, 2, *words)
    assert not (tmp_path / "out").exists()


def test_recipe_for_other_commands(source, tmp_path):
    """They take the keys that they have, also those below their own names."""
    (tmp_path / "r.toml").write_text('bits = 8\ncalib_samples = 5\n[stats]\nseq_len = 9\n')
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = ["--calib", ids, "-o", tmp_path / "x.stats", "--json", "--config"]
    found = json.loads(succeeded(quantize("stats", source, *arguments, tmp_path / "r.toml")))
    assert (found["samples"], found["tokens"]) == (5, 5 * 9)


def test_the_command_line_wins_where_options_exclude_each_other(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    succeeded(quantize("stats", source, "-q", "-o", tmp_path / "x.stats", "--calib", ids))
    (tmp_path / "r.toml").write_text('calib = "absent.txt"\n')
    arguments = ["-q", "--config", tmp_path / "r.toml", "--stats", tmp_path / "x.stats"]
    succeeded(quantize("run", source, tmp_path / "out", *arguments))


def test_missing_recipe_file(source, tmp_path):
    done = quantize("--config", tmp_path / "absent.toml", "run", source, tmp_path / "out")
    assert done.returncode in (2, 3)
    failed(done, done.returncode, "absent.toml")
