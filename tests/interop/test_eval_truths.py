"""`quantize eval` of what is known of texts: relevant documents and labels, for encoders, rerankers and
classifiers, against the same computed here with ONNX Runtime."""

import json

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")
from eval_figures import agree, evaluated, ordinal, quantized_with_heads, small_encoder  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from quantize_cli import QUANTIZE, quantize, session  # noqa: E402
from small_models import encoder  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def words(rng, most=9):
    return " ".join(f"w{i}" for i in rng.integers(0, 92, rng.integers(1, most)))


def write_lines(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def ranking_figures(ranked, relevant):
    """Of documents by falling relevance for each query."""
    mrr, one, ten, gains = [], [], [], []
    for order, right in zip(ranked, relevant):
        places = [i + 1 for i, document in enumerate(order) if document in right]
        mrr.append(1 / places[0])
        one.append(sum(p <= 1 for p in places) / len(right))
        ten.append(sum(p <= 10 for p in places) / len(right))
        ideal = sum(1 / np.log2(1 + p) for p in range(1, min(10, len(right)) + 1))
        gains.append(sum(1 / np.log2(1 + p) for p in places if p <= 10) / ideal)
    return dict(zip(("mrr", "recall_at_1", "recall_at_10", "ndcg_at_10"),
                    map(np.mean, (mrr, one, ten, gains))))  # fmt: skip


def both(own, reference):
    return own | {f"reference_{name}": value for name, value in reference.items()}


def descending(scores):
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


# ---- Encoders -----------------------------------------------------------------------------------


def test_retrieval_by_embeddings(tmp_path):
    small = small_encoder(tmp_path)
    rng = np.random.default_rng(41)
    queries, documents, relevant, entries = [], [], [], []
    number = lambda text: documents.index(text) if text in documents else -1  # noqa: E731
    for i in range(12):
        right = [words(rng) for _ in range(1 + i % 3)]
        wrong = [words(rng) for _ in range(3)]
        queries.append(words(rng))
        for text in right + wrong:
            if number(text) < 0:
                documents.append(text)
        relevant.append({number(text) for text in right})
        single = len(right) == 1
        entries.append({"query": queries[-1], "positive": right[0] if single else right,
                        "negatives": wrong})  # fmt: skip
    assert len(set(queries)) == 12
    more = [words(rng) for _ in range(5)]  # that answer nothing
    documents += more
    entries += [{"document": more[0]}, {"document": more[1]}]
    entries[0]["corpus"] = more[2:]
    # In the order of the file: a document's number decides between equal ones alone.
    text = write_lines(tmp_path / "queries.jsonl", entries)
    tokenizer = tokenizers.Tokenizer.from_file(str(small.source / "tokenizer.json"))

    def orders(model):
        s = session(model / "model.onnx")
        vectors = []
        for one in queries + documents:
            ids = np.array([tokenizer.encode(one).ids], np.int64)
            states = s.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
            mean = states.astype(np.float64).mean(axis=0)
            vectors.append(mean / np.linalg.norm(mean))
        vectors = np.array(vectors)
        return [descending(row) for row in vectors[:12] @ vectors[12:].T]

    own, other = orders(small.out), orders(small.source)
    expected = both(ranking_figures(own, relevant), ranking_figures(other, relevant))
    expected["retrieved_overlap"] = np.mean(
        [len(set(a[:10]) & set(b[:10])) / 10 for a, b in zip(own, other)]
    )
    found = evaluated(small.out, "--against", small.source, "--text", text)
    assert (found["task"], found["queries"], found["documents"]) == ("embed", 12, len(documents))
    assert 0 < expected["mrr"] < 1 and found["cosine_mean"] < 1
    agree("retrieval", found, expected)
    alone = evaluated(small.out, "--text", text)
    agree("retrieval by one model", alone, {"mrr": expected["mrr"]})
    assert "reference_mrr" not in alone


# ---- Rerankers and classifiers ------------------------------------------------------------------


def reading_types(model):
    """An encoder whose states depend on token_type_ids, too."""
    rng = np.random.default_rng(3)
    table = rng.standard_normal((2, 64)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(table, "token_types.weight"))
    ids = helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["batch", "length"])
    model.graph.input.append(ids)
    gather = next(n for n in model.graph.node if n.op_type == "Gather")
    words_only = gather.output[0] + "_words"
    made = gather.output[0]
    gather.output[0] = words_only
    place = list(model.graph.node).index(gather) + 1
    look = helper.make_node("Gather", ["token_types.weight", "token_type_ids"], ["type_states"])
    model.graph.node.insert(place, look)
    model.graph.node.insert(place + 1, helper.make_node("Add", [words_only, "type_states"], [made]))
    return model


def pair_tokenizer(path):
    """The same words, and two texts of types 0 and 1 between [B], [E] and [E]."""
    content = json.loads(path.read_text())
    special = lambda name, kind: {"SpecialToken": {"id": name, "type_id": kind}}  # noqa: E731
    sequence = lambda name, kind: {"Sequence": {"id": name, "type_id": kind}}  # noqa: E731
    content["post_processor"]["pair"] = [
        special("[B]", 0), sequence("A", 0), special("[E]", 0), sequence("B", 1), special("[E]", 1)
    ]  # fmt: skip
    path.write_text(json.dumps(content))


@pytest.fixture
def cross_encoder(tmp_path, monkeypatch):
    import eval_figures

    monkeypatch.setattr(eval_figures, "encoder", lambda: reading_types(encoder()))

    def make(width):
        source, out, *_ = quantized_with_heads(tmp_path, {"logits": ("first", width)})
        for folder in (source, out):
            pair_tokenizer(folder / "tokenizer.json")
        return source, out

    return make


