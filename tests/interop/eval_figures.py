"""What the tests of `quantize eval` share: small encoders, and the formulas of its figures, written
out in float64 and for padded batches where the model has a mask."""

import csv
import json
import types

import numpy as np
import tokenizers
from quantize_cli import quantize, quantized, session, summarize
from small_models import encoder, save, with_heads, word_tokenizer

ROUND_TO_NEAREST = ["--method", "rtn", "--accuracy-level", 0, "--lm-head", "keep"]


def evaluated(model, *arguments):
    done = quantize("eval", "--src", model, "--json", *arguments, threads=2)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.strip()}"
    return json.loads(done.stdout)


def agree(title, found, expected):
    """Every figure of `expected` is found within 0.1 %, cosines (which are near 1) within 0.00002,
    perplexities of models that know nothing within 0.01 % of their logarithm; a line at the end of
    the run shows them."""
    for name, value in expected.items():
        tolerance = 2e-5 if name.startswith("cosine") else 1e-3 * abs(value)
        if "perplexity" in name:
            largest = max(expected["perplexity"], expected.get("reference_perplexity", 1))
            tolerance *= max(1, np.log(largest) / 10)
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


def small_encoder(tmp_path):
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
