"""The version stands in CMakeLists.txt alone: all else has it from there, or says the same."""

import re
import subprocess

import pytest
from quantize_cli import QUANTIZE, REPOSITORY


def text_of(*parts):
    return REPOSITORY.joinpath(*parts).read_text(encoding="utf-8")


VERSION = re.search(r"^project\(ptq VERSION (\S+)", text_of("CMakeLists.txt"), re.MULTILINE)[1]


@pytest.mark.skipif(not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent")
def test_the_program_says_it():
    said = subprocess.run([QUANTIZE, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[0] == f"quantize {VERSION}"


def test_the_documents_say_it():
    assert f'"quantize {VERSION}"' in text_of("docs", "man", "quantize.1")
    assert f'"version": "{VERSION}"' in text_of("docs", "json-output.md")
    assert f"quantize_{VERSION}_amd64.deb" in text_of("docs", "packages.md")


def test_the_newest_changes_are_of_it():
    headings = re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == VERSION and len(set(headings)) == len(headings)


def test_the_wheel_takes_it_from_there():
    project = text_of("packaging", "python", "pyproject.toml")
    path = re.search(r'^path = "(.*)"$', project, re.MULTILINE)[1]
    assert (REPOSITORY / "packaging" / "python" / path).resolve() == REPOSITORY / "CMakeLists.txt"
    pattern = re.search(r"^pattern = '(.*)'$", project, re.MULTILINE)[1]
    assert re.search(pattern, text_of("CMakeLists.txt"))["version"] == VERSION
    assert not re.search(r"^version\b", project, re.MULTILINE)


def test_the_crate_has_none_of_its_own():
    package = text_of("src", "text", "ffi", "Cargo.toml").split("[dependencies]")[0]
    assert not re.search(r"^version\b", package, re.MULTILINE)
