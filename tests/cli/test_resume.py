"""A run that is killed at any moment goes on where it stopped, and gives the same bytes."""

import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
from quantize_cli import QUANTIZE, hashes, quantize

DEMO = pathlib.Path(__file__).resolve().parents[2] / "data" / "demo"
KILLS = int(os.environ.get("PTQ_KILLS", "6"))

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

OPTIONS = [
    "run", "--src", DEMO, "--bits", 4, "--group-size", 32, "--calib", DEMO / "calibration.txt",
    "--calib-samples", 48, "--checkpoint-seconds", 0,
]  # fmt: skip


def start(destination, *more):
    command = [str(word) for word in [QUANTIZE, *OPTIONS, "--dst", destination, *more]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def staged(destination):
    return destination.parent / f".{destination.name}.part"


def steps(destination):
    return len(list(staged(destination).glob("checkpoint/step-*.cbor")))


def stop_after_a_step(destination, how):
    """The process, stopped by a signal when its first segment is finished."""
    process = start(destination)
    while steps(destination) == 0 and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None, "finished before it could be stopped"
    process.send_signal(how)
    return process, process.communicate()[1]


@pytest.fixture(scope="module", params=["plain", "best"])
def undisturbed(request, tmp_path_factory):
    others = ["--method", "best", "--bias-correction", "all", "--layout", "transformers.js"]
    options = others if request.param == "best" else []
    destination = tmp_path_factory.mktemp(request.param) / "result"
    begin = time.monotonic()
    done = quantize(*OPTIONS, "--dst", destination, *options)
    assert done.returncode == 0, done.stderr
    assert not staged(destination).exists()
    return options, hashes(destination), time.monotonic() - begin


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
        done = quantize(*OPTIONS, "--dst", destination, "--resume", *options)
        assert done.returncode == 0, done.stderr
        assert hashes(destination) == expected, f"killed at moment {kill}"
        assert not staged(destination).exists()
    print(f"{resumed} of {KILLS} went on behind a finished segment")


def test_an_interrupted_run_says_how_to_go_on(tmp_path, undisturbed):
    options, expected, _ = undisturbed
    if options:
        pytest.skip("once is enough")
    destination = tmp_path / "result"
    process, errors = stop_after_a_step(destination, signal.SIGINT)
    assert process.returncode == 130
    (line,) = errors.splitlines()
    assert "segments; run the same command with --resume to go on" in line
    assert staged(destination).exists() and not destination.exists()
    done = quantize(*OPTIONS, "--dst", destination, "--resume")
    assert done.returncode == 0 and hashes(destination) == expected
    assert "resumed after" in done.stderr


def test_a_changed_recipe_or_source_is_refused(tmp_path, undisturbed):
    _, expected, _ = undisturbed
    destination = tmp_path / "result"
    stop_after_a_step(destination, signal.SIGKILL)
    identity = staged(destination) / "checkpoint" / "identity.json"
    for change, name in [(["--asymmetric"], "recipe.symmetric"), (["--seed", 7], "recipe"),
                         (["--accuracy-level", 0], "recipe.accuracy_level")]:  # fmt: skip
        done = quantize(*OPTIONS, "--dst", destination, "--resume", *change)
        assert done.returncode == 2, done.stderr
        assert "cannot resume" in done.stderr and name in done.stderr, done.stderr
    assert identity.exists(), "a refusal must not destroy the checkpoint"
    known = json.loads(identity.read_text())
    known["source"]["sha256"] = "of another file"
    identity.write_text(json.dumps(known))
    done = quantize(*OPTIONS, "--dst", destination, "--resume")
    assert done.returncode == 2 and "source.sha256" in done.stderr
    done = quantize(*OPTIONS, "--dst", destination)  # starts again
    assert done.returncode == 0
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


def test_nothing_to_resume_is_a_run_from_the_start(tmp_path, undisturbed):
    options, expected, _ = undisturbed
    done = quantize(*OPTIONS, "--dst", tmp_path / "result", "--resume", *options)
    assert done.returncode == 0 and hashes(tmp_path / "result") == expected
