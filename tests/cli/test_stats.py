"""Statistics are collected once, merged, and read by runs instead of samples."""

import hashlib
import json
import pathlib

import numpy as np
import onnx
import pytest
from quantize_cli import QUANTIZE, metadata, quantize
from small_models import llama, save

DEMO = pathlib.Path(__file__).resolve().parents[2] / "data" / "demo"
CALIBRATION = ["--calib", DEMO / "calibration.txt", "--calib-samples", 8]

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def graph_and_weights(directory):
    """Everything but the recipe, which names other samples, in the model's own metadata."""
    model = onnx.load(directory / "model.onnx", load_external_data=False)
    del model.metadata_props[:]
    data = (directory / "model.onnx.data").read_bytes()
    return model.SerializeToString(), hashlib.sha256(data).hexdigest()


def succeeded(*arguments):
    done = quantize(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(status, *arguments):
    done = quantize(*arguments)
    assert done.returncode == status, (done.returncode, done.stderr)
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    path = tmp_path_factory.mktemp("stats") / "demo.stats"
    succeeded("stats", "--src", DEMO, *CALIBRATION, "--out", path)
    return path


@pytest.mark.parametrize("options", [["--bits", 4], ["--bits", 8, "--lm-head", "int8"]])
def test_a_run_on_statistics_gives_the_bytes_of_one_on_samples(collected, tmp_path, options):
    succeeded("run", "--src", DEMO, "--dst", tmp_path / "a", *options, *CALIBRATION)
    succeeded("run", "--src", DEMO, "--dst", tmp_path / "b", *options, "--stats", collected)
    assert graph_and_weights(tmp_path / "a") == graph_and_weights(tmp_path / "b")
    assert metadata(tmp_path / "a")["calibration"] == metadata(tmp_path / "b")["calibration"]


def test_the_file_is_in_a_format_that_others_read(collected):
    """By the safetensors specification alone."""
    data = collected.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = [name.removesuffix("/gram") for name in header if name.endswith("/gram")]
    assert len(names) == 17
    for name in names:
        (k,) = header[f"{name}/max_abs"]["shape"]
        begin, end = header[f"{name}/gram"]["data_offsets"]
        gram = np.frombuffer(data[8 + length + begin : 8 + length + end], np.float32)
        assert gram.shape == (k * (k + 1) // 2,)
        diagonal = gram[np.cumsum(np.arange(1, k + 1)) - 1]
        assert (diagonal >= 0).all() and diagonal.max() > 0
    assert max(entry["data_offsets"][1] for key, entry in header.items()
               if key != "__metadata__") == len(data) - 8 - length  # fmt: skip


def test_merged_files_are_what_all_samples_give(tmp_path):
    texts = (DEMO / "calibration.txt").read_text().strip().split("\n\n")[:8]
    for name, part in [("all", texts), ("first", texts[:3]), ("second", texts[3:])]:
        (tmp_path / f"{name}.txt").write_text("\n\n".join(part))
        succeeded("stats", "--src", DEMO, "--calib", tmp_path / f"{name}.txt",
                  "--out", tmp_path / f"{name}.stats")  # fmt: skip
    merged = tmp_path / "merged.stats"
    succeeded("stats", "--merge", tmp_path / "first.stats", tmp_path / "second.stats",
              "--out", merged)  # fmt: skip
    succeeded("run", "--src", DEMO, "--dst", tmp_path / "a", "--stats", tmp_path / "all.stats")
    succeeded("run", "--src", DEMO, "--dst", tmp_path / "b", "--stats", merged)
    whole, sum_of_parts = metadata(tmp_path / "a"), metadata(tmp_path / "b")
    assert sum_of_parts["calibration"]["tokens"] == whole["calibration"]["tokens"]
    assert len(sum_of_parts["calibration"]["merged"]) == 2
    losses = [
        [entry["quantized"]["loss_before"] for entry in result["linears"] if entry["quantized"]]
        for result in (whole, sum_of_parts)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_statistics_of_another_model_are_refused(collected, tmp_path):
    other = save(llama(), tmp_path / "other")
    line = refused(3, "run", "--src", other, "--dst", tmp_path / "x", "--stats", collected)
    assert "another model" in line
    assert not (tmp_path / "x").exists()
    line = refused(3, "stats", "--merge", collected, DEMO / "config.json", "--out", tmp_path / "m")
    assert "not a statistics file" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_senseless_requests_are_refused(collected, tmp_path):
    out = ["--out", tmp_path / "out"]
    assert "--src" in refused(2, "stats", *out)
    assert "two or more" in refused(2, "stats", "--merge", collected, *out)
    run = ["run", "--src", DEMO, "--dst", tmp_path / "x", "--stats", collected]
    assert "--propagate" in refused(2, *run, "--propagate")
    assert "--calib" in refused(2, *run, "--calib", DEMO / "calibration.txt")
    assert list(tmp_path.iterdir()) == []
