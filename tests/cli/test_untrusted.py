"""Files from the internet may hold anything: each ends with a documented status and one line, in
bounded memory and time, whatever it asks for."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import time
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantize_cli import QUANTIZE, quantize
from small_models import calibration_ids, llama, save
from test_bad_inputs import TOKENIZER, refused

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

MOST_MEMORY = 2 << 30
ADDRESSES = 8 << 30


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(*words, **options):
    """The command with limits that an honest input does not meet; how much it held counts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = quantize(*words, preexec_fn=limits, timeout=120, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert after == before or after << 10 < MOST_MEMORY, f"{after >> 10} MiB"
    return done


@pytest.fixture
def source(tmp_path):
    folder = save(llama(), tmp_path / "source")
    (folder / "tokenizer.json").write_text(TOKENIZER)
    return folder


def chat(source, tmp_path, template):
    (source / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    calibration = tmp_path / "chat.jsonl"
    line = json.dumps({"messages": [{"role": "user", "content": "a word"}]})
    calibration.write_text(f"{line}\n" * 4)
    return run("run", source, tmp_path / "out", "--method", "awq", "--calib", calibration, "--overwrite")


DOUBLING = (
    "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(40) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x | length }}"
)
GROWING = {
    "doubling": DOUBLING,
    "indent": "{{ messages | tojson(indent=99999999999) }}",
    "product": "{{ ('word ' * 1000000000000) | length }}",
    "captures": "{% set x %}aaaaaaaaaaaaaaaa{% endset %}"
    + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40
    + "{{ x | length }}",
    "lists": "{% set ns = namespace(x=[1, 2, 3, 4]) %}{% for i in range(40) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | list | length }}",
}


@pytest.mark.parametrize("name", GROWING)
def test_a_template_that_grows_without_end(source, tmp_path, name):
    done = chat(source, tmp_path, GROWING[name])
    assert done.returncode in (3, 6), (done.returncode, done.stderr)
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("quantize: ")]
    assert "template" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("nested", ["-", "(", "[", "not ", "{'a':", "1+(", "{{", "{% if a %}", "a[", "a|b("])
def test_a_template_that_is_nested_without_end(source, tmp_path, nested):
    for count in (1000, 131000 // len(nested), 10000000 // len(nested)):  # the limit is 131,072 bytes
        body = nested * count
        template = body if nested.startswith("{%") else "{{ " + body + "1 }}"
        done = chat(source, tmp_path, template)
        assert done.returncode in (0, 3), (done.returncode, done.stderr[-500:])


def test_a_tokenizer_that_makes_more_and_more_of_a_text(source, tmp_path):
    tokenizer = json.loads(TOKENIZER)
    step = {"type": "Replace", "pattern": {"String": "w"}, "content": "wwww"}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [step] * 40}
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    text = tmp_path / "text.txt"
    text.write_text("a word\n" * 8)
    done = run("run", source, tmp_path / "out", "--method", "awq", "--calib", text)
    refused(done, 6, "out of memory", "tokenizer")


@pytest.mark.parametrize("name", ["config.json", "genai_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[" * 200000, '{"a":' * 200000, "[]", "7", '{"model_type": 3}'])
def test_json_of_any_form_beside_a_model(source, tmp_path, name, content):
    (source / name).write_text(content)
    ids = calibration_ids(tmp_path / "ids.npy")
    for layout in ("keep", "transformers.js"):
        done = run("run", source, tmp_path / layout, "--calib", ids, "--layout", layout, "-q")
        assert done.returncode in (0, 3, 4), (done.returncode, done.stderr)
        assert "internal error" not in done.stderr


FORMS = [
    '{"models": 7}', '{"models": [7]}', '{"linears": {}}', '{"linears": [[]], "recipe": []}',
    '{"recipe": {"method": 3}, "linears": [{"name": 4}], "source": "x", "totals": 3}', "[1]",
    '{"models": [{"linears": 3}]}',
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_metadata_of_any_form(tmp_path, form):
    file = tmp_path / "quantization_metadata.json"
    file.write_text(form)
    for words in (["inspect", file], ["inspect", tmp_path], ["compare", file, file],
                  ["recalibrate", tmp_path, "--calib", file], ["clean", tmp_path]):  # fmt: skip
        done = run(*words)
        assert done.returncode in (0, 2, 3, 4, 5), (words, done.returncode, done.stderr)
        assert "internal error" not in done.stderr and "exception" not in done.stderr


def model_of(folder, nodes, inputs, initializers=(), opset=21):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


# What a node is, and its integer inputs.
HUGE = {
    "ConstantOfShape": [[1 << 59]],
    "ConstantOfShape of a product": [[1 << 32, 1 << 32]],
    "ConstantOfShape of rows without elements": [[1 << 40, 0]],
    "Expand": [[1 << 31, 1 << 31, 2]],
    "Tile": [[1 << 59]],
    "Tile of a product": [[1 << 62]],
    "Reshape": [[1 << 62, 4]],
    "Slice": [[0, 0, 0], [2, 2, 2], [0, 0, 0]],
    "Pad": [[1 << 61, 1 << 61]],
    "Resize": [],
    "TopK of rows without elements": [[0]],
}


@pytest.mark.parametrize("name", HUGE)
def test_an_operator_asked_for_more_than_any_machine_has(tmp_path, name):
    kind = name.split()[0]
    counts = {f"c{i}": np.array(values, np.int64) for i, values in enumerate(HUGE[name])}
    names = (["x"] if not kind.startswith("Constant") else []) + list(counts)
    if kind == "Resize":
        counts = {"c0": np.array([1e30], np.float32)}
        names = ["x", "", "c0"]
    node = helper.make_node(kind, names, ["y", "i"] if kind == "TopK" else ["y"])
    inputs = [(n, TensorProto.FLOAT if a.dtype == np.float32 else TensorProto.INT64, None)
              for n, a in counts.items()]  # fmt: skip
    model = model_of(tmp_path / "m", [node], [("x", TensorProto.FLOAT, None), *inputs])
    x = np.zeros((1 << 30, 0) if kind == "TopK" else 3, np.float32)
    np.savez(tmp_path / "in.npz", x=x, **counts)
    done = run("forward", model, "--inputs", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    wanted = (0, 3, 6) if kind == "TopK" else (3, 4, 6)
    assert done.returncode in wanted, (done.returncode, done.stderr)


@pytest.mark.parametrize("shape", [[1, 1 << 40], [1 << 32, 1 << 32], [], [0, 0], [1 << 20, 1 << 20]])
def test_an_input_of_any_declared_shape(tmp_path, shape):
    model = llama()
    info = next(i for i in model.graph.input if i.name == "input_ids")
    info.CopyFrom(helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape))
    source = save(model, tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    for words in (["--method", "rtn"], ["--calib", ids]):
        done = run("run", source, tmp_path / "out", *words, "--overwrite")
        assert done.returncode in (0, 3, 4, 6), (done.returncode, done.stderr)
        if done.returncode == 0:  # then weights are rounded to nearest, which needs no run
            assert "not verified: the model's input 'input_ids'" in done.stderr or 0 in shape
        else:
            refused(done, done.returncode)


def test_weights_whose_dimensions_overflow(tmp_path):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[16, 1 << 60], raw_data=b"\0" * 64)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = model_of(tmp_path / "m", [node], [("x", TensorProto.FLOAT, [1, 16])], [weight])
    refused(run("run", model, tmp_path / "out", "--method", "rtn"), 3, "tensor 'w'")


def test_functions_that_call_each_other_without_measure(tmp_path):
    model = llama()
    for i in range(40):
        name = f"F{i + 1}" if i < 39 else "Relu"
        domain = "local" if i < 39 else ""
        nodes = [helper.make_node(name, ["a"], ["m"], domain=domain),
                 helper.make_node(name, ["m"], ["b"], domain=domain)]  # fmt: skip
        model.functions.append(
            helper.make_function("local", f"F{i}", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
        )
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node.append(helper.make_node("F0", ["input_ids"], ["unused"], domain="local"))
    refused(run("inspect", save(model, tmp_path / "m")), 3, "functions")


def test_a_chain_that_reads_itself_twice_each_time(tmp_path):
    nodes = [helper.make_node("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(60)]
    nodes.append(helper.make_node("MatMul", ["x", "v60"], ["y"]))
    weight = onnx.numpy_helper.from_array(np.ones((32, 32), np.float32), "v0")
    model = model_of(tmp_path / "m", nodes, [("x", TensorProto.FLOAT, [None, 32])], [weight])
    done = run("run", model, tmp_path / "out", "--method", "rtn")
    assert done.returncode in (0, 3, 4), done.stderr


def test_an_archive_that_declares_more_than_it_holds(source, tmp_path):
    archive = tmp_path / "c.npz"
    np.savez(archive, input_ids=np.ones((4, 8), np.int64))
    data = bytearray(archive.read_bytes())
    at = data.find(b"PK\x01\x02") + 24
    data[at : at + 4] = (0xEFFFFFF0).to_bytes(4, "little")
    archive.write_bytes(data)
    refused(run("run", source, tmp_path / "out", "--calib", archive), 3, "input_ids")


def test_an_array_that_unpacks_to_more_than_there_is(source, tmp_path):
    archive = tmp_path / "c.npz"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("input_ids.npy", b"\0" * (64 << 20))
    refused(run("run", source, tmp_path / "out", "--calib", archive), 3, "input_ids")


@pytest.mark.parametrize("name", ["ids.npy", "in.npz", "text.txt", "text.jsonl", "rows.parquet"])
def test_a_pipe_where_a_file_should_be(source, tmp_path, name):
    os.mkfifo(tmp_path / name)
    done = run("run", source, tmp_path / "out", "--calib", tmp_path / name)
    refused(done, 3, name)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_pipe_or_a_loop_of_links_beside_a_model(source, tmp_path, name):
    text = tmp_path / "text.txt"
    text.write_text("a word\n" * 8)
    for make in (os.mkfifo, lambda path: os.symlink(path.name, path)):
        (source / name).unlink(missing_ok=True)
        make(source / name)
        done = run("run", source, tmp_path / "out", "--calib", text, "--overwrite")
        assert done.returncode in (0, 3), (done.returncode, done.stderr)
        assert "internal error" not in done.stderr


def test_standard_output_that_is_full_or_gone(source):
    with open("/dev/full", "w") as full:
        for words in (["operators"], ["inspect", source], ["--version"], ["run", "--help"]):
            done = subprocess.run([QUANTIZE, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == 5, (words, done.returncode)
            assert done.stderr == "quantize: cannot write to standard output; it is full or closed\n"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([QUANTIZE, "operators"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 5 and done.stderr.count("\n") == 1
    done = subprocess.run(["bash", "-c", f"{QUANTIZE} operators >&-"], capture_output=True, text=True, check=False)
    assert done.returncode == 5


def test_a_source_that_is_cut_off_during_the_run(tmp_path):
    """The run ends with status 3, and goes on when the file is whole again."""
    source = save(llama(), tmp_path / "source", external=True)
    weights = source / "weights.bin"
    content = weights.read_bytes()
    ids = calibration_ids(tmp_path / "ids.npy", 256, 256)
    words = ["run", source, tmp_path / "out", "--method", "best", "--calib", ids,
             "--calib-samples", "256", "--threads", "1"]  # fmt: skip
    process = subprocess.Popen([str(w) for w in [QUANTIZE, *words]], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    lock = tmp_path / ".out.part" / "lock"
    deadline = time.monotonic() + 60
    while not lock.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.truncate(weights, 0)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3, (process.returncode, errors)
    (line,) = [text for text in errors.splitlines() if text.startswith("quantize: ")]
    assert "cut off" in line
    assert not (tmp_path / "out").exists()
    weights.write_bytes(content)
    done = quantize(*words[:-2])
    assert done.returncode == 0, done.stderr


def test_both_signals_end_a_loop_that_runs_long(tmp_path):
    body = helper.make_graph(
        [helper.make_node("MatMul", ["s", "w"], ["t"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("c", TensorProto.BOOL, []),
         helper.make_tensor_value_info("s", TensorProto.FLOAT, [256, 256])],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, []),
         helper.make_tensor_value_info("t", TensorProto.FLOAT, [256, 256])],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["m", "", "x"], ["y"], body=body)
    weight = onnx.numpy_helper.from_array(np.eye(256, dtype=np.float32), "w")
    inputs = [("m", TensorProto.INT64, []), ("x", TensorProto.FLOAT, [256, 256])]
    model = model_of(tmp_path / "m", [loop], inputs, [weight])
    np.savez(tmp_path / "in.npz", m=np.int64(1 << 62), x=np.ones((256, 256), np.float32))
    words = ["forward", model, "--inputs", tmp_path / "in.npz", "--out", tmp_path / "o.npz"]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen([str(w) for w in [QUANTIZE, *words]], stderr=subprocess.PIPE)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert not pathlib.Path(tmp_path / "o.npz").exists()
