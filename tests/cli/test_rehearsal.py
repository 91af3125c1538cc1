"""A dry run refuses what the run would refuse, in the same words, and leaves no trace."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from quantize_cli import QUANTIZE, quantize
from small_models import calibration_ids, encoder_decoder, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

ROUND = ["--method", "rtn", "--group-size", 32]


def tree(folder):
    """Everything below a folder, with contents and the time of each change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A model without tokenizer, ids to calibrate with, a directory of two models, and results."""
    folder = tmp_path_factory.mktemp("prepared")
    save(llama(opset=14), folder / "m")
    save(llama(layers=4), folder / "deep")
    (folder / "two").mkdir()
    for name, model in encoder_decoder().items():
        onnx.save(model, folder / "two" / f"{name}.onnx")
    calibration_ids(folder / "ids.npy", 64, 128)
    for source, name in (("m", "old"), ("two", "olds"), ("m", "old.onnx")):
        done = quantize("run", folder / source, folder / name, *ROUND)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "place")
    return tmp_path / "place"


def spoil(file, name, value):
    """The last value of a weight is no number."""
    model = onnx.load(file)
    (weight,) = [w for w in model.graph.initializer if w.name == name]
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[-1] = value
    weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, file)


def interrupted(place, source, destination, *options):
    """What a run that was killed behind its first segment leaves."""
    command = [QUANTIZE, "run", place / source, place / destination, "--calib", place / "ids.npy",
               "--group-size", 32, "--checkpoint-seconds", 0, *options]  # fmt: skip
    staged = place / f".{destination}.part"
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE)
    while not any(staged.rglob("step-*.cbor")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any(staged.rglob("step-*.cbor")), "finished before it could be killed"


def samples(place):
    (place / "empty.jsonl").write_text("")
    yield ["m", "out"]  # there is no tokenizer
    yield ["m", "out", "--calib", place / "absent.jsonl"]
    yield ["m", "out", "--calib", place]
    yield ["m", "out", "--calib", place / "empty.jsonl"]
    yield ["m", "out", "--method", "fp16", "--calib", place / "absent.jsonl"]
    yield ["m", "out", "--stats", place / "absent.safetensors", "--method", "gptq"]


def recipes(place):
    yield ["m", "out", "--format", "qdq", "--bits", 2, *ROUND]
    yield ["m", "out", "--exclude", "*nothing*", *ROUND]
    yield ["m", "out", "--rule", "*nothing*: bits=8", *ROUND]
    yield ["m", "out", "--calib", place / "ids.npy", "--memory-budget", "1MiB"]
    yield ["two", "out", "--stats", place / "absent.safetensors", "--method", "gptq"]
    yield ["two", "out.onnx", *ROUND]
    yield ["m", "out.onnx", "--layout", "transformers.js", *ROUND]


def destinations(place):
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("three years of work\n")
    (place / "note").write_text("a file\n")
    (place / "broken").symlink_to("nowhere")
    (place / "taken.onnx").write_bytes(b"no model")
    (place / ".link.part").symlink_to("full")
    (place / ".other.part").mkdir()
    (place / ".other.part" / "thesis.txt").write_text("three years of work\n")
    for source in ("m", "two"):
        yield [source, "full", *ROUND]
        yield [source, "full", "--overwrite", *ROUND]
        yield [source, "note", *ROUND]
        yield [source, "note/out", *ROUND]
        yield [source, "broken", *ROUND]
        yield [source, ".", "--overwrite", *ROUND]
        yield [source, source, "--overwrite", *ROUND]
        yield [source, "link", *ROUND]
        yield [source, "other", *ROUND]
    yield ["m", "old", *ROUND, "--bits", 8]
    yield ["m", "olds", *ROUND]
    yield ["two", "olds", *ROUND, "--bits", 8]
    yield ["two", "old", *ROUND]
    yield ["m", "taken.onnx", "--overwrite", *ROUND]
    yield ["m", "note/out.onnx", *ROUND]
    yield ["m", "old.onnx", *ROUND, "--bits", 8]


def same_refusal(place, words, **options):
    """Both refuse, with the same status and the same line, and change nothing."""
    asked = ["run", *words]
    before = tree(place)
    planned = quantize(*asked, "--dry-run", cwd=place, **options)
    assert tree(place) == before, words
    done = quantize(*asked, cwd=place, **options)
    assert done.returncode in (2, 3, 4, 5, 6, 7), (words, done.stderr)
    assert planned.returncode == done.returncode, (words, planned.stderr, done.stderr)
    # How much memory a process holds when it begins differs a little.
    lines = [re.sub(r"[0-9.]+ MiB", "", each.stderr.splitlines()[-1]) for each in (planned, done)]
    assert lines[0] == lines[1], words
    assert planned.stdout == ""
    return planned


@pytest.mark.parametrize("requests", [samples, recipes, destinations])
def test_a_dry_run_refuses_what_the_run_refuses(place, requests):
    for words in requests(place):
        same_refusal(place, words)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_dry_run_finds_the_value_that_is_no_number(place, value):
    spoil(place / "m" / "model.onnx", "model.layers.0.mlp.down_proj.weight", value)
    refusal = same_refusal(place, ["m", "out", *ROUND])
    assert refusal.returncode == 3 and "NaN, an infinite value" in refusal.stderr
    kept = ["--exclude", "*.down_proj"]
    planned = quantize("run", "m", "out", *ROUND, *kept, "--dry-run", cwd=place)
    assert planned.returncode == 0, planned.stderr


def test_a_dry_run_finds_it_in_a_table_that_gets_codes(place):
    table = np.random.default_rng(3).standard_normal((1200, 32), dtype=np.float32)
    tensors = [onnx.numpy_helper.from_array(table, "embed.weight"),
               onnx.numpy_helper.from_array(table[:32], "w.weight")]  # fmt: skip
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["embed.weight", "input_ids"], ["x"]),
         onnx.helper.make_node("MatMul", ["x", "w.weight"], ["y"], name="w")], "g",
        [value("input_ids", onnx.TensorProto.INT64, ["b", "s"])],
        [value("y", onnx.TensorProto.FLOAT, ["b", "s", 32])], tensors)  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), place / "table.onnx")
    spoil(place / "table.onnx", "embed.weight", np.nan)
    same_refusal(place, ["table.onnx", "out", *ROUND, "--embeddings", "int8"])
    kept = quantize("run", "table.onnx", "out", *ROUND, "--dry-run", cwd=place)
    assert kept.returncode == 0, kept.stderr


def test_in_a_directory_the_model_with_such_a_value_would_be_copied(place):
    spoil(place / "two" / "encoder_model.onnx", "encoder.q.weight", np.nan)
    planned = quantize("run", "two", "out", *ROUND, "--dry-run", "--json", cwd=place)
    assert planned.returncode == 0, planned.stderr
    models = {entry["file"]: entry for entry in json.loads(planned.stdout)["models"]}
    assert models["encoder_model.onnx"]["linears"] == []
    assert "NaN, an infinite value" in models["encoder_model.onnx"]["notes"][0]
    assert models["decoder_model.onnx"]["linears"] != []
    done = quantize("run", "two", "out", *ROUND, cwd=place)
    assert done.returncode == 0 and "'encoder_model.onnx' is copied as it is" in done.stderr


@pytest.mark.parametrize("source", ["deep", "two"])
def test_a_dry_run_refuses_to_go_on_with_another_run(place, source):
    """The interrupted run had other options; with --restart it is given up."""
    interrupted(place, source, "out", "--bits", 4)
    words = [source, "out", "--calib", place / "ids.npy", "--group-size", 32, "--bits", 8]
    refusal = same_refusal(place, words)
    assert refusal.returncode == 2 and "recipe.bits: 4 -> 8" in refusal.stderr
    before = tree(place)
    for fine in ([*words, "--restart"], [*words[:-1], 4]):
        planned = quantize("run", *fine, "--dry-run", cwd=place)
        assert planned.returncode == 0, planned.stderr
    assert tree(place) == before


@pytest.mark.parametrize("source", ["m", "two"])
def test_a_dry_run_sees_that_another_run_is_at_work(place, source):
    (place / ".out.part").mkdir()
    with (place / ".out.part" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refusal = same_refusal(place, [source, "out", *ROUND])
    assert refusal.returncode == 5 and "another run is writing" in refusal.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_dry_run_sees_that_nothing_can_be_written(place):
    place.chmod(0o500)
    same_refusal(place, ["m", "out", *ROUND])
    same_refusal(place, ["m", "a/b/out", *ROUND])
    place.chmod(0o700)


@pytest.mark.parametrize("asked", [["m", "old"], ["two", "olds"], ["m", "old.onnx"]])
def test_a_dry_run_says_what_is_up_to_date(place, asked):
    before = tree(place)
    planned = quantize("run", *asked, *ROUND, "--dry-run", cwd=place)
    assert planned.returncode == 0, planned.stderr
    assert "up to date" in planned.stdout
    forced = quantize("run", *asked, *ROUND, "--dry-run", "--force", cwd=place)
    assert forced.returncode == 0 and "up to date" not in forced.stdout
    assert tree(place) == before
    done = quantize("run", *asked, *ROUND, cwd=place)
    assert done.returncode == 0 and done.stdout.startswith("up to date"), done.stdout
