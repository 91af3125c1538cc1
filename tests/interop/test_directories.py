"""Directories of models that belong together: encoder and decoders, text and vision, GenAI folders."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import (
    QUANTIZE,
    check_metadata,
    cosine,
    hashes,
    quantize,
    quantized,
    run_session,
    session,
    summarize,
)
from small_models import VOCABULARY, Builder, calibration_ids, encoder_decoder, llama

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

NAMES = ("encoder_model", "decoder_model", "decoder_with_past_model")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    for name, model in encoder_decoder().items():
        onnx.save(model, folder / f"{name}.onnx")
    (folder / "config.json").write_text(json.dumps({"decoder_start_token_id": 0}))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    return calibration_ids(tmp_path_factory.mktemp("ids") / "ids.npy")


def chain(folder, below=""):
    """encoder -> decoder -> decoder with past, as a program that generates text runs them."""
    rng = np.random.default_rng(8)
    text = rng.integers(1, VOCABULARY, (2, 14))
    mask = np.ones_like(text)
    run = lambda name, feeds: run_session(session(folder / below / f"{name}.onnx"), feeds)  # noqa: E731
    states = run("encoder_model", {"input_ids": text, "attention_mask": mask})
    start = rng.integers(1, VOCABULARY, (2, 6))
    first = run("decoder_model", {
        "input_ids": start, "encoder_attention_mask": mask,
        "encoder_hidden_states": states["last_hidden_state"],
    })  # fmt: skip
    past = {n.replace("present", "past_key_values"): a for n, a in first.items() if n != "logits"}
    then = run("decoder_with_past_model", {
        "input_ids": start[:, -1:], "encoder_attention_mask": mask, **past,
    })  # fmt: skip
    return first["logits"], then["logits"]


def constants(path):
    """Of every quantized linear, by node name: the bytes of its codes, scales and zero points."""
    model = onnx.load(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {
        node.name: [tensors[name].tobytes() for name in node.input[1:] if name]
        for node in model.graph.node
        if node.op_type == "MatMulNBits"
    }


def part(report, name):
    return next(p for p in report["models"] if p["file"].endswith(f"{name}.onnx"))


def loss(directory, name):
    """Summed output error of a model's linears, relative to their energy, and that of RTN."""
    found = part(check_metadata(directory), name)
    made = [entry["quantized"] for entry in found["linears"] if entry["quantized"]]
    return sum(q["loss_after"] for q in made), sum(q["loss_before"] for q in made)


def test_every_model_is_quantized_on_what_the_others_make(source, ids, tmp_path):
    report = quantized(source, tmp_path / "out", "--bits", "4", "--group-size", "32",
                       "--lm-head", "int8", "--calib", ids)  # fmt: skip
    assert [p["file"] for p in report["models"]] == [f"{name}.onnx" for name in NAMES]
    counts = {name: part(report, name)["totals"]["linears_quantized"] for name in NAMES}
    assert counts == dict(zip(NAMES, (6, 11, 9)))
    assert all(p["verification"]["done"] for p in report["models"])
    assert part(report, "encoder_model")["calibration"]["samples"] == 8
    assert "encoder_model.onnx" in " ".join(part(report, "decoder_model")["notes"])
    assert "another model of the directory" in " ".join(
        part(report, "decoder_with_past_model")["notes"]
    )
    assert sorted(os.listdir(tmp_path / "out")) == sorted(
        [f"{name}.onnx{data}" for name in NAMES for data in ("", ".data")]
        + ["config.json", "tokenizer_config.json", "quantization_metadata.json"]
    )
    for name in NAMES[:2]:
        after, before = loss(tmp_path / "out", name)
        summarize("directories", f"{name}: loss {after / before:.3f} of that of RTN")
        assert after < before


@pytest.mark.parametrize("layout", ["", "onnx"])
def test_the_chain_stays_close_at_eight_bits(source, ids, tmp_path, layout):
    folder = tmp_path / "source"
    (folder / layout).mkdir(parents=True)
    for path in source.iterdir():
        (folder / (layout if path.suffix == ".onnx" else "") / path.name).write_bytes(
            path.read_bytes()
        )
    quantized(folder, tmp_path / "out", "--bits", "8", "--group-size", "32", "--lm-head", "int8",
              "--calib", ids)  # fmt: skip
    for before, after in zip(chain(folder, layout), chain(tmp_path / "out", layout)):
        result = cosine(after, before)
        summarize("directories", f"chain at 8 bits ({layout or 'flat'}): cosine {result:.6f}")
        assert result >= 0.999


