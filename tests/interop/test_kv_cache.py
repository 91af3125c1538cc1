"""Caches of codes (--kv-cache) in ONNX Runtime: what is stored, that prompts and single steps agree with each
other and with our own executor, how far keys are from float ones, and who is refused."""

import json
import pathlib
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (QUANTIZE, REPOSITORY, check_metadata, forward, quantize, quantized,
                          relative_error, run_session, session)  # fmt: skip

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "runtimes"))
from runtime_models import save_demo_decoder  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

DEMO = REPOSITORY / "data" / "demo"
FORMS = [(bits, scales) for bits in (8, 4) for scales in ("per-channel", "per-tensor")]
# Sums in another order move a value across the border between two codes now and then.
MOVED_CODES = 0.01
TYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}


def options_of(bits, scales="per-channel", samples=16, length=64):
    """A run that leaves the weights alone."""
    return ("--method", "rtn", "--exclude", "*", "--kv-cache", f"int{bits}", "--kv-scales", scales,
            "--calib", DEMO / "calibration.txt", "--calib-samples", samples,
            "--seq-len", length)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_demo_decoder(tmp_path_factory.mktemp("kv") / "decoder")


@pytest.fixture(scope="module")
def results(source):
    """A result for each form, made when it is first asked for."""
    made = {}

    def result(bits, scales):
        folder = source.parent / f"{bits}-{scales}"
        if (bits, scales) not in made:
            made[bits, scales] = quantized(source, folder, *options_of(bits, scales))
        return folder, made[bits, scales]

    return result


def story(length, seed=0):
    """Token ids of a held-out text, repeated where it is shorter."""
    from tokenizers import Tokenizer

    text = (DEMO / "heldout.txt").read_text(encoding="utf-8").strip().split("\n\n")[seed]
    ids = Tokenizer.from_file(str(DEMO / "tokenizer.json")).encode(text).ids
    return np.resize(np.array(ids, np.int64), length)[None]


def feeds_of(running, ids, past=None, seen=0):
    """Inputs of new tokens behind `seen` ones that `past`, outputs of a run, holds."""
    feeds = {"input_ids": ids, "attention_mask": np.ones((1, seen + ids.shape[1]), np.int64)}
    for given in running.get_inputs():
        if not given.name.startswith("past"):
            continue
        name = given.name.replace("past_key_values", "present")
        empty = np.zeros((1, given.shape[1], 0, given.shape[3]), TYPES[given.type])
        feeds[given.name] = empty if past is None else past[name]
    return feeds


def scales_of(folder):
    """Scales by the cache's name, as [heads, 1, head size] or one."""
    graph = onnx.load(folder / "model.onnx").graph
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "GroupQueryAttention":
            for output, scale in zip(node.output[1:3], node.input[12:14]):
                array = stored[scale]
                found[output] = array if array.size == 1 else array.reshape(4, 1, 16)
    return found


def unpacked(codes):
    """Codes of int8, or of two in a byte, the first of them low."""
    if codes.dtype == np.int8:
        return codes.astype(np.int64)
    both = np.stack([codes & 15, codes >> 4], -1).astype(np.int64) - 8
    return both.reshape(*codes.shape[:-1], -1)


@pytest.mark.parametrize("bits,scales", FORMS)
def test_steps_and_prompt_agree_and_our_executor_with_both(results, source, tmp_path, bits, scales):
    folder, report = results(bits, scales)
    assert report["verification"]["done"]
    running, ids = session(folder / "model.onnx"), story(40)
    prompt = run_session(running, feeds_of(running, ids))
    past, stepped = None, []
    for at in range(ids.shape[1]):
        past = run_session(running, feeds_of(running, ids[:, at : at + 1], past, at))
        stepped.append(past["logits"][0, 0])
    assert relative_error(np.stack(stepped), prompt["logits"][0]) < 0.1
    own = forward(folder / "model.onnx", feeds_of(running, ids), tmp_path)
    plain = session(source / "model.onnx")
    wanted = run_session(plain, feeds_of(plain, ids))
    for name in prompt:
        if name == "logits":
            loss = np.abs(prompt[name] - wanted[name]).mean()
            assert np.abs(own[name] - prompt[name]).mean() < 0.1 * loss + 1e-4
            continue
        for codes in (past[name], own[name]):
            assert codes.dtype == prompt[name].dtype and codes.shape == prompt[name].shape
            moved = unpacked(codes) != unpacked(prompt[name])
            assert moved.mean() < MOVED_CODES, name


