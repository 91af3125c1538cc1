"""`quantize eval` against what shared/tools/measure.py prints, for TinyStories and for MiniLM.

They lie in ../shared (or PTQ_SHARED) and in the folder MINILM_DIR, written by
shared/tools/export_minilm.py; what is absent is skipped. Every figure must agree within 0.1 %.
"""

import importlib.util
import json
import os
import pathlib

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
from eval_figures import ROUND_TO_NEAREST, agree, evaluated, write_ids  # noqa: E402
from quantize_cli import QUANTIZE, SHARED, quantized  # noqa: E402

TINYSTORIES = SHARED / "onnx" / "exports" / "tinystories-656k-ts17-nopast"
MINILM = pathlib.Path(os.environ.get("MINILM_DIR", "absent"))
MEASURE = SHARED / "tools" / "measure.py"

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
needs_measure = pytest.mark.skipif(not MEASURE.exists(), reason=f"{MEASURE} is absent")


@pytest.fixture
def measure():
    spec = importlib.util.spec_from_file_location("measure", MEASURE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(function, reference, model, capsys):
    """What measure.py prints about a float model and a quantized one, under our names."""
    capsys.readouterr()
    function(str(reference / "model.onnx"), [str(model / "model.onnx")])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    names = {"ppl": "perplexity", "top1": "top1_agreement", "kl": "kl", "tokens": "tokens"}
    names |= {"cosine": "cosine_mean", "cosine_min": "cosine_least", "top10": "top10_overlap"}
    names |= {"spearman": "spearman", "pairs": "pairs"}
    figures = {ours: second[theirs] for theirs, ours in names.items() if theirs in second}
    if "spearman" in first:
        figures["reference_spearman"] = first["spearman"]
    return figures


@pytest.mark.slow
@needs_measure
@pytest.mark.skipif(not TINYSTORIES.exists(), reason=f"{TINYSTORIES} is absent")
def test_tinystories(measure, tmp_path, capsys):
    arguments = [*ROUND_TO_NEAREST, "--bits", 4, "--group-size", 32]
    quantized(TINYSTORIES, tmp_path / "out", *arguments)
    # Without the word mark in front, as the model was trained: so ids, not text.
    rows = [row[:512] for row in measure.story_ids(measure.stories()[:100])]
    ids = write_ids(tmp_path / "ids.npz", rows)
    found = evaluated(tmp_path / "out", "--against", TINYSTORIES, "--text", ids)
    expected = measured(measure.lm, TINYSTORIES, tmp_path / "out", capsys)
    agree("tinystories rtn 4 bits", found, expected)


def minilm(tmp_path, bits, sentences):
    """Quantizes MiniLM, and evaluates it on every third line of a file, as measure.py does."""
    arguments = ["--method", "rtn", "--accuracy-level", 0, "--bits", bits, "--group-size", 32]
    quantized(MINILM, tmp_path / "out", *arguments, threads=2)
    text = tmp_path / "pairs.csv"
    lines = sentences.read_text(encoding="utf-8").splitlines(keepends=True)[::3]
    text.write_text("".join(lines), encoding="utf-8")
    tokenizer = SHARED / "tokenizers" / "bert-base-uncased-minilm"
    options = ["--against", MINILM, "--text", text, "--tokenizer", tokenizer, "--seq-len", 128]
    return evaluated(tmp_path / "out", *options)


needs_minilm = pytest.mark.skipif(
    not (MINILM / "model.onnx").exists(), reason="MINILM_DIR names no model"
)
STS = SHARED / "text" / "stsbenchmark" / "sts-dev.csv"


@pytest.mark.slow
@needs_measure
@needs_minilm
def test_minilm(measure, tmp_path, capsys):
    found = minilm(tmp_path, 4, STS)
    expected = measured(measure.embed, MINILM, tmp_path / "out", capsys)
    agree("MiniLM rtn 4 bits", found, expected)


@pytest.mark.slow
@needs_measure
@needs_minilm
def test_minilm_without_repeated_sentences(measure, tmp_path, capsys, monkeypatch):
    """A sentence that stands twice is as near as its copy; which of them is among the 10 nearest is
    decided by rounding in measure.py, and by their order here. At 8 bits that is most of what
    differs. Without repetitions both count the same."""
    seen, kept = set(), []
    for line in STS.read_text(encoding="utf-8").splitlines(keepends=True)[::3]:
        pair = [field.strip().lower() for field in line.split("\t")[5:7]]
        if pair[0] != pair[1] and not seen & set(pair):
            kept += [line] * 3
            seen |= set(pair)
    shared = tmp_path / "shared"
    (shared / "text" / "stsbenchmark").mkdir(parents=True)
    (shared / "tokenizers").symlink_to(SHARED / "tokenizers")
    sentences = shared / "text" / "stsbenchmark" / "sts-dev.csv"
    sentences.write_text("".join(kept), encoding="utf-8")
    monkeypatch.setattr(measure, "SHARED", str(shared))
    found = minilm(tmp_path, 8, sentences)
    expected = measured(measure.embed, MINILM, tmp_path / "out", capsys)
    agree("MiniLM rtn 8 bits, distinct sentences", found, expected)