@pytest.mark.parametrize("below", ["", "onnx"])
def test_layout_of_transformers_js(source, tmp_path, below):
    folder = tmp_path / "source"
    (folder / below).mkdir(parents=True)
    for path in source.iterdir():
        (folder / (below if path.suffix == ".onnx" else "") / path.name).write_bytes(
            path.read_bytes()
        )
    out = tmp_path / "out"
    report = quantized(folder, out, "--method", "rtn", "--group-size", "32",
                       "--layout", "transformers.js")  # fmt: skip
    files = [f"onnx/{name}_q4.onnx" for name in NAMES]
    assert [p["file"] for p in report["models"]] == files
    assert sorted(os.listdir(out / "onnx")) == sorted(
        f"{name}_q4.onnx{data}" for name in NAMES for data in ("", "_data")
    )
    chosen = json.loads((out / "config.json").read_text())["transformers.js_config"]
    assert chosen["dtype"] == "q4"
    assert chosen["use_external_data_format"] == {f"{name}_q4.onnx": 1 for name in NAMES}
    for file in files:
        session(out / file)


def test_four_calibrated_bits_are_no_worse_than_rtn(source, ids, tmp_path):
    distance = {}
    for method in ("rtn", "awq"):
        out = tmp_path / method
        quantized(source, out, "--method", method, "--group-size", "32", "--calib", ids)
        distance[method] = [1 - cosine(a, b) for a, b in zip(chain(out), chain(source))]
    summarize("directories", f"1 - cosine at 4 bits: {distance}")
    assert sum(distance["awq"]) <= sum(distance["rtn"])


@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_shared_weights_stay_equal(source, ids, tmp_path, method):
    quantized(source, tmp_path / "out", "--method", method, "--group-size", "32",
              "--lm-head", "int4", "--calib", ids)  # fmt: skip
    first, second = (constants(tmp_path / "out" / f"{name}.onnx") for name in NAMES[1:])
    common = first.keys() & second.keys()
    assert len(common) == 9
    assert {name: first[name] for name in common} == {name: second[name] for name in common}
    models = [onnx.load(tmp_path / "out" / f"{name}.onnx") for name in NAMES]
    tables = [
        next(t for t in m.graph.initializer if t.name.startswith("shared")).raw_data
        for m in models
    ]
    assert len(set(tables)) == 1
    if method == "awq":
        entries = part(check_metadata(tmp_path / "out"), "decoder_model")["linears"]
        assert any(e["quantized"]["scaling"] != "none" for e in entries if e["quantized"])


def test_same_bytes_at_any_number_of_threads(source, ids, tmp_path):
    for threads in (1, 3):
        quantized(source, tmp_path / str(threads), "--calib", ids, "--group-size", "32",
                  threads=threads)  # fmt: skip
    assert hashes(tmp_path / "1") == hashes(tmp_path / "3")


def test_patterns_need_to_match_in_one_model_only(source, ids, tmp_path):
    report = quantized(source, tmp_path / "out", "--include", "decoder.cross.*", "--method", "rtn")
    counts = [p["totals"]["linears_quantized"] for p in report["models"]]
    assert counts == [0, 4, 2]
    done = quantize("run", "--src", source, "--dst", tmp_path / "no", "--exclude", "nothing.*")
    assert done.returncode == 2 and "matches no linear of any model" in done.stderr


