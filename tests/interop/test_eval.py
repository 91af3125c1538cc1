"""`quantize eval` against the same figures computed here from ONNX Runtime's outputs.

The formulas are written out in this file, in float64 and for padded batches where the model has a
mask. With the models of ../shared (or PTQ_SHARED) the program is also held to what
shared/tools/measure.py prints, for TinyStories and for MiniLM (in the folder MINILM_DIR, written by
shared/tools/export_minilm.py); what is absent is skipped. Every figure must agree within 0.1 %.
"""

import csv
import importlib.util
import json
import os
import pathlib
import types

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")
from quantize_cli import QUANTIZE, REPOSITORY, SHARED, quantize, quantized, session  # noqa: E402
from quantize_cli import summarize  # noqa: E402
from small_models import encoder, save, with_heads, word_tokenizer  # noqa: E402

DEMO = REPOSITORY / "data" / "demo"
BERT = SHARED / "onnx" / "exports" / "bert-ts11"
TINYSTORIES = SHARED / "onnx" / "exports" / "tinystories-656k-ts17-nopast"
MINILM = pathlib.Path(os.environ.get("MINILM_DIR", "absent"))
MEASURE = SHARED / "tools" / "measure.py"
ROUND_TO_NEAREST = ["--method", "rtn", "--accuracy-level", 0, "--lm-head", "keep"]

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
needs_measure = pytest.mark.skipif(not MEASURE.exists(), reason=f"{MEASURE} is absent")


def evaluated(model, *arguments):
    done = quantize("eval", "--src", model, "--json", *arguments, threads=2)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.strip()}"
    return json.loads(done.stdout)


def agree(title, found, expected):
    """Every figure of `expected` is found within 0.1 %, cosines (which are near 1) within 0.00002; a
    line at the end of the run shows them."""
    for name, value in expected.items():
        tolerance = 2e-5 if name.startswith("cosine") else 1e-3 * abs(value)
        assert abs(found[name] - value) <= tolerance, (name, found[name], value)
    figures = "  ".join(f"{n} {found[n]:.5g} ({v:.5g})" for n, v in expected.items())
    summarize("quantize eval (ONNX Runtime or measure.py)", f"{title}: {figures}")


def padded(rows):
    """[N, T] ids and mask of N rows of different length."""
    length = max(map(len, rows))
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return ids, mask


def feeds_of(s, ids, mask):
    made = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
    }
    return {value.name: made[value.name] for value in s.get_inputs()}


def write_ids(path, rows):
    """Rows of token ids of different length in the form that --text reads."""
    ids, mask = padded(rows)
    np.savez(path, input_ids=ids, attention_mask=mask)
    return path


# ---- Language models ----------------------------------------------------------------------------


def log_probabilities(logits):
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def language_figures(model, reference, rows):
    """Perplexity, mean KL(reference || model) and top-1 agreement, each text alone."""
    own, other = session(model / "model.onnx"), session(reference / "model.onnx")
    loss, divergence, same, tokens = 0.0, 0.0, 0, 0
    for row in rows:
        ids = np.array([row], np.int64)
        q, p = (
            log_probabilities(s.run(["logits"], feeds_of(s, ids, np.ones_like(ids)))[0][0, :-1])
            for s in (own, other)
        )
        loss -= np.take_along_axis(q, ids[0, 1:, None], axis=1).sum()
        divergence += (np.exp(p) * (p - q)).sum()
        same += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
        tokens += len(row) - 1
    return {
        "tokens": tokens,
        "perplexity": np.exp(loss / tokens),
        "kl": divergence / tokens,
        "top1_agreement": same / tokens,
    }


def paragraphs(path):
    return [text for text in path.read_text(encoding="utf-8").split("\n\n") if text.strip()]


@pytest.mark.parametrize("length", [512, 128])
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


# ---- Encoders -----------------------------------------------------------------------------------


def embeddings(model, rows, batch=16):
    """Mean over the mask of the first output in padded batches, normalised."""
    s = session(model / "model.onnx")
    found = []
    for i in range(0, len(rows), batch):
        ids, mask = padded(rows[i : i + batch])
        states = s.run([s.get_outputs()[0].name], feeds_of(s, ids, mask))[0].astype(np.float64)
        mean = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        found.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
    return np.concatenate(found)


def ordinal(values):
    """The place of each value; of equal values the earlier one comes first."""
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    ranks = np.empty(len(values))
    ranks[order] = range(len(values))
    return ranks


def spearman(vectors, gold):
    n = len(gold)
    similarity = np.sum(vectors[:n] * vectors[n:], axis=1)
    return np.corrcoef(ordinal(similarity), ordinal(gold))[0, 1]


