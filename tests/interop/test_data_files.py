"""Models whose data lie in several files (--max-file-size): every layout, destination and way to be
stopped gives the same model as one file does, in ONNX Runtime bit for bit."""

import json
import pathlib
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from quantize_cli import QUANTIZE, hashes, quantize, quantized, run_session, session
from small_models import encoder_decoder, feeds_of, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
DEMO = pathlib.Path(__file__).resolve().parents[2] / "data" / "demo"
RTN = ["--method", "rtn", "--bits", 8, "--group-size", 32]
LIMIT = 64 << 10
CUT = ["--max-file-size", "64KiB"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = save(llama(layers=4, hidden=128, ffn=256), tmp_path_factory.mktemp("cut") / "source")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def locations(path):
    """Of each external tensor of a model file, by name."""
    found = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                found[tensor.name] = entry.value
    return found


def data_files(path, separator):
    """Those of a model that lie beside it, in order."""
    names = [f"{path.name}{separator}data" + (f"_{i}" if i else "") for i in range(100)]
    return [name for name in names if (path.parent / name).exists()]


def outputs(path):
    model = onnx.load(path)
    return run_session(session(path), feeds_of(model))


def check_same(cut, whole):
    """The cut model has the tensors and the outputs of the other."""
    for name, array in outputs(whole).items():
        assert np.array_equal(outputs(cut)[name], array), name
    tensors = [
        {t.name: t.SerializeToString() for t in onnx.load(path).graph.initializer}
        for path in (cut, whole)
    ]
    assert tensors[0] == tensors[1]


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("layout", ["keep", "transformers.js"])
def test_onnx_runtime_gives_the_outputs_of_the_uncut_model(source, tmp_path, layout, form):
    arguments = [*RTN, "--layout", layout, "--format", form, "--lm-head", "int8"]
    quantized(source, tmp_path / "whole", *arguments)
    plan = quantized(source, tmp_path / "cut", *arguments, *CUT, "--dry-run")
    assert not (tmp_path / "cut").exists()
    quantized(source, tmp_path / "cut", *arguments, *CUT)
    name = "model.onnx" if layout == "keep" else "onnx/model_quantized.onnx"
    cut = tmp_path / "cut" / name
    names = data_files(cut, "." if layout == "keep" else "_")
    assert len(names) > 3 and set(locations(cut).values()) == set(names)
    check_same(cut, tmp_path / "whole" / name)
    assert all((cut.parent / n).stat().st_size <= LIMIT for n in names)
    written = json.loads((tmp_path / "cut" / "quantization_metadata.json").read_text())
    assert written["recipe"]["max_file_size"] == LIMIT
    listed = [f for f in written["files"] if f["file"].startswith(name)]
    sizes = [{"file": f["file"], "bytes": f["bytes"]} for f in listed]
    assert sizes == plan["predicted"]["files"]
    assert [f["bytes"] for f in listed[1:]] == [(cut.parent / n).stat().st_size for n in names]
    own = json.loads((tmp_path / "cut" / "config.json").read_text()).get("transformers.js_config")
    if layout == "keep":
        assert own is None
    else:
        assert own["use_external_data_format"] == {"model_quantized.onnx": len(names)}
    again = quantized(source, tmp_path / "cut", *arguments, *CUT)
    assert again["up_to_date"]
    (cut.parent / names[2]).unlink()
    done = quantize("run", source, tmp_path / "cut", *arguments, *CUT)
    assert done.returncode == 5 and "no longer there" in done.stderr


def test_a_large_tensor_has_a_file_of_its_own_and_a_warning(tmp_path):
    result = quantized(DEMO, tmp_path / "out", *RTN, "--max-file-size", "256KiB")
    path = tmp_path / "out" / "model.onnx"
    sizes = [(tmp_path / "out" / n).stat().st_size for n in data_files(path, ".")]
    assert [size for size in sizes if size > 256 << 10] == [512 << 10] * 2  # table and LM head
    alone = [n for n, size in zip(data_files(path, "."), sizes) if size > 256 << 10]
    for name in alone:
        assert list(locations(path).values()).count(name) == 1
        assert sum(name in warning for warning in result["warnings"]) == 1


def test_a_cut_model_is_a_source_like_any_other(source, tmp_path):
    kept = [*RTN[:2], "--bits", 8, "--group-size", 128, "--embeddings", "keep"]
    quantized(source, tmp_path / "cut", *kept, *CUT)
    quantized(source, tmp_path / "whole", *kept)
    for name in ("cut", "whole"):
        quantized(tmp_path / name, tmp_path / f"{name} again", *RTN, "--requantize")
    found = [tmp_path / f"{name} again" / "model.onnx" for name in ("cut", "whole")]
    check_same(*found)
    assert locations(found[0]) == locations(found[1])
    # Nothing of the source's data is a sidecar file.
    assert data_files(found[0], ".") == ["model.onnx.data"]


def test_fewer_files_replace_more_and_nothing_else(source, tmp_path):
    out = tmp_path / "out"
    quantized(source, out, *RTN, *CUT)
    before = data_files(out / "model.onnx", ".")
    quantized(source, out, *RTN, "--max-file-size", "128KiB", "--overwrite")
    after = data_files(out / "model.onnx", ".")
    assert 1 < len(after) < len(before)
    quantized(source, out, *RTN, "--overwrite")
    assert data_files(out / "model.onnx", ".") == ["model.onnx.data"]


def test_a_single_file_takes_its_data_along(source, tmp_path):
    out = tmp_path / "out.onnx"
    quantized(source, tmp_path / "whole", *RTN)
    (tmp_path / "out.onnx.data_90").write_text("somebody's")
    refused = quantize("run", source, out, *RTN, *CUT)
    assert refused.returncode == 5 and "out.onnx.data_90" in refused.stderr
    quantized(source, out, *RTN)  # comes not near it
    (tmp_path / "out.onnx.data_90").unlink()
    quantized(source, out, *RTN, *CUT, "--overwrite")
    names = data_files(out, ".")
    assert len(names) > 3
    check_same(out, tmp_path / "whole" / "model.onnx")
    assert quantized(source, out, *RTN, *CUT)["up_to_date"]
    (tmp_path / "out.onnx.data_90").write_text("somebody's")
    quantized(source, out, *RTN, "--overwrite")
    assert data_files(out, ".") == ["out.onnx.data", "out.onnx.data_90"]
    check_same(out, tmp_path / "whole" / "model.onnx")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_each_model_of_a_directory_has_its_own(tmp_path):
    (tmp_path / "source" / "onnx").mkdir(parents=True)
    for name, model in encoder_decoder(hidden=96, ffn=128).items():
        onnx.save(model, tmp_path / "source" / "onnx" / f"{name}.onnx")
    config = {"transformers.js_config": {"use_external_data_format": True}}
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    for layout, suffix in (("keep", ""), ("transformers.js", "_quantized")):
        arguments = [*RTN, "--layout", layout]
        quantized(tmp_path / "source", tmp_path / f"{layout} whole", *arguments)
        plan = quantized(tmp_path / "source", tmp_path / layout, *arguments, *CUT, "--dry-run")
        quantized(tmp_path / "source", tmp_path / layout, *arguments, *CUT)
        counts = {}
        for part in plan["models"]:
            stem = pathlib.Path(part["file"]).stem
            path = tmp_path / layout / "onnx" / f"{stem}{suffix}.onnx"
            names = data_files(path, "_")
            assert [f["file"] for f in part["predicted"]["files"]] == [
                f"onnx/{name}" for name in (path.name, *names)
            ]
            counts[path.name] = len(names)
            check_same(path, tmp_path / f"{layout} whole" / "onnx" / path.name)
        written = json.loads((tmp_path / layout / "config.json").read_text())
        assert written["transformers.js_config"]["use_external_data_format"] == counts
        assert len(set(counts.values())) > 1 and max(counts.values()) > 1


def steps(destination):
    return len(list(destination.parent.glob(f".{destination.name}.part/checkpoint/step-*.cbor")))


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_run_goes_on_in_the_file_where_it_was(tmp_path, after):
    options = [
        "--calib", DEMO / "calibration.txt", "--calib-samples", 12, "--bits", 8,
        "--group-size", 32, "--checkpoint-seconds", 0, *CUT,
    ]  # fmt: skip
    quantized(DEMO, tmp_path / "whole", *options)
    destination = tmp_path / "out"
    command = [QUANTIZE, "--threads", 1, "run", DEMO, destination, *options]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL) as process:
        while steps(destination) < after and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert not destination.exists(), "finished before it could be stopped"
    done = quantized(DEMO, destination, *options, "--resume")
    assert done["resumed_segments"] >= after
    assert hashes(destination) == hashes(tmp_path / "whole")


