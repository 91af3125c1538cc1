"""What the program makes of calibration files and models as people have them."""

import gzip
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantize_cli import QUANTIZE, metadata, quantize, quantized
from small_models import (
    VOCABULARY, Builder, encoder, encoder_decoder, llama, save, word_tokenizer,
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 43210\n"
)
SMALL = ("--bits", 4, "--group-size", 32)


@pytest.fixture
def source(tmp_path):
    """A decoder with a tokenizer of the words w0 ... w91."""
    folder = save(llama(), tmp_path / "source", external=True)
    word_tokenizer(folder / "tokenizer.json")
    return folder


def add_token(folder, token):
    """A tokenizer that knows a token past the table: ids of added ones go on behind the last."""
    content = json.loads(word_tokenizer(folder / "tokenizer.json").read_text())
    count = len(content["model"]["vocab"])
    for i, name in enumerate([f"<spare{n}>" for n in range(count, VOCABULARY)] + [token]):
        content["added_tokens"].append(
            {"id": count + i, "content": name, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True})  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def narrow(tmp_path):
    """The same with a tokenizer that knows a token past the table, <image>."""
    return add_token(save(llama(), tmp_path / "narrow"), "<image>")


def lines(*texts):
    return "".join(text + "\n" for text in texts)


TEXTS = lines(*(" ".join(f"w{(7 * i + j) % 90}" for j in range(12)) for i in range(8)))


def refused(done, *words, status=3):
    assert done.returncode == status, (done.returncode, done.stderr)
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line, line


# ---- Calibration files ----------------------------------------------------------------------------


def test_a_packed_file_gives_the_result_of_the_plain_one(source, tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(TEXTS.encode()))
    (tmp_path / "c.txt").write_bytes(TEXTS.encode("utf-16"))
    made = []
    for name in ("a.txt", "b.jsonl.gz", "c.txt"):
        if name.endswith(".gz"):
            body = lines(*(json.dumps({"text": t}) for t in TEXTS.splitlines()))
            (tmp_path / name).write_bytes(gzip.compress(body.encode()))
        quantized(source, tmp_path / f"out-{name}", *SMALL, "--calib", tmp_path / name)
        made.append(metadata(tmp_path / f"out-{name}")["calibration"]["ids_sha256"])
    assert len(set(made)) == 1


def test_several_files_share_the_samples(source, tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS)
    (tmp_path / "b.csv").write_text("n,text\n1,w1 w2 w3\n2,w4 w5\n")
    quantized(source, tmp_path / "out", *SMALL, "--calib-samples", 6, "--calib", tmp_path / "a.txt",
              "--calib", tmp_path / "b.csv")  # fmt: skip
    files = metadata(tmp_path / "out")["calibration"]["files"]
    assert [(f["file"], f["format"], f["samples"]) for f in files] == [
        ("a.txt", "txt", 4), ("b.csv", "csv", 2)]  # fmt: skip
    assert len({f["file_sha256"] for f in files}) == 2