def overlap(a, b):
    """Shared of the 10 nearest of the first 200 texts; cosines that rounding tells apart are equal."""
    def nearest(vectors, i):
        others = [j for j in range(len(vectors)) if j != i]
        similarity = np.round(vectors @ vectors[i], 6)
        return set(sorted(others, key=lambda j: (-similarity[j], j))[:10])

    queries = range(min(200, len(a)))
    return np.mean([len(nearest(a, i) & nearest(b, i)) / 10 for i in queries])


def encoder_figures(model, reference, rows, gold=None):
    own, other = embeddings(model, rows), embeddings(reference, rows)
    cosines = np.sum(own * other, axis=1)
    figures = {
        "texts": len(rows),
        "cosine_mean": cosines.mean(),
        "cosine_least": cosines.min(),
        "top10_overlap": overlap(own, other),
    }
    if gold is not None:
        figures["spearman"] = spearman(own, gold)
        figures["reference_spearman"] = spearman(other, gold)
    return figures


@pytest.fixture
def small(tmp_path):
    """A small encoder with its tokenizer, the same with 4 bits, and sentences of its words."""
    source = save(encoder(), tmp_path / "source")
    word_tokenizer(source / "tokenizer.json")
    quantized(source, tmp_path / "out", *ROUND_TO_NEAREST, "--bits", 4, "--group-size", 32)
    rng = np.random.default_rng(8)
    sentences = [
        " ".join(f"w{w}" for w in rng.integers(0, 92, rng.integers(1, 24))) for _ in range(240)
    ]
    gold = [float(x) for x in rng.integers(0, 26, 120) / 5]  # with ties
    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    rows = [tokenizer.encode(sentence).ids for sentence in sentences]
    # What is cut off is taken from the end of the text; the closing token stays.
    cut = [row if len(row) <= 12 else row[:11] + row[-1:] for row in rows]
    return types.SimpleNamespace(
        source=source, out=tmp_path / "out", sentences=sentences, gold=gold, rows=rows, cut=cut
    )


def write_pairs(path, sentences, gold):
    """Pairs in the form of the file's extension."""
    pairs = zip(sentences[: len(gold)], sentences[len(gold) :], gold)
    if path.suffix == ".jsonl":
        lines = [json.dumps({"sentence1": a, "sentence2": b, "score": g}) for a, b, g in pairs]
    elif path.name == "quoted.csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow(["sentence1", "sentence2", "score"])
            writer.writerows(pairs)
        return path
    else:
        lines = [f"main\tset\t2012\t{i}\t{g}\t{a}\t{b}" for i, (a, b, g) in enumerate(pairs)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "quoted.csv"])
def test_encoder_on_pairs(small, tmp_path, name):
    pairs = write_pairs(tmp_path / name, small.sentences, small.gold)
    found = evaluated(small.out, "--against", small.source, "--text", pairs)
    assert (found["task"], found["pairs"]) == ("embed", 120)
    expected = encoder_figures(small.out, small.source, small.rows, small.gold)
    agree(f"small encoder, {name}", found, expected)


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


# ---- What the modules beside an encoder say -------------------------------------------------------

DENSE = (48, 64)


def pooled(states, modes):
    """The ways of sentence-transformers on one text's states [T, H], one behind the other."""
    states = states.astype(np.float64)
    weights = np.arange(1, len(states) + 1)[:, None]
    ways = {
        "pooling_mode_cls_token": lambda: states[0],
        "pooling_mode_max_tokens": lambda: states.max(axis=0),
        "pooling_mode_mean_tokens": lambda: states.mean(axis=0),
        "pooling_mode_mean_sqrt_len_tokens": lambda: states.sum(axis=0) / np.sqrt(len(states)),
        "pooling_mode_weightedmean_tokens": lambda: (states * weights).sum(axis=0) / weights.sum(),
        "pooling_mode_lasttoken": lambda: states[-1],
    }
    return np.concatenate([way() for mode, way in ways.items() if mode in modes])