def test_resumed_run_gives_the_same_bytes(source, ids, tmp_path):
    options = ("--calib", ids, "--group-size", "32", "--calib-samples", "8")
    quantized(source, tmp_path / "whole", *options)
    command = [QUANTIZE, "run", "--src", source, "--dst", tmp_path / "out", "--checkpoint-seconds",
               "0", *options]  # fmt: skip
    running = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL)
    staged = tmp_path / ".out.part"
    while running.poll() is None and not (staged / "models" / "0").exists():
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out").exists()
    interrupted = (staged / "models" / "0").exists()
    assert interrupted
    changed = quantize("run", "--src", source, "--dst", tmp_path / "out", "--resume", *options,
                       "--bits", "8")  # fmt: skip
    assert changed.returncode == 2 and "cannot resume" in changed.stderr
    assert "recipe.bits: 4 -> 8" in changed.stderr
    report = quantized(source, tmp_path / "out", *options)
    assert len(report["models"]) == 3
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert not staged.exists()
    again = quantized(source, tmp_path / "out", *options)
    assert again["up_to_date"] and len(again["models"]) == 3
    assert again["bytes_after"] == report["bytes_after"]
    other = quantize("run", source, tmp_path / "out", *options, "--bits", "8")
    assert other.returncode == 5 and "recipe.bits: 4 -> 8" in other.stderr


def test_dry_run_lists_each_model(source):
    done = quantize("run", "--src", source, "--dry-run")
    assert done.returncode == 0 and done.stderr == ""
    for name in NAMES:
        assert f"{name}.onnx\n" in done.stdout
    listed = json.loads(quantize("run", "--src", source, "--dry-run", "--json").stdout)
    assert [len(m["linears"]) for m in listed["models"]] == [6, 11, 9]


def test_inspect_shows_each_model(source, tmp_path):
    quantized(source, tmp_path / "out", "--method", "rtn")
    text = quantize("inspect", tmp_path / "out").stdout
    for name in NAMES:
        assert f"{name}.onnx\n" in text


def test_other_forms_of_a_model_are_left_out(source, tmp_path):
    folder = tmp_path / "hub"
    (folder / "onnx").mkdir(parents=True)
    for path in source.glob("*.onnx"):
        for form in ("", "_fp16", "_quantized", "_q4"):
            (folder / "onnx" / f"{path.stem}{form}.onnx").write_bytes(path.read_bytes())
    report = quantized(folder, tmp_path / "out", "--method", "rtn")
    assert [p["file"] for p in report["models"]] == [f"onnx/{name}.onnx" for name in NAMES]
    assert len(list((tmp_path / "out" / "onnx").glob("*.onnx"))) == 3


# ---- Inputs that no text gives ------------------------------------------------------------------


def vision():
    b = Builder(seed=3)
    flat = b.node("Reshape", ["pixel_values", b.constant(np.array([0, -1, 64], np.int64), "rows")])
    hidden = b.node("Relu", [b.linear(flat, 96, 64, "vision.fc1")])
    b.nodes.append(
        helper.make_node("MatMul", [hidden, b.weight((96, 64), "vision.fc2.weight")],
                         ["image_embeds"], name="/vision/fc2/MatMul")
    )  # fmt: skip
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["b", 3, 16, 16])
    result = helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["b", 12, 64])
    return b.model([pixels], [result])


@pytest.fixture
def text_and_vision(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    onnx.save(llama(), folder / "text_model.onnx")
    onnx.save(vision(), folder / "vision_model.onnx")
    return folder


def test_vision_model_without_images_is_rounded_to_nearest(text_and_vision, ids, tmp_path):
    report = quantized(text_and_vision, tmp_path / "out", "--calib", ids, "--group-size", "32")
    assert part(report, "text_model")["calibration"]["samples"] == 8
    seen = part(report, "vision_model")
    assert seen["calibration"] is None
    (note,) = seen["notes"]
    assert "'pixel_values'" in note and "rounded to nearest" in note
    assert seen["totals"]["linears_quantized"] == 2


def test_model_with_an_unknown_operator_is_rounded_to_nearest(text_and_vision, ids, tmp_path):
    model = onnx.load(text_and_vision / "vision_model.onnx")
    last = model.graph.node[-1]
    unknown = helper.make_node("Refine", ["raw"], [last.output[0]], name="refine", domain="own")
    last.output[0] = "raw"
    model.graph.node.append(unknown)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, text_and_vision / "vision_model.onnx")
    source, out = text_and_vision, tmp_path / "out"
    report = quantized(source, out, "--calib", ids, "--group-size", "32")
    assert part(report, "text_model")["calibration"]["samples"] == 8
    assert part(report, "text_model")["verification"]["done"]
    seen = part(report, "vision_model")
    assert seen["calibration"] is None and not seen["verification"]["done"]
    assert any("own::Refine" in note and "rounded to nearest" in note for note in seen["notes"])
    assert seen["totals"]["linears_quantized"] == 2
    written = onnx.load(out / "vision_model.onnx", load_external_data=False)
    assert unknown in list(written.graph.node)


