"""Quiet, verbose and progress: a bar on a terminal, lines or JSON elsewhere, nothing with -q."""

import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from quantize_cli import QUANTIZE, open_terminal, quantize
from small_models import calibration_ids, llama, save
from test_interrupt import endless

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

ERASE = "\r\x1b[K"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("progress")
    save(llama(layers=2), folder / "model")
    save(endless(True), folder / "endless")
    calibration_ids(folder / "ids.npy")
    np.savez(folder / "in.npz", input_ids=np.ones((1, 4), np.int64))
    return folder


def on_terminal(arguments, until, columns=80, environment=(), signals=1):
    """What a terminal of so many columns gets from the start to a Ctrl-C after `until`."""
    main, terminal = open_terminal(columns)
    process = subprocess.Popen(
        [str(word) for word in [QUANTIZE, "--threads", 1, *arguments]],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", **dict(environment)},
    )  # fmt: skip
    os.close(terminal)
    shown, interrupted = "", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part.decode()
        if until is not None and not interrupted and re.search(until, shown):
            process.send_signal(signal.SIGINT)
            interrupted = True
    process.wait(timeout=60)
    os.close(main)
    return process.returncode, shown


def forward(folder):
    return ["forward", folder / "endless", "--inputs", folder / "in.npz", "--out", folder / "o.npz"]


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_a_terminal_gets_a_bar_that_fits(folder, columns):
    status, shown = on_terminal(forward(folder), r"running[^\r]*\r[^\r]*running", columns)
    assert status == 130
    bars = [bar.split("\r")[0].split("\n")[0] for bar in shown.split(ERASE)[1:]]
    bars = [bar for bar in bars if bar.startswith("running")]
    assert bars and all(len(bar) < columns for bar in bars), bars
    assert "stopping after" in shown and shown.rstrip().endswith("quantize: interrupted")


def test_a_run_shows_its_phase_and_a_log_line_stands_alone(folder):
    command = ["run", folder / "endless", folder / "out", "--calib", folder / "ids.npy", "-v"]
    status, shown = on_terminal(command, r"quantizing 0/\d.*calibrating", 120)
    assert status == 130
    assert re.search(r"quantizing 0/\d+  \[-+\]  0 %  \d+ s  calibrating segment 1, batch 1", shown)
    for line in shown.replace(ERASE, "\n").splitlines():
        line = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
        assert not ("quantizing" in line and re.search("(info|debug|warning):", line)), line


def test_a_dumb_terminal_gets_no_bar_and_no_colour(folder):
    for environment in {"TERM": "dumb"}, {"NO_COLOR": "1"}:
        command = ["run", folder / "model", folder / "dumb", "--calib", folder / "ids.npy",
                   "--resume", "--force"]  # fmt: skip
        status, shown = on_terminal(command, None, environment=environment.items())
        assert status == 0 and "warning: nothing to resume" in shown
        assert "\x1b[3" not in shown and "\x1b[m" not in shown
    command = forward(folder)
    process_shown = on_terminal_for(command, 3, {"TERM": "dumb"})
    assert "\x1b" not in process_shown and "running" not in process_shown


def on_terminal_for(arguments, seconds, environment):
    main, terminal = open_terminal()
    process = subprocess.Popen(
        [str(word) for word in [QUANTIZE, "--threads", 1, *arguments]],
        stdin=subprocess.DEVNULL, stderr=terminal, env={**os.environ, **environment},
    )  # fmt: skip
    os.close(terminal)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    shown = os.read(main, 65536).decode()
    os.close(main)
    return shown


def test_quiet_prints_nothing(folder, tmp_path):
    command = ["run", folder / "model", tmp_path / "out", "--calib", folder / "ids.npy"]
    done = quantize(*command, "-q", "--resume", "--progress", "json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = quantize(*command, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "up to date"
    done = quantize(*command, "-q", "--json", "--force")
    assert done.stderr == "" and json.loads(done.stdout)["up_to_date"] is False
    done = quantize("run", tmp_path / "missing", "-q")
    assert done.returncode == 3 and done.stdout == "" and done.stderr.startswith("quantize: ")


def test_verbose_says_what_was_tried_and_found_for_each_linear(folder, tmp_path):
    command = ["run", folder / "model", tmp_path / "out", "--calib", folder / "ids.npy"]
    done = quantize(*command, "-v")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("debug: 'model.layers")]
    assert len(lines) == 14
    for line in lines:
        assert re.search(r"awq-duo \+ block \+ nearest tried, (none unscaled|awq\S* alpha [\d.]+ into "
                         r"(gain|rows|mul)), error [\d.]+ % of the output energy \(nearest [\d.]+ "
                         r"%\), \d+ tokens, [\d.]+ m?s for its site$", line), line  # fmt: skip


def test_json_progress_is_an_object_on_each_line(folder, tmp_path):
    done = quantize("run", folder / "model", tmp_path / "out", "--calib", folder / "ids.npy",
                    "--progress", "json", "-v", "--resume")  # fmt: skip
    assert done.returncode == 0
    objects = [json.loads(line) for line in done.stderr.splitlines()]
    phases = [entry["progress"]["phase"] for entry in objects if "progress" in entry]
    for phase in "reading samples", "quantizing", "writing", "verifying":
        assert phase in phases
    last = [e["progress"] for e in objects if e.get("progress", {}).get("phase") == "quantizing"][-1]
    assert last["done"] == last["total"] > 0
    assert {"warning", "debug"} <= {entry.get("log") for entry in objects}


def test_plain_progress_is_lines(folder, tmp_path):
    done = quantize("run", folder / "model", tmp_path / "out", "--calib", folder / "ids.npy",
                    "--progress", "plain")  # fmt: skip
    assert done.returncode == 0
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "reading samples", "quantizing", "writing", "verifying",
    ]  # fmt: skip


def test_without_a_terminal_a_short_run_says_nothing(folder, tmp_path):
    done = quantize("run", folder / "model", tmp_path / "out", "--calib", folder / "ids.npy")
    assert done.returncode == 0 and done.stderr == ""
