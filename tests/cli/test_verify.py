"""quantize verify: what is as it was written passes, and every kind of change is found."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantize_cli import QUANTIZE, quantize
from small_models import llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("verify")
    source = save(llama(), root / "source")
    (source / "config.json").write_text('{"model_type": "llama"}')
    done = quantize("run", source, root / "out", "--method", "rtn", "--bits", "4", "-q")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def result(written, tmp_path):
    return shutil.copytree(written / "out", tmp_path / "out")


def verified(*arguments):
    done = quantize("verify", *arguments, "--json")
    assert done.returncode in (0, 7), done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] == (done.returncode == 0)
    return report["passed"], {check["name"]: check for check in report["checks"]}


def metadata_of(result):
    return json.loads((result / "quantization_metadata.json").read_text())


def write_metadata(result, metadata):
    (result / "quantization_metadata.json").write_text(json.dumps(metadata))


def relist(result, metadata):
    """Makes the list of files fit again, as somebody would who wants nothing to be seen."""
    import hashlib

    for entry in metadata["files"]:
        data = (result / entry["file"]).read_bytes()
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    write_metadata(result, metadata)


def test_what_a_run_wrote_passes(written, result):
    passed, checks = verified(result, "--source", written / "source")
    assert passed
    assert list(checks) == ["metadata", "files", "source of model.onnx",
                            "operators of model.onnx", "scales of model.onnx", "run of model.onnx"]
    assert {check["state"] for check in checks.values()} == {"passed"}


def test_every_file_of_the_result_has_its_hash(result):
    import hashlib

    metadata = metadata_of(result)
    for entry in metadata["files"]:
        data = (result / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
    assert metadata["tool"]["sha256"] == hashlib.sha256(QUANTIZE.read_bytes()).hexdigest()


def test_data_files_of_the_source_are_hashed(tmp_path):
    import hashlib

    source = save(llama(), tmp_path / "source", external=True)
    done = quantize("run", source, tmp_path / "out", "--method", "rtn", "-q")
    assert done.returncode == 0, done.stderr
    files = metadata_of(tmp_path / "out")["source"]["data_files"]
    assert files
    for entry in files:
        assert entry["sha256"] == hashlib.sha256((source / entry["file"]).read_bytes()).hexdigest()
    assert verified(tmp_path / "out", "--source", source)[0]
    data = bytearray((source / files[0]["file"]).read_bytes())
    data[0] ^= 1
    (source / files[0]["file"]).write_bytes(data)
    passed, checks = verified(tmp_path / "out", "--source", source)
    assert not passed and checks["source of model.onnx"]["state"] == "failed"


@pytest.mark.parametrize("name", ["model.onnx", "config.json"])
def test_a_changed_byte_is_found(result, name):
    data = bytearray((result / name).read_bytes())
    data[len(data) // 2] ^= 1
    (result / name).write_bytes(data)
    passed, checks = verified(result, "--no-run")
    assert not passed
    assert name in checks["files"]["problems"][0] and "SHA-256" in checks["files"]["problems"][0]


def test_missing_and_cut_files_are_found(result):
    (result / "config.json").unlink()
    data = (result / "model.onnx").read_bytes()
    (result / "model.onnx").write_bytes(data[:-7])
    passed, checks = verified(result, "--no-run")
    assert not passed
    problems = " ".join(checks["files"]["problems"])
    assert "'config.json' is missing" in problems
    assert f"'model.onnx' has {len(data) - 7} bytes, written were {len(data)}" in problems


def test_metadata_that_break_their_schema_are_found(result):
    metadata = metadata_of(result)
    metadata["totals"]["weights"] = "many"
    metadata["linears"][0]["surprise"] = 1
    write_metadata(result, metadata)
    passed, checks = verified(result, "--no-run")
    assert not passed
    problems = " ".join(checks["metadata"]["problems"])
    assert "/totals/weights is of type string" in problems and "/surprise is not allowed" in problems


def change_model(result, change):
    model = onnx.load(result / "model.onnx")
    change(model)
    onnx.save(model, result / "model.onnx")
    relist(result, metadata_of(result))


def test_scales_that_are_not_finite_are_found_whatever_the_hashes_say(result):
    def spoil(model):
        node = next(n for n in model.graph.node if n.op_type == "MatMulNBits")
        scales = next(i for i in model.graph.initializer if i.name == node.input[2])
        values = numpy_helper.to_array(scales).copy()
        values.flat[3] = np.nan
        scales.CopyFrom(numpy_helper.from_array(values, scales.name))

    change_model(result, spoil)
    passed, checks = verified(result)
    assert not passed and checks["files"]["state"] == "passed"
    assert "1 of" in checks["scales of model.onnx"]["problems"][0]
    assert checks["run of model.onnx"]["state"] == "failed"


def test_what_the_opset_does_not_have_is_found(written, result):
    def spoil(model):
        softmax = next(n for n in model.graph.node if n.op_type == "Softmax")
        softmax.attribute.append(onnx.helper.make_attribute("softness", 1))

    change_model(result, spoil)
    passed, checks = verified(result, "--source", written / "source")
    assert not passed and checks["files"]["state"] == "passed"
    assert "softness" in checks["operators of model.onnx"]["problems"][0]


def test_a_model_of_another_source_is_found(result):
    def spoil(model):
        for entry in model.metadata_props:
            if entry.key == "quantization.source_sha256":
                entry.value = "0" * 64

    change_model(result, spoil)
    passed, checks = verified(result, "--no-run")
    assert not passed
    assert "another source" in checks["operators of model.onnx"]["problems"][0]


def test_another_source_is_told_apart(written, result, tmp_path):
    other = save(llama(seed=7), tmp_path / "other")
    passed, checks = verified(result, "--source", other)
    assert not passed and "is another" in checks["source of model.onnx"]["problems"][0]


def test_a_single_file_is_found_by_its_name(written, tmp_path):
    out = tmp_path / "small.onnx"
    assert quantize("run", written / "source", out, "--method", "rtn", "-q").returncode == 0
    passed, checks = verified(out)
    assert passed and "run of small.onnx" in checks


def test_results_without_hashes_are_compared_by_size(result):
    metadata = metadata_of(result)
    metadata["schema_version"] = "1.5"
    del metadata["tool"]["sha256"]
    for entry in metadata["files"]:
        del entry["sha256"]
    write_metadata(result, metadata)
    passed, checks = verified(result)
    assert passed and checks["metadata"]["state"] == "skipped"
    (result / "config.json").write_text("{}")
    assert not verified(result)[0]


def test_names_that_leave_the_result_are_no_files_of_it(result, tmp_path):
    (tmp_path / "outside").write_text("secret")
    metadata = metadata_of(result)
    metadata["files"].append({"file": "../outside", "bytes": 6, "sha256": "0" * 64})
    write_metadata(result, metadata)
    passed, checks = verified(result, "--no-run")
    assert not passed  # the schema names no such file
    assert all("outside" not in problem for problem in checks["files"]["problems"])


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": "1.6"}'])
def test_what_is_no_result_is_refused(tmp_path, text):
    done = quantize("verify", tmp_path)
    assert done.returncode == 3 and "is no result of quantize run" in done.stderr
    (tmp_path / "quantization_metadata.json").write_text(text)
    done = quantize("verify", tmp_path)
    assert done.returncode == 3 and done.stderr.count("\n") == 1
