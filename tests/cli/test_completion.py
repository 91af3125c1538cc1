"""The completion scripts, driven as the shells drive them."""

import shutil
import subprocess

import pytest
from quantize_cli import QUANTIZE, quantize

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def script(shell):
    done = quantize("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def complete(*words, cwd="."):
    """What bash offers for the last of the words."""
    driver = (
        'source <("$1" completion bash); shift; COMP_WORDS=(quantize "$@");'
        'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _quantize; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", driver, "bash", QUANTIZE, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path):
    for name in ("model.onnx", "notes.txt", "mode.json"):
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    return tmp_path


def test_commands():
    assert complete("insp") == ["inspect"]
    assert {"run", "stats", "eval", "inspect", "forward", "operators", "help"} <= set(complete(""))
    assert set(complete("--threads", "2", "ru")) == {"run"}
    assert "run" in complete("help", "r")


def test_options():
    assert complete("run", "--gr") == ["--grid", "--group-size"] or set(
        complete("run", "--gr")
    ) == {"--grid", "--group-size"}
    assert complete("inspect", "--js") == ["--json"]
    assert "--threads" in complete("eval", "--th")
    assert "--method" not in complete("eval", "--")


def test_values():
    methods = complete("run", "model", "--method", "")
    assert {"rtn", "awq", "gptq", "best"} <= set(methods)
    assert complete("run", "--method", "aw") == ["awq", "awq-gptq"]
    assert complete("run", "--method", "=", "be") == ["best"]
    assert complete("run", "--bits", "") == ["2", "3", "4", "7", "8"]
    assert complete("run", "--format", "q") == ["qdq", "qmoe"]
    assert complete("eval", "--task", "e") == ["embed"]
    assert complete("completion", "f") == ["fish"]
    assert complete("run", "--seq-len", "") == []


def test_paths(folder):
    """Models are .onnx files and directories; other files stand where any file may."""
    assert set(complete("run", "mod", cwd=folder)) == {"model.onnx", "models"}
    assert set(complete("eval", "--against", "mod", cwd=folder)) == {"model.onnx", "models"}
    assert complete("run", "--calib", "no", cwd=folder) == ["notes.txt"]
    assert complete("run", "--output", "mod", cwd=folder) == ["models"]
    assert complete("--config", "mode.", cwd=folder) == ["mode.json"]
    assert set(complete("--config", "", cwd=folder)) >= {"laptop", "web", "mode.json", "models"}
    assert complete("recipes", "lap") == ["laptop"]
    assert set(complete("inspect", "mod", cwd=folder)) == {"model.onnx", "models", "mode.json"}


def test_bash_script_passes_shellcheck(tmp_path):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck")
    (tmp_path / "quantize.bash").write_text(script("bash"))
    subprocess.run(["shellcheck", "-s", "bash", tmp_path / "quantize.bash"], check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_syntax(tmp_path, shell):
    path = tmp_path / "script"
    path.write_text(script(shell))
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here; its script is only written")
    option = "--no-execute" if shell == "fish" else "-n"
    subprocess.run([shell, option, path], check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_hold_commands_options_and_values(shell):
    text = script(shell)
    long = "-l " if shell == "fish" else "--"
    for word in ("inspect", f"{long}method", "awq-gptq", f"{long}json", "matmulnbits qdq matmulinteger fake-quant nf4 fp4 qmoe", ".onnx"):
        assert word in text, word
    quotes = text.replace("'\\''", "").count("'")  # an apostrophe in a description is three of them
    assert quotes % 2 == 0 or shell == "fish"


def test_a_wrong_shell_is_named():
    done = quantize("completion", "zhs")
    assert done.returncode == 2
    assert "SHELL: 'zhs' is none of bash, zsh, fish; did you mean 'zsh'?" in done.stderr