def test_vision_model_is_calibrated_on_given_images(text_and_vision, tmp_path):
    images = np.random.default_rng(5).standard_normal((6, 3, 16, 16)).astype(np.float32)
    images[:, :, :, ::4] *= 6
    np.savez(tmp_path / "feeds.npz", pixel_values=images)
    model = text_and_vision / "vision_model.onnx"
    quantized(model, tmp_path / "out", "--calib", tmp_path / "feeds.npz", "--group-size", "32",
              "--lm-head", "int4")  # fmt: skip
    found = check_metadata(tmp_path / "out")
    assert found["calibration"]["samples"] == 6
    # Six images are few, and how many tokens they count for is a guess.
    assert ["few tokens" in note for note in found["notes"]] == [False, True]
    assert "tokens are estimated" in found["notes"][0]
    losses = [e["quantized"] for e in found["linears"]]
    assert sum(q["loss_after"] for q in losses) < sum(q["loss_before"] for q in losses)
    assert all(q["calibration_tokens"] == 6 * 12 for q in losses)


def test_genai_folder_of_several_models(tmp_path, ids):
    """An embedding without linears is copied; the decoder reads what it makes."""
    folder = tmp_path / "genai"
    folder.mkdir()
    rng = np.random.default_rng(2)
    table = rng.standard_normal((VOCABULARY, 64)).astype(np.float32)
    node = helper.make_node("Gather", ["table", "input_ids"], ["inputs_embeds"])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("input_ids", TensorProto.INT64, ["b", "t"])],
        [value("inputs_embeds", TensorProto.FLOAT, ["b", "t", 64])],
        [numpy_helper.from_array(table, "table")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 21)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "embedding.onnx"
    )
    b = Builder(seed=9)
    h = b.node("Relu", [b.linear("inputs_embeds", 96, 64, "model.layers.0.mlp.up_proj")])
    h = b.node("Add", ["inputs_embeds", b.linear(h, 64, 96, "model.layers.0.mlp.down_proj")])
    b.nodes.append(
        helper.make_node("MatMul", [h, b.weight((64, VOCABULARY), "lm_head.weight")], ["logits"],
                         name="/lm_head/MatMul")
    )  # fmt: skip
    inputs = [value("inputs_embeds", TensorProto.FLOAT, ["b", "t", 64])]
    result = [value("logits", TensorProto.FLOAT, ["b", "t", VOCABULARY])]
    onnx.save(b.model(inputs, result), folder / "text.onnx")
    config = {"model": {"decoder": {"filename": "text.onnx"},
                        "embedding": {"filename": "embedding.onnx"}}}  # fmt: skip
    (folder / "genai_config.json").write_text(json.dumps(config))
    onnx.save(llama(), folder / "unused.onnx")
    report = quantized(folder, tmp_path / "out", "--calib", ids, "--group-size", "32")
    assert sorted(p["file"] for p in report["models"]) == ["embedding.onnx", "text.onnx"]
    assert part(report, "text")["calibration"]["samples"] == 8
    assert "embedding.onnx" in part(report, "text")["notes"][0]
    copied = (tmp_path / "out" / "embedding.onnx").read_bytes()
    assert copied == (folder / "embedding.onnx").read_bytes()
    assert json.loads((tmp_path / "out" / "genai_config.json").read_text()) == config
    assert not (tmp_path / "out" / "unused.onnx").exists()


