"""OpenVINO on models that were quantized here, against ONNX Runtime; see tools/runtimes.sh."""

import numpy as np
import onnx
import pytest

ov = pytest.importorskip("openvino", reason="openvino: run tools/runtimes.sh")
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    cosine,
    quantized,
    relative_error,
    run_session,
    session,
)
from runtime_checks import decoder_feeds, report  # noqa: E402
from runtime_models import DEMO, save_demo_decoder  # noqa: E402
from small_models import feeds_of, llama, save  # noqa: E402
from small_products import linear_forms  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def run_openvino(model, feeds, properties):
    core = ov.Core()
    compiled = core.compile_model(core.read_model(str(model)), "CPU", properties)
    results = compiled(feeds)
    return {name: results[output] for output in compiled.outputs for name in output.get_names()}


def worst_error(model, feeds, properties):
    """The largest relative difference from ONNX Runtime over all float outputs."""
    expected = run_session(session(model), feeds)
    got = run_openvino(model, feeds, properties)
    return max(relative_error(got[n], e) for n, e in expected.items() if e.dtype.kind == "f")


def quantized_model(model, folder, *arguments):
    out = folder / "out"
    source = save(model, folder / "source")
    quantized(source, out, "--method", "rtn", "--accuracy-level", 0, *arguments)
    return out / "model.onnx"


@pytest.mark.parametrize("group", [32, 128, "channel"])
@pytest.mark.parametrize("symmetry", ["--symmetric", "--asymmetric"])
@pytest.mark.parametrize(
    "form, bits",
    [("matmulnbits", 2), ("matmulnbits", 4), ("matmulnbits", 8), ("qdq", 4), ("qdq", 8)],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_decoder(tmp_path, dtype, form, bits, symmetry, group):
    model = llama(dtype)
    arguments = ["--bits", bits, symmetry, "--format", form, "--group-size", group]
    path = quantized_model(model, tmp_path, *arguments)
    feeds = feeds_of(model)
    # Of its own accord it quantizes activations to 8 bits, as accuracy level 4 does.
    assert worst_error(path, feeds, EXACT) < (1e-5 if dtype == "float32" else 5e-3)
    if bits == 2 and symmetry == "--symmetric":
        return  # needs the hint on some processors; docs/runtimes.md
    assert worst_error(path, feeds, {}) < 8e-2


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("bits", [4, 8])
def test_every_form_of_product(tmp_path, bits, form):
    model = linear_forms(even=True)
    # FusedMatMul is an operator of ONNX Runtime's alone; quantized, it is an ordinary product.
    # OpenVINO reads DequantizeLinear only when its blocks divide K, which is 84 here.
    group = 32 if form == "matmulnbits" else "channel"
    path = quantized_model(model, tmp_path, "--bits", bits, "--format", form, "--group-size", group)
    assert worst_error(path, feeds_of(model), EXACT) < 1e-5


def test_blocks_that_do_not_divide_k_are_refused_by_openvino(tmp_path):
    """Documented in docs/runtimes.md; MatMulNBits has no such limit."""
    arguments = ["--bits", 4, "--format", "qdq", "--group-size", 32]
    path = quantized_model(linear_forms(), tmp_path, *arguments)
    with pytest.raises(RuntimeError, match="cannot be divided by block_size"):
        run_openvino(path, {}, EXACT)


def test_two_bit_integers_of_qdq_are_refused_by_openvino(tmp_path):
    """Documented in docs/runtimes.md; MatMulNBits is the format for 2 bits."""
    arguments = ["--bits", 2, "--format", "qdq", "--group-size", 32]
    path = quantized_model(llama(opset=25), tmp_path, *arguments)
    with pytest.raises(RuntimeError, match="(?s)Unsupported type|not supported"):
        run_openvino(path, {}, EXACT)


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("bits", [8, 4])
def test_demo_model(tmp_path, bits, form):
    out = tmp_path / "out"
    arguments = ["--bits", bits, "--group-size", 32, "--format", form, "--accuracy-level", 0]
    quantized(DEMO, out, "--method", "rtn", *arguments)
    ids = np.array([[1, 559, 360, 474, 293, 625, 290, 926, 694, 14, 301]])
    feeds = {"input_ids": ids, "attention_mask": ids * 0 + 1, "position_ids": np.arange(11)[None]}
    expected = run_session(session(out / "model.onnx"), feeds)["logits"]
    got = run_openvino(out / "model.onnx", feeds, EXACT)["logits"]
    error = relative_error(got, expected)
    original = run_session(session(DEMO / "model.onnx"), feeds)["logits"]
    report(
        f"OpenVINO {ov.__version__.split('-')[0]}, demo model, {form}, {bits} bits: relative "
        f"difference from ONNX Runtime {error:.1e}, cosine to float {cosine(got, original):.5f}"
    )
    assert error < 5e-3 and cosine(got, original) > {4: 0.99, 8: 0.9999}[bits]


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_decoder_with_a_cache(tmp_path, form):
    source = save_demo_decoder(tmp_path / "source")
    arguments = ["--bits", 4, "--group-size", 32, "--format", form, "--accuracy-level", 0]
    quantized(source, tmp_path / "out", "--method", "rtn", *arguments)
    model = tmp_path / "out" / "model.onnx"
    nodes = onnx.load(model, load_external_data=False).graph.node
    assert "GroupQueryAttention" in {node.op_type for node in nodes}
    feeds = decoder_feeds(session(model), [[1, 559, 360, 474, 293, 625]])
    assert worst_error(model, feeds, EXACT) < 1e-4
