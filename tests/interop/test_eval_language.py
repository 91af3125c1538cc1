"""`quantize eval` of language models in windows, by their last token, through states, and of what
they write themselves, against the same computed here with ONNX Runtime."""

import json

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")
from eval_figures import ROUND_TO_NEAREST, agree, evaluated, feeds_of, write_ids  # noqa: E402
from eval_language import (  # noqa: E402
    LanguageSums,
    causal_llama,
    convolution_decoder,
    last_token_only,
)
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    REPOSITORY,
    quantized,
    run_session,
    session,
    summarize,
)
from small_models import VOCABULARY, save, word_tokenizer  # noqa: E402

DEMO = REPOSITORY / "data" / "demo"

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def pair_of(tmp_path, model, bits=4):
    """A model and the same with a few bits."""
    source = save(model, tmp_path / "source")
    word_tokenizer(source / "tokenizer.json")
    quantized(source, tmp_path / "out", *ROUND_TO_NEAREST, "--bits", bits, "--group-size", 32)
    return source, tmp_path / "out"


def rows_of(*lengths):
    rng = np.random.default_rng(17)
    return [rng.integers(0, VOCABULARY, length).tolist() for length in lengths]


def logits_of(s, row):
    """Of a text by itself, with empty caches and states of zeros: all rows."""
    ids = np.array([row], np.int64)
    feeds = {}
    for wanted in s.get_inputs():
        if wanted.name == "input_ids":
            feeds[wanted.name] = ids
        elif "past" in wanted.name:
            shape = [1 if d == "batch" else 0 if isinstance(d, str) else d for d in wanted.shape]
            feeds[wanted.name] = np.zeros(shape, np.float32)
        else:
            feeds |= {wanted.name: feeds_of(s, ids, np.ones_like(ids))[wanted.name]}
    return s.run(["logits"], feeds)[0][0]


# ---- Windows ------------------------------------------------------------------------------------


def window_figures(own, other, rows, length, stride):
    """As on Hugging Face's page about perplexity: of each window the tokens that no window before it
    has reached, predicted from all in front of them in the window."""
    sums, windows = LanguageSums(), 0
    for row in rows:
        seen = 0
        for begin in range(0, len(row), stride):
            end = min(begin + length, len(row))
            count = end - seen if begin > 0 else end - 1
            count = min(count, end - begin - 1)
            q, p = (logits_of(s, row[begin:end])[-count - 1 : -1] for s in (own, other))
            if count > 0:
                sums.add(q, p, row[end - count : end])
            windows, seen = windows + 1, end
            if end == len(row):
                break
    return sums.figures(), windows


@pytest.mark.parametrize("length,stride", [(16, 8), (16, 5), (16, 16), (64, 1)])
def test_windows_of_long_texts(tmp_path, length, stride):
    source, out = pair_of(tmp_path, causal_llama())
    rows = rows_of(50, 16, 3, 33)
    ids = write_ids(tmp_path / "ids.npz", rows)
    options = ["--seq-len", length, "--stride", stride]
    found = evaluated(out, "--against", source, "--text", ids, *options)
    sessions = [session(m / "model.onnx") for m in (out, source)]
    expected, windows = window_figures(*sessions, rows, length, stride)
    assert found["windows"] == {"count": windows, "tokens": length, "stride": stride}
    assert found["texts"] == 4 and "cut" not in found
    if stride < length:
        assert found["tokens"] == sum(len(row) - 1 for row in rows)
    agree(f"windows of {length}, stride {stride}", found, expected)


def test_windows_of_the_demo_model(tmp_path):
    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    texts = (DEMO / "heldout.txt").read_text(encoding="utf-8").split("\n\n")[:6]
    (tmp_path / "texts.txt").write_text("\n\n".join(texts), encoding="utf-8")
    rows = [tokenizer.encode(text.strip("\n")).ids for text in texts if text.strip()]
    assert max(map(len, rows)) > 128
    found = evaluated(DEMO, "--text", tmp_path / "texts.txt", "--seq-len", 128, "--stride", 64)
    s = session(DEMO / "model.onnx")
    expected, _ = window_figures(s, s, rows, 128, 64)
    agree("demo in windows", found, {k: expected[k] for k in ("tokens", "perplexity")})


