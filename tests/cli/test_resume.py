"""A run that is killed, interrupted or out of room goes on where it stopped, and gives the same
bytes; what cannot be gone on with is named; what is finished is not done again."""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from quantize_cli import QUANTIZE, hashes, quantize
from small_models import llama, save, word_tokenizer

DEMO = pathlib.Path(__file__).resolve().parents[2] / "data" / "demo"
KILLS = int(os.environ.get("PTQ_KILLS", "6"))

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

SAMPLES = 12  # two batches of each segment
OPTIONS = [
    "run", "--src", DEMO, "--bits", 4, "--group-size", 32, "--calib", DEMO / "calibration.txt",
    "--calib-samples", SAMPLES, "--checkpoint-seconds", 0,
]  # fmt: skip


def start(destination, *more, source=DEMO):
    options = OPTIONS[:-2] if "--checkpoint-seconds" in more else OPTIONS
    options = [source if word is DEMO else word for word in options]
    command = [str(word) for word in [QUANTIZE, *options, "--dst", destination, *more]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def staged(destination):
    return destination.parent / f".{destination.name}.part"


def steps(destination):
    return len(list(staged(destination).glob("checkpoint/step-*.cbor")))


def stop_after_a_step(destination, how, *more, source=DEMO):
    """The process, stopped by a signal when its first segment is finished."""
    process = start(destination, *more, source=source)
    while steps(destination) == 0 and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None, "finished before it could be stopped"
    process.send_signal(how)
    return process, process.communicate()[1]


@pytest.fixture(scope="module", params=["plain", pytest.param("best", marks=pytest.mark.slow)])
def undisturbed(request, tmp_path_factory):
    others = ["--method", "best", "--bias-correction", "all", "--layout", "transformers.js"]
    options = others if request.param == "best" else []
    destination = tmp_path_factory.mktemp(request.param) / "result"
    begin = time.monotonic()
    done = quantize(*OPTIONS, "--dst", destination, *options)
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - begin
    assert not staged(destination).exists()
    return options, hashes(destination), seconds


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bytes(undisturbed, tmp_path):
    options, expected, seconds = undisturbed
    seed = int(os.environ.get("PTQ_SEED", "13"))
    print(f"seed {seed}")
    moments = random.Random(seed)
    resumed = 0
    for kill in range(KILLS):
        destination = tmp_path / f"run{kill}"
        process = start(destination, *options)
        time.sleep(moments.uniform(0, seconds))
        process.kill()
        process.communicate()
        if destination.exists():  # it was faster
            assert hashes(destination) == expected
            continue
        resumed += steps(destination) > 0
        asked = ["--resume"] if kill % 2 else []
        done = quantize(*OPTIONS, "--dst", destination, *asked, *options)
        assert done.returncode == 0, done.stderr
        assert hashes(destination) == expected, f"killed at moment {kill}"
        assert not staged(destination).exists()
    print(f"{resumed} of {KILLS} went on behind a finished segment")


@pytest.mark.parametrize("form", ["matmulnbits", "qdq", "nf4"])
def test_codes_of_tables_are_not_made_again(tmp_path, form):
    """They are written in front of the first segment, and its checkpoint holds them."""
    options = ["--embeddings", "int8", "--format", form, "--float", "fp16"]
    done = quantize(*OPTIONS, "--dst", tmp_path / "whole", *options)
    assert done.returncode == 0, done.stderr
    destination = tmp_path / "result"
    stop_after_a_step(destination, signal.SIGKILL, *options)
    done = quantize(*OPTIONS, "--dst", destination, "--resume", *options)
    assert done.returncode == 0, done.stderr
    assert hashes(destination) == hashes(tmp_path / "whole")


def with_convolution(folder):
    """The demo model with a convolution over the words in front of its blocks."""
    shutil.copytree(DEMO, folder)
    model = onnx.load(folder / "model.onnx")
    nodes = list(model.graph.node)
    at, lookup = next((i, node) for i, node in enumerate(nodes)
                      if node.op_type == "Gather" and "embed" in node.input[0])  # fmt: skip
    rows, lookup.output[0] = lookup.output[0], "words"
    weight = 0.05 * np.random.default_rng(3).standard_normal((128, 128, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "model.mix.weight"))
    nodes[at + 1 : at + 1] = [
        onnx.helper.make_node("Transpose", ["words"], ["turned"], perm=[0, 2, 1]),
        onnx.helper.make_node("Conv", ["turned", "model.mix.weight"], ["mixed"], pads=[1, 1]),
        onnx.helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1]),
        onnx.helper.make_node("Add", ["words", "back"], [rows]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_codes_of_convolutions_are_not_made_again(tmp_path):
    """As those of tables; the metadata has their losses, which the checkpoint must hold."""
    source = with_convolution(tmp_path / "source")
    process = start(tmp_path / "whole", "--conv", "int8", source=source)
    assert process.wait() == 0, process.stderr.read()
    destination = tmp_path / "result"
    stop_after_a_step(destination, signal.SIGKILL, "--conv", "int8", source=source)
    resumed = start(destination, "--conv", "int8", "--resume", source=source)
    assert resumed.wait() == 0, resumed.stderr.read()
    assert hashes(destination) == hashes(tmp_path / "whole")
    metadata = json.loads((destination / "quantization_metadata.json").read_text())
    (entry,) = [e for e in metadata["constants"] if "quantized" in e]
    assert entry["name"] == "model.mix" and entry["bytes_after"] == 128 * (3 * 128 + 4)
    assert 0 < entry["quantized"]["relative_loss"] < 1e-3
    assert metadata["verification"]["max_relative_error"] < 1e-3


def test_an_interrupted_run_says_how_to_go_on(tmp_path, undisturbed):
    options, expected, _ = undisturbed
    if options:
        pytest.skip("once is enough")
    destination = tmp_path / "result"
    process, errors = stop_after_a_step(destination, signal.SIGINT)
    assert process.returncode == 130
    stopping, line = errors.splitlines()
    assert stopping.startswith("stopping after") and "Ctrl-C again to quit now" in stopping
    assert "segments; the same command goes on from there" in line
    assert staged(destination).exists() and not destination.exists()
    done = quantize(*OPTIONS, "--dst", destination)
    assert done.returncode == 0 and hashes(destination) == expected
    assert "resumed after" in done.stderr and "saved" in done.stderr


def test_an_interrupt_before_samples_are_read_keeps_an_earlier_checkpoint(tmp_path):
    destination = tmp_path / "result"
    stop_after_a_step(destination, signal.SIGKILL)
    arguments = [arg if arg != DEMO / "calibration.txt" else "-" for arg in OPTIONS]
    process = subprocess.Popen([str(word) for word in [QUANTIZE, *arguments, "--dst", destination]],
                               stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)  # its input is still open
    errors = process.communicate()[1]
    assert process.returncode == 130, errors
    assert steps(destination) > 0, "what was there must stay"
    assert "nothing is kept" not in errors


def test_a_changed_recipe_or_source_is_refused(tmp_path):
    destination = tmp_path / "result"
    stop_after_a_step(destination, signal.SIGKILL)
    identity = staged(destination) / "checkpoint" / "identity.json"
    for change, name in [(["--asymmetric"], "recipe.symmetric: true -> false"),
                         (["--seed", 7], "recipe.seed: 13 -> 7"),
                         (["--accuracy-level", 0], "recipe.accuracy_level: 4 -> 0"),
                         (["--no-verify"], "verify: true -> false"),
                         (["--calib-long", "truncate"], "samples.")]:  # fmt: skip
        for asked in [], ["--resume"]:
            done = quantize(*OPTIONS, "--dst", destination, *asked, *change)
            assert done.returncode == 2, done.stderr
            assert "cannot resume" in done.stderr and name in done.stderr, done.stderr
            assert "--restart" in done.stderr
    assert identity.exists(), "a refusal must not destroy the checkpoint"
    known = json.loads(identity.read_text())
    known["source"]["model.onnx"]["sha256"] = "of another file"
    identity.write_text(json.dumps(known))
    done = quantize(*OPTIONS, "--dst", destination)
    assert done.returncode == 2 and "source.model.onnx.sha256" in done.stderr
    done = quantize(*OPTIONS, "--dst", destination, "--restart")
    assert done.returncode == 0 and "resumed" not in done.stderr
    assert destination.exists() and not staged(destination).exists()


def test_two_runs_do_not_write_one_destination(tmp_path):
    destination = tmp_path / "result"
    process = start(destination)
    while steps(destination) == 0 and process.poll() is None:
        time.sleep(0.002)
    done = quantize(*OPTIONS, "--dst", destination)
    assert done.returncode == 5 and "another run is writing" in done.stderr
    process.communicate()
    assert process.returncode == 0, "the first run must not be disturbed"


def test_nothing_to_resume_is_said_and_starts(tmp_path, undisturbed):
    options, expected, _ = undisturbed
    done = quantize(*OPTIONS, "--dst", tmp_path / "result", "--resume", *options)
    assert done.returncode == 0 and hashes(tmp_path / "result") == expected
    assert "nothing to resume" in done.stderr


def test_an_unfinished_run_without_a_checkpoint_is_started_again(tmp_path, undisturbed):
    options, expected, _ = undisturbed
    destination = tmp_path / "result"
    process = start(destination, *options, "--checkpoint-seconds", 1000)
    while not (staged(destination) / "lock").exists() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    done = quantize(*OPTIONS, "--dst", destination, "--seed", 7, *options)
    assert done.returncode == 0, "there is nothing that could be lost"


def test_a_file_that_may_not_grow_keeps_the_checkpoint(tmp_path, undisturbed):
    """As on a full disk: what is written fails in the middle."""
    options = undisturbed[0]
    few = [4 if word == SAMPLES else word for word in OPTIONS]  # their activations are within the limit
    assert quantize(*few, "--dst", tmp_path / "whole", *options).returncode == 0
    expected = hashes(tmp_path / "whole")
    destination = tmp_path / "result"
    limit = max(path.stat().st_size for path in (tmp_path / "whole").rglob("*data")) // 2

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [QUANTIZE, *few, "--dst", destination, *options]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          preexec_fn=limited, check=False)  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "File too large" in done.stderr
    assert "are kept, and the same command goes on from there" in done.stderr
    assert steps(destination) > 0 and not destination.exists()
    done = quantize(*few, "--dst", destination, *options)
    assert done.returncode == 0 and hashes(destination) == expected
    assert "resumed after" in done.stderr


