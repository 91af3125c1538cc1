"""Caches that a graph concatenates (--kv-cache int8) in ONNX Runtime: what is stored, that prompts and single steps
agree with each other and with our own executor, how near results are to float caches, and who is refused."""

import json

import numpy as np
import onnx
import pytest
from concat_decoder import concat_decoder, save_concat_decoder
from onnx import TensorProto
from quantize_cli import (QUANTIZE, REPOSITORY, SHARED, check_metadata, forward, quantize,
                          quantized, relative_error, run_session, session)  # fmt: skip

tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

DEMO = REPOSITORY / "data" / "demo"
FORMS = ["grouped", "plain", "merged"]
SCALES = ["per-channel", "per-tensor"]
# Sums in another order move a value across the border between two codes now and then.
MOVED_CODES = 0.01
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


def options_of(scales="per-channel"):
    """A run that leaves the weights alone."""
    return ("--method", "rtn", "--exclude", "*", "--kv-cache", "int8", "--kv-scales", scales,
            "--calib", DEMO / "calibration.txt", "--calib-samples", 16, "--seq-len", 64)  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("concat")
    return {form: save_concat_decoder(folder / form, form) for form in FORMS}


@pytest.fixture(scope="module")
def results(sources):
    """A result for each form, made when it is first asked for."""
    made = {}

    def result(form, scales):
        folder = sources[form].parent / f"{form}-{scales}"
        if (form, scales) not in made:
            made[form, scales] = quantized(sources[form], folder, *options_of(scales))
        return folder, made[form, scales]

    return result


def story(length, folder=DEMO, text=0):
    """Token ids of a held-out text, repeated where it is shorter."""
    texts = (DEMO / "heldout.txt").read_text(encoding="utf-8").strip().split("\n\n")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return np.resize(np.array(tokenizer.encode(texts[text]).ids, np.int64), length)[None]


def feeds_of(running, ids, past=None, seen=0):
    """Inputs of new tokens behind `seen` ones that `past`, outputs of a run, holds."""
    total = seen + ids.shape[1]
    feeds = {}
    for given in running.get_inputs():
        if given.name == "input_ids":
            feeds[given.name] = ids
        elif given.name == "attention_mask":
            feeds[given.name] = np.ones((1, total), np.int64)
        elif given.name == "position_ids":
            feeds[given.name] = np.arange(seen, total)[None]
        elif given.name == "use_cache_branch":
            feeds[given.name] = np.array([past is not None])
        elif past is None:
            shape = (1, given.shape[1], 0, given.shape[3])
            feeds[given.name] = np.zeros(shape, TYPES[given.type])
        else:
            feeds[given.name] = past[given.name.replace("past_key_values", "present")]
    return feeds


def stepped(running, ids):
    """Logits of token by token, and what the cache holds then."""
    past, logits = None, []
    for at in range(ids.shape[1]):
        past = run_session(running, feeds_of(running, ids[:, at : at + 1], past, at))
        logits.append(past["logits"][0, 0])
    return np.stack(logits), past


def log_probabilities(logits):
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def divergence(wanted, got):
    p, q = log_probabilities(wanted), log_probabilities(got)
    return (np.exp(p) * (p - q)).sum(axis=-1).mean()


def check_result(source, folder, ids, tmp_path, most=1e-3):
    """Prompt, steps and our executor agree, and are near to float caches; the cache is a quarter."""
    running, plain = session(folder / "model.onnx"), session(source / "model.onnx")
    prompt = run_session(running, feeds_of(running, ids))
    wanted = run_session(plain, feeds_of(plain, ids))
    own = forward(folder / "model.onnx", feeds_of(running, ids), tmp_path)
    steps, past = stepped(running, ids)
    assert relative_error(steps, prompt["logits"][0]) < 0.02
    assert relative_error(own["logits"], prompt["logits"]) < 0.02
    for logits in (steps, prompt["logits"][0]):
        assert divergence(wanted["logits"][0], logits) < most
    for name, codes in prompt.items():
        if name == "logits":
            continue
        assert codes.dtype == np.int8 and 4 * codes.nbytes == wanted[name].nbytes
        for others in (past[name], own[name]):
            assert others.dtype == np.int8 and others.shape == codes.shape
            assert (others != codes).mean() < MOVED_CODES, name


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("form", FORMS)
def test_steps_and_prompt_agree_and_our_executor_with_both(results, sources, tmp_path, form, scales):
    folder, report = results(form, scales)
    assert report["verification"]["done"]
    check_result(sources[form], folder, story(40), tmp_path)