# ---- Parts that read what others make -----------------------------------------------------------


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def embedder(*outputs):
    """Tables that give one output of 64 numbers a token for each name."""
    rng = np.random.default_rng(2)
    tables = [
        numpy_helper.from_array(rng.standard_normal((VOCABULARY, 64)).astype(np.float32), f"t.{o}")
        for o in outputs
    ]
    nodes = [helper.make_node("Gather", [f"t.{o}", "input_ids"], [o]) for o in outputs]
    graph = helper.make_graph(
        nodes, "g", [value("input_ids", ["b", "t"], TensorProto.INT64)],
        [value(o, ["b", "t", 64]) for o in outputs], tables,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def layer(inputs, result, seed):
    """Their sum through two linears."""
    b = Builder(seed=seed)
    total = inputs[0]
    for name in inputs[1:]:
        total = b.node("Add", [total, name])
    h = b.node("Relu", [b.linear(total, 96, 64, f"part{seed}.up_proj")])
    h = b.linear(h, 64, 96, f"part{seed}.down_proj")
    b.nodes.append(helper.make_node("Identity", [h], [result], name=f"/part{seed}/out"))
    return b.model(
        [value(n, ["b", "t", 64]) for n in inputs], [value(result, ["b", "t", 64])]
    )


def write_parts(folder, **models):
    folder.mkdir()
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
    return folder


def test_every_output_that_another_model_names_is_passed_on(ids, tmp_path):
    folder = write_parts(
        tmp_path / "parts",
        embed_tokens=embedder("inputs_embeds", "per_layer_inputs"),
        projector_model=layer(["inputs_embeds"], "projected", 1),
        decoder_model_merged=layer(["inputs_embeds", "per_layer_inputs", "projected"], "logits", 2),
    )
    report = quantized(folder, tmp_path / "out", "--calib", ids, "--group-size", "32")
    found = part(report, "decoder_model_merged")
    assert found["calibration"]["samples"] == 8
    (note,) = [n for n in found["notes"] if "made by" in n]
    assert "embed_tokens.onnx" in note and "projector_model.onnx" in note


def test_models_that_wait_for_each_other_are_rounded(ids, tmp_path):
    folder = write_parts(
        tmp_path / "parts",
        decoder_a=layer(["first"], "second", 1),
        decoder_b=layer(["second"], "first", 2),
    )
    report = quantized(folder, tmp_path / "out", "--calib", ids, "--group-size", "32")
    for name in ("decoder_a", "decoder_b"):
        assert part(report, name)["calibration"] is None
        assert part(report, name)["totals"]["linears_quantized"] == 2


def test_a_missing_tokenizer_rounds_before_any_work(tmp_path):
    folder = write_parts(
        tmp_path / "parts", decoder_model=llama(), vision_encoder=layer(["pixels"], "features", 1)
    )
    (folder / "tokens.txt").write_text("a 0")
    done = quantize("run", folder, tmp_path / "out", "--group-size", "32")
    assert done.returncode == 0, done.stderr
    warned = [i for i, line in enumerate(done.stderr.splitlines()) if "not calibrated" in line]
    begun = [i for i, line in enumerate(done.stderr.splitlines()) if "quantizing '" in line]
    assert len(warned) == 2 and max(warned) < min(begun)
    found = check_metadata(tmp_path / "out")
    assert found["sidecars"] == ["tokens.txt"]
    assert "no tokenizer" in part(found, "decoder_model")["notes"][0]
    assert part(found, "decoder_model")["totals"]["linears_quantized"] > 0


def test_samples_that_serve_no_model_end_the_run_before_any_work(text_and_vision, tmp_path):
    done = quantize("run", text_and_vision, tmp_path / "out", "--calib", tmp_path / "none.txt")
    assert done.returncode == 3 and "none.txt" in done.stderr
    assert "quantizing" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("separator", "_.-")
def test_forms_of_parts_are_left_out_whatever_separates_their_names(source, tmp_path, separator):
    folder = tmp_path / "forms"
    folder.mkdir()
    for path in source.glob("*.onnx"):
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / f"{path.stem}{separator}int8.onnx").write_text("not read")
    report = quantized(folder, tmp_path / "out", "--method", "rtn")
    assert [p["file"] for p in report["models"]] == [f"{name}.onnx" for name in NAMES]
    left = check_metadata(tmp_path / "out")["left_out"]
    assert sorted(e["file"] for e in left) == sorted(f"{n}{separator}int8.onnx" for n in NAMES)