def sparse_model(folder, columns):
    """A table of terabytes that takes no room, since nobody has written it, and a product."""
    folder.mkdir()
    table = onnx.TensorProto(name="table", data_type=onnx.TensorProto.FLOAT, dims=[1 << 30, columns])
    table.data_location = onnx.TensorProto.EXTERNAL
    for key, value in [("location", "weights.bin"), ("offset", "0"),
                       ("length", str((columns << 30) * 4))]:  # fmt: skip
        table.external_data.add(key=key, value=value)
    with open(folder / "weights.bin", "wb") as weights:
        weights.truncate((columns << 30) * 4)
    w = onnx.numpy_helper.from_array(np.ones((columns, 64), np.float32), "w")
    nodes = [onnx.helper.make_node("Gather", ["table", "input_ids"], ["x"]),
             onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="/w/MatMul")]  # fmt: skip
    x = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [x("input_ids", onnx.TensorProto.INT64, ["n", "t"])],
        [x("y", onnx.TensorProto.FLOAT, ["n", "t", 64])], [table, w],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def test_a_disk_that_is_too_small_is_refused_before_any_work(tmp_path):
    source = sparse_model(tmp_path / "huge", 1 << 10)
    if shutil.disk_usage(tmp_path).free > 4 << 40:
        pytest.skip("there is room for four terabytes")
    done = quantize("run", source, tmp_path / "out", "--method", "rtn", "--lm-head", "keep")
    assert done.returncode == 5, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("quantize:")]
    assert "4.0 TiB of results" in line and "are free" in line and "are missing" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["huge"]