@pytest.mark.parametrize("opset", [13, 21, 23])
def test_other_opsets_load(tmp_path, opset):
    source = tmp_path / "source"
    save_concat_decoder(source, "grouped")
    if opset > 17:
        model = onnx.version_converter.convert_version(concat_decoder(), opset)
        model.ir_version = 10
    else:
        model = concat_decoder(opset=opset)
    onnx.save(model, source / "model.onnx")
    quantized(source, tmp_path / "out", *options_of())
    check_result(source, tmp_path / "out", story(24), tmp_path)


@pytest.mark.parametrize("scales", SCALES)
def test_codes_are_rounded_to_even_and_clipped(results, sources, scales):
    """Of the first layer: what it reads does not depend on any cache."""
    folder, _ = results("grouped", scales)
    stored = {t.name: onnx.numpy_helper.to_array(t)
              for t in onnx.load(folder / "model.onnx").graph.initializer}  # fmt: skip
    ids = story(200)
    plain, running = session(sources["grouped"] / "model.onnx"), session(folder / "model.onnx")
    wanted = run_session(plain, feeds_of(plain, ids))
    got = run_session(running, feeds_of(running, ids))
    for name in ("present.0.key", "present.0.value"):
        steps = wanted[name] / stored[f"{name}_scale"]
        moved = np.clip(np.round(steps), -128, 127) != got[name]
        assert moved.mean() < MOVED_CODES, name
        assert np.abs(steps - np.floor(steps) - 0.5)[moved].max(initial=0) < 1e-2, name


@pytest.mark.parametrize("form", FORMS)
def test_graph_metadata_and_report_name_the_caches(results, form):
    folder, report = results(form, "per-channel")
    graph = onnx.load(folder / "model.onnx").graph
    graphs = [graph] + [a.g for n in graph.node for a in n.attribute if a.HasField("g")]
    for value in [v for g in graphs for v in [*g.input, *g.output, *g.value_info]]:
        if "past_key_values." in value.name or "present." in value.name:
            assert value.type.tensor_type.elem_type == TensorProto.INT8, value.name
    named = [entry["name"] for entry in check_metadata(folder)["caches"]]
    assert named == [f"present.{i}.{part}" for i in range(4) for part in ("key", "value")]
    assert [entry["name"] for entry in report["caches"]] == named
    assert {entry["form"] for entry in report["caches"]} == {"int8 per channel"}
    assert "caches   8 int8 per channel" in quantize("inspect", folder).stdout
    assert not any("1.27" in note for note in report["notes"])


def test_quantized_weights_and_fp16_go_with_it(sources, tmp_path):
    ids = story(48)
    plain = session(sources["grouped"] / "model.onnx")
    wanted = run_session(plain, feeds_of(plain, ids))["logits"]
    for name, arguments in (("w4", ("--method", "awq")), ("fp16", ("--method", "fp16"))):
        quantized(sources["grouped"], tmp_path / name, *options_of()[4:], *arguments)
        running = session(tmp_path / name / "model.onnx")
        logits, past = stepped(running, ids)
        assert past["present.3.key"].dtype == np.int8
        assert relative_error(logits, wanted[0]) < (0.03 if name == "fp16" else 0.5)


def test_a_model_of_half_floats_keeps_them(tmp_path):
    """What is FP16 in the source is FP16 around the codes."""
    source = tmp_path / "half"
    quantized(save_concat_decoder(tmp_path / "float"), source, "--method", "fp16", "--io-types", "fp16")
    quantized(source, tmp_path / "out", *options_of())
    plain, running = session(source / "model.onnx"), session(tmp_path / "out" / "model.onnx")
    ids = story(40)
    wanted = run_session(plain, feeds_of(plain, ids))["logits"]
    logits, past = stepped(running, ids)
    assert past["present.0.value"].dtype == np.int8 and logits.dtype == np.float16
    assert divergence(wanted[0], logits) < 2e-3


@pytest.mark.parametrize("form", FORMS)
def test_requantize_makes_floats_of_the_caches_again(results, sources, tmp_path, form):
    folder, _ = results(form, "per-channel")
    refused = quantize("run", folder, tmp_path / "no", *options_of())
    assert refused.returncode == 4 and "it is quantized already" in refused.stderr
    quantized(folder, tmp_path / "out", "--requantize", *options_of()[:4])
    plain = session(sources[form] / "model.onnx")
    running = session(tmp_path / "out" / "model.onnx")
    ids = story(30)
    assert [v.type for v in running.get_inputs()] == [v.type for v in plain.get_inputs()]
    got = run_session(running, feeds_of(running, ids))
    wanted = run_session(plain, feeds_of(plain, ids))
    assert all(relative_error(got[name], wanted[name]) < 1e-4 for name in wanted)
    quantized(tmp_path / "out", tmp_path / "again", *options_of())
    check_result(sources[form], tmp_path / "again", story(24), tmp_path)


