"""The Python package around the program: packaging/python, with the program of this build."""

import os
import subprocess
import sys

import pytest
from quantize_cli import QUANTIZE, REPOSITORY

SOURCES = REPOSITORY / "packaging" / "python" / "src"
DEMO = REPOSITORY / "data" / "demo"
sys.path.insert(0, str(SOURCES))
import quantize_onnx  # noqa: E402

needs_program = pytest.mark.skipif(not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent")


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setenv("QUANTIZE_PROGRAM", str(QUANTIZE))


def stand_in(tmp_path, monkeypatch, commands):
    path = tmp_path / "quantize"
    path.write_text(f"#!/bin/bash\n{commands}\n")
    path.chmod(0o755)
    monkeypatch.setenv("QUANTIZE_PROGRAM", str(path))


@needs_program
def test_a_run_returns_what_the_program_prints_as_json(tmp_path):
    result = quantize_onnx.run(
        ["run", "--src", DEMO, "--dst", tmp_path / "int4", "--method", "rtn", "--bits", 4]
    )
    assert result["command"] == "run" and result["verification"]["done"] is True
    assert result["bytes_after"] < result["bytes_before"]
    assert quantize_onnx.run(["inspect", "int4"], cwd=tmp_path)["tool"]["name"] == "quantize"


@needs_program
def test_a_failure_raises_its_status_and_message():
    with pytest.raises(quantize_onnx.QuantizeError) as raised:
        quantize_onnx.run(["inspect", "/nothing-here"])
    assert raised.value.status == 3
    assert raised.value.message == str(raised.value) == "model '/nothing-here' does not exist"
    assert raised.value.error["kind"] == "input"


@needs_program
def test_a_hint_is_part_of_the_message():
    with pytest.raises(quantize_onnx.QuantizeError, match="did you mean '--bits'") as raised:
        quantize_onnx.run(["run", "--bist", 4])
    assert raised.value.status == 2


def test_a_signal_is_told_by_its_name(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "kill -KILL $$")
    with pytest.raises(quantize_onnx.QuantizeError, match="ended by SIGKILL") as raised:
        quantize_onnx.run(["run"])
    assert raised.value.status == -9 and raised.value.error == {}


def test_without_json_the_last_message_is_told(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "echo one >&2; echo two >&2; exit 5")
    with pytest.raises(quantize_onnx.QuantizeError, match="^two$") as raised:
        quantize_onnx.run(["run"])
    assert raised.value.status == 5


def test_words_are_passed_on_as_they_are(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, """printf '{"words": "%s"}' "$(printf '<%s>' "$@")" """)
    words = quantize_onnx.run(["run", tmp_path, 4, 0.5, "a b"])["words"]
    assert words == f"<run><{tmp_path}><4><0.5><a b><--json>"


def test_one_string_is_refused():
    with pytest.raises(TypeError, match="a list of words"):
        quantize_onnx.run("run --bits 4")


def test_an_exception_while_it_runs_interrupts_the_program(tmp_path, monkeypatch):
    stand_in(
        tmp_path, monkeypatch,
        f"trap 'echo interrupted >{tmp_path}/said; exit 130' INT\ntouch {tmp_path}/ready\n"
        "while :; do sleep 0.05; done",
    )  # fmt: skip

    def communicate(process):
        while not (tmp_path / "ready").exists():
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    with pytest.raises(KeyboardInterrupt):
        quantize_onnx.run(["run"])
    assert (tmp_path / "said").read_text() == "interrupted\n"


def call_module(*words, **variables):
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), **variables}
    return subprocess.run(
        [sys.executable, "-m", "quantize_onnx", *words],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs_program
def test_the_module_is_the_program():
    said = call_module("--version")
    direct = subprocess.run([QUANTIZE, "--version"], capture_output=True, text=True, check=True)
    assert said.returncode == 0 and said.stdout == direct.stdout
    assert call_module("inspect", "/nothing-here").returncode == 3


def test_a_program_that_is_absent_is_named():
    said = call_module("--version", QUANTIZE_PROGRAM="/nothing/quantize")
    assert said.returncode == 1
    assert said.stderr == (
        "quantize: cannot run '/nothing/quantize': No such file or directory\n"
    )
