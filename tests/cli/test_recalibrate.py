"""`recalibrate`: how far texts have moved from those of a result, and a new result when they have."""

import hashlib
import json

import numpy as np
import pytest
from quantize_cli import QUANTIZE, metadata, quantize
from small_models import llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

RECIPE = ("--bits", 3, "--group-size", 32, "--method", "awq")


def ids(path, low, high, seed, rows=24, length=24):
    """Tokens of one part of the vocabulary: another part is another kind of text."""
    rng = np.random.default_rng(seed)
    np.save(path, rng.integers(low, high, (rows, length)))
    return path


@pytest.fixture
def source(tmp_path):
    return save(llama(layers=2), tmp_path / "tiny")


@pytest.fixture
def texts(tmp_path):
    return {
        "old": ids(tmp_path / "old.npy", 0, 40, 1),
        "alike": ids(tmp_path / "alike.npy", 0, 40, 2, rows=96),
        "other": ids(tmp_path / "other.npy", 50, 90, 3),
    }


@pytest.fixture
def result(source, texts, tmp_path):
    done = quantize("run", source, tmp_path / "out", *RECIPE, "--calib", texts["old"])
    assert done.returncode == 0, done.stderr
    return tmp_path / "out"


def recalibrate(*words, status=0):
    done = quantize("recalibrate", *words, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def model_hash(folder):
    files = sorted(folder.glob("model.onnx*"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_other_texts_drift_more_than_the_same_kind(source, texts, result):
    words = (result, "--src", source, "--calib-before", texts["old"], "--dry-run")
    before = model_hash(result)
    alike = recalibrate(*words, "--calib", texts["alike"])
    other = recalibrate(*words, "--calib", texts["other"])
    same = recalibrate(*words, "--calib", texts["old"])
    for key in ("drift", "mean_abs", "subspace"):
        assert alike[key] < other[key], key
    assert same["drift"] == pytest.approx(0, abs=1e-9)
    assert same["mean_abs"] == 0 and same["subspace"] == pytest.approx(0, abs=1e-4)
    assert model_hash(result) == before
    for site in other["sites"]:
        assert site["relative_loss_new_codes"] <= site["relative_loss_old_codes"] * 1.0001


def test_the_drift_is_that_of_a_run_on_the_new_texts(source, texts, result, tmp_path):
    """What new codes lose is what a run with the same recipe says of them."""
    found = recalibrate(result, "--src", source, "--calib", texts["other"], "--calib-before",
                        texts["old"], "--dry-run")  # fmt: skip
    done = quantize("run", source, tmp_path / "new", *RECIPE, "--calib", texts["other"])
    assert done.returncode == 0
    losses = {}
    for linear in metadata(tmp_path / "new")["linears"]:
        if linear["quantized"]:
            losses.setdefault(linear["site"], []).append(linear["quantized"]["relative_loss"])
    for site in found["sites"]:
        expected = np.mean(losses[site["site"]])
        assert site["relative_loss_new_codes"] == pytest.approx(expected, rel=1e-3)


def test_a_result_is_made_again_only_above_the_drift_that_is_given(source, texts, result, tmp_path):
    words = (result, "--src", source, "--calib", texts["other"], "--calib-before", texts["old"])
    drift = recalibrate(*words, "--dry-run")["drift"]
    before = model_hash(result)
    found = recalibrate(*words, "--if-drift", drift * 1.01)
    assert not found["needed"] and found["destination"] is None and model_hash(result) == before
    found = recalibrate(*words, "--if-drift", drift * 0.99)
    assert found["needed"] and found["destination"] == str(result)
    done = quantize("run", source, tmp_path / "new", *RECIPE, "--calib", texts["other"])
    assert done.returncode == 0 and model_hash(result) == model_hash(tmp_path / "new") != before
    recipe = metadata(result)["recipe"]
    assert (recipe["bits"], recipe["group_size"], recipe["method"]) == (3, 32, "awq")


def test_statistics_stand_for_the_samples(source, texts, result, tmp_path):
    stats = tmp_path / "old.stats"
    assert quantize("stats", source, "-o", stats, "--calib", texts["old"]).returncode == 0
    words = (result, "--src", source, "--calib", texts["other"], "--dry-run")
    by_stats = recalibrate(*words, "--stats-before", stats)
    assert by_stats == recalibrate(*words, "--calib-before", texts["old"])


def test_without_the_samples_of_before_a_result_is_made_and_says_so(source, texts, result, tmp_path):
    words = (result, "--src", source, "--calib", texts["other"], "--dst", tmp_path / "new")
    found = recalibrate(*words)
    assert found["known"] is False and "old.npy" in found["note"] and found["needed"]
    assert (tmp_path / "new" / "model.onnx").exists()
    assert quantize("recalibrate", *words, "--if-drift", 0.1).returncode == 2


def test_what_is_not_the_source_or_the_samples_is_refused(source, texts, result, tmp_path):
    other = save(llama(layers=2, seed=9), tmp_path / "other")
    before = model_hash(result)
    words = ("--calib", texts["other"], "--calib-before", texts["old"])
    done = quantize("recalibrate", result, "--src", other, *words)
    assert done.returncode == 3 and "is not the model" in done.stderr
    done = quantize("recalibrate", result, "--src", source, "--calib", texts["other"],
                    "--calib-before", texts["alike"])  # fmt: skip
    assert done.returncode == 3 and "their tokens are others" in done.stderr
    assert quantize("run", source, tmp_path / "rtn", "--method", "rtn").returncode == 0
    done = quantize("recalibrate", tmp_path / "rtn", "--src", source, *words)
    assert done.returncode == 2 and "looks at no samples" in done.stderr
    assert model_hash(result) == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
