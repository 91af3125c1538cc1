"""quantize calib generate, and what commands of two words share with others."""

import json
import signal
import subprocess
import time

import numpy as np
import onnxruntime as ort
import pytest
from concat_decoder import save_concat_decoder
from quantize_cli import QUANTIZE, quantize
from small_models import encoder, llama, save, word_tokenizer
from test_completion import complete

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = save(llama(), tmp_path_factory.mktemp("models") / "source")
    word_tokenizer(folder / "tokenizer.json")
    return folder


def generated(source, file, *arguments, threads=1):
    done = quantize("calib", "generate", source, "-o", file, *arguments, "--json", threads=threads)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def texts(file):
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


SMALL = ("--samples", 6, "--max-tokens", 12, "--min-tokens", 4)


def test_the_texts_depend_on_the_seed_and_not_on_the_threads(source, tmp_path):
    for name, threads, seed in [("a", 1, 13), ("b", 2, 13), ("c", 1, 5)]:
        generated(source, tmp_path / f"{name}.jsonl", *SMALL, "--seed", seed, threads=threads)
    one, two, other = (texts(tmp_path / f"{name}.jsonl") for name in "abc")
    assert one == two and one != other
    assert len(one) == len(set(one)) == 6
    assert all(4 <= len(text.split()) <= 13 for text in one)


def test_without_temperature_the_texts_are_those_of_onnx_runtime(source, tmp_path):
    """Greedy continuations of prompts, token by token."""
    (tmp_path / "prompts.txt").write_text("w3 w7 w11\nw50 w2\n")
    generated(source, tmp_path / "a.jsonl", "--prompts", tmp_path / "prompts.txt", "--samples", 2,
              "--max-tokens", 6, "--temperature", 0)  # fmt: skip
    session = ort.InferenceSession(str(source / "model.onnx"), providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    for text, prompt in zip(texts(tmp_path / "a.jsonl"), [[93, 3, 7, 11], [93, 50, 2]], strict=True):
        ids = list(prompt)
        for _ in range(6):
            feeds = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64),
                     "position_ids": np.arange(len(ids))[None]}  # fmt: skip
            logits = session.run(["logits"], {k: v for k, v in feeds.items() if k in names})[0]
            ids.append(int(np.argmax(logits[0, -1])))
        known = [f"w{i}" for i in ids if i < 92]
        assert text.split() == known


def test_a_model_with_caches_reads_each_token_once(tmp_path):
    folder = save_concat_decoder(tmp_path / "cached")
    word_tokenizer(folder / "tokenizer.json")
    report = generated(folder, tmp_path / "a.jsonl", *SMALL)
    assert report["notes"] == []


def test_the_provenance_tells_how_the_file_was_made(source, tmp_path):
    report = generated(source, tmp_path / "a.jsonl", *SMALL)
    assert report["provenance"] == str(tmp_path / "a.provenance.json")
    told = json.loads((tmp_path / "a.provenance.json").read_text())
    assert told["command"] == "calib generate"
    assert told["options"]["seed"] == 13 and told["samples"] == report["samples"] == 6
    assert len(told["sha256"]) == len(told["model"]["sha256"]) == 64
    done = quantize("stats", source, "-o", tmp_path / "x", "--calib", tmp_path / "a.jsonl", "--json")
    assert json.loads(done.stdout)["calibration"]["file_sha256"] == told["sha256"]


def test_what_writes_no_texts_is_refused(tmp_path):
    folder = save(encoder(), tmp_path / "encoder")
    word_tokenizer(folder / "tokenizer.json")
    done = quantize("calib", "generate", folder, "-o", tmp_path / "a.jsonl")
    assert done.returncode == 2 and "no next-token logits" in done.stderr
    assert not (tmp_path / "a.jsonl").exists()


def test_an_interrupted_command_leaves_nothing(source, tmp_path):
    command = [QUANTIZE, "calib", "generate", source, "-o", tmp_path / "a.jsonl",
               "--samples", "4000", "--max-tokens", "400", "--progress", "plain"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


# ---- Commands of two words ----------------------------------------------------------------------


def test_the_family_alone_lists_its_members():
    done = quantize("calib")
    assert done.returncode == 0
    assert "quantize calib generate" in done.stdout


def test_help_knows_commands_of_two_words():
    own = quantize("calib", "generate", "--help").stdout
    assert own.startswith("Let a language model") and "--temperature" in own
    assert quantize("help", "calib", "generate").stdout == own
    assert "calib generate" in quantize("help").stdout
    assert "quantize calib generate" in quantize("help", "--format", "man").stdout.replace("\\", "")
    names = [c["name"] for c in json.loads(quantize("help", "--json").stdout)["commands"]]
    assert "calib generate" in names and "calib" not in names


@pytest.mark.parametrize(
    ("words", "said"),
    [(["calib", "genrate"], "there is no command 'calib genrate'; did you mean 'calib generate'?"),
     (["clib", "generate"], "did you mean 'calib'?"),
     (["help", "calib", "genrate"], "did you mean 'calib generate'?"),
     (["calib", "generate", "m", "--tempratur", "1"],
      "there is no option '--tempratur' of 'quantize calib generate'; did you mean '--temperature'?"),
     (["calib", "generate"], "SRC is missing"),
     (["run", "m", "--top-p", "1"], "it belongs to calib generate"),
     (["calib", "generate", "m", "-o", "x", "y"], "one word too many for 'quantize calib generate SRC'")],
)  # fmt: skip
def test_slips_are_understood(words, said):
    done = quantize(*words)
    assert done.returncode == 2 and said in done.stderr


def test_options_may_stand_in_front(source, tmp_path):
    done = quantize("--progress", "none", "calib", "generate", source, "-o", tmp_path / "a.jsonl", *SMALL)
    assert done.returncode == 0, done.stderr


def test_completion_of_both_words():
    assert "calib" in complete("cal")
    assert "generate" in complete("calib", "")
    assert complete("calib", "gen") == ["generate"]
    assert complete("calib", "generate", "--temp") == ["--temperature"]
    assert "--temperature" not in complete("calib", "--")
    for shell in ("zsh", "fish"):
        assert "generate" in quantize("completion", shell).stdout
