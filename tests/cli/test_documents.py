"""What is generated from the program, or reads its help, fits the program."""

import pathlib
import subprocess

import pytest
from quantize_cli import QUANTIZE

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = ["cli.md", "supported-operators.md", "man/quantize.1"]

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def test_generated_documents_are_of_this_program(tmp_path):
    subprocess.run([ROOT / "tools" / "generate_docs.sh", QUANTIZE, tmp_path], check=True)
    for name in GENERATED:
        written = (tmp_path / name).read_text()
        assert len(written) > 500, name
        assert written == (ROOT / "docs" / name).read_text(), f"run tools/generate_docs.sh: {name}"


def complete(*words):
    """What bash offers for the last of the words."""
    script = (
        f"source {ROOT}/tools/completion/quantize.bash; COMP_WORDS=(\"$@\");"
        'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _quantize; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", script, "bash", QUANTIZE, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_completion_offers_commands_options_and_files(tmp_path):
    assert complete("in") == ["inspect"]
    assert {"run", "eval", "forward"} <= set(complete(""))
    assert "--group-size" in complete("run", "--gr")
    assert complete("inspect", "--js") == ["--json"]
    (tmp_path / "model.onnx").touch()
    assert complete("inspect", f"{tmp_path}/mod") == [f"{tmp_path}/model.onnx"]
