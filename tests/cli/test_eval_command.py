"""`quantize eval`: its text and JSON, the choice of the task, and what it refuses.

The figures are compared with ONNX Runtime's in tests/interop/test_eval.py and test_eval_modules.py.
"""

import json
import re

import numpy as np
import pytest
from quantize_cli import QUANTIZE, quantize, quantized
from small_models import calibration_ids, encoder, llama, save, with_heads, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

NUMBER = r"-?\d+(\.\d+)?(e-\d+)?"


def succeeded(*arguments, **options):
    done = quantize("eval", *arguments, **options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(status, *words, arguments):
    done = quantize("eval", *arguments)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line, line


def saved(folder, model):
    save(model, folder)
    word_tokenizer(folder / "tokenizer.json")
    return folder


@pytest.fixture
def encoders(tmp_path):
    """An encoder and the same with 4 bits."""
    source = saved(tmp_path / "source", encoder())
    quantized(source, tmp_path / "out", "--method", "rtn", "--bits", 4, "--group-size", 32)
    return source, tmp_path / "out"


@pytest.fixture
def decoder(tmp_path):
    return saved(tmp_path / "decoder", llama())


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rng = np.random.default_rng(2)
    entries = [
        {"sentence1": f"w1 w{i} w{j}", "sentence2": f"w{j} w{i}", "score": float(i % 6)}
        for i, j in rng.integers(0, 92, (20, 2))
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


# ---- What is printed ----------------------------------------------------------------------------


def test_text_of_a_language_model(decoder, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    lines = succeeded(decoder, "--against", decoder, "--text", ids).splitlines()
    assert lines[0] == "texts         8 (184 predicted tokens)"
    own, other = re.fullmatch(rf"perplexity    ({NUMBER}) \(reference (.*)\)", lines[1]).group(1, 4)
    assert own == other
    assert lines[2:] == ["KL            0 nats per token", "top-1 agrees  100.0 %"]


def test_steps_need_a_cache_to_go_through(decoder, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = (decoder, "--text", ids, "--step")
    refused(4, "cannot be fed in steps", "no inputs of past keys", arguments=(*arguments, 4))
    refused(2, "--step", arguments=(*arguments, 0))
    cached = saved(tmp_path / "cached", llama(cached=True))
    text = succeeded(cached, "--against", cached, "--text", ids, "--step", 5)
    assert "KL            0 nats per token" in text


def test_json_of_a_language_model(decoder, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    found = json.loads(succeeded(decoder, "--text", ids, "--json"))
    assert {"task", "texts", "tokens", "perplexity", "units"} <= set(found)
    assert not {"kl", "top1_agreement"} & set(found)
    assert (found["task"], found["texts"], found["tokens"]) == ("lm", 8, 184)
    assert set(found["units"]) == {"perplexity"}


def test_text_of_an_encoder(encoders, pairs):
    source, out = encoders
    lines = succeeded(out, "--against", source, "--text", pairs).splitlines()
    assert lines[0] == "texts         40 (20 pairs)"
    assert lines[1] == "embedding     last_hidden_state, pooling mean"
    assert re.fullmatch(rf"cosine        {NUMBER} mean, {NUMBER} least", lines[2])
    assert re.fullmatch(rf"top-10        {NUMBER} % of neighbours agree", lines[3])
    assert re.fullmatch(rf"Spearman      {NUMBER} \(reference {NUMBER}\)", lines[4])
    assert len(lines) == 5


def test_json_of_an_encoder(encoders, pairs):
    source, out = encoders
    found = json.loads(succeeded(out, "--against", source, "--text", pairs, "--json"))
    figures = {"cosine_mean", "cosine_least", "top10_overlap", "spearman", "reference_spearman"}
    assert {"task", "texts", "pairs", "output", "pooling", "units"} | figures <= set(found)
    assert set(found["units"]) == figures
    assert (found["task"], found["texts"], found["pairs"]) == ("embed", 40, 20)
    assert found["cosine_least"] <= found["cosine_mean"] < 1


def test_an_encoder_is_at_no_distance_from_itself(encoders, pairs):
    source, _ = encoders
    found = json.loads(succeeded(source, "--against", source, "--text", pairs, "--json"))
    assert found["cosine_least"] == pytest.approx(1, abs=1e-6)
    assert found["top10_overlap"] == 1
    assert found["spearman"] == found["reference_spearman"]


def test_pairs_need_no_reference(encoders, pairs):
    source, _ = encoders
    found = json.loads(succeeded(source, "--text", pairs, "--json"))
    assert {"task", "texts", "pairs", "spearman", "units"} <= set(found)
    assert not {"cosine_mean", "reference_spearman"} & set(found)


def test_constant_scores_have_no_correlation(encoders, tmp_path):
    entry = {"sentence1": "w1 w2", "sentence2": "w3", "score": 1}
    (tmp_path / "same.jsonl").write_text(f"{json.dumps(entry)}\n" * 3)
    source, _ = encoders
    found = json.loads(succeeded(source, "--text", tmp_path / "same.jsonl", "--json"))
    assert found["spearman"] is None
    assert "Spearman      -\n" in succeeded(source, "--text", tmp_path / "same.jsonl")


def test_results_do_not_depend_on_the_number_of_threads(encoders, pairs):
    source, out = encoders
    arguments = [out, "--against", source, "--text", pairs, "--json"]
    assert succeeded(*arguments, threads=1) == succeeded(*arguments, threads=3)


# ---- Texts --------------------------------------------------------------------------------------


def test_texts_of_json_lines_and_of_plain_text_are_the_same(encoders, tmp_path):
    source, out = encoders
    texts = [f"w{i} w{2 * i} w5" for i in range(15)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    plain, lines = (
        json.loads(succeeded(out, "--against", source, "--text", tmp_path / name, "--json"))
        for name in ("a.txt", "a.jsonl")
    )
    assert {**plain, "text": None} == {**lines, "text": None}  # but for the file's name and hash
    assert plain["texts"] == 15 and "spearman" not in plain


def test_texts_are_cut_at_the_length(encoders, decoder, tmp_path):
    source, out = encoders
    (tmp_path / "long.txt").write_text("\n".join(f"w{i} " + "w7 " * 50 for i in range(4)))
    (tmp_path / "short.txt").write_text("\n".join(f"w{i} " + "w7 " * 7 for i in range(4)))
    options = ["--seq-len", 10, "--json"]
    long, short = (
        json.loads(succeeded(out, "--against", source, "--text", tmp_path / name, *options))
        for name in ("long.txt", "short.txt")
    )
    assert long.pop("cut") == {"texts": 4, "tokens": 4 * 43} and "cut" not in short
    assert {**long, "text": None} == {**short, "text": None}
    found = json.loads(succeeded(decoder, "--text", tmp_path / "long.txt", *options))
    assert found["tokens"] == 4 * 9


def test_token_ids_of_different_length(decoder, tmp_path):
    ids, mask = np.full((3, 6), 5), np.ones((3, 6), int)
    mask[0, 4:], mask[2, :3] = 0, 0
    np.savez(tmp_path / "ids.npz", input_ids=ids, attention_mask=mask)
    found = json.loads(succeeded(decoder, "--text", tmp_path / "ids.npz", "--json"))
    assert (found["texts"], found["tokens"]) == (3, 3 + 5 + 2)


# ---- The task -----------------------------------------------------------------------------------


def test_the_task_can_be_chosen(encoders, decoder, tmp_path):
    source, _ = encoders
    ids = calibration_ids(tmp_path / "ids.npy")
    options = ["--text", ids]
    embed = ["--against", decoder, "--task", "embed", "--json"]
    found = json.loads(succeeded(decoder, *embed, *options))
    assert found["task"] == "embed"
    # An encoder's states taken for logits: 64 of them, fewer than there are tokens.
    refused(3, "outside the vocabulary of 64", arguments=[source, "--task", "lm", *options])
    refused(2, "--task", "auto, lm, embed", arguments=[source, "--task", "both", *options])


def test_text_of_scores(tmp_path):
    source = saved(tmp_path / "source", with_heads(encoder(), {"logits": ("first", 1)}))
    ids = calibration_ids(tmp_path / "ids.npy")
    lines = succeeded(source, "--against", source, "--text", ids).splitlines()
    assert lines[:2] == ["texts         8", "scores        logits"]
    spread = rf"differences   0 mean, 0 largest \(the scores' spread is {NUMBER}\)"
    assert re.fullmatch(spread, lines[2])
    assert lines[3:] == ["ranks         1 correlation (Spearman)"]


# ---- What is refused ----------------------------------------------------------------------------


def test_single_texts_need_a_reference(encoders, tmp_path):
    source, _ = encoders
    ids = calibration_ids(tmp_path / "ids.npy")
    refused(2, "--against", "pairs", arguments=[source, "--text", ids])


def test_an_output_that_is_not_there(encoders, pairs):
    source, _ = encoders
    arguments = [source, "--text", pairs, "--output", "pooled"]
    refused(2, "--output", "'pooled'", "last_hidden_state", arguments=arguments)


def test_modules_that_cannot_be_read(encoders, pairs):
    source, _ = encoders
    kind = "sentence_transformers.models.CNN"
    (source / "modules.json").write_text(json.dumps([{"type": kind, "path": "1_CNN"}]))
    refused(4, "modules.json", "'CNN'", "--pooling", arguments=[source, "--text", pairs])
    assert json.loads(succeeded(source, "--text", pairs, "--pooling", "cls", "--json"))["pairs"]


def test_pairs_are_not_for_language_models(decoder, pairs):
    refused(2, "pairs.jsonl", "--task embed", arguments=[decoder, "--text", pairs])


def test_a_model_of_the_other_kind_as_reference(encoders, decoder, tmp_path):
    source, _ = encoders
    ids = calibration_ids(tmp_path / "ids.npy")
    refused(
        3, "embeddings", "64 and 96", arguments=[source, "--against", decoder, "--text", ids]
    )


@pytest.mark.parametrize(
    "name,content,words",
    [
        ("a.jsonl", '{"sentence1": "w1"}\n', ("a.jsonl:1", "sentence2")),
        ("a.jsonl", '{"sentence1": "w1", "sentence2": "w2", "score": "x"}\n', ("a.jsonl:1",)),
        ("a.tsv", "w1\tw2\t5\n", ("a.tsv:1", "3 fields")),
        ("a.csv", "\n", ("a.csv", "no pairs")),
        ("absent.csv", None, ("absent.csv",)),
        ("absent.jsonl", None, ("absent.jsonl",)),
        ("absent.txt", None, ("absent.txt",)),
    ],
)
def test_bad_files(encoders, tmp_path, name, content, words):
    source, _ = encoders
    if content is not None:
        (tmp_path / name).write_text(content)
    arguments = [source, "--against", source, "--text", tmp_path / name]
    refused(3, *words, arguments=arguments)


def test_pairs_without_a_tokenizer(encoders, pairs):
    source, _ = encoders
    (source / "tokenizer.json").unlink()
    refused(3, "tokenizer", arguments=[source, "--text", pairs])


def test_a_tokenizer_of_another_model(encoders, pairs, tmp_path):
    source, _ = encoders
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["w1"] = 4000
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    arguments = [source, "--text", pairs, "--tokenizer", tmp_path / "tokenizer.json"]
    refused(3, "pair ", "4000", "vocabulary of 96", arguments=arguments)