@pytest.mark.parametrize("bits,scales", FORMS)
def test_codes_are_rounded_to_even_and_clipped(results, source, bits, scales):
    """Of the first layer: what it reads does not depend on any cache."""
    folder, _ = results(bits, scales)
    ids = story(200)
    plain, running = session(source / "model.onnx"), session(folder / "model.onnx")
    wanted = run_session(plain, feeds_of(plain, ids))
    got = run_session(running, feeds_of(running, ids))
    limit = 1 << (bits - 1)
    for name in ("present.0.key", "present.0.value"):
        steps = wanted[name] / scales_of(folder)[name]
        codes = np.clip(np.round(steps), -limit, limit - 1)
        moved = codes != unpacked(got[name])
        assert moved.mean() < MOVED_CODES, name
        assert np.abs(steps - np.floor(steps) - 0.5)[moved].max(initial=0) < 1e-2, name


@pytest.mark.parametrize("bits,scales", FORMS)
def test_graph_metadata_and_report_name_the_caches(results, source, bits, scales):
    folder, report = results(bits, scales)
    model = onnx.load(folder / "model.onnx")
    width, kind = (16, TensorProto.INT8) if bits == 8 else (8, TensorProto.UINT8)
    for value in [*model.graph.input, *model.graph.output]:
        if value.name.startswith(("past", "present")):
            tensor = value.type.tensor_type
            assert tensor.elem_type == kind
            assert tensor.shape.dim[3].dim_value == width
    named = [entry["name"] for entry in check_metadata(folder)["caches"]]
    assert named == [f"present.{i}.{part}" for i in range(4) for part in ("key", "value")]
    assert [entry["name"] for entry in report["caches"]] == named
    for entry in report["caches"]:
        assert entry["form"] == f"int{bits} {scales.replace('-', ' ')}"
        found = scales_of(folder)[entry["name"]]
        assert entry["scales"] == found.size
        np.testing.assert_allclose(
            [entry["least_scale"], entry["largest_scale"]], [found.min(), found.max()], rtol=1e-6
        )
    for name in ("genai_config.json", "config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    assert f"caches   8 int{bits}" in quantize("inspect", folder).stdout


@pytest.mark.parametrize("bits", [8, 4])
def test_scales_hold_far_beyond_the_calibrated_length(source, tmp_path, bits):
    """A position turns a pair of a key's channels, but does not make it longer."""
    length = 24
    quantized(source, tmp_path / "out", *options_of(bits, samples=64, length=length))
    ids = story(16 * length)
    plain, running = session(source / "model.onnx"), session(tmp_path / "out" / "model.onnx")
    wanted = run_session(plain, feeds_of(plain, ids))["present.0.key"]
    codes = run_session(running, feeds_of(running, ids))["present.0.key"]
    got = unpacked(codes) * scales_of(tmp_path / "out")["present.0.key"]
    error = np.square(got - wanted).mean((0, 1, 3))
    inside, beyond = (np.sqrt(part.mean()) for part in (error[:length], error[length:]))
    assert beyond <= 1.2 * inside


def test_a_result_is_up_to_date_while_the_samples_of_its_scales_are_the_same(source, tmp_path):
    def run(*more):
        return quantize("run", source, tmp_path / "out", "--json", *options_of(8)[:-4], *more)

    made = run("--calib-samples", 4, "--seq-len", 32)
    assert made.returncode == 0, made.stderr
    samples = check_metadata(tmp_path / "out")["cache_samples"]
    assert samples["samples"] == 4 and check_metadata(tmp_path / "out")["calibration"] is None
    again = run("--calib-samples", 4, "--seq-len", 32)
    assert json.loads(again.stdout)["up_to_date"]
    text = tmp_path / "texts.txt"
    text.write_text((DEMO / "calibration.txt").read_text(encoding="utf-8"), encoding="utf-8")
    other = ("--method", "rtn", "--exclude", "*", "--kv-cache", "int8", "--calib", text,
             "--calib-samples", 4, "--seq-len", 32)  # fmt: skip
    done = quantized(source, tmp_path / "own", *other)
    assert not done["up_to_date"] and quantized(source, tmp_path / "own", *other)["up_to_date"]
    text.write_text("One other text.\n\n" + text.read_text(encoding="utf-8"), encoding="utf-8")
    refused = quantize("run", source, tmp_path / "own", *other)
    assert refused.returncode == 5 and "samples of caches" in refused.stderr, refused.stderr


def test_scales_are_the_same_for_any_number_of_threads(source, tmp_path):
    files = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        quantized(source, folder, *options_of(4), threads=threads)
        files.append((folder / "model.onnx").read_bytes())
    assert files[0] == files[1]


def test_perplexity_reads_the_codes(results, source, tmp_path):
    """A prompt attends to rows as the cache gives them back, so whole texts measure what steps give."""
    stories = (DEMO / "heldout.txt").read_text(encoding="utf-8").split("\n\n")[:4]
    (tmp_path / "texts.txt").write_text("\n\n".join(stories), encoding="utf-8")
    kl = {}
    for bits in (8, 4):
        folder, _ = results(bits, "per-channel")
        done = quantize("eval", folder, "--against", source / "model.onnx", "--json",
                        "--text", tmp_path / "texts.txt")  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        kl[bits] = found["kl"] if "kl" in found else found["against"]["kl"]
    assert 0 < kl[8] < 0.002
    assert kl[8] < kl[4] < 0.2


def test_quantized_weights_and_fp16_go_with_it(source, tmp_path):
    ids = story(48)
    plain = session(source / "model.onnx")
    wanted = run_session(plain, feeds_of(plain, ids))["logits"]
    for name, arguments in (("w4", ("--method", "awq")), ("fp16", ("--method", "fp16"))):
        folder = tmp_path / name
        quantized(source, folder, *options_of(8)[4:], *arguments)
        running = session(folder / "model.onnx")
        got = run_session(running, feeds_of(running, ids))
        assert got["present.3.key"].dtype == np.int8
        assert relative_error(got["logits"], wanted) < (0.02 if name == "fp16" else 0.5)


def test_requantize_makes_floats_of_the_caches_again(results, source, tmp_path):
    folder, _ = results(4, "per-channel")
    refused = quantize("run", folder, tmp_path / "no", *options_of(8))
    assert refused.returncode == 4 and "it is quantized already" in refused.stderr
    quantized(folder, tmp_path / "out", "--requantize", *options_of(8)[:4])
    plain, running = session(source / "model.onnx"), session(tmp_path / "out" / "model.onnx")
    ids = story(30)
    assert [v.type for v in running.get_inputs()] == [v.type for v in plain.get_inputs()]
    got = run_session(running, feeds_of(running, ids))
    wanted = run_session(plain, feeds_of(plain, ids))
    assert all(relative_error(got[name], wanted[name]) < 1e-5 for name in wanted)


def save_attention(folder, op="GroupQueryAttention", size=8, domain="com.microsoft", cached=True):
    """ids -> one attention with a cache -> logits."""
    rng = np.random.default_rng(3)
    hidden, heads = 4 * size, 4
    made = {
        "table": rng.standard_normal((32, hidden)),
        **{name: rng.standard_normal((hidden, hidden)) / hidden for name in ("q", "k", "v", "o")},
    }
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x"])]
    nodes += [helper.make_node("MatMul", ["x", n], [f"{n}_out"], name=n) for n in ("q", "k", "v")]
    past = ["past_key_values.0.key", "past_key_values.0.value"] if cached else ["", ""]
    present = ["present.0.key", "present.0.value"] if cached else []
    ints = [
        numpy_helper.from_array(np.array([7], np.int32), "last"),
        numpy_helper.from_array(np.array(8, np.int32), "total"),
    ]
    inputs = ["q_out", "k_out", "v_out"]
    if op == "GroupQueryAttention":
        inputs += [*past, "last", "total"]
        attributes = {"num_heads": heads, "kv_num_heads": heads}
    elif op == "MultiHeadAttention":
        inputs += ["", "", "", *past]
        attributes = {"num_heads": heads}
    else:
        inputs += ["", *past]
        attributes = {"q_num_heads": heads, "kv_num_heads": heads}
    nodes.append(
        helper.make_node(op, inputs, ["y", *present], name="attn", domain=domain, **attributes)
    )
    nodes.append(helper.make_node("MatMul", ["y", "o"], ["logits"], name="o"))
    info = helper.make_tensor_value_info
    cache = ["batch", heads, "length", size]
    graph = helper.make_graph(
        nodes, "attention",
        [info("input_ids", TensorProto.INT64, ["batch", "tokens"])]
        + [info(n, TensorProto.FLOAT, cache) for n in past if n],
        [info("logits", TensorProto.FLOAT, ["batch", "tokens", hidden])]
        + [info(n, TensorProto.FLOAT, cache) for n in present],
        ints + [numpy_helper.from_array(a.astype(np.float32), n) for n, a in made.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    folder.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=11), folder / "model.onnx")
    np.save(folder / "ids.npy", rng.integers(0, 32, (4, 8)))
    return folder


REFUSED = {
    "another operator": ({"op": "MultiHeadAttention"}, "takes no quantized cache in ONNX Runtime"),
    "onnx attention": ({"op": "Attention", "domain": ""}, "takes no quantized cache in ONNX Runtime"),
    "no cache": ({"cached": False}, "has no com.microsoft GroupQueryAttention with a cache"),
    "odd heads": ({"size": 12}, "heads of a multiple of 8 channels, these have 12"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_without_such_a_cache_are_refused(tmp_path, name):
    built, message = REFUSED[name]
    folder = save_attention(tmp_path / "model", **built)
    done = quantize("run", folder, tmp_path / "out", "--method", "rtn", "--kv-cache", "int8",
                    "--calib", folder / "ids.npy")  # fmt: skip
    assert done.returncode == 4 and "--kv-cache: " in done.stderr and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_requests_that_cannot_be_met_are_refused(source, tmp_path):
    run = ("run", source, tmp_path / "out", "--method", "rtn", "--kv-cache", "int8")
    for arguments, message, options in (
        (("--layout", "transformers.js"), "transformers.js begins with caches of floats", {}),
        (("--calib", "-"), "can be read only once; store them in a file", {"input": "A text.\n"}),
    ):
        done = quantize(*run, *arguments, **options)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    (source.parent / "alone").mkdir()
    alone = source.parent / "alone" / "model.onnx"
    alone.write_bytes((source / "model.onnx").read_bytes())
    done = quantize("run", alone, tmp_path / "out", *run[3:])
    assert done.returncode != 0 and "no tokenizer" in done.stderr
    assert not (tmp_path / "out").exists()


def test_dry_run_lists_the_caches_without_scales(source, tmp_path):
    report = quantized(source, tmp_path / "out", *options_of(8), "--dry-run")
    assert {entry["least_scale"] for entry in report["caches"]} == {None}
    assert any("1.27" in note for note in report["notes"])
    done = quantized(source, tmp_path / "out", *options_of(8))
    assert done["predicted"]["bytes"] == report["predicted"]["bytes"]
