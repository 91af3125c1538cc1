"""A memory budget changes where things are kept, never the result."""

import hashlib
import json
import pathlib
import re

import pytest
from quantize_cli import QUANTIZE, quantize

DEMO = pathlib.Path(__file__).resolve().parents[2] / "data" / "demo"

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def run(destination, *more):
    return quantize(
        "run", "--src", DEMO, "--dst", destination, "--bits", 4, "--group-size", 32,
        "--calib", DEMO / "calibration.txt", "--calib-samples", 96, *more,
    )  # fmt: skip


def hashes(directory):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


METHODS = {"awq": [], "best": ["--method", "best", "--bias-correction", "all"]}


@pytest.mark.parametrize("method", METHODS)
def test_gives_the_same_bytes_within_a_tight_budget(tmp_path, method):
    options = METHODS[method]
    # With both models' activations kept from site to site, or each time from the segment's start.
    assert run(tmp_path / "free", *options).returncode == 0
    refused = run(tmp_path / "tight", *options, "--memory-budget", "1MiB")
    assert refused.returncode == 6
    least = int(float(re.search(r"needs about ([0-9.]+) MiB", refused.stderr)[1])) + 1
    # All activations in a file, one block at a time.
    tight = run(tmp_path / "tight", *options, "--memory-budget", f"{least}MiB", "--json")
    assert tight.returncode == 0, tight.stderr
    assert json.loads(tight.stdout)["predicted_peak_bytes"] <= least << 20
    assert hashes(tmp_path / "tight") == hashes(tmp_path / "free")
    assert not list(tmp_path.glob(".*")), "a scratch file was left"


def test_says_what_a_run_needs_that_does_not_fit(tmp_path):
    result = run(tmp_path / "result", "--memory-budget", "20MiB")
    assert result.returncode == 6
    assert result.stderr.count("\n") == 1
    assert "--memory-budget 20.0 MiB" in result.stderr
    assert not list(tmp_path.iterdir())


def test_refuses_a_size_without_sense(tmp_path):
    for size in ["lots", "0", "-5MiB", "3 parsecs"]:
        result = run(tmp_path / "result", "--memory-budget", size)
        assert result.returncode == 2, size
        assert "--memory-budget" in result.stderr
