"""Directories as people have them: caches of links, several forms of a model, files beside it."""

import json
import os
import shutil

import onnx
import pytest
from quantize_cli import QUANTIZE, check_metadata, quantize, quantized, session
from small_models import llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

ROUND = ("--method", "rtn", "--group-size", "32")
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path):
    """acme/tiny in a cache: every file of the snapshot is a link into blobs."""
    plain = save(llama(), tmp_path / "plain", external=True)
    (plain / "tokenizer.json").write_text("{}")
    (plain / "config.json").write_text("{}")
    (plain / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    repository = tmp_path / "hub" / "models--acme--tiny"
    (repository / "blobs").mkdir(parents=True)
    folder = repository / "snapshots" / REVISION
    (folder / "onnx").mkdir(parents=True)
    for number, path in enumerate(sorted(plain.iterdir())):
        shutil.move(path, repository / "blobs" / f"blob{number}")
        below = path.suffix in (".onnx", ".bin")
        link = folder / ("onnx" if below else "") / path.name
        link.symlink_to(f"{'../' * (3 if below else 2)}blobs/blob{number}")
    return folder


def contents(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("form", ["", "onnx", "onnx/model.onnx"])
def test_a_cache_of_links_is_read_like_any_directory(snapshot, tmp_path, form):
    quantized(snapshot / form, tmp_path / "out", *ROUND)
    assert contents(tmp_path / "out") == [
        "README.md", "config.json", "onnx/model.onnx", "onnx/model.onnx_data",
        "quantization_metadata.json", "tokenizer.json",
    ]  # fmt: skip
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))
    assert "base_model: acme/tiny\n" in (tmp_path / "out" / "README.md").read_text()
    session(tmp_path / "out" / "onnx" / "model.onnx")


def test_inspect_tells_the_sizes_of_what_links_lead_to(snapshot):
    report = json.loads(quantize("inspect", snapshot, "--json").stdout)
    sizes = {one["name"]: one["bytes"] for one in report["files"]}
    assert sizes == {
        name: (snapshot / "onnx" / name).stat().st_size for name in os.listdir(snapshot / "onnx")
    }


def test_nothing_is_written_into_a_cache_by_default(snapshot, tmp_path):
    before = contents(tmp_path / "hub")
    (tmp_path / "here").mkdir()
    done = quantize("run", snapshot, *ROUND, cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path / "here") == ["tiny-rtn_w4_g32_headfp16"]
    assert contents(tmp_path / "hub") == before
    inside = quantize("run", ".", *ROUND, cwd=snapshot)
    assert inside.returncode == 2 and "give --dst" in inside.stderr
    assert contents(tmp_path / "hub") == before


def commands(model, tmp_path):
    """Everything that reads a model."""
    text = tmp_path / "text.txt"
    text.write_text("some words")
    (tmp_path / "ids.npz").write_bytes(b"")
    return [
        ("inspect", model),
        ("run", model, tmp_path / "out", "--dry-run", *ROUND),
        ("run", model, tmp_path / "out", *ROUND),
        ("eval", model, "--text", text),
        ("stats", model, "--out", tmp_path / "stats", "--calib", text),
    ]


@pytest.mark.parametrize("name", ["weights.bin", "model.onnx"])
@pytest.mark.parametrize("target", ["elsewhere", "another repository", "two folders up"])
def test_escapes_from_a_cache_are_refused_alike(snapshot, tmp_path, name, target):
    link = snapshot / "onnx" / name
    other = {
        "elsewhere": tmp_path / "secret",
        "another repository": tmp_path / "hub" / "models--b--c" / "blobs" / "1",
        "two folders up": snapshot / ".." / ".." / "escaped",
    }[target]
    other.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(link.resolve(), other)
    link.unlink()
    link.symlink_to(other)
    for command in commands(snapshot, tmp_path):
        done = quantize(*command)
        assert done.returncode == 3, (command, done.stderr)
        assert "refused" in done.stderr, (command, done.stderr)
    assert not (tmp_path / "out").exists()


def test_missing_data_is_refused_alike(tmp_path):
    model = save(llama(), tmp_path / "model", external=True)
    (model / "weights.bin").unlink()
    for command in commands(model, tmp_path):
        done = quantize(*command)
        assert done.returncode == 3 and "is missing" in done.stderr, (command, done.stderr)