def pair_scores(model, pairs):
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    s = session(model / "model.onnx")
    found = []
    for first, second in pairs:
        encoded = tokenizer.encode(first, second)
        ids, kinds = (np.array([x], np.int64) for x in (encoded.ids, encoded.type_ids))
        assert set(encoded.type_ids) == {0, 1}
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds}
        found.append(s.run(["logits"], feeds)[0][0].astype(np.float64))
    return np.array(found)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("negatives", [True, False])
def test_retrieval_by_a_reranker(cross_encoder, tmp_path, width, negatives):
    source, out = cross_encoder(width)
    rng = np.random.default_rng(42)
    documents, candidates, relevant, pairs, entries = [], [], [], [], []
    for _ in range(7):
        texts = [words(rng) for _ in range(4 if negatives else 1)]
        first = len(documents)
        documents += texts
        candidates.append(list(range(first, first + len(texts))))
        relevant.append({first})
        entry = {"query": words(rng), "document": texts[0]}
        entries.append(entry | ({"negative": texts[1:]} if negatives else {}))
    assert len(set(documents)) == len(documents)
    if not negatives:
        candidates = [list(range(len(documents)))] * 7
    for entry, some in zip(entries, candidates):
        pairs += [(entry["query"], documents[i]) for i in some]
    text = write_lines(tmp_path / "pairs.jsonl", entries)

    def orders(model):
        scores = pair_scores(model, pairs)
        scores = scores[:, 0] if width == 1 else scores[:, 1] - scores[:, 0]
        ranked, begin = [], 0
        for some in candidates:
            ranked.append([some[i] for i in descending(scores[begin : begin + len(some)])])
            begin += len(some)
        return ranked

    expected = both(*(ranking_figures(orders(model), relevant) for model in (out, source)))
    found = evaluated(out, "--against", source, "--text", text)
    assert (found["task"], found["texts"]) == ("score", len(pairs))
    agree(f"reranker of width {width}", found, expected)


def test_gold_scores_of_pairs(cross_encoder, tmp_path):
    source, out = cross_encoder(1)
    rng = np.random.default_rng(43)
    pairs = [(words(rng), words(rng)) for _ in range(30)]
    gold = rng.integers(0, 6, 30).tolist()
    text = write_lines(
        tmp_path / "pairs.jsonl",
        [{"sentence1": a, "sentence2": b, "score": g} for (a, b), g in zip(pairs, gold)],
    )
    own, other = (ordinal(pair_scores(model, pairs)[:, 0]) for model in (out, source))
    expected = {
        "spearman": np.corrcoef(own, ordinal(gold))[0, 1],
        "reference_spearman": np.corrcoef(other, ordinal(gold))[0, 1],
        "rank_correlation": np.corrcoef(own, other)[0, 1],
    }
    agree("gold scores", evaluated(out, "--against", source, "--text", text), expected)


@pytest.mark.parametrize("form", ["names.jsonl", "numbers.csv", "pairs.jsonl"])
def test_labels_of_a_classifier(cross_encoder, tmp_path, form):
    source, out = cross_encoder(3)
    names = {"0": "bad", "1": "so so", "2": "good"}
    for folder in (source, out):
        (folder / "config.json").write_text(json.dumps({"id2label": names}))
    rng = np.random.default_rng(44)
    pairs = [(words(rng), words(rng)) for _ in range(40)]
    labels = rng.integers(0, 3, 40)
    if form == "pairs.jsonl":
        entries = [{"premise": a, "hypothesis": b, "label": int(x)} for (a, b), x in zip(pairs, labels)]
        scores = [pair_scores(model, pairs) for model in (out, source)]
        write_lines(tmp_path / form, entries)
    else:
        scores = []
        tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
        for model in (out, source):
            s = session(model / "model.onnx")
            rows = [np.array([tokenizer.encode(a).ids], np.int64) for a, _ in pairs]
            feeds = [{"input_ids": r, "attention_mask": np.ones_like(r),
                      "token_type_ids": np.zeros_like(r)} for r in rows]  # fmt: skip
            scores.append(np.array([s.run(["logits"], f)[0][0] for f in feeds]))
    if form == "names.jsonl":
        entries = [{"text": a, "label": names[str(x)]} for (a, _), x in zip(pairs, labels)]
        write_lines(tmp_path / form, entries)
    elif form == "numbers.csv":
        lines = ["text,label"] + [f"{a},{x}" for (a, _), x in zip(pairs, labels)]
        (tmp_path / form).write_text("\n".join(lines) + "\n")
    own, other = ((some.argmax(axis=1) == labels).mean() for some in scores)
    expected = {"accuracy": own, "reference_accuracy": other}
    found = evaluated(out, "--against", source, "--text", tmp_path / form)
    agree(f"labels, {form}", found, expected)
    alone = evaluated(source, "--text", tmp_path / form)
    assert alone["accuracy"] == found["reference_accuracy"]


def test_a_label_that_the_model_does_not_know(cross_encoder, tmp_path):
    source, _ = cross_encoder(3)
    text = write_lines(tmp_path / "a.jsonl", [{"text": "w1", "label": "good"}])
    done = quantize("eval", source, "--text", text)
    assert done.returncode == 3 and "id2label" in done.stderr and "entry 1" in done.stderr
    text = write_lines(tmp_path / "a.jsonl", [{"text": "w1", "label": 3}])
    done = quantize("eval", source, "--text", text)
    assert done.returncode == 3 and "3 classes" in done.stderr
