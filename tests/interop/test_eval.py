"""`quantize eval` against the same figures computed here from ONNX Runtime's outputs, for language
models, encoders and scores. Every figure must agree within 0.1 %."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")
from eval_figures import (  # noqa: E402
    ROUND_TO_NEAREST,
    agree,
    encoder_figures,
    evaluated,
    feeds_of,
    of_each_text,
    ordinal,
    quantized_with_heads,
    small_encoder,
    write_ids,
    write_pairs,
)
from eval_language import LanguageSums  # noqa: E402
from quantize_cli import QUANTIZE, REPOSITORY, SHARED, quantized, session  # noqa: E402

DEMO = REPOSITORY / "data" / "demo"
BERT = SHARED / "onnx" / "exports" / "bert-ts11"

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def language_figures(model, reference, rows):
    """Of each text alone, of all tokens but its first."""
    sums = LanguageSums()
    own, other = session(model / "model.onnx"), session(reference / "model.onnx")
    for row in rows:
        ids = np.array([row], np.int64)
        q, p = (
            s.run(["logits"], feeds_of(s, ids, np.ones_like(ids)))[0][0, :-1] for s in (own, other)
        )
        sums.add(q, p, row[1:])
    return sums.figures()


def paragraphs(path):
    return [text for text in path.read_text(encoding="utf-8").split("\n\n") if text.strip()]


@pytest.mark.parametrize("length", [pytest.param(512, marks=pytest.mark.slow), 128])
def test_demo_model(tmp_path, length):
    quantized(DEMO, tmp_path / "out", *ROUND_TO_NEAREST, "--bits", 4)
    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    texts = paragraphs(DEMO / "heldout.txt")
    rows = [tokenizer.encode(text.strip("\n")).ids[:length] for text in texts]
    options = ["--against", DEMO, "--text", DEMO / "heldout.txt", "--seq-len", length]
    found = evaluated(tmp_path / "out", *options)
    assert (found["task"], found["texts"]) == ("lm", len(texts))
    agree(f"demo, {length} tokens", found, language_figures(tmp_path / "out", DEMO, rows))


def test_demo_model_is_at_no_distance_from_itself():
    options = ["--against", DEMO, "--text", DEMO / "heldout.txt", "--seq-len", 32]
    found = evaluated(DEMO, *options)
    assert (found["kl"], found["top1_agreement"]) == (0, 1)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "quoted.csv"])
def test_encoder_on_pairs(small, tmp_path, name):
    pairs = write_pairs(tmp_path / name, small.sentences, small.gold)
    found = evaluated(small.out, "--against", small.source, "--text", pairs)
    assert (found["task"], found["pairs"]) == ("embed", 120)
    expected = encoder_figures(small.out, small.source, small.rows, small.gold)
    agree(f"small encoder, {name}", found, expected)


@pytest.fixture
def small(tmp_path):
    return small_encoder(tmp_path)


def test_encoder_on_texts_that_are_cut(small, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(small.sentences))
    options = ["--against", small.source, "--text", tmp_path / "texts.txt", "--seq-len", 12]
    found = evaluated(small.out, *options)
    assert "spearman" not in found
    expected = encoder_figures(small.out, small.source, small.cut)
    agree("small encoder, texts of 12 tokens", found, expected)


def test_encoder_on_token_ids(small, tmp_path):
    ids = write_ids(tmp_path / "ids.npz", small.rows)
    found = evaluated(small.out, "--against", small.source, "--text", ids)
    expected = encoder_figures(small.out, small.source, small.rows)
    agree("small encoder, token ids", found, expected)


def score_figures(own, other):
    difference = np.abs(own - other)
    return {
        "difference_mean": difference.mean(),
        "difference_largest": difference.max(),
        "reference_spread": other.std(),
    }


def test_scores_of_a_reranker(tmp_path):
    """One number for a text: cosines of those are 1 or -1, whatever the numbers."""
    source, out, rows, ids = quantized_with_heads(tmp_path, {"logits": ("first", 1)})
    found = evaluated(out, "--against", source, "--text", ids)
    assert (found["task"], found["output"], found["width"]) == ("score", "logits", 1)
    assert "cosine_mean" not in found
    own, other = (of_each_text(m, rows, "logits")[:, 0] for m in (out, source))
    expected = score_figures(own, other)
    expected["rank_correlation"] = np.corrcoef(ordinal(own), ordinal(other))[0, 1]
    assert expected["rank_correlation"] < 1
    agree("reranker", found, expected)


@pytest.mark.parametrize("kind", ["first", "tokens"])
def test_scores_of_a_classifier(tmp_path, kind):
    source, out, rows, ids = quantized_with_heads(tmp_path, {"logits": (kind, 5)})
    found = evaluated(out, "--against", source, "--text", ids)
    assert (found["task"], found["width"]) == ("score", 5)
    sessions = [session(m / "model.onnx") for m in (out, source)]
    own, other = (
        np.concatenate(
            [
                s.run(["logits"], feeds_of(s, np.array([row]), np.ones((1, len(row)), np.int64)))[0]
                .astype(np.float64)
                .reshape(-1, 5)
                for row in rows
            ]
        )
        for s in sessions
    )
    expected = score_figures(own, other)
    expected["top1_agreement"] = (own.argmax(axis=1) == other.argmax(axis=1)).mean()
    agree(f"classifier of {kind}", found, expected)


@pytest.mark.skipif(not BERT.exists(), reason=f"{BERT} is absent")
def test_exported_bert(tmp_path):
    quantized(BERT, tmp_path / "out", *ROUND_TO_NEAREST, "--bits", 4, "--group-size", 32)
    largest = np.load(BERT / "io.npz")["in.input_ids"].max()
    rng = np.random.default_rng(4)
    rows = [rng.integers(1, largest + 1, rng.integers(2, 17)).tolist() for _ in range(60)]
    ids = write_ids(tmp_path / "ids.npz", rows)
    found = evaluated(tmp_path / "out", "--against", BERT, "--text", ids)
    agree("bert-ts11, token ids", found, encoder_figures(tmp_path / "out", BERT, rows))