def test_what_is_cut_is_counted(tmp_path):
    source, _ = pair_of(tmp_path, causal_llama())
    ids = write_ids(tmp_path / "ids.npz", rows_of(50, 16, 3, 33))
    found = evaluated(source, "--text", ids, "--seq-len", 16)
    assert found["cut"] == {"texts": 2, "tokens": 34 + 17}
    assert found["tokens"] == 15 + 15 + 2 + 15


def test_rounded_activations_cost_what_they_cost_in_onnx_runtime(tmp_path):
    """Accuracy level 4 makes the runtime round activations to 8 bits by blocks."""
    quantized(DEMO, tmp_path / "out", "--method", "rtn", "--bits", 4, "--group-size", 32,
              "--accuracy-level", 4)  # fmt: skip
    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    texts = (DEMO / "heldout.txt").read_text(encoding="utf-8").split("\n\n")[:8]
    rows = [tokenizer.encode(text.strip("\n")).ids[:128] for text in texts if text.strip()]
    ids = write_ids(tmp_path / "ids.npz", rows)
    found = evaluated(tmp_path / "out", "--against", DEMO, "--text", ids)
    own, other = (session(m / "model.onnx") for m in (tmp_path / "out", DEMO))
    sums = LanguageSums()
    for row in rows:
        sums.add(*(logits_of(s, row)[:-1] for s in (own, other)), row[1:])
    expected = sums.figures()["kl"]
    summarize("accuracy level 4", f"KL {found['kl']:.6f}, in ONNX Runtime {expected:.6f}")
    assert found["kl"] == pytest.approx(expected, rel=0.02)


# ---- Logits of the last token -------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True], ids=["prefixes", "caches"])
@pytest.mark.parametrize("keep_axis", [False, True], ids=["BV", "B1V"])
def test_models_that_give_the_last_logits_alone(tmp_path, cached, keep_axis):
    whole = save(causal_llama(cached=cached), tmp_path / "whole")
    source, out = pair_of(tmp_path, last_token_only(causal_llama(cached=cached), keep_axis))
    rows = rows_of(9, 14, 2, 1)
    ids = write_ids(tmp_path / "ids.npz", rows)
    found = evaluated(out, "--against", source, "--text", ids)
    assert "only the last token has logits" in found["reading"]
    assert ("caches" if cached else "prefix") in found["reading"]
    own, other = (session(m / "model.onnx") for m in (out, source))
    sums = LanguageSums()
    for row in rows:
        for end in range(1, len(row)):
            q, p = (logits_of(s, row[:end]).reshape(1, -1) for s in (own, other))
            sums.add(q, p, row[end : end + 1])
    agree(f"last token, {found['reading']}", found, sums.figures())
    # The reference's perplexity is that of the same model with logits of all tokens.
    all_rows = evaluated(whole, "--text", ids)
    assert found["reference_perplexity"] == pytest.approx(all_rows["perplexity"], rel=1e-5)


def test_windows_of_a_model_that_gives_the_last_logits_alone(tmp_path):
    source, out = pair_of(tmp_path, last_token_only(causal_llama(cached=True), True))
    whole = save(causal_llama(cached=True), tmp_path / "whole")
    ids = write_ids(tmp_path / "ids.npz", rows_of(30, 9))
    options = ["--text", ids, "--seq-len", 12, "--stride", 4]
    found = evaluated(source, *options)
    assert found["perplexity"] == pytest.approx(evaluated(whole, *options)["perplexity"], rel=1e-5)
    assert found["tokens"] == 29 + 8


# ---- States of a fixed size ---------------------------------------------------------------------


def test_a_convolution_state_starts_as_zeros(tmp_path):
    source, out = pair_of(tmp_path, convolution_decoder())
    rows = rows_of(12, 3, 20)
    ids = write_ids(tmp_path / "ids.npz", rows)
    own, other = (session(m / "model.onnx") for m in (out, source))
    sums = LanguageSums()
    for row in rows:
        q, p = (logits_of(s, row)[:-1] for s in (own, other))
        sums.add(q, p, row[1:])
    found = evaluated(out, "--against", source, "--text", ids)
    agree("convolution state", found, sums.figures())
    stepped = evaluated(out, "--against", source, "--text", ids, "--step", 2)
    agree("convolution state in steps", stepped, sums.figures())


