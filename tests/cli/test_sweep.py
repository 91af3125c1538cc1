"""`sweep`: every combination is made and measured, an interrupted one goes on, one is picked."""

import csv
import json
import signal
import subprocess
import time

import pytest
from quantize_cli import QUANTIZE, metadata, quantize, session
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture
def source(tmp_path):
    return save(llama(layers=2), tmp_path / "tiny")


@pytest.fixture
def ids(tmp_path):
    return calibration_ids(tmp_path / "ids.npy", rows=6, length=20)


def sweep(*arguments, status=0):
    done = quantize("sweep", *arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def eval_kl(model, source, ids):
    done = quantize("eval", model, "--against", source, "--text", ids, "--json")
    return json.loads(done.stdout)["kl"]


def size(folder):
    return sum(p.stat().st_size for p in folder.glob("model.onnx*"))


def test_every_combination_is_what_run_and_eval_give(source, ids, tmp_path):
    out = tmp_path / "out"
    found = sweep(
        source, out, "--over", "bits=2,4", "--over", "method=rtn,awq", "--over", "calib-samples=2,4",
        "--group-size", 32, "--calib", ids, "--text", ids, "--keep", "all",
    )  # fmt: skip
    points = {point["id"]: point for point in found["points"]}
    assert len(points) == 8 and found["quality"] == "kl"
    assert list(points)[0] == "bits-2_method-rtn_calib-samples-2"
    for name, point in points.items():
        made = metadata(out / name)
        assert [str(made["recipe"][key]) for key in ("bits", "method", "calib_samples")] == list(
            point["settings"].values()
        )
        assert point["bytes"] == size(out / name)
        assert point["figures"]["kl"] == pytest.approx(eval_kl(out / name, source, ids))
        session(out / name / "model.onnx")
    alone = tmp_path / "alone"
    assert quantize("run", source, alone, "--bits", 4, "--method", "awq", "--calib-samples", 4,
                    "--group-size", 32, "--calib", ids).returncode == 0  # fmt: skip
    for name in ("model.onnx", "model.onnx.data"):
        same = (out / "bits-4_method-awq_calib-samples-4" / name).read_bytes()
        assert same == (alone / name).read_bytes()


def dominated(point, others):
    return any(
        other["bytes"] <= point["bytes"] and other["figures"]["kl"] <= point["figures"]["kl"]
        and (other["bytes"], other["figures"]["kl"]) != (point["bytes"], point["figures"]["kl"])
        for other in others
    )  # fmt: skip


def test_what_another_beats_is_not_kept_and_the_best_small_enough_is_picked(source, ids, tmp_path):
    words = (source, tmp_path / "out", "--over", "bits=2,4,8", "--over", "group-size=32,channel",
             "--method", "rtn", "--text", ids)  # fmt: skip
    found = sweep(*words)
    points = found["points"]
    for point in points:
        assert point["pareto"] == (not dominated(point, points))
        assert point["kept"] == point["pareto"] == (tmp_path / "out" / point["id"]).exists()
    sizes = sorted(point["bytes"] for point in points)
    limit = sizes[3]
    small = [point for point in points if point["bytes"] <= limit]
    best = min(small, key=lambda point: point["figures"]["kl"])
    assert sweep(*words, "--best-under", limit)["best"] == best["id"]
    assert sweep(*words, "--best-under", sizes[0] - 1, status=7)["best"] is None
    again = sweep(*words, "--best-under", limit, "--keep", "best")
    assert all(point["earlier"] for point in again["points"])
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [best["id"], "sweep.json"]


def test_points_are_noted_for_the_same_source_recipe_and_text_only(source, ids, tmp_path):
    words = (source, tmp_path / "out", "--over", "bits=4,8", "--method", "rtn", "--text", ids)

    def earlier(*more):
        return [point["earlier"] for point in sweep(*words, *more)["points"]]

    assert earlier() == [False, False] and earlier() == [True, True]
    assert earlier("--force") == [False, False]
    assert earlier("--asymmetric") == [False, False]
    calibration_ids(ids, rows=5, length=20)
    assert earlier("--asymmetric") == [False, False]
    save(llama(layers=2, seed=8), source)
    assert earlier("--asymmetric") == [False, False]


def test_a_combination_that_cannot_be_made_is_noted(source, tmp_path):
    found = sweep(source, tmp_path / "out", "--over", "bits=4,8", "--over",
                  "include=*,no_such_linear", "--method", "rtn")  # fmt: skip
    errors = [point["error"] for point in found["points"]]
    assert [error is None for error in errors] == [True, False, True, False]
    assert "no_such_linear" in errors[1] and found["quality"] == "relative_loss"


def test_the_table_is_written_as_csv(source, ids, tmp_path):
    found = sweep(source, tmp_path / "out", "--over", "bits=4,8", "--method", "rtn", "--text", ids,
                  "--csv", tmp_path / "table.csv")  # fmt: skip
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, point in zip(rows, found["points"], strict=True):
        assert (row["id"], int(row["bytes"])) == (point["id"], point["bytes"])
        assert float(row["kl"]) == pytest.approx(point["figures"]["kl"])
        assert row["pareto"] == str(point["pareto"]).lower()


@pytest.mark.parametrize(
    "words,part",
    [
        (["--over", "bist=3,4"], "'--bits'"),
        (["--over", "bits"], "write it like bits=3,4,8"),
        (["--over", "bits=3,,4"], "an empty value"),
        (["--over", "bits=3,5"], "--bits"),
        ([], "--over"),
    ],
)
def test_wrong_grids_are_refused_before_any_work(source, tmp_path, words, part):
    done = quantize("sweep", source, tmp_path / "out", "--method", "rtn", *words)
    assert (done.returncode, part in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_behind_what_it_has_noted(source, ids, tmp_path):
    out = tmp_path / "out"
    words = ["sweep", source, out, "--over", "bits=2,3,4,8", "--over", "group-size=16,32,64,channel",
             "--method", "gptq", "--calib", ids, "--text", ids]  # fmt: skip
    process = subprocess.Popen([str(w) for w in [QUANTIZE, *words]], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (out / "sweep.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    noted = set(json.loads((out / "sweep.json").read_text())["points"])
    found = sweep(*words[1:])
    assert {point["id"] for point in found["points"] if point["earlier"]} == noted
    assert len(found["points"]) == 16 and not (out / ".statistics").exists()


def test_a_report_shows_every_point(source, ids, tmp_path):
    page = tmp_path / "sweep.html"
    found = sweep(source, tmp_path / "out", "--over", "bits=4,8", "--method", "rtn", "--text", ids,
                  "--report", page)  # fmt: skip
    text = page.read_text()
    assert all(f"bits {point['settings']['bits']}" in text for point in found["points"])
    assert "Pareto curve" in text and "<svg" in text
    inside = tmp_path / "out" / "bits-4" / "sweep.html"
    done = quantize("sweep", source, tmp_path / "out", "--over", "bits=4", "--report", inside)
    assert done.returncode == 5
