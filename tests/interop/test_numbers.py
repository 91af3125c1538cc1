"""The quality that a quantized model must reach, measured in ONNX Runtime with shared/tools/measure.py.

TinyStories-656K, group 32, symmetric, LM head kept, calibrated on 128 stories: perplexity of 100
other stories and mean KL from the float model per token. all-MiniLM-L6-v2 (in the folder MINILM_DIR,
written by shared/tools/export_minilm.py): mean cosine of sentence embeddings. What is absent is
skipped.
"""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
from quantize_cli import QUANTIZE, SHARED, quantized, summarize  # noqa: E402

TOOLS = SHARED / "tools"
TOKENIZER = SHARED / "models" / "tinystories-656k-llama"
TINYSTORIES = SHARED / "onnx" / "exports" / "tinystories-656k-ts17-nopast" / "model.onnx"
MINILM = pathlib.Path(os.environ.get("MINILM_DIR", "absent"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
    ),
    pytest.mark.skipif(not (TOOLS / "measure.py").exists(), reason=f"{TOOLS} is absent"),
]


@pytest.fixture(scope="module")
def measure():
    spec = importlib.util.spec_from_file_location("measure", TOOLS / "measure.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(function, float_model, *models):
    """What `measure.py` prints about the models, without its line about the float model."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        function(str(float_model), [str(model) for model in models])
    return [json.loads(line) for line in printed.getvalue().splitlines()[1:]]


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories")
    subprocess.run([sys.executable, TOOLS / "measure.py", "stories", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    """The same function with a few large activation channels."""
    model = tmp_path_factory.mktemp("outliers") / "model.onnx"
    subprocess.run([sys.executable, TOOLS / "inject_outliers.py", TINYSTORIES, model], check=True)
    return model


def language_model(measure, stories, source, folder, method, bits):
    arguments = ["--method", method, "--bits", bits, "--group-size", 32, "--symmetric"]
    arguments += ["--accuracy-level", 0, "--lm-head", "keep", "--tokenizer", TOKENIZER]
    arguments += ["--calib", stories / "calib.jsonl"]
    report = quantized(source, folder / "out", *arguments, threads=0)
    (result,) = measured(measure.lm, source, folder / "out" / "model.onnx")
    seconds = report["seconds"]["total"]
    line = f"ppl {result['ppl']:.3f}  KL {result['kl']:.5f}  ({seconds:.1f} s)"
    name = "outliers" if pathlib.Path(source).parent != TINYSTORIES.parent else "tinystories"
    summarize("quality in ONNX Runtime", f"{name} {method} {bits} bits: {line}")
    return result


def test_tinystories_rtn(measure, stories, tmp_path):
    assert language_model(measure, stories, TINYSTORIES, tmp_path, "rtn", 4)["kl"] <= 0.051


def test_tinystories_awq(measure, stories, tmp_path):
    result = language_model(measure, stories, TINYSTORIES, tmp_path, "awq", 4)
    assert result["kl"] <= 0.045
    assert result["ppl"] <= 19.2


@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_tinystories_eight_bits(measure, stories, tmp_path, method):
    assert language_model(measure, stories, TINYSTORIES, tmp_path, method, 8)["kl"] <= 0.0003


def test_outliers_awq(measure, stories, outliers, tmp_path):
    assert language_model(measure, stories, outliers, tmp_path, "awq", 4)["kl"] <= 0.07


@pytest.mark.skipif(not (MINILM / "model.onnx").exists(), reason="MINILM_DIR names no model")
def test_minilm(measure, tmp_path):
    least = {("rtn", 8): 0.9995, ("awq", 4): 0.98}
    models = []
    for method, bits in least:
        arguments = ["--method", method, "--bits", bits, "--group-size", 32]
        arguments += ["--accuracy-level", 0, "--calib-samples", 64, "--seq-len", 128]
        quantized(MINILM, tmp_path / method, *arguments, threads=0)
        models.append(tmp_path / method / "model.onnx")
    results = measured(measure.embed, MINILM / "model.onnx", *models)
    for (method, bits), result in zip(least, results):
        line = f"MiniLM {method} {bits} bits: mean cosine {result['cosine']}"
        summarize("quality in ONNX Runtime", line)
    assert all(r["cosine"] >= limit for r, limit in zip(results, least.values())), results
