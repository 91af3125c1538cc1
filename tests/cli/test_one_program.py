"""The program is one file: it needs nothing else of what is built or installed, and is not large."""

import hashlib
import re
import shutil
import subprocess

import pytest
from quantize_cli import BUILD, QUANTIZE, REPOSITORY, metadata
from small_models import llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

PROMPTS = REPOSITORY / "data" / "calibration" / "prompts.jsonl"


def is_release_build():
    cache = BUILD / "CMakeCache.txt"
    return cache.exists() and re.search(r"^CMAKE_BUILD_TYPE:\w+=Release$", cache.read_text(), re.M)


def test_a_copy_of_the_program_alone_calibrates_with_its_own_prompts(tmp_path):
    source = tmp_path / "model"
    save(llama(), source)
    word_tokenizer(source / "tokenizer.json")
    (tmp_path / "empty").mkdir()
    program = shutil.copy(QUANTIZE, tmp_path / "empty")
    done = subprocess.run(
        [program, "run", "--src", source, "--dst", tmp_path / "out", "--group-size", "32",
         "--method", "awq", "--calib-samples", "100", "--seq-len", "32"],
        cwd=tmp_path / "empty", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calibration = metadata(tmp_path / "out")["calibration"]
    assert (calibration["file"], calibration["format"]) == ("built-in", "jsonl")
    assert calibration["file_sha256"] == hashlib.sha256(PROMPTS.read_bytes()).hexdigest()
    assert calibration["texts_read"] == len(PROMPTS.read_text(encoding="utf-8").splitlines())
    assert calibration["samples"] == 100


@pytest.mark.skipif(not is_release_build(), reason="only a release build is meant to be small")
@pytest.mark.skipif(shutil.which("strip") is None, reason="strip is absent")
def test_the_stripped_program_has_at_most_16_mb(tmp_path):
    subprocess.run(["strip", "-o", tmp_path / "stripped", QUANTIZE], check=True)
    assert (tmp_path / "stripped").stat().st_size <= 16_000_000
