"""The recipes inside the program, each on models built here and run in ONNX Runtime."""

import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    cosine,
    quantize,
    quantized,
    run_session,
    session,
)
from small_models import calibration_ids, encoder, feeds_of, llama, save  # noqa: E402
from test_convolutions import save as convolved  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

FILES = pathlib.Path(__file__).resolve().parents[2] / "data" / "recipes"
NAMES = sorted(file.stem for file in FILES.glob("*.toml"))


def test_the_program_holds_the_files():
    listed = json.loads(quantize("recipes", "--json").stdout)["recipes"]
    assert [recipe["name"] for recipe in listed] == NAMES
    for recipe in listed:
        text = (FILES / f"{recipe['name']}.toml").read_text()
        assert recipe["text"] == text
        assert text.startswith(f"# {recipe['description']}\n")
        assert quantize("recipes", recipe["name"]).stdout == text


@pytest.mark.parametrize("build", [llama, encoder], ids=["decoder", "encoder"])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs(tmp_path, name, build):
    model = build()
    source = save(model, tmp_path / "source")
    feeds = feeds_of(model)
    samples = tmp_path / "samples.npz"
    if build is llama:
        samples = calibration_ids(tmp_path / "ids.npy")
    else:
        np.savez(samples, **feeds)
    arguments = ["--config", name, "--calib", samples]
    report = quantized(source, tmp_path / "out", *arguments, "--accuracy-level", 0)
    assert report["totals"]["linears_quantized"] > 0
    check_metadata(tmp_path / "out")
    (written,) = (tmp_path / "out").rglob("*.onnx")
    got = run_session(session(written), feeds)
    for output, expected in run_session(session(source / "model.onnx"), feeds).items():
        assert cosine(got[output], expected) > (0.999 if report["recipe"]["bits"] == 8 else 0.9)
    again = quantized(source, tmp_path / "again", "--config", tmp_path / "out", "--calib", samples)
    assert again["recipe"] == report["recipe"]


def test_filters_have_8_bits_on_phones(tmp_path):
    source, feeds, _ = convolved(tmp_path / "source", "conv2d")
    report = quantized(source, tmp_path / "out", "--config", "mobile-int8", "--calib",
                       source / "feeds.npz")  # fmt: skip
    (filters,) = (c for c in report["constants"] if c["name"] == "enc.conv")
    assert filters["bytes_after"] < 0.27 * filters["bytes_before"]
    got = run_session(session(tmp_path / "out" / "model.onnx"), feeds)
    for output, expected in run_session(session(source / "model.onnx"), feeds).items():
        assert cosine(got[output], expected) > 0.999
    kept = quantized(source, tmp_path / "kept", "--config", "mobile-int8", "--conv", "keep",
                     "--dry-run")  # fmt: skip
    assert all(c["decision"] == "keep" for c in kept["constants"])


def test_a_recipe_written_in_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    source = save(llama(), tmp_path / "source")
    (tmp_path / "laptop").write_text('method = "rtn"\nbits = 2\n')
    monkeypatch.chdir(tmp_path)
    report = quantized(source, tmp_path / "out", "--config", "laptop", "--dry-run")
    assert report["recipe"]["bits"] == 2
    report = quantized(source, tmp_path / "out", "--config", "npu-qdq", "--bits", 8, "--dry-run",
                       "--method", "rtn")  # fmt: skip
    assert (report["recipe"]["format"], report["recipe"]["bits"]) == ("qdq", 8)


def test_an_unknown_recipe_is_refused_with_the_nearest(tmp_path):
    done = quantize("run", save(llama(), tmp_path / "source"), "--config", "labtop")
    assert done.returncode == 3
    assert "did you mean 'laptop'?" in done.stderr
    assert quantize("recipes", "labtop").returncode == 2
