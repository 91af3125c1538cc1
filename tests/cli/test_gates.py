"""`run --gate`: results that keep a limit on held-out text, fall back, or are not written."""

import hashlib
import json
import signal
import subprocess
import time

import pytest
from quantize_cli import QUANTIZE, REPOSITORY, metadata, quantize, session
from small_models import calibration_ids, encoder_decoder, llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

DEMO = REPOSITORY / "data" / "demo"
TWO_BITS = ("--bits", 2, "--group-size", 32, "--method", "rtn")


@pytest.fixture
def source(tmp_path):
    return save(llama(layers=2), tmp_path / "tiny")


@pytest.fixture
def ids(tmp_path):
    return calibration_ids(tmp_path / "held-out.npy", rows=6, length=20)


def contents(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*")) if p.is_file()
    }  # fmt: skip


def measured(model, source, ids):
    done = quantize("eval", model, "--against", source, "--text", ids, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_gate_that_holds_is_noted_with_what_eval_measures(source, ids, tmp_path):
    out = tmp_path / "out"
    done = quantize(
        "run", source, out, "--bits", 8, "--method", "rtn", "--gate", "kl<=1", "--gate",
        "ppl<=1.5x", "--gate-text", ids, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    gate = metadata(out)["gate"]
    assert json.loads(done.stdout)["gate"] == gate
    found = measured(out, source, ids)
    assert gate["attempts"] == 1 and gate["fallback"] == []
    assert gate["text"] == {"file": ids.name, "sha256": hashlib.sha256(ids.read_bytes()).hexdigest()}
    kl, ppl = gate["results"]
    assert kl["value"] == pytest.approx(found["kl"]) and kl["passed"]
    assert ppl["value"] == pytest.approx(found["perplexity"])
    assert ppl["bound"] == pytest.approx(1.5 * ppl["reference"])


def test_a_gate_that_fails_at_two_bits_falls_back_and_holds(source, ids, tmp_path):
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert quantize("run", source, plain, *TWO_BITS).returncode == 0
    kl = measured(plain, source, ids)["kl"]
    done = quantize(
        "run", source, out, *TWO_BITS, "--gate", f"kl<={kl / 4}", "--gate-text", ids
    )
    assert done.returncode == 0, done.stderr
    assert "a quality gate failed: kl" in done.stderr and "tensors get 8 bits" in done.stderr
    gate = metadata(out)["gate"]
    assert gate["attempts"] >= 2 and 0 < len(gate["fallback"]) < 14
    assert measured(out, source, ids)["kl"] <= kl / 4
    linears = {one["name"]: one for one in metadata(out)["linears"]}
    plain_linears = {one["name"]: one for one in metadata(plain)["linears"]}
    fallen = {entry["name"]: entry for entry in gate["fallback"]}
    for name, one in linears.items():
        if one["quantized"] is None:
            continue
        assert one["quantized"]["bits"] == (8 if name in fallen else 2)
    for name, entry in fallen.items():
        assert entry["form"] == "8 bits"
        assert entry["bytes"] == linears[name]["bytes_after"]
        assert entry["bytes_before"] == plain_linears[name]["bytes_after"]
    session(out / "model.onnx")


def test_where_eight_bits_are_too_few_fp16_takes_their_place(source, ids, tmp_path):
    out = tmp_path / "out"
    done = quantize(
        "run", source, out, *TWO_BITS, "--accuracy-level", 0, "--gate", "kl<=1e-5", "--gate-text", ids
    )
    assert done.returncode == 0, done.stderr
    forms = {entry["form"] for entry in metadata(out)["gate"]["fallback"]}
    assert "fp16" in forms
    assert measured(out, source, ids)["kl"] <= 1e-5


def test_without_fallback_what_was_there_stays_to_the_last_byte(source, ids, tmp_path):
    out = tmp_path / "out"
    assert quantize("run", source, out, "--bits", 4, "--method", "rtn").returncode == 0
    before = contents(out)
    done = quantize(
        "run", source, out, *TWO_BITS, "--overwrite", "--gate", "kl<=1e-9", "--gate-text", ids,
        "--no-fallback",
    )  # fmt: skip
    assert done.returncode == 7
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("quantize: ")]
    assert "a quality gate failed: kl" in line and "nothing is written" in line
    assert contents(out) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert quantize("run", source, tmp_path / "new", *TWO_BITS, "--gate", "kl<=1e-9", "--gate-text",
                    ids, "--no-fallback").returncode == 7  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_a_gate_that_nothing_can_keep_ends_with_status_7(source, ids, tmp_path):
    done = quantize(
        "run", source, tmp_path / "out", *TWO_BITS, "--gate", "ppl<=0.5x", "--gate-text", ids
    )
    assert done.returncode == 7 and "with every tensor in FP16" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_single_file_is_gated_too(source, ids, tmp_path):
    words = ("run", source / "model.onnx", tmp_path / "one.onnx", *TWO_BITS, "--gate-text", ids)
    assert quantize(*words, "--gate", "kl<=1e-9", "--no-fallback").returncode == 7
    assert not list(tmp_path.glob("*one.onnx*"))
    assert quantize(*words, "--gate", "kl<=100").returncode == 0
    assert json.loads((tmp_path / "one.onnx.json").read_text())["gate"]["results"][0]["passed"]


def test_a_result_is_up_to_date_for_the_same_gates_and_text_only(source, ids, tmp_path):
    words = ("run", source, tmp_path / "out", "--bits", 8, "--method", "rtn", "--json")
    gated = (*words, "--gate", "kl<=1", "--gate-text", ids)
    assert quantize(*words).returncode == 0
    assert quantize(*gated).returncode == 5  # it is not what this command makes
    assert quantize(*gated, "--overwrite").returncode == 0
    assert json.loads(quantize(*gated).stdout)["up_to_date"] is True
    calibration_ids(ids, rows=7, length=20)
    assert quantize(*gated).returncode == 5


@pytest.mark.parametrize(
    "words,status,part",
    [
        (["--gate", "ppl<1.06x"], 2, "write it like"),
        (["--gate", "ppl<=1.06x"], 2, "--gate-text"),
        (["--gate-text", "TEXT"], 2, "without --gate"),
        (["--no-fallback"], 2, "without --gate"),
        (["--gate", "cosine>=0.9", "--gate-text", "TEXT"], 2, "there are ppl, "),
        (["--gate", "kl<=1.1x", "--gate-text", "TEXT"], 2, "compares with the source already"),
        (["--gate", "kl<=1", "--gate-text", "no/such.npy"], 3, "no file 'no/such.npy'"),
    ],
)
def test_gates_that_cannot_be_measured_are_refused_before_any_work(
    source, ids, tmp_path, words, status, part
):
    words = [str(ids) if word == "TEXT" else word for word in words]
    for dry in ([], ["--dry-run"]):
        done = quantize("run", source, tmp_path / "out", *TWO_BITS, *words, *dry)
        assert (done.returncode, part in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupted_fallback_goes_on_where_it_was(tmp_path):
    """The demo model, whose second attempt is interrupted behind a checkpoint."""
    words = [
        "run", DEMO, tmp_path / "out", "--bits", 2, "--group-size", 32, "--calib-samples", 8,
        "--checkpoint-seconds", 0, "--gate", "ppl<=1.1x", "--gate-text", DEMO / "heldout.txt",
        "-v",
    ]  # fmt: skip
    process = subprocess.Popen(
        [str(word) for word in [QUANTIZE, *words]], stderr=subprocess.PIPE, text=True
    )
    checkpoint = tmp_path / ".out.part" / "checkpoint" / "step-2.cbor"
    for line in process.stderr:
        if "once more" in line:
            break
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    done = quantize(*words)
    assert done.returncode == 0 and "resumed after" in done.stderr, done.stderr
    assert len(metadata(tmp_path / "out")["gate"]["fallback"]) > 0



def test_the_models_of_a_directory_are_gated_together(tmp_path):
    """Encoder and decoder of one export: what fails are both, and what falls back is named with its
    model."""
    source = tmp_path / "both"
    for name, model in encoder_decoder().items():
        save(model, source / name)
        (source / name / "model.onnx").rename(source / f"{name}.onnx")
        (source / name).rmdir()
    word_tokenizer(source / "tokenizer.json")
    (source / "config.json").write_text('{"decoder_start_token_id": 0, "is_encoder_decoder": true}')
    text = tmp_path / "text.txt"
    text.write_text("a b c d e\n\nd e f a b c\n")
    words = ("run", source, tmp_path / "out", *TWO_BITS, "--gate-text", text)
    done = quantize(*words, "--gate", "kl<=1e-9", "--no-fallback")
    assert done.returncode == 7, done.stderr
    assert not (tmp_path / "out").exists()
    done = quantize(*words, "--gate", "kl<=0.001")
    assert done.returncode == 0, done.stderr
    gate = metadata(tmp_path / "out")["gate"]
    assert gate["results"][0]["passed"] and gate["fallback"]
    assert {entry["model"] for entry in gate["fallback"]} <= set(encoder_decoder())


def test_a_report_shows_gates_and_what_fell_back(source, ids, tmp_path):
    page = tmp_path / "run.html"
    done = quantize("run", source, tmp_path / "out", *TWO_BITS, "--gate", "kl<=0.1", "--gate-text", ids,
                    "--report", page)  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "The gate is passed." in text and "kl&lt;=0.1" in text
    table = text[text.index("Tensors that fell back") :]
    for entry in metadata(tmp_path / "out")["gate"]["fallback"]:
        assert entry["name"] in table


def test_a_report_shows_what_a_failed_gate_has_measured(source, ids, tmp_path):
    page = tmp_path / "run.html"
    done = quantize("run", source, tmp_path / "out", *TWO_BITS, "--gate", "kl<=1e-9", "--gate-text", ids,
                    "--no-fallback", "--report", page)  # fmt: skip
    assert done.returncode == 7
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == []
    text = page.read_text()
    assert "<title>out" in text and "kl&lt;=1e-9" in text
    assert "The gate is passed." not in text and "a quality gate failed: kl" in text
