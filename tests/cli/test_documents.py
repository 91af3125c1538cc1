"""What is generated from the program, or reads its help, fits the program."""

import pathlib
import subprocess

import pytest
from quantize_cli import QUANTIZE

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = ["cli.md", "recipe.md", "supported-operators.md", "man/quantize.1"]

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def test_generated_documents_are_of_this_program(tmp_path):
    subprocess.run([ROOT / "tools" / "generate_docs.sh", QUANTIZE, tmp_path], check=True)
    for name in GENERATED:
        written = (tmp_path / name).read_text()
        assert len(written) > 500, name
        assert written == (ROOT / "docs" / name).read_text(), f"run tools/generate_docs.sh: {name}"
