"""quantize calib build: filters, duplicates, strata, choice and provenance."""

import json
import random

import pytest
from quantize_cli import QUANTIZE, quantize
from small_models import encoder, llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
WORDS = """river mill stone bridge garden warm roof rain letter box key table number report noon friday
moon horizon music window silver mountain paper island winter engine bottle market doctor village
shadow thunder pocket ladder candle forest blanket mirror carpet anchor basket copper desert""".split()


def sentence(seed, words=30):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def built(tmp_path, *arguments, name="out"):
    file = tmp_path / f"{name}.jsonl"
    done = quantize("calib", "build", *arguments, "-o", file, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return json.loads(done.stdout), rows


def test_every_reason_is_counted(tmp_path):
    rows = [{"text": sentence(i)} for i in range(40)]
    rows += [{"text": "too short"}, {"text": sentence(900, 600)}, {"text": sentence(0)}]
    rows += [{"text": sentence(1) + " end"}, {"text": "DEBUG " + sentence(901)}, {"text": ""}]
    report, chosen = built(
        tmp_path, write(tmp_path / "a.jsonl", rows), "--samples", 16, "--without", "^DEBUG"
    )
    assert report["dropped"] == {
        "equal": 1, "long": 1, "nearly equal": 1, "pattern": 1, "short": 1
    }  # fmt: skip
    assert report["files"][0]["empty"] == 1
    assert report["samples"] == len(chosen) == 16
    assert report["candidates"] == 40
    originals = {row["text"] for row in rows[:40]}
    assert {row["text"] for row in chosen} < originals


def test_a_pattern_and_a_language_choose(tmp_path):
    german = "Der Fluss fließt an der alten Mühle vorbei und unter der steinernen Brücke hindurch, während die Katze auf dem warmen Dach schläft"
    rows = [{"text": f"{german} {sentence(i, 3)}"} for i in range(4)]
    rows += [{"text": "The river runs past the old mill and under the stone bridge while the cat sleeps on the warm roof, "
              + sentence(i, 8)} for i in range(4)]  # fmt: skip
    file = write(tmp_path / "a.jsonl", rows)
    for code in ("de", "deu"):
        report, chosen = built(tmp_path, file, "--language", code, "--similarity", 1)
        assert report["dropped"]["language"] == 4
        assert all(row["text"].startswith("Der Fluss") for row in chosen)
    report, chosen = built(tmp_path, file, "--matching", "Katze|Hund", "--similarity", 1)
    assert report["dropped"]["pattern"] == 4 and len(chosen) == 4


def test_secrets_are_masked_in_whatever_is_written(tmp_path):
    secret = "AKIAIOSFODNN7EXAMPLE"
    rows = [{"text": f"{sentence(1)} jane@example.org"}]
    rows += [{"messages": [{"role": "user", "content": f"{sentence(2)} {secret}"},
                           {"role": "assistant", "content": sentence(3)}]}]  # fmt: skip
    file = write(tmp_path / "a.jsonl", rows)
    report, chosen = built(tmp_path, file)
    text = json.dumps(chosen)
    assert secret not in text and "jane@" not in text
    assert "<EMAIL>" in text and "<SECRET>" in text
    assert report["masked"] == {"places": 2, "texts": 2}
    assert [list(row) for row in chosen] == [["text"], ["messages"]]
    _, kept = built(tmp_path, file, "--no-mask")
    assert secret in json.dumps(kept) and "jane@example.org" in json.dumps(kept)


def test_domains_give_what_the_composition_says(tmp_path):
    rows = [{"text": sentence(i), "source": ["code", "chat", "other"][i % 3]} for i in range(240)]
    file = write(tmp_path / "a.jsonl", rows)
    arguments = ["--samples", 40, "--domain-field", "source"]
    report, chosen = built(tmp_path, file, *arguments, "--composition", "code=0.25,chat=0.75")
    sources = [row["source"] for row in chosen]
    assert (sources.count("code"), sources.count("chat"), len(sources)) == (10, 30, 40)
    assert report["dropped"] == {"domain": 80}
    report, chosen = built(tmp_path, file, *arguments)
    assert sorted(stratum["samples"] for stratum in report["strata"]) == [13, 13, 14]
    done = quantize("calib", "build", file, "-o", tmp_path / "x", *arguments, "--composition", "tea=1")
    assert done.returncode == 3 and "no text is left of the domain 'tea'" in done.stderr


def test_clusters_are_all_in_the_choice(tmp_path):
    """Three kinds of texts, of different number: each gives its part."""
    draw = random.Random(4)
    kinds = [[word + "".join(draw.choice("bcdfgklmnprstv") for _ in range(6)) for _ in range(80)]
             for word in ("alpha", "beta", "gamma")]  # fmt: skip
    rows = []
    for i in range(300):
        kind = min(2, i % 6 // 2) if i % 6 else 1
        rows.append({"text": " ".join(draw.choice(kinds[kind]) for _ in range(40))})
    report, chosen = built(
        tmp_path, write(tmp_path / "a.jsonl", rows), "--samples", 12, "--clusters", 3
    )
    assert sorted(s["texts"] for s in report["strata"]) == [50, 100, 150]
    counts = [sum(word in row["text"] for row in chosen) for word in ("alpha", "beta", "gamma")]
    assert counts == [2, 6, 4]


def test_seed_and_sources_make_the_file_whatever_the_threads(tmp_path):
    file = write(tmp_path / "in.jsonl", [{"text": sentence(i)} for i in range(200)])
    outputs = {}
    for name, seed, threads in [("a", 1, 1), ("b", 1, 2), ("c", 2, 1)]:
        done = quantize("calib", "build", file, "-o", tmp_path / f"{name}.jsonl", "--samples", 20,
                        "--candidates", 60, "--seed", seed, threads=threads)  # fmt: skip
        assert done.returncode == 0, done.stderr
        outputs[name] = (tmp_path / f"{name}.jsonl").read_bytes()
    assert outputs["a"] == outputs["b"] != outputs["c"]


@pytest.mark.parametrize("make", [llama, encoder])
def test_states_of_a_model_choose_and_its_tokens_count(tmp_path, make):
    folder = save(make(), tmp_path / "model")
    word_tokenizer(folder / "tokenizer.json")
    draw = random.Random(3)
    lengths = [10 + i % 30 for i in range(120)]
    rows = [{"text": " ".join(f"w{draw.randrange(90)}" for _ in range(n))} for n in lengths]
    file = write(tmp_path / "a.jsonl", rows)
    report, chosen = built(tmp_path, file, "--model", folder, "--samples", 16)
    # The tokenizer puts [B] and [E] around the words.
    assert report["dropped"] == {"short": sum(n + 2 < 20 for n in lengths)}
    assert report["tokens"] == sum(len(row["text"].split()) + 2 for row in chosen)
    assert report["source"]["file"] == "model.onnx"
    done = quantize("stats", folder, "-o", tmp_path / "x", "--calib", tmp_path / "out.jsonl", "--json")
    assert json.loads(done.stdout)["calibration"]["tokens"] == report["tokens"]


def test_the_provenance_tells_what_was_read_and_done(tmp_path):
    file = write(tmp_path / "a.jsonl", [{"text": sentence(i)} for i in range(30)])
    report, _ = built(tmp_path, file, "--samples", 64)
    told = json.loads((tmp_path / "out.provenance.json").read_text())
    assert told["command"] == "calib build" and told["options"]["seed"] == 13
    assert told["files"] == report["files"] and told["strata"] == report["strata"]
    assert len(told["files"][0]["sha256"]) == len(told["sha256"]) == 64
    assert any("only 30 texts" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [(["--min-tokens", 9, "--max-tokens", 8], 2, "--min-tokens is above"),
     (["--composition", "a=1"], 2, "--composition needs --domain-field"),
     (["--composition", "a"], 2, "write NAME=NUMBER"),
     (["--language", "xx"], 2, "no language"),
     (["--matching", "(a"], 2, "no regular expression"),
     (["--min-tokens", 400], 3, "no text is left")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path, arguments, status, said):
    file = write(tmp_path / "a.jsonl", [{"text": sentence(i)} for i in range(3)])
    done = quantize("calib", "build", file, "-o", tmp_path / "o.jsonl", *arguments)
    assert done.returncode == status and said in done.stderr
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.slow
def test_a_hundred_thousand_log_lines(tmp_path):
    """All lines are looked at, and none is lost from the counts."""
    draw = random.Random(1)
    rows = []
    for i in range(100_000):
        words = " ".join(draw.choice(WORDS) + str(draw.randrange(100)) for _ in range(i % 40))
        rows.append(f"2026-11-30 12:00:{i % 60:02d} INFO request {i} from u{i}@example.org said {words}\n")
    (tmp_path / "app.log").write_text("".join(rows))
    report, chosen = built(tmp_path, tmp_path / "app.log")
    assert report["files"][0]["texts"] == 100_000
    assert len(chosen) == 128
    assert report["masked"]["texts"] > 0 and "@example.org" not in json.dumps(chosen)
    kept = sum(stratum["texts"] for stratum in report["strata"])
    assert kept == report["candidates"] == 1024