def write_modules(folder, modes, dense=None):
    """modules.json with its folders; `dense`: weight, bias, activation, numpy type."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [("2_Dense", "Dense")] if dense else []
    kinds += [("3_Normalize", "Normalize")]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    config = {mode: mode in modes for mode in POOLING_MODES}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config | {"include_prompt": True}))
    if dense is None:
        return
    weight, bias, activation, dtype = dense
    (folder / "2_Dense").mkdir()
    config = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": True,
              "activation_function": activation}  # fmt: skip
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    arrays = {"linear.weight": weight.astype(dtype), "linear.bias": bias.astype(dtype)}
    write_safetensors(folder / "2_Dense" / "model.safetensors", arrays)


def write_safetensors(path, arrays):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        raw = array.tobytes()
        header[name] = {"dtype": {"float32": "F32", "float16": "F16"}[str(array.dtype)],
                        "shape": array.shape, "data_offsets": [len(data), len(data) + len(raw)]}  # fmt: skip
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


POOLING_MODES = [
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
]


def vector_figures(own, other, gold=None):
    """What is measured of embeddings that need not be normalised."""
    own, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (own, other))
    cosines = np.sum(own * other, axis=1)
    figures = {"cosine_mean": cosines.mean(), "cosine_least": cosines.min(),
               "top10_overlap": overlap(own, other)}  # fmt: skip
    if gold is not None:
        figures |= {"spearman": spearman(own, gold), "reference_spearman": spearman(other, gold)}
    return figures


def of_each_text(model, rows, output, function=lambda x: x):
    """function(the output for one text), for each text alone."""
    s = session(model / "model.onnx")
    found = []
    for row in rows:
        ids = np.array([row], np.int64)
        found.append(function(s.run([output], feeds_of(s, ids, np.ones_like(ids)))[0][0]))
    return np.array(found, np.float64)


@pytest.mark.parametrize("beside", ["source", "out"])
@pytest.mark.parametrize(
    "modes",
    [[mode] for mode in POOLING_MODES] + [["pooling_mode_mean_tokens", "pooling_mode_max_tokens"]],
    ids=lambda modes: "+".join(m.removeprefix("pooling_mode_") for m in modes),
)
def test_pooling_beside_the_model(small, tmp_path, modes, beside):
    write_modules(getattr(small, beside), modes)
    pairs = write_pairs(tmp_path / "pairs.jsonl", small.sentences, small.gold)
    found = evaluated(small.out, "--against", small.source, "--text", pairs)
    own, other = (
        of_each_text(m, small.rows, "last_hidden_state", lambda x: pooled(x, modes))
        for m in (small.out, small.source)
    )
    agree(f"pooling {found['pooling']}", found, vector_figures(own, other, small.gold))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("activation", ["activation.Tanh", "linear.Identity"])
def test_dense_layer_behind_the_pooling(small, tmp_path, activation, dtype):
    rng = np.random.default_rng(4)
    weight, bias = rng.standard_normal(DENSE) * 0.1, rng.standard_normal(DENSE[0]) * 0.1
    weight, bias = weight.astype(dtype), bias.astype(dtype)
    modes = ["pooling_mode_lasttoken"]
    write_modules(small.source, modes, (weight, bias, f"torch.nn.modules.{activation}", dtype))
    pairs = write_pairs(tmp_path / "pairs.jsonl", small.sentences, small.gold)
    found = evaluated(small.out, "--against", small.source, "--text", pairs)
    assert found["pooling"] == "last, dense 48 x 64"

    def embedding(states):
        y = weight.astype(np.float64) @ pooled(states, modes) + bias.astype(np.float64)
        return np.tanh(y) if activation.endswith("Tanh") else y

    own, other = (
        of_each_text(m, small.rows, "last_hidden_state", embedding)
        for m in (small.out, small.source)
    )
    agree(f"dense {activation}", found, vector_figures(own, other, small.gold))


def quantized_with_heads(tmp_path, heads, **options):
    """An encoder with heads of which the heads alone are quantized, to few bits."""
    source = save(with_heads(encoder(), heads), tmp_path / "source")
    word_tokenizer(source / "tokenizer.json")
    patterns = [part for name in heads for part in ("--include", f"*{name}*")]
    arguments = [*ROUND_TO_NEAREST, "--bits", 2, "--group-size", 32, *patterns]
    quantized(source, tmp_path / "out", *arguments)
    rng = np.random.default_rng(9)
    rows = [rng.integers(0, 92, rng.integers(1, 20)).tolist() for _ in range(60)]
    return source, tmp_path / "out", rows, write_ids(tmp_path / "ids.npz", rows)


@pytest.mark.parametrize("name", ["sentence_embedding", "text_embeds"])
def test_output_that_users_consume(tmp_path, name):
    """The states are untouched; only the embedding that the model itself makes is different."""
    source, out, rows, ids = quantized_with_heads(tmp_path, {name: ("sentence", 40)})
    write_modules(source, ["pooling_mode_cls_token"])  # the graph holds the pooling already
    found = evaluated(out, "--against", source, "--text", ids)
    assert (found["output"], found["pooling"]) == (name, None)
    own, other = (of_each_text(m, rows, name) for m in (out, source))
    expected = vector_figures(own, other)
    assert expected["cosine_least"] < 0.999
    agree(name, found, expected)
    options = ["--against", source, "--text", ids]
    states = evaluated(out, *options, "--output", "last_hidden_state")
    assert (states["pooling"], states["cosine_least"]) == ("cls", pytest.approx(1, abs=1e-6))
    states = evaluated(out, *options, "--pooling", "max")
    assert (states["output"], states["pooling"]) == ("last_hidden_state", "max")


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


# ---- measure.py itself --------------------------------------------------------------------------


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


@needs_measure
@needs_minilm
def test_minilm(measure, tmp_path, capsys):
    found = minilm(tmp_path, 4, STS)
    expected = measured(measure.embed, MINILM, tmp_path / "out", capsys)
    agree("MiniLM rtn 4 bits", found, expected)


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
