"""The quantized demo model and encoder in the ONNX Runtime that is installed, with its defaults.

tools/runtimes.sh runs this in the oldest release that is supported and in the newest.
"""

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    cosine,
    forward,
    quantized,
    relative_error,
    run_session,
    session,
    skip_unless_runtime_has,
)
from runtime_checks import decoder_feeds, plain_session, report  # noqa: E402
from runtime_models import (  # noqa: E402
    DEMO,
    SMALL_ENCODER,
    random_encoder_weights,
    save_demo_decoder,
    save_encoder,
)

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

IDS = np.array([[1, 559, 360, 474, 293, 625, 290, 926, 694, 14, 301, 290, 368, 714]])
CASES = [("matmulnbits", 8), ("matmulnbits", 4), ("matmulnbits", 2), ("qdq", 8), ("qdq", 4)]
LEAST_COSINE = {8: 0.999, 4: 0.99, 2: 0.8}


@pytest.mark.parametrize("form, bits", CASES)
def test_demo_model(tmp_path, form, bits):
    skip_unless_runtime_has(bits, "float16")
    arguments = ["--method", "rtn", "--bits", bits, "--format", form, "--group-size", 32]
    quantized(DEMO, tmp_path / "exact", *arguments, "--accuracy-level", 0)
    quantized(DEMO, tmp_path / "fast", *arguments)
    feeds = {"input_ids": IDS, "attention_mask": IDS * 0 + 1, "position_ids": np.arange(14)[None]}
    exact = run_session(session(tmp_path / "exact" / "model.onnx"), feeds)["logits"]
    assert relative_error(exact, forward(tmp_path / "exact", feeds, tmp_path)["logits"]) < 5e-3
    fast = run_session(plain_session(tmp_path / "fast" / "model.onnx"), feeds)["logits"]
    original = run_session(plain_session(DEMO / "model.onnx"), feeds)["logits"]
    assert cosine(fast, original) > LEAST_COSINE[bits]
    report(
        f"ONNX Runtime {ort.__version__}, demo model, {form}, {bits} bits: cosine to float "
        f"{cosine(fast, original):.5f}"
    )


@pytest.mark.parametrize("form, bits", CASES)
def test_decoder_with_a_cache(tmp_path, form, bits):
    skip_unless_runtime_has(bits)
    source = save_demo_decoder(tmp_path / "source")
    arguments = ["--bits", bits, "--format", form, "--group-size", 32, "--accuracy-level", 0]
    quantized(source, tmp_path / "out", "--method", "rtn", *arguments)
    written = session(tmp_path / "out" / "model.onnx")
    feeds = decoder_feeds(written, IDS)
    got = run_session(written, feeds)
    for name, expected in forward(tmp_path / "out", feeds, tmp_path).items():
        assert relative_error(got[name], expected) < 1e-4, name
    original = run_session(session(source / "model.onnx"), feeds)["logits"]
    assert cosine(got["logits"], original) > LEAST_COSINE[bits]


@pytest.mark.parametrize("form, bits", CASES)
def test_encoder(tmp_path, form, bits):
    skip_unless_runtime_has(bits)
    weights = random_encoder_weights(SMALL_ENCODER)
    source = save_encoder(tmp_path / "source", SMALL_ENCODER, weights, DEMO)
    arguments = ["--bits", bits, "--format", form, "--group-size", 32, "--accuracy-level", 0]
    quantized(source, tmp_path / "out", "--method", "rtn", *arguments)
    feeds = {"input_ids": IDS, "attention_mask": IDS * 0 + 1, "token_type_ids": IDS * 0}
    got = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["last_hidden_state"]
    expected = forward(tmp_path / "out", feeds, tmp_path)["last_hidden_state"]
    assert relative_error(got, expected) < 1e-4