def test_dry_run_predicts_the_files(sources, tmp_path):
    report = quantized(sources["grouped"], tmp_path / "out", *options_of(), "--dry-run")
    assert {entry["least_scale"] for entry in report["caches"]} == {None}
    done = quantized(sources["grouped"], tmp_path / "out", *options_of())
    assert done["predicted"]["bytes"] == report["predicted"]["bytes"]


def test_int4_is_refused_before_any_work(sources, tmp_path):
    done = quantize("run", sources["grouped"], tmp_path / "out", "--method", "rtn",
                    "--kv-cache", "int4")  # fmt: skip
    assert done.returncode == 4 and done.stderr.count("\n") == 1
    assert "there is no form of 4 bits for that; take int8" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_cache_that_is_used_in_another_way_is_refused(tmp_path):
    source = save_concat_decoder(tmp_path / "source")
    model = onnx.load(source / "model.onnx")
    model.graph.node.append(
        onnx.helper.make_node("Relu", ["present.1.key"], ["positive"], name="spy")
    )
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("positive", TensorProto.FLOAT, None)
    )
    onnx.save(model, source / "model.onnx")
    done = quantize("run", source, tmp_path / "out", *options_of())
    assert done.returncode == 4 and "node 'spy' (Relu)" in done.stderr
    assert "'present.1.key'" in done.stderr or "'past_key_values.1.key'" in done.stderr


EXPORTS = {"tinystories-656k-optimum-past-tied": 1e-3, "gpt2-optimum-merged": 1e-3}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_of_optimum(tmp_path, name):
    source = SHARED / "onnx" / "exports" / name
    if not source.exists():
        pytest.skip(f"{source} is absent")
    vocabulary = {"gpt2-optimum-merged": 320}.get(name, 2048)
    rng = np.random.default_rng(4)
    np.save(tmp_path / "ids.npy", rng.integers(0, vocabulary, (16, 48)))
    quantized(source / "model.onnx", tmp_path / "out", *options_of()[:8],
              "--calib", tmp_path / "ids.npy")  # fmt: skip
    check_result(source, tmp_path / "out", rng.integers(0, vocabulary, (1, 32)), tmp_path, EXPORTS[name])


def test_the_cross_attention_of_a_decoder_is_refused(tmp_path):
    source = SHARED / "onnx" / "exports" / "t5-optimum-merged-decoder"
    if not source.exists():
        pytest.skip(f"{source} is absent")
    np.save(tmp_path / "ids.npy", np.zeros((2, 4), np.int64))
    done = quantize("run", source / "model.onnx", tmp_path / "out", *options_of()[:8],
                    "--calib", tmp_path / "ids.npy")  # fmt: skip
    assert done.returncode == 4 and "past_key_values.0.encoder.key" in done.stderr


def test_eval_steps_through_the_cache(results, sources, tmp_path):
    """Perplexity and KL of single steps and of chunks, as ONNX Runtime gives them."""
    folder, _ = results("grouped", "per-tensor")
    rows = [story(24, text=i)[0] for i in range(3)]
    np.save(tmp_path / "ids.npy", np.stack(rows))
    for model in ("grouped", "merged"):
        folder, _ = results(model, "per-tensor")
        running, plain = session(folder / "model.onnx"), session(sources[model] / "model.onnx")
        loss, kl, count = 0.0, 0.0, 0
        for row in rows:
            logits, _ = stepped(running, row[None])
            wanted, _ = stepped(plain, row[None])
            picked = log_probabilities(logits[:-1])
            loss -= np.take_along_axis(picked, row[1:, None], axis=1).sum()
            kl += divergence(wanted[:-1], logits[:-1]) * (len(row) - 1)
            count += len(row) - 1
        for step in (1, 5, 64):
            done = quantize("eval", folder, "--against", sources[model], "--json", "--step", step,
                            "--text", tmp_path / "ids.npy")  # fmt: skip
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            assert found["recipe"]["step"] == step
            assert found["perplexity"] == pytest.approx(np.exp(loss / count), rel=1e-3)
            assert found["kl"] == pytest.approx(kl / count, rel=0.2, abs=1e-5)
