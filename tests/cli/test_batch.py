"""`batch`: directories and manifests of models, shards, failures, and processes that are killed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from quantize_cli import QUANTIZE, metadata, quantize, session
from small_models import encoder, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

ROUND = ("--method", "rtn", "--group-size", "32")


@pytest.fixture
def models(tmp_path):
    """Four models: two directories, one below another, and two files that do not belong together."""
    root = tmp_path / "models"
    save(llama(), root / "a")
    save(llama(hidden=32, ffn=64), root / "org" / "b")
    save(encoder(), root / "loose")
    (root / "loose" / "model.onnx").rename(root / "loose" / "first.onnx")
    save(llama(hidden=32, ffn=32), root / "other")
    (root / "other" / "model.onnx").rename(root / "loose" / "second.onnx")
    (root / "other").rmdir()
    return root


def batch(*arguments, **options):
    done = quantize("batch", *arguments, "--json", **options)
    return done, json.loads(done.stdout)


def states(found):
    return {job["id"]: job["state"] for job in found["jobs"]}


def registry(folder):
    return json.loads((folder / "registry.json").read_text())


def test_every_model_below_a_directory_gets_a_result_and_an_entry(models, tmp_path):
    out = tmp_path / "out"
    done, found = batch(models, "-o", out, *ROUND)
    assert done.returncode == 0, done.stderr
    ids = [f"{base}_rtn_w4_g32_headfp16" for base in ("a", "loose-first", "loose-second", "org-b")]
    assert states(found) == dict.fromkeys(ids, "done")
    entries = registry(out)["models"]
    assert list(entries) == ids and registry(out)["failures"] == {}
    for name, entry in entries.items():
        made = metadata(out / name)
        assert (entry["method"], entry["bits"], entry["group_size"]) == ("rtn", 4, 32)
        assert entry["source"] == {key: made["source"][key] for key in ("file", "sha256")}
        for file in entry["files"]:
            data = (out / file["file"]).read_bytes()
            assert file["bytes"] == len(data)
            assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == sum(file["bytes"] for file in entry["files"])
        session(out / entry["file"])


def test_what_is_up_to_date_stays_and_what_has_changed_is_made_again(models, tmp_path):
    out = tmp_path / "out"
    _, first = batch(models, "-o", out, *ROUND, "--name", "{base}")
    assert first["done"] == 4
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*.onnx")}
    done, second = batch(models, "-o", out, *ROUND, "--name", "{base}")
    assert done.returncode == 0 and second["up_to_date"] == 4
    assert written == {p: p.stat().st_mtime_ns for p in out.rglob("*.onnx")}
    save(llama(seed=9), models / "a")
    _, third = batch(models, "-o", out, *ROUND, "--name", "{base}")
    assert [job["id"] for job in third["jobs"] if job["state"] == "done"] == ["a"]
    _, fourth = batch(models, "-o", out, "--method", "rtn", "--bits", 8, "--name", "{base}")
    assert fourth["done"] == 4 and registry(out)["models"]["a"]["bits"] == 8


def test_a_model_that_fails_takes_no_other_with_it(models, tmp_path):
    out = tmp_path / "out"
    (models / "a" / "model.onnx").write_bytes(b"no model at all" * 50)
    done, found = batch(models, "-o", out, *ROUND, "--jobs", 2)
    assert done.returncode == 3
    failed = [job for job in found["jobs"] if job["state"] == "failed"]
    assert (found["done"], found["failed"], len(failed)) == (3, 1, 1)
    assert "is not an ONNX model" in failed[0]["message"] and failed[0]["status"] == 3
    assert "is not an ONNX model" in open(failed[0]["log"]).read()
    assert registry(out)["failures"][failed[0]["id"]]["status"] == 3
    assert not (out / failed[0]["id"]).exists()
    save(llama(), models / "a")
    done, found = batch(models, "-o", out, *ROUND)
    assert (done.returncode, found["done"], found["up_to_date"]) == (0, 1, 3)
    assert registry(out)["failures"] == {} and not (out / "logs").exists()


def test_recipes_multiply_and_name_the_results(models, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "small.toml").write_text('method = "rtn"\nbits = 3\ngroup-size = 32\n')
    done, found = batch(
        models / "a", "-o", out, "--recipe", tmp_path / "small.toml", "--recipe", "web",
        "--method", "rtn", "--name", "{base}-{recipe}-{bits}-{form}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(states(found)) == ["a-small-3-matmulnbits", "a-web-4-matmulnbits"]
    assert metadata(out / "a-small-3-matmulnbits")["recipe"]["bits"] == 3


def test_a_manifest_lists_jobs_with_settings_of_their_own(models, tmp_path):
    manifest = models / "jobs.toml"
    manifest.write_text(
        '[[job]]\nsource = "a"\nbits = 8\n\n[[job]]\nsource = "org/b"\nid = "small b"\n'
    )
    done, found = batch(manifest, "-o", tmp_path / "out", *ROUND)
    assert done.returncode == 0, done.stderr
    assert list(states(found)) == ["a_rtn_w8_g32_headfp16", "small-b"]
    manifest.write_text('[[job]]\nsource = "a"\nbist = 8\n')
    done = quantize("batch", manifest, "-o", tmp_path / "out")
    assert done.returncode == 2 and "' line 3: " in done.stderr and "'--bits'" in done.stderr


@pytest.mark.parametrize(
    "words,status,part",
    [
        (["--name", "{bsae}"], 2, "none of {base}"),
        (["--name", "same"], 2, "two jobs would write 'same'"),
        (["--shard", "5/4"], 2, "'5/4' is no shard"),
        (["--shard", "4"], 2, "'4' is no shard"),
        (["--shards", "3"], 2, "JOB_COMPLETION_INDEX"),
        (["--bits", "5"], 2, "--bits"),
        (["--recipe", "no-such"], 3, "no recipe file 'no-such'"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(models, tmp_path, words, status, part):
    done = quantize("batch", models, "-o", tmp_path / "out", *words)
    assert (done.returncode, part in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_lists_the_jobs(models, tmp_path):
    done, found = batch(models, "-o", tmp_path / "out", *ROUND, "--dry-run")
    assert done.returncode == 0 and set(states(found).values()) == {"planned"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "environment",
    [
        lambda i: {"SLURM_ARRAY_TASK_ID": str(10 + i), "SLURM_ARRAY_TASK_COUNT": "3",
                   "SLURM_ARRAY_TASK_MIN": "10"},
        lambda i: {"JOB_COMPLETION_INDEX": str(i)},
    ],
    ids=["slurm", "kubernetes"],
)  # fmt: skip
def test_the_shards_of_an_array_job_share_the_models_out(models, tmp_path, environment):
    seen = []
    for i in range(3):
        words = ["--shards", 3] if "JOB_COMPLETION_INDEX" in environment(i) else []
        _, found = batch(
            models, "-o", tmp_path / "out", *ROUND, *words, env={**os.environ, **environment(i)}
        )
        assert found["shard"]["index"] == i and found["shard"]["count"] == 3
        seen += list(states(found))
    assert len(seen) == len(set(seen)) == 4
    assert sorted(registry(tmp_path / "out")["models"]) == sorted(seen)


def test_counting_shards_from_one_gives_the_same_parts(models, tmp_path):
    def ids(shard):
        _, found = batch(models, "-o", tmp_path / "out", *ROUND, "--dry-run", "--shard", shard)
        return set(states(found))

    assert ids("4/4") == ids("0/4") and ids("1/4") | ids("2/4") | ids("3/4") | ids("4/4") == (
        ids("0/1")
    )


@pytest.mark.slow
def test_twenty_models_in_four_shards_one_corrupted_one_shard_killed(tmp_path):
    """Nothing is done twice: the shard that is started again does what is missing."""
    root, out = tmp_path / "models", tmp_path / "out"
    for i in range(20):
        save(llama(seed=i), root / f"m{i:02}")
    (root / "m07" / "model.onnx").write_bytes(os.urandom(4000))
    words = [str(QUANTIZE), "batch", str(root), "-o", str(out), *ROUND, "--json", "--threads", "1"]
    shards = [
        subprocess.Popen([*words, "--shard", f"{i}/4"], stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    deadline = time.monotonic() + 60
    while not (out / "registry.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    shards[2].send_signal(signal.SIGKILL)
    printed = [shard.communicate()[0] for shard in shards]
    done = {name: (out / name).stat().st_mtime_ns for name in registry(out)["models"]}
    again = subprocess.run([*words, "--shard", "2/4"], capture_output=True, text=True, check=False)
    reports = [json.loads(text) for text in (printed[0], printed[1], printed[3], again.stdout)]
    jobs = [job for report in reports for job in report["jobs"]]
    assert len({job["id"] for job in jobs}) == 20
    assert sum(report["failed"] for report in reports) == 1
    entries = registry(out)["models"]
    assert len(entries) == 19 and list(registry(out)["failures"]) == ["m07_rtn_w4_g32_headfp16"]
    assert done == {name: (out / name).stat().st_mtime_ns for name in done}
    again_states = states(reports[3])
    assert all(again_states[name] == "up to date" for name in done if name in again_states)
    for name in entries:
        session(out / name / "model.onnx")


@pytest.mark.slow
def test_a_batch_that_is_interrupted_goes_on_with_the_same_command(models, tmp_path):
    for i in range(12):
        shutil.copytree(models / "a", models / f"more{i:02}")
    words = [str(QUANTIZE), "batch", str(models), "-o", str(tmp_path / "out"), *ROUND]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "registry.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from there" in error
    done, found = batch(models, "-o", tmp_path / "out", *ROUND)
    assert done.returncode == 0 and found["done"] + found["up_to_date"] == 16
    assert found["up_to_date"] >= 1
