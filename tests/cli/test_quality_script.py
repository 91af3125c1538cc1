"""tools/quality/run.py measures a cell once, and makes the page from what there is."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from quantize_cli import BUILD, QUANTIZE

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "quality" / "run.py"
CELL = "demo w4 g128 sym rtn (passages)"

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quality")


def run(folder, *options):
    """Standard output, in an environment without the folder of test data."""
    environment = {**os.environ, "PTQ_BUILD_DIR": str(BUILD), "PTQ_SHARED": str(folder / "none")}
    environment.pop("MINILM_DIR", None)
    command = [sys.executable, SCRIPT, "--work", folder, "--page", folder / "page.md", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(folder, start):
    lines = (folder / "page.md").read_text().splitlines()
    return [line for line in lines if line.startswith(start)]


def test_a_page_of_nothing_marks_every_cell(folder):
    run(folder, "--write")
    assert set(row(folder, "| best |")) >= {"| best | - | - | - | - |"}
    assert "$" not in (folder / "page.md").read_text()


@pytest.mark.slow
def test_a_cell_is_measured_once_and_absent_models_are_left_out(folder):
    """The demo model's card gives the figures, by another quantizer and script."""
    first = run(folder, "--only", "^main (demo|tinystories|minilm) w4 g128 sym rtn")
    assert "3 cells, 3 to measure" in first
    assert "cells of tinystories" in first and "MINILM_DIR is not set" in first
    cells = json.loads((folder / "results.json").read_text())
    assert set(cells) == {"demo float", CELL}
    assert cells["demo float"]["perplexity"] == pytest.approx(31.5165, abs=2e-3)
    assert cells[CELL]["kl"] == pytest.approx(0.01876, rel=0.01)
    assert cells[CELL]["perplexity"] == pytest.approx(31.8481, abs=0.01)
    assert cells[CELL]["bits"] == 4.125
    assert any("| 0.0188 / 31.8" in line for line in row(folder, "| rtn |"))

    assert "1 cells, 0 to measure" in run(folder, "--only", "^main demo w4 g128 sym rtn")
    assert f"* main {CELL}" in run(folder, "--list", "--only", "^main demo")
