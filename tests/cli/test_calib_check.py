"""quantize calib check: what fails, and why; and that ordinary sets pass."""

import json
import random

import pytest
from quantize_cli import QUANTIZE, quantize
from small_models import encoder, llama, save, word_tokenizer
from test_calib_build import sentence, write

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def checked(*arguments, status=None):
    done = quantize("calib", "check", *arguments, "--json")
    assert done.returncode in (0, 7), done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] == (done.returncode == 0)
    failed = [v["name"] for v in report["verdicts"] if not v["passed"]]
    assert all(bool(v["advice"]) != v["passed"] for v in report["verdicts"])
    assert status is None or done.returncode == status
    return report, failed


def texts(count, start=0):
    return [{"text": sentence(start + i)} for i in range(count)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = save(llama(), tmp_path_factory.mktemp("models") / "source")
    word_tokenizer(folder / "tokenizer.json")
    return folder


def test_the_built_in_prompts_pass():
    report, failed = checked(status=0)
    assert failed == [] and report["texts"] == 254 and report["tokens_estimated"]


def test_eight_samples_are_too_few(tmp_path):
    _, failed = checked(write(tmp_path / "a.jsonl", texts(8)), status=7)
    assert failed == ["samples"]


def test_copies_of_one_prompt_are_one(tmp_path):
    _, failed = checked(write(tmp_path / "a.jsonl", texts(1) * 128), status=7)
    assert failed == ["duplicates", "distinct runs"]


def test_prompts_of_three_words_are_too_short(tmp_path):
    rows = [{"text": sentence(i, 3)} for i in range(128)]
    report, failed = checked(write(tmp_path / "a.jsonl", rows), status=7)
    assert {"median length", "short texts"} <= set(failed)
    assert report["lengths"]["most"] < 8


def test_domains_are_held_to_the_composition(tmp_path):
    rows = [row | {"kind": "code" if i % 4 == 0 else "chat"} for i, row in enumerate(texts(100))]
    file = write(tmp_path / "a.jsonl", rows)
    report, failed = checked(file, "--domain-field", "kind", status=0)
    assert report["domains"] == {"chat": 0.75, "code": 0.25} and failed == []
    _, failed = checked(file, "--domain-field", "kind", "--composition", "code=0.3,chat=0.7", status=0)
    report, failed = checked(file, "--domain-field", "kind", "--composition", "code=0.5,chat=0.5")
    assert failed == ["domains"]
    assert report["verdicts"][-1]["value"] == pytest.approx(0.25)
    one = write(tmp_path / "b.jsonl", [row | {"kind": "chat"} for row in texts(100)])
    assert checked(one, "--domain-field", "kind")[1] == ["largest domain"]
    assert checked(one, "--domain-field", "kind", "--composition", "code=0.3,chat=0.7")[1] == ["domains"]


def test_overlap_with_evaluation_texts_is_found(tmp_path):
    rows = texts(100)
    held_out = [sentence(5000 + i, 60) for i in range(20)]
    rows[7]["text"] += " " + " ".join(held_out[3].split()[20:40])
    rows[9]["text"] += " " + " ".join(held_out[4].split()[20:40])
    (tmp_path / "eval.txt").write_text("\n".join(held_out))
    file = write(tmp_path / "a.jsonl", rows)
    report, failed = checked(file, "--eval-text", tmp_path / "eval.txt")
    assert failed == ["overlap"]
    assert report["verdicts"][-1]["value"] == pytest.approx(0.02)
    assert checked(file, "--eval-text", tmp_path / "eval.txt", "--max-overlap", 0.05)[1] == []


@pytest.mark.parametrize("make", [llama, encoder])
def test_a_model_sees_whether_texts_differ_and_whether_they_are_enough(tmp_path, make):
    """A model that knows only the words w0 ... w91, with built-in prompts that it cannot tell apart
    by words: the spread is not compared with nothing."""
    folder = save(make(), tmp_path / "model")
    word_tokenizer(folder / "tokenizer.json")
    draw = random.Random(2)
    rows = [{"text": " ".join(f"w{draw.randrange(90)}" for _ in range(30))} for _ in range(128)]
    report, failed = checked(write(tmp_path / "a.jsonl", rows), "--model", folder)
    verdicts = {v["name"]: v for v in report["verdicts"]}
    assert failed == []
    assert not report["tokens_estimated"] and report["tokens"] == 128 * 32
    assert verdicts["spread"]["value"] > 0
    assert verdicts["losses"]["value"] >= 0 and 0 <= verdicts["alphas"]["value"] <= 1
    few, _ = checked(write(tmp_path / "b.jsonl", rows[:4]), "--model", folder)
    fewer = {v["name"]: v for v in few["verdicts"]}
    assert fewer["losses"]["value"] > 3 * verdicts["losses"]["value"]


def test_convergence_can_be_left_out(source, tmp_path):
    rows = [{"text": " ".join(f"w{(7 * i + 3 * j) % 90}" for j in range(30))} for i in range(70)]
    file = write(tmp_path / "a.jsonl", rows)
    report, _ = checked(file, "--model", source, "--no-convergence")
    assert not {"alphas", "losses"} & {v["name"] for v in report["verdicts"]}


def test_each_verdict_is_a_line_with_number_limit_and_advice(tmp_path):
    done = quantize("calib", "check", write(tmp_path / "a.jsonl", texts(8)))
    assert done.returncode == 7
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL"))
    assert "samples" in lines[at] and "8 (at least 64)" in lines[at]
    assert lines[at + 1].startswith("      add texts")
    assert lines[-1] == "failed        1 of 5"


def test_what_cannot_be_asked_is_refused(tmp_path):
    file = write(tmp_path / "a.jsonl", texts(3))
    done = quantize("calib", "check", file, "--composition", "a=1")
    assert done.returncode == 2 and "--domain-field" in done.stderr
    (tmp_path / "b.txt").write_text("\n")
    assert quantize("calib", "check", tmp_path / "b.txt").returncode == 3