# ---- What a model writes ------------------------------------------------------------------------


def greedy(s, row, count, ends=()):
    """New tokens, reading all of the text again for each."""
    row, written = list(row), []
    for _ in range(count):
        token = int(logits_of(s, row)[-1].argmax())
        if token in ends:
            break
        written.append(token)
        row.append(token)
    return written


def write_tasks(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.mark.parametrize("model", ["cached", "uncached", "convolution"])
def test_greedy_answers(tmp_path, model):
    built = convolution_decoder() if model == "convolution" else causal_llama(cached=model == "cached")
    source, out = pair_of(tmp_path, built, bits=3)
    rng = np.random.default_rng(23)
    prompts = [rng.integers(0, 90, rng.integers(1, 8)).tolist() for _ in range(12)]
    own, other = (session(m / "model.onnx") for m in (out, source))
    # The tokenizer opens a text with 93 and would close it with 94.
    written = [[greedy(s, [93, *p], 8) for p in prompts] for s in (own, other)]
    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    words = tokenizer.decode
    answers = [words(w) if i % 3 else "w0 w0" for i, w in enumerate(written[0])]
    tasks = write_tasks(
        tmp_path / "tasks.jsonl",
        [{"prompt": words(p), "answer": a} for p, a in zip(prompts, answers)],
    )
    found = evaluated(out, "--against", source, "--task-file", tasks, "--max-new-tokens", 8)
    right = [[words(w).strip() == a for w, a in zip(some, answers)] for some in written]
    pairs = list(zip(*written))
    agreed = [
        next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        for a, b in pairs
        if a != b
    ]
    assert found["task"] == "generate" and found["answered"] == 12
    assert found["tokens"] == sum(map(len, written[0]))
    assert ("caches" in found["reading"]) == (model != "uncached")
    assert agreed and any(right[0])
    expected = {
        "exact_match": np.mean(right[0]),
        "reference_exact_match": np.mean(right[1]),
        "same_generations": np.mean([a == b for a, b in pairs]),
        "agreed_tokens": np.mean(agreed),
    }
    agree(f"greedy answers, {model}", found, expected)


def test_greedy_answers_of_the_demo_model(tmp_path):
    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    prompts = ["The history of the", "In 1998 the", "She was born in"]
    config = json.loads((DEMO / "generation_config.json").read_text())
    ends = config["eos_token_id"]
    ends = ends if isinstance(ends, list) else [ends]
    s = session(DEMO / "model.onnx")
    answers = []
    for prompt in prompts:
        row = tokenizer.encode(prompt).ids
        answers.append(tokenizer.decode(greedy(s, row, 12, ends)))
    entries = [{"prompt": p, "answer": [a, "x"]} for p, a in zip(prompts, answers)]
    tasks = write_tasks(tmp_path / "tasks.jsonl", entries)
    found = evaluated(DEMO, "--task-file", tasks, "--max-new-tokens", 12)
    assert (found["texts"], found["exact_match"]) == (3, 1)


def test_answers_end_at_a_stop(tmp_path):
    source, _ = pair_of(tmp_path, causal_llama(cached=True))
    first = greedy(session(source / "model.onnx"), [93, 5], 6)
    assert len(set(first)) > 1 and all(i < 92 for i in first)
    cut = next(i for i in range(1, 6) if first[i] not in first[:i])
    answer = " ".join(f"w{i}" for i in first[:cut])
    tasks = write_tasks(tmp_path / "tasks.jsonl", [{"prompt": "w5", "answer": answer}])
    options = ["--task-file", tasks, "--max-new-tokens", 6]
    assert evaluated(source, *options)["exact_match"] == 0
    stopped = evaluated(source, *options, "--stop", f"w{first[cut]}")
    assert (stopped["exact_match"], stopped["tokens"]) == (1, cut + 1)


def test_the_runner_has_the_logits_of_onnx_runtime(tmp_path):
    """What the tests above compare is a model at all: its tokens depend on those before them."""
    source = save(causal_llama(), tmp_path / "source")
    s = session(source / "model.onnx")
    ids = np.array([[3, 4, 5, 6]], np.int64)
    whole = run_session(s, {"input_ids": ids})["logits"]
    assert np.allclose(whole[:, :2], run_session(s, {"input_ids": ids[:, :2]})["logits"], atol=1e-5)
