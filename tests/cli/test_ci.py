"""What runs and batches leave for those who watch them, read by real parsers; the ready examples."""

import json
import math
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from quantize_cli import QUANTIZE, REPOSITORY, metadata, quantize
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

EXAMPLES = REPOSITORY / "examples" / "batch"
ROUND = ("--method", "rtn", "--group-size", "32")
HOSTILE = 'a"b\\c <&> | `x`\n'


@pytest.fixture
def source(tmp_path):
    return save(llama(), tmp_path / "tiny")


def metrics(path):
    """Samples by name and labels, but for those that all have."""
    from prometheus_client.parser import text_string_to_metric_families

    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("command", "model")}
            found[(sample.name.removeprefix("quantize_"), *labels.values())] = sample.value
    return found


def cases(path):
    """Failures of test cases by name; the totals are those of the cases."""
    from junitparser import JUnitXml

    (suite,) = JUnitXml.fromfile(str(path))
    found = {case.name: [r.message for r in case.result] for case in suite}
    assert suite.tests == len(found)
    assert suite.failures == sum(1 for messages in found.values() if messages)
    return found


def test_a_run_leaves_metrics_a_test_report_and_a_summary(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    out, summary = tmp_path / "out", tmp_path / "summary.md"
    summary.write_text("before\n")
    done = quantize(
        "run", source, out, *ROUND, "--gate", "kl<=100", "--gate-text", ids, "--metrics",
        tmp_path / "q.prom", "--junit", tmp_path / "j.xml", "--github-summary", "--json",
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(summary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    found = metrics(tmp_path / "q.prom")
    assert (found["success",], found["exit_status",]) == (1, 0)
    assert found["model_bytes", "before"] == printed["bytes_before"]
    assert found["model_bytes", "after"] == printed["bytes_after"]
    assert found["relative_loss",] == pytest.approx(printed["relative_loss"])
    assert found["linears", "quantized"] == printed["totals"]["linears_quantized"]
    assert found["gate_passed", "kl<=100"] == 1 and found["gate_bound", "kl<=100"] == 100
    gate = metadata(out)["gate"]["results"][0]
    assert found["gate_value", "kl<=100"] == pytest.approx(gate["value"])
    assert cases(tmp_path / "j.xml") == {"tiny": [], "tiny: kl<=100": []}
    text = summary.read_text()
    assert text.startswith("before\n") and "tiny passed" in text and "| kl&lt;=100 |" in text


def test_a_gate_that_fails_is_told_everywhere(source, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    summary = tmp_path / "summary.md"
    done = quantize(
        "run", source, tmp_path / "out", *ROUND, "--gate", "kl<=1e-12", "--gate", "top1>=0",
        "--gate-text", ids, "--no-fallback", "--metrics", tmp_path / "q.prom", "--junit",
        tmp_path / "j.xml", "--github-summary",
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(summary)},
    )  # fmt: skip
    assert done.returncode == 7
    found = metrics(tmp_path / "q.prom")
    assert (found["success",], found["exit_status",]) == (0, 7)
    assert (found["gate_passed", "kl<=1e-12"], found["gate_passed", "top1>=0"]) == (0, 1)
    failures = cases(tmp_path / "j.xml")
    assert failures["tiny"] == failures["tiny: top1>=0"] == []
    (message,) = failures["tiny: kl<=1e-12"]
    assert message.startswith("kl is ") and message.endswith(", the bound 1e-12")
    assert "**fails**" in summary.read_text() and "status 7" in summary.read_text()


def test_a_run_that_fails_is_told_everywhere(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model" * 100)
    done = quantize("run", tmp_path / "broken.onnx", tmp_path / "out", "--metrics",
                    tmp_path / "q.prom", "--junit", tmp_path / "j.xml")  # fmt: skip
    assert done.returncode == 3
    assert metrics(tmp_path / "q.prom")["exit_status",] == 3
    (message,) = cases(tmp_path / "j.xml")["broken.onnx"]
    assert "is not an ONNX model" in message


def test_a_batch_has_a_case_for_each_job(source, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(source, models / "good")
    shutil.copytree(source, models / "bad")
    (models / "bad" / "model.onnx").write_bytes(b"no model" * 100)
    done = quantize("batch", models, "-o", tmp_path / "out", *ROUND, "--name", "{base}", "--metrics",
                    tmp_path / "q.prom", "--junit", tmp_path / "j.xml", "--json")  # fmt: skip
    assert done.returncode == 3
    found = metrics(tmp_path / "q.prom")
    assert (found["job_success", "good"], found["job_success", "bad"]) == (1, 0)
    assert (found["jobs", "done"], found["jobs", "failed"]) == (1, 1)
    good = next(job for job in json.loads(done.stdout)["jobs"] if job["id"] == "good")
    assert found["job_bytes", "good", "after"] == good["bytes_after"]
    assert not any(math.isnan(value) for value in found.values())
    failures = cases(tmp_path / "j.xml")
    assert failures["good"] == [] and "is not an ONNX model" in failures["bad"][0]


def test_no_name_breaks_a_file(source, tmp_path):
    hostile = tmp_path / HOSTILE
    source.rename(hostile)
    summary = tmp_path / "summary.md"
    done = quantize("run", hostile, tmp_path / "out", *ROUND, "--metrics", tmp_path / "q.prom",
                    "--junit", tmp_path / "j.xml", "--github-summary",
                    env={**os.environ, "GITHUB_STEP_SUMMARY": str(summary)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families((tmp_path / "q.prom").read_text()))
    assert {sample.labels["model"] for family in families for sample in family.samples} == {HOSTILE}
    (name,) = cases(tmp_path / "j.xml")
    assert name == HOSTILE.replace("\n", "?")
    (heading,) = [line for line in summary.read_text().splitlines() if line.startswith("###")]
    assert "<&>" not in heading and "`" not in heading


@pytest.mark.parametrize("option", ["--metrics", "--junit"])
def test_files_that_cannot_be_written_are_refused_before_the_work(source, tmp_path, option):
    # A model is none of ours.
    for file in (tmp_path / "no" / "x", source / "model.onnx", tmp_path):
        done = quantize("run", source, tmp_path / "out", *ROUND, option, file)
        assert done.returncode == 5, done.stderr
    assert not (tmp_path / "out").exists()
    without = {k: v for k, v in os.environ.items() if k != "GITHUB_STEP_SUMMARY"}
    done = quantize("run", source, tmp_path / "out", *ROUND, "--github-summary", env=without)
    assert done.returncode == 2 and "GITHUB_STEP_SUMMARY" in done.stderr


# ---- Ready examples -----------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is absent")
def test_the_slurm_script_is_clean():
    subprocess.run(["shellcheck", EXAMPLES / "quantize.sbatch"], check=True)


def test_the_slurm_script_does_its_part(source, tmp_path):
    models = tmp_path / "models"
    for name in ("a", "b", "c"):
        shutil.copytree(source, models / name)
    for task in range(2):
        environment = {
            "PATH": f"{QUANTIZE.parent}:{os.environ['PATH']}", "MODELS": str(models),
            "RESULTS": str(tmp_path / "out"), "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_CPUS_PER_TASK": "1",
        }  # fmt: skip
        # Without a tokenizer the recipe cannot calibrate; the jobs fail, and the script says so.
        done = subprocess.run(["bash", EXAMPLES / "quantize.sbatch"], env=environment, check=False,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 2 or done.returncode == 3, done.stderr
        assert (tmp_path / "out" / f"shard-{task}.prom").exists()
    registry = json.loads((tmp_path / "out" / "registry.json").read_text())
    assert len(registry["failures"]) == 3


def test_the_kubernetes_job_is_valid_and_its_command_runs(source, tmp_path):
    import kubernetes_validate

    job = yaml.safe_load((EXAMPLES / "quantize-job.yaml").read_text())
    kubernetes_validate.validate(job, "1.37", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    program, *words = container["command"]
    assert program == "quantize"
    assert f"--shards={job['spec']['completions']}" in words
    words = [str(source) if word == "/models" else word for word in words]
    words = [f"--dst={tmp_path}/out" if word == "--dst=/results" else word for word in words]
    done = quantize(*[w for w in words if not w.startswith("--threads")], "--dry-run", "--json",
                    env={**os.environ, "JOB_COMPLETION_INDEX": "0"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["jobs"]) == 1


def test_the_pipeline_in_the_documents_uses_options_that_exist():
    text = (REPOSITORY / "docs" / "ci.md").read_text()
    (pipeline,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    steps = yaml.safe_load(pipeline)["jobs"]["quantize"]["steps"]
    (command,) = [step["run"] for step in steps if "run" in step]
    known = set(re.findall(r"--[a-z-]+", quantize("batch", "--help").stdout))
    assert set(re.findall(r"--[a-z-]+", command)) <= known
    assert pathlib.Path(EXAMPLES / "quantize.sbatch").stat().st_mode & 0o111
