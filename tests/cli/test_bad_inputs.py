"""What the program does with inputs that it cannot use: exit status, one clear line, nothing left.

Exit statuses: 2 usage, 3 unreadable or malformed input, 4 unsupported, 5 cannot write.
"""

import os
import pathlib
import resource
import shutil
import signal
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper
from quantize_cli import QUANTIZE, quantize
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

TOKENIZER = """{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
"normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
"decoder": null, "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "word": 2},
"unk_token": "[UNK]"}}"""


@pytest.fixture
def source(tmp_path):
    """A model directory with a tokenizer."""
    folder = save(llama(), tmp_path / "source")
    (folder / "tokenizer.json").write_text(TOKENIZER)
    return folder


@pytest.fixture
def work(tmp_path):
    """Where the destination would be; it must stay empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def refused(done, status, *words):
    """Asserts the exit status and exactly one line of error that holds the words."""
    assert done.returncode == status, (done.returncode, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    (line,) = lines
    assert line.startswith("quantize: ")
    for sign in ("terminate", "what():", "std::", "Traceback", "exception", "internal error"):
        assert sign not in line
    for word in words:
        assert word in line, line
    assert done.stdout == ""
    return line


def refused_run(work, status, *words, model, arguments=()):
    """`quantize run` into work/out is refused and leaves the folder `work` empty."""
    done = quantize("run", "--src", model, "--dst", work / "out", "--method", "rtn", *arguments)
    line = refused(done, status, *words)
    assert list(work.iterdir()) == []
    return line


# ---- Models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["absent.onnx", "absent", "absent/model.onnx"])
def test_missing_file(work, tmp_path, name):
    refused_run(work, 3, name, model=tmp_path / name)


def test_directory_without_a_model(work, tmp_path):
    (tmp_path / "empty").mkdir()
    refused_run(work, 3, "empty", model=tmp_path / "empty")


@pytest.mark.parametrize("text", ["", "This is a text.\n" * 50, "{}", "version https://git-lfs"])
def test_text_named_onnx(work, tmp_path, text):
    model = tmp_path / "text.onnx"
    model.write_text(text)
    refused_run(work, 3, "text.onnx", model=model)


@pytest.mark.parametrize("kept", [1, 17, 0.3, 0.7, -1])
def test_truncated_protobuf(work, source, kept):
    model = source / "model.onnx"
    content = model.read_bytes()
    size = int(len(content) * kept) if isinstance(kept, float) else kept
    model.write_bytes(content[:size])
    refused_run(work, 3, "model.onnx", model=source)


@pytest.fixture
def external(tmp_path):
    return save(llama(), tmp_path / "external", external=True)


def test_external_data_missing(work, external):
    (external / "weights.bin").unlink()
    refused_run(work, 3, "weights.bin", model=external)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_external_data_truncated(work, external, kept):
    content = (external / "weights.bin").read_bytes()
    (external / "weights.bin").write_bytes(content[: int(len(content) * kept)])
    refused_run(work, 3, "weights.bin", model=external)


def relocate(external, location):
    """Changes where every external tensor says that its data is."""
    model = onnx.load(external / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (external / "model.onnx").write_bytes(model.SerializeToString())


def test_external_data_escaping_the_directory(work, external, tmp_path):
    shutil.move(external / "weights.bin", tmp_path / "weights.bin")
    relocate(external, "../weights.bin")
    refused_run(work, 3, "../weights.bin", model=external)


def test_external_data_at_an_absolute_path(work, external, tmp_path):
    relocate(external, str((external / "weights.bin").resolve()))
    refused_run(work, 3, "weights.bin", model=external)


def test_external_data_behind_a_link_to_outside(work, external, tmp_path):
    shutil.move(external / "weights.bin", tmp_path / "weights.bin")
    (external / "weights.bin").symlink_to(tmp_path / "weights.bin")
    refused_run(work, 3, "weights.bin", model=external)


def test_external_data_is_a_directory(work, external):
    (external / "weights.bin").unlink()
    (external / "weights.bin").mkdir()
    refused_run(work, 3, "weights.bin", model=external)


@pytest.mark.parametrize("key,value", [("offset", "-4"), ("length", "99999999"), ("offset", "x")])
def test_external_data_with_a_bad_extent(work, external, key, value):
    model = onnx.load(external / "model.onnx", load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.external_data)
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
    (external / "model.onnx").write_bytes(model.SerializeToString())
    refused_run(work, 3, tensor.name, model=external)


@pytest.mark.parametrize("domain", ["", "my.domain"])
def test_unknown_operator(work, tmp_path, domain):
    model = llama()
    node = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    node.op_type, node.domain = "Unheard", domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    folder = save(model, tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    asked = ["--src", folder, "--calib", ids]
    run = ["run", *asked, "--dst", work / "out"]
    for arguments in (run, [*run, "--dry-run"], ["stats", *asked, "--out", work / "stats"]):
        refused(quantize(*arguments), 4, "Unheard", node.name)
    assert "--method rtn" in quantize(*run).stderr
    np.savez(tmp_path / "in.npz", input_ids=np.zeros((1, 4), np.int64))
    given = ["--inputs", tmp_path / "in.npz", "--out", work / "out.npz"]
    refused(quantize("forward", folder, *given), 4, "Unheard", node.name)
    refused(quantize("eval", folder, "--text", ids), 4, "Unheard", node.name)
    assert list(work.iterdir()) == []
    done = quantize(*run, "--method", "rtn")
    assert done.returncode == 0 and "not verified" in done.stderr and "Unheard" in done.stderr


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_weight_that_is_not_finite(work, tmp_path, value, method):
    model = llama()
    name = "model.layers.0.mlp.up_proj.weight"
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[3, 5] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    folder = save(model, tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = ["--method", method, "--calib", ids]
    done = quantize("run", "--src", folder, "--dst", work / "out", *arguments)
    refused(done, 3, "up_proj")
    assert list(work.iterdir()) == []


def test_model_without_linears(work, tmp_path):
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in "xy"
    )
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"], name="t")], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    refused_run(work, 4, "nothing to quantize", model=save(model, tmp_path / "source"))


def weight_through(op, *inputs, **attributes):
    """Embeddings times a weight that goes through one node, which the test then makes wrong."""
    nodes = [
        helper.make_node("Gather", ["w", "input_ids"], ["x"], name="embed"),
        helper.make_node(op, ["w", *inputs], ["v"], name="moves", **attributes),
        helper.make_node("MatMul", ["x", "v"], ["p"], name="product"),
        helper.make_node("Tanh", ["p"], ["y"], name="last"),
    ]
    arrays = {"w": np.ones((16, 16), np.float32), "target": np.array([0, 0, 0], np.int64)}
    ids = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "t"])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["b", "t", 16])
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [ids], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


MALFORMED = {
    "Transpose without input": lambda: weight_through("Transpose"),
    "Transpose beyond the rank": lambda: weight_through("Transpose", perm=[0, 7]),
    "Transpose of another rank": lambda: weight_through("Transpose", perm=[0, 2, 1]),
    "Reshape without shape": lambda: weight_through("Reshape"),
    "Reshape copying an absent dimension": lambda: weight_through("Reshape", "target"),
    "DequantizeLinear without scale": lambda: weight_through("DequantizeLinear"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_node_in_front_of_a_weight(work, tmp_path, what):
    model = MALFORMED[what]()
    if "without input" in what:
        del model.graph.node[1].input[:]
    folder = save(model, tmp_path / "source")
    done = quantize("run", "--src", folder, "--dst", work / "out", "--method", "rtn", "-q")
    refused(done, 3, "moves")
    assert list(work.iterdir()) == []


def test_siblings_of_different_widths(work, tmp_path):
    model = llama()
    tensor = next(t for t in model.graph.initializer if "k_proj" in t.name)
    values = np.ones((32, 64), np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    refused_run(work, 3, "k_proj", "q_proj", model=save(model, tmp_path / "source"))


# ---- Arrays for forward ----


def forward_refused(source, tmp_path, status, *words, **arrays):
    np.savez(tmp_path / "in.npz", **arrays)
    out = tmp_path / "out.npz"
    done = quantize("forward", source, "--inputs", tmp_path / "in.npz", "--out", out)
    refused(done, status, *words)
    assert not out.exists()


def test_forward_without_an_input(source, tmp_path):
    forward_refused(source, tmp_path, 3, "input_ids", other=np.zeros((1, 2), np.int64))


def test_forward_with_the_wrong_type(source, tmp_path):
    forward_refused(source, tmp_path, 3, "input_ids", input_ids=np.zeros((1, 2), np.float32))


def test_forward_with_the_wrong_rank(source, tmp_path):
    forward_refused(source, tmp_path, 3, "input_ids", input_ids=np.zeros(2, np.int64))


def test_forward_with_ids_outside_the_table(source, tmp_path):
    forward_refused(source, tmp_path, 3, "Gather", input_ids=np.full((1, 2), 96))


def test_forward_with_a_file_that_holds_no_arrays(source, tmp_path):
    (tmp_path / "in.npz").write_text("not a zip archive")
    arguments = ["--inputs", tmp_path / "in.npz", "--out", tmp_path / "out.npz"]
    refused(quantize("forward", source, *arguments), 3, "in.npz")


def test_forward_without_anything_to_do(source, tmp_path):
    np.savez(tmp_path / "in.npz", input_ids=np.zeros((1, 2), np.int64))
    refused(quantize("forward", source, "--inputs", tmp_path / "in.npz"), 2, "--out", "--against")


def test_forward_against_another_shape(source, tmp_path):
    arrays = {"in.input_ids": np.zeros((1, 2), np.int64), "out.logits": np.zeros((1, 3, 96))}
    np.savez(tmp_path / "in.npz", **arrays)
    done = quantize("forward", source, "--inputs", tmp_path / "in.npz", "--against")
    assert done.returncode == 7 and "logits" in done.stderr


# ---- Calibration --------------------------------------------------------------------------------


def calibrated_run(work, source, calib, *arguments, **options):
    return quantize(
        "run", "--src", source, "--dst", work / "out", "--calib", calib, *arguments, **options
    )


@pytest.mark.parametrize("name", ["calib.txt", "calib.jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_empty_calibration_file(work, source, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    refused(calibrated_run(work, source, tmp_path / name), 3, name)
    assert list(work.iterdir()) == []


def test_empty_calibration_ids(work, source, tmp_path):
    np.save(tmp_path / "ids.npy", np.zeros((0, 8), np.int64))
    refused(calibrated_run(work, source, tmp_path / "ids.npy"), 3, "ids.npy")
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("bad", [96, 10**6, -1])
def test_calibration_ids_outside_the_vocabulary(work, source, tmp_path, bad):
    ids = np.full((4, 8), 5)
    ids[2, 3] = bad
    np.save(tmp_path / "ids.npy", ids)
    refused(calibrated_run(work, source, tmp_path / "ids.npy"), 3, str(bad))
    assert list(work.iterdir()) == []


def test_missing_calibration_file(work, source, tmp_path):
    refused(calibrated_run(work, source, tmp_path / "absent.jsonl"), 3, "absent.jsonl")
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("content", ['{"text": "a word"}\n{"text": ', "not json\n", "[1, 2]\n"])
def test_malformed_json_lines(work, source, tmp_path, content):
    (tmp_path / "calib.jsonl").write_text(content)
    refused(calibrated_run(work, source, tmp_path / "calib.jsonl"), 3, "calib.jsonl")
    assert list(work.iterdir()) == []


def test_text_without_a_tokenizer(work, source, tmp_path):
    (source / "tokenizer.json").unlink()
    (tmp_path / "calib.txt").write_text("a word\n")
    refused(calibrated_run(work, source, tmp_path / "calib.txt"), 3, "--tokenizer")
    assert list(work.iterdir()) == []


def test_malformed_tokenizer(work, source, tmp_path):
    (source / "tokenizer.json").write_text('{"model": 3}')
    (tmp_path / "calib.txt").write_text("a word\n")
    refused(calibrated_run(work, source, tmp_path / "calib.txt"), 3, "tokenizer.json")
    assert list(work.iterdir()) == []


# ---- Destinations -------------------------------------------------------------------------------


def run_into(source, destination, *arguments, **options):
    return quantize(
        "run", "--src", source, "--dst", destination, "--method", "rtn", *arguments, **options
    )


def test_destination_where_nobody_can_write(source):
    refused(run_into(source, "/proc/quantized"), 5, "/proc")


def test_destination_below_a_file(source, tmp_path):
    (tmp_path / "file").write_text("keep me")
    refused(run_into(source, tmp_path / "file" / "out"), 5, "file")
    assert (tmp_path / "file").read_text() == "keep me"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_destination(source, work):
    work.chmod(0o555)
    try:
        refused(run_into(source, work / "out"), 5, "work")
    finally:
        work.chmod(0o755)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "full directory"])
def test_destination_that_exists(source, work, kind):
    target = work / "out"
    if kind == "file":
        target.write_text("keep me")
    else:
        target.mkdir()
        (target / "notes.txt").write_text("keep me")
    refused(run_into(source, target), 5, "out", "--overwrite")
    assert [p.name for p in work.iterdir()] == ["out"]
    kept = target if kind == "file" else target / "notes.txt"
    assert kept.read_text() == "keep me"


def test_destination_inside_of_nothing_is_not_made_elsewhere(source, tmp_path, monkeypatch):
    """A relative destination goes below the working directory and nowhere else."""
    here = tmp_path / "here"
    here.mkdir()
    done = run_into(source, "out", cwd=here)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in here.iterdir()] == ["out"]


def test_disk_that_fills_up(source, work):
    """A limit on the size of files fails writes as a full disk does."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    refused(run_into(source, work / "out", preexec_fn=limit), 5, "out")
    assert list(work.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("option", ["size=32k", "ro"])
def test_small_and_read_only_file_systems(source, work, option):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", option, "tmpfs", work], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        refused(run_into(source, work / "out"), 5, str(work))
        assert list(work.iterdir()) == []
    finally:
        subprocess.run(["umount", work], check=True)


def test_interruption_leaves_nothing(source, work, tmp_path):
    """Ctrl-C during a run: no half model under the final name, nothing beside it."""
    ids = calibration_ids(tmp_path / "ids.npy", 512, 512)
    command = [QUANTIZE, "run", "--src", source, "--dst", work / "out", "--calib", ids]
    command += ["--calib-samples", "512", "--threads", "1"]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        process.wait(timeout=0.3)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0, "the run finished before it could be interrupted"
    assert "Traceback" not in errors and "terminate" not in errors
    assert [pathlib.Path(p).name for p in work.iterdir()] == []