def test_one_calib_does_not_swallow_what_follows_it(source, tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS)
    done = quantize("run", *SMALL, "--calib", tmp_path / "a.txt", source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.onnx").exists()


def test_a_missing_chat_template_is_a_note(source, tmp_path):
    chat = {"messages": [{"role": "user", "content": "w1 w2 w3"}]}
    (tmp_path / "chat.jsonl").write_text(lines(json.dumps(chat), json.dumps(chat)))
    arguments = (*SMALL, "--calib", tmp_path / "chat.jsonl")
    report = quantized(source, tmp_path / "out", *arguments)
    assert any("no chat template" in note for note in report["notes"])
    done = quantize("run", "--src", source, "--dst", tmp_path / "text", *arguments)
    assert "note" in done.stdout and "no chat template" in done.stdout
    done = quantize("stats", "--src", source, "--out", tmp_path / "s", "--json", *arguments[4:])
    assert any("no chat template" in note for note in json.loads(done.stdout)["notes"])


def test_a_table_without_texts_is_refused(source, tmp_path):
    (tmp_path / "a.csv").write_text("id,label\n1,w1\n")
    done = quantize("run", "--src", source, "--dst", tmp_path / "out", "--calib", tmp_path / "a.csv")
    refused(done, "a.csv", "no column of texts", "id, label")


# ---- Tokens past the table ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "stats", "eval"])
def test_texts_with_tokens_past_the_table_are_skipped(narrow, tmp_path, command):
    (tmp_path / "a.txt").write_text(TEXTS + "w1 <image> w2\n")
    own = {
        "run": ("--dst", tmp_path / "out", *SMALL, "--calib", tmp_path / "a.txt"),
        "stats": ("--out", tmp_path / "stats", "--calib", tmp_path / "a.txt"),
        "eval": ("--text", tmp_path / "a.txt"),
    }
    done = quantize(command, "--src", narrow, "--json", *own[command])
    assert done.returncode == 0, done.stderr
    for word in ("a.txt", "1 of 9 texts", "<image>", "96", "text 9", "w1 <image> w2"):
        assert word in done.stderr, done.stderr
    if command == "run":
        assert any("<image>" in note for note in json.loads(done.stdout)["notes"])
        assert metadata(tmp_path / "out")["calibration"]["texts_skipped"] == 1


def test_many_of_them_end_the_run(narrow, tmp_path):
    (tmp_path / "a.txt").write_text(lines("w1 <image>", "<image> w2", "w3"))
    done = quantize("run", "--src", narrow, "--dst", tmp_path / "out", "--calib", tmp_path / "a.txt")
    refused(done, "2 of 3 texts", "<image>", "the tokenizer does not belong to the model")
    assert not (tmp_path / "out").exists()


def test_pairs_with_tokens_past_the_table_are_skipped(tmp_path):
    folder = save(encoder(), tmp_path / "encoder")
    add_token(folder, "<new>")
    pairs = [(f"w{i} w{i + 1}", f"w{3 * i} w2", i % 5) for i in range(6)] + [("w1", "<new> w2", 3)]
    (tmp_path / "pairs.jsonl").write_text(
        lines(*(json.dumps({"sentence1": a, "sentence2": b, "score": s}) for a, b, s in pairs)))
    done = quantize("eval", "--src", folder, "--text", tmp_path / "pairs.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"] == 12
    assert "1 of 7 pairs" in done.stderr and "<new>" in done.stderr


def test_in_a_directory_the_table_may_be_that_of_another_model(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    for name, model in encoder_decoder().items():
        onnx.save(model, folder / f"{name}.onnx")
    add_token(folder, "<new>")
    (tmp_path / "a.txt").write_text(TEXTS + "w1 <new>\n")
    done = quantize("run", "--src", folder, "--dst", tmp_path / "out", *SMALL, "--calib", tmp_path / "a.txt")
    assert done.returncode == 0, done.stderr
    assert "<new>" in done.stderr


# ---- Files that are not what their names say ------------------------------------------------------


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "tokenizer.json", "a.txt", "a.npz"])
def test_git_lfs_pointers_are_named(source, tmp_path, name):
    calib = tmp_path / (name if name.startswith("a.") else "texts.txt")
    (tmp_path / "texts.txt").write_text(TEXTS)
    (calib if name.startswith("a.") else source / name).write_text(POINTER)
    done = quantize("run", "--src", source, "--dst", tmp_path / "out", "--calib", calib)
    refused(done, name, "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("command", ["run", "inspect", "eval", "forward", "stats"])
def test_every_command_names_a_model_of_another_framework(tmp_path, command):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"\x10" + bytes(7) + b'{"__metadata__":{}}')
    (tmp_path / "a.txt").write_text(TEXTS)
    np.savez(tmp_path / "in.npz", x=np.zeros(1))
    own = {
        "run": ("--dst", tmp_path / "out"), "inspect": (), "eval": ("--text", tmp_path / "a.txt"),
        "forward": ("--inputs", tmp_path / "in.npz", "--out", tmp_path / "out.npz"),
        "stats": ("--out", tmp_path / "out.stats"),
    }[command]  # fmt: skip
    for path in (folder, folder / "model.safetensors"):
        done = quantize(command, *(() if command == "inspect" else ("--src",)), path, *own)
        refused(done, "safetensors", "export it first", f"optimum-cli export onnx --model {folder} ")


