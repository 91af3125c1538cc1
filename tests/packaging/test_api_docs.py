"""The headers' documentation is made without a warning, and a wrong comment is found."""

import shutil
import subprocess

import pytest
from quantize_cli import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("doxygen") is None, reason="doxygen is absent")


def api_docs(root, out):
    return subprocess.run(
        [root / "tools" / "api_docs.sh", out], capture_output=True, text=True, check=False
    )


def test_the_headers_are_documented_without_a_warning(tmp_path):
    made = api_docs(REPOSITORY, tmp_path)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "html" / "parallel_8h.html").read_text()
    assert "Loops over fixed tiles" in page  # the plain comment at the head of the file


def test_a_comment_that_says_something_unknown_fails(tmp_path):
    for name in ("CMakeLists.txt", "Doxyfile", "tools/api_docs.sh", "tools/header_comment.awk"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    header = tmp_path / "include" / "ptq" / "thing.h"
    header.parent.mkdir(parents=True)
    header.write_text("// A thing.\n#pragma once\n/// Takes a <WORD>.\nvoid Thing();\n")
    made = api_docs(tmp_path, tmp_path / "out")
    assert made.returncode != 0 and "thing.h:3: " in made.stderr and "WORD" in made.stderr