def test_a_sidecar_that_leads_out_of_the_cache_is_not_copied(snapshot, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (snapshot / "special_tokens_map.json").symlink_to(tmp_path / "secret")
    quantized(snapshot, tmp_path / "out", *ROUND)
    assert not (tmp_path / "out" / "special_tokens_map.json").exists()
    left = check_metadata(tmp_path / "out")["left_out"]
    assert [entry["file"] for entry in left] == ["special_tokens_map.json"]


@pytest.mark.parametrize("beside", ["link", "file"])
def test_a_link_to_a_model_finds_its_data(tmp_path, beside):
    real = save(llama(), tmp_path / "real", external=True)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "model.onnx"
    link.symlink_to("../real/model.onnx")
    if beside == "link":
        shutil.move(real / "weights.bin", tmp_path / "links" / "weights.bin")
    quantized(link, tmp_path / "out", *ROUND)
    session(tmp_path / "out" / "model.onnx")


# ---- Forms of one model -------------------------------------------------------------------------


@pytest.mark.parametrize("separator", "_-.")
def test_the_float_form_is_taken(tmp_path, separator):
    folder = save(llama(), tmp_path / "forms")
    for form in ("int8", "q4f16", "quant", "bnb4", "fp16", "uint8"):
        (folder / f"model{separator}{form}.onnx").write_text("not read")
    done = quantize("run", folder, tmp_path / "out", *ROUND)
    assert done.returncode == 0, done.stderr
    assert f"model{separator}q4f16.onnx" in done.stderr
    found = check_metadata(tmp_path / "out")
    assert found["source"]["file"] == "model.onnx"
    assert len(found["left_out"]) == 6
    assert any("other forms of the model" in note for note in found["notes"])
    assert contents(tmp_path / "out") == [
        "model.onnx", "model.onnx.data", "quantization_metadata.json"
    ]  # fmt: skip
    assert quantize("eval", folder, "--text", "none").stderr.count("does not exist") == 1


def test_half_precision_is_taken_where_there_is_no_plain_form(tmp_path):
    folder = save(llama("float16"), tmp_path / "forms" / "onnx").parent
    (folder / "onnx" / "model.onnx").rename(folder / "onnx" / "model_fp16.onnx")
    (folder / "onnx" / "model_q4.onnx").write_text("not read")
    quantized(folder, tmp_path / "out", *ROUND)
    assert check_metadata(tmp_path / "out")["source"]["file"] == "model_fp16.onnx"
    assert (tmp_path / "out" / "onnx" / "model.onnx").exists()


def test_several_models_are_named(tmp_path):
    folder = save(llama(), tmp_path / "two")
    (folder / "model.onnx").rename(folder / "a.onnx")
    shutil.copy(folder / "a.onnx", folder / "b.onnx")
    done = quantize("inspect", folder)
    assert done.returncode == 3 and "a.onnx" in done.stderr


# ---- Layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout,model", [("keep", "onnx/model.onnx"), ("flat", "model.onnx")])
def test_the_folder_of_the_model_is_kept(tmp_path, layout, model):
    folder = save(llama(), tmp_path / "source" / "onnx").parent
    (folder / "config.json").write_text(json.dumps({"transformers.js_config": {"dtype": "q4"}}))
    quantized(folder, tmp_path / "out", *ROUND, "--layout", layout)
    assert model in contents(tmp_path / "out") and "config.json" in contents(tmp_path / "out")
    chosen = json.loads((tmp_path / "out" / "config.json").read_text())["transformers.js_config"]
    assert chosen["dtype"] == ("fp32" if layout == "keep" else "q4")
    if layout == "keep":
        assert chosen["use_external_data_format"] == {"model.onnx": 1}
    assert quantize("inspect", tmp_path / "out").returncode == 0
    session(tmp_path / "out" / model)


def test_the_default_destination_is_not_named_onnx(tmp_path):
    folder = save(llama(), tmp_path / "source" / "onnx")
    done = quantize("run", folder, "--dry-run", *ROUND, "--json")
    assert json.loads(done.stdout)["destination"] == str(tmp_path / "source-rtn_w4_g32_headfp16")


def test_a_package_of_one_model_keeps_its_name(tmp_path):
    folder = save(llama(), tmp_path / "package")
    (folder / "model.onnx").rename(folder / "decoder.onnx")
    config = {"model": {"decoder": {"filename": "decoder.onnx"}}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    done = quantize("run", folder, *ROUND)
    assert done.returncode == 0, done.stderr
    written = tmp_path / "package-rtn_w4_g32_headfp16"
    named = json.loads((written / "genai_config.json").read_text())["model"]["decoder"]["filename"]
    onnx.load(written / named)


# ---- Files beside the model ---------------------------------------------------------------------


def test_small_files_are_copied_and_weights_are_not(tmp_path):
    folder = save(llama(), tmp_path / "source")
    small = ("tokens.txt", "bpe.model", "config.yaml", "unigram.spm", "lexicon.txt", "am.mvn")
    weights = ("model.safetensors", "pytorch_model.bin", "tf_model.h5", "model.gguf", "x.pt")
    for name in small + weights:
        (folder / name).write_text(name)
    done = quantize("run", folder, tmp_path / "out", *ROUND)
    assert done.returncode == 0, done.stderr
    assert "tokens.txt" in done.stderr and "model.safetensors (weights" in done.stderr
    found = check_metadata(tmp_path / "out")
    assert found["sidecars"] == sorted(small)
    assert [entry["file"] for entry in found["left_out"]] == sorted(weights)
    assert set(small) < set(os.listdir(tmp_path / "out"))
    assert not set(weights) & set(os.listdir(tmp_path / "out"))