def test_a_name_on_a_hub_is_no_path(tmp_path):
    done = quantize("run", "--src", "organisation/model-1B", "--dst", tmp_path / "out", cwd=tmp_path)
    refused(done, "does not exist", "optimum-cli export onnx --model organisation/model-1B")


# ---- Names ----------------------------------------------------------------------------------------


def test_patterns_match_names_of_nodes_too(source, tmp_path):
    nodes = [n.name for n in onnx.load(source / "model.onnx", load_external_data=False).graph.node
             if n.op_type == "MatMul" and "q_proj" in n.name]  # fmt: skip
    for option, pattern in (("--exclude", nodes[0]), ("--exclude", "*q_proj*MatMul*")):
        report = quantized(source, tmp_path / "out", "--method", "rtn", "--overwrite", option, pattern)
        assert report["totals"]["linears_kept"] >= 1
        (kept,) = [e for e in metadata(tmp_path / "out")["linears"] if e["name"].endswith("q_proj")]
        assert kept["decision"] == "keep" and "excluded" in kept["reason"]
    done = quantize("run", "--src", source, "--dst", tmp_path / "o", "--exclude", "/absent/*")
    refused(done, "matches no linear", "nodes", status=2)


def test_the_dry_run_tells_names_of_nodes(source, tmp_path):
    done = quantize("run", "--src", source, "--dst", tmp_path / "out", "--dry-run", "--json")
    assert all(linear["node"] for linear in json.loads(done.stdout)["linears"])


# ---- Complete inputs ------------------------------------------------------------------------------


def branching():
    """x [batch, 64] through a weight, and a condition of one element for the whole batch."""
    b = Builder()
    b.weight((64, 48), "model.proj.weight")
    b.constant(np.array(2, np.float32), "two")
    b.constant(np.array(1, np.float32), "one")
    y = b.node("MatMul", ["x", "model.proj.weight"], "/model/proj/MatMul")
    factor = b.node("Where", ["use_cache_branch", "two", "one"])
    b.nodes.append(helper.make_node("Mul", [y, factor], ["y"], name="last"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64]),
              helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])]  # fmt: skip
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 48])
    return b.model(inputs, [output])


def test_an_array_declared_with_one_row_is_shared_by_all_samples(tmp_path):
    folder = save(branching(), tmp_path / "m")
    x = np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, use_cache_branch=np.array([True]))
    report = quantized(folder, tmp_path / "out", *SMALL, "--calib", tmp_path / "in.npz")
    assert report["calibration"]["samples"] == 5 and report["verification"]["done"]


def test_other_arrays_must_have_a_row_for_each_sample(tmp_path):
    folder = save(branching(), tmp_path / "m")
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 64), np.float32), use_cache_branch=np.zeros(5, bool))
    done = quantize("run", "--src", folder, "--dst", tmp_path / "out", "--calib", tmp_path / "in.npz")
    refused(done, "'x' holds 1 sample", "declares as 1")
    np.savez(tmp_path / "in.npz", x=np.zeros((3, 64), np.float32), use_cache_branch=np.zeros(5, bool))
    done = quantize("run", "--src", folder, "--dst", tmp_path / "out", "--calib", tmp_path / "in.npz")
    refused(done, "holds 3 samples", "counts the samples")


# ---- Weights used in two ways ---------------------------------------------------------------------


@pytest.mark.parametrize("head", ["int8", "int4"])
def test_codes_beside_a_tied_table_are_warned_of(tmp_path, head):
    folder = save(llama(tied=True), tmp_path / "m")
    arguments = ("--method", "rtn", "--lm-head", head)
    report = quantized(folder, tmp_path / "out", *arguments)
    (note,) = [n for n in report["notes"] if "is tied to" in n]
    assert "model.embed_tokens.weight" in note and "--lm-head fp16" in note
    assert note in metadata(tmp_path / "out")["notes"]
    done = quantize("run", "--src", folder, "--dst", tmp_path / "o", "--dry-run", *arguments)
    assert note in done.stdout
    done = quantize("run", "--src", folder, "--dst", tmp_path / "o", "--dry-run", "--method", "rtn")
    assert "is tied to" not in done.stdout