def test_another_limit_is_another_run(tmp_path):
    done = quantize("run", DEMO, tmp_path / "out", *RTN, "--max-file-size", "63KiB")
    assert done.returncode == 2 and "the least is 64.0 KiB" in done.stderr
    quantized(DEMO, tmp_path / "out", *RTN)
    done = quantize("run", DEMO, tmp_path / "out", *RTN, *CUT)
    assert done.returncode == 5 and "max_file_size" in done.stderr


def test_more_files_than_are_read_are_refused_before_any_work(tmp_path):
    source = save(llama(layers=2, hidden=256, ffn=1024), tmp_path / "source")
    wide = onnx.load(source / "model.onnx")
    rng = np.random.default_rng(4)
    names = [f"spare{i}" for i in range(101)]
    for name in names:  # constants of 64 KiB that a node reads
        array = rng.standard_normal((64, 256)).astype(np.float32)
        wide.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    wide.graph.node.append(onnx.helper.make_node("Sum", names, ["spare_sum"], name="spare"))
    info = onnx.helper.make_tensor_value_info("spare_sum", onnx.TensorProto.FLOAT, [64, 256])
    wide.graph.output.append(info)
    onnx.save(wide, source / "model.onnx")
    for more in ([], ["--dry-run"]):
        done = quantize("run", source, tmp_path / "out", *RTN, *CUT, *more)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "more than 100 data files" in done.stderr
        assert not (tmp_path / "out").exists()