@pytest.fixture
def finished(tmp_path):
    source = tmp_path / "source"
    save(llama(), source, external=True)
    word_tokenizer(source / "tokenizer.json")
    (tmp_path / "texts.txt").write_text("w1 w2 w3 w4 w5 w6\n\nw7 w8 w9 w10 w11 w12 w13\n")
    time.sleep(0.02)
    command = ["run", source, tmp_path / "out", "--calib", tmp_path / "texts.txt"]
    done = quantize(*command)
    assert done.returncode == 0, done.stderr
    return command, source, tmp_path / "out"


def inodes(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_finished_result_is_up_to_date(finished):
    command, _, out = finished
    before = inodes(out)
    for asked in [], ["--resume"], ["--overwrite"], ["--restart"]:
        done = quantize(*command, *asked)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("up to date") and done.stdout.count("\n") == 1
    done = quantize(*command, "--json")
    report = json.loads(done.stdout)
    assert report["up_to_date"] is True and report["destination"] == str(out)
    assert inodes(out) == before
    done = quantize(*command, "--force", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["up_to_date"] is False
    assert inodes(out) != before


def test_what_is_not_up_to_date_says_what_has_changed(finished, tmp_path):
    command, source, out = finished
    texts = tmp_path / "texts.txt"

    def refused(word, *more):
        done = quantize(*command, *more)
        assert done.returncode == 5, (word, done.stdout)
        assert "is not what this command makes" in done.stderr and word in done.stderr, done.stderr
        assert "--overwrite" in done.stderr

    before = inodes(out)
    refused("recipe.bits: 4 -> 8", "--bits", 8)
    refused("recipe.shrinkage", "--shrinkage", 0.5)
    old = texts.read_text()
    texts.write_text(old.replace("w3", "w30"))
    refused("samples.ids_sha256")
    texts.write_text(old)
    assert quantize(*command).stdout.startswith("up to date"), "the same texts again"
    weights = source / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused("'weights.bin' has changed")
    assert inodes(out) == before
    done = quantize(*command, "--overwrite")
    assert done.returncode == 0 and done.stdout.startswith("written")
    (out / "model.onnx.data").unlink()
    refused("'model.onnx.data' is no longer there")


def test_a_source_that_was_put_in_place_of_the_old_is_noticed(finished, tmp_path):
    """With its old size and time, as `mv` and `rsync -a` leave it."""
    command, source, _ = finished
    weights = source / "weights.bin"
    times = weights.stat()
    other = tmp_path / "other.bin"
    other.write_bytes(weights.read_bytes()[::-1])
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(weights)
    done = quantize(*command)
    assert done.returncode == 5 and "'weights.bin' has changed" in done.stderr


def test_leftovers_are_listed_and_removed(tmp_path):
    destination = tmp_path / "result"
    stop_after_a_step(destination, signal.SIGKILL)
    (tmp_path / "video.mp4.part").write_text("of somebody else")
    (tmp_path / ".mine.part").mkdir()
    done = quantize("clean", tmp_path, "--dry-run")
    assert done.returncode == 0 and "checkpoint" in done.stdout and "would be removed" in done.stdout
    assert steps(destination) > 0
    running = start(tmp_path / "other")
    while steps(tmp_path / "other") == 0 and running.poll() is None:
        time.sleep(0.002)
    running.send_signal(signal.SIGSTOP)
    report = json.loads(quantize("clean", tmp_path, "--json").stdout)
    removed = {pathlib.Path(e["path"]).name: e["removed"] for e in report["leftovers"]}
    assert removed == {".result.part": True, ".other.part": False}
    running.send_signal(signal.SIGCONT)
    running.communicate()
    assert running.returncode == 0
    assert not staged(destination).exists()
    assert (tmp_path / "video.mp4.part").exists() and (tmp_path / ".mine.part").exists()
    done = quantize("clean", tmp_path)
    assert done.returncode == 0 and "nothing was left" in done.stdout
