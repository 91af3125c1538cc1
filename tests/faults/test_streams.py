"""Standard streams that are closed, full or gone, in every combination."""

import itertools
import os
import subprocess

import pytest
from injection import tree
from jobs import JOBS
from quantize_cli import QUANTIZE


STREAMS = ["standard input", "standard output", "standard error"]
FULL = "cannot write to standard output; it is full or closed"


@pytest.fixture
def job(tmp_path):
    arguments = JOBS["run, nothing there"](tmp_path / "work")
    return tmp_path / "work", [str(word) for word in [QUANTIZE, "--threads", 1, *arguments]]


@pytest.mark.parametrize("closed", [c for n in (1, 2, 3) for c in itertools.combinations("012", n)])
def test_no_file_takes_the_place_of_a_closed_stream(job, closed, row):
    root, command = job
    whole = subprocess.run(command, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    complete = tree(root / "place")
    os.rename(root / "place" / "out", root / "first")
    words = " ".join(f"{stream}{'<' if stream == '0' else '>'}&-" for stream in closed)
    done = subprocess.run(
        ["sh", "-c", f'"$@" {words}', "sh", *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    # What cannot be printed is no success, but the result is there all the same.
    assert done.returncode == (5 if "1" in closed else 0), done.stderr
    assert tree(root / "place") == complete
    row("streams", f"closed at the start: {', '.join(STREAMS[int(each)] for each in closed)}", "run",
        "5" if "1" in closed else "0", FULL if "1" in closed and "2" not in closed else "",
        "the whole result", "up to date")  # fmt: skip


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_stream_costs_the_words_only(job, stream, row):
    root, command = job
    with open("/dev/full", "w") as full:
        other = "stderr" if stream == "stdout" else "stdout"
        done = subprocess.run(
            command, **{stream: full, other: subprocess.PIPE}, text=True, timeout=120, check=False
        )
    assert done.returncode == (5 if stream == "stdout" else 0), done.stderr
    assert (root / "place" / "out" / "quantization_metadata.json").exists()
    words = "standard output" if stream == "stdout" else "standard error"
    row("streams", f"{words} is full", "run", "5" if stream == "stdout" else "0",
        FULL if stream == "stdout" else "", "the whole result", "up to date")  # fmt: skip


def test_a_reader_that_goes_costs_the_words_only(job, row):
    root, command = job
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120,
                          check=False)  # fmt: skip
    os.close(writing)
    assert done.returncode == 5 and f"quantize: {FULL}" in done.stderr
    assert (root / "place" / "out" / "quantization_metadata.json").exists()
    row("streams", "the reader of standard output is gone", "run", "5", FULL, "the whole result",
        "up to date")  # fmt: skip
