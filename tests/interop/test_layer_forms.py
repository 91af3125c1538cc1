"""Every form in which a layer's weight reaches a product is quantized and runs in ONNX Runtime.

Needs nothing but PTQ_BUILD_DIR. The float model in ONNX Runtime is the expectation: at 8 bits the
result is close to it. What is excluded is written as it was read.
"""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from layer_forms import FORMS  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    cosine,
    forward,
    quantized,
    relative_error,
    run_session,
    session,
)
from small_models import calibration_ids, feeds_of, save  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

RUNS = [(bits, form) for bits in (3, 4, 8) for form in ("matmulnbits", "qdq")]
COMMON = ["--accuracy-level", 0]


def is_half(model):
    return model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


def ports(s):
    """Names, types and ranks of inputs and outputs: the runtime infers some dimensions itself."""
    return [(v.name, v.type, len(v.shape)) for v in s.get_inputs() + s.get_outputs()]


@pytest.mark.parametrize("name", FORMS)
def test_executor_agrees_with_onnx_runtime(name, tmp_path):
    model, _ = FORMS[name]()
    source = save(model, tmp_path / "source")
    feeds = feeds_of(model)
    own = forward(source, feeds, tmp_path)
    for output, expected in run_session(session(source / "model.onnx"), feeds).items():
        assert relative_error(own[output], expected) <= (4e-3 if is_half(model) else 2e-5), output


@pytest.mark.parametrize("bits,form", RUNS)
@pytest.mark.parametrize("name", FORMS)
def test_quantized_form_runs_and_is_close(name, bits, form, tmp_path):
    model, linears = FORMS[name]()
    source, destination = save(model, tmp_path / "source"), tmp_path / "out"
    arguments = ["--bits", bits, "--group-size", 32, "--format", form, *COMMON]
    arguments += ["--lm-head", f"int{max(bits, 4)}"]
    report = quantized(source, destination, "--method", "rtn", *arguments)
    kept = [x for x in check_metadata(destination)["linears"] if x["decision"] == "keep"]
    assert (report["totals"]["linears_quantized"], kept) == (linears, [])
    feeds = feeds_of(model)
    written = session(destination / "model.onnx")
    assert ports(written) == ports(session(source / "model.onnx"))
    got = run_session(written, feeds)
    for output, expected in forward(destination, feeds, tmp_path).items():
        assert relative_error(got[output], expected) <= (1e-2 if is_half(model) else 1e-4), output
    for output, expected in run_session(session(source / "model.onnx"), feeds).items():
        assert cosine(got[output], expected) >= {3: 0.9, 4: 0.97, 8: 0.9995}[bits], output


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("name", FORMS)
def test_calibrated_form_is_no_worse_than_nearest(name, form, tmp_path):
    model, linears = FORMS[name]()
    if len(model.graph.input) > 1:
        pytest.skip("the cache input has a fixed length, which samples of text do not fit")
    source, destination = save(model, tmp_path / "source"), tmp_path / "out"
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = ["--bits", 4, "--group-size", 16, "--format", form, "--calib", ids, *COMMON]
    arguments += ["--lm-head", "int4"]
    report = quantized(source, destination, "--method", "awq", *arguments)
    assert report["totals"]["linears_quantized"] == linears
    for linear in check_metadata(destination)["linears"]:
        found = linear["quantized"]
        assert found["calibration_tokens"] > 0, linear["name"]
        assert found["loss_after"] <= found["loss_before"] * (1 + 1e-9), linear["name"]
    feeds = feeds_of(model)
    got = run_session(session(destination / "model.onnx"), feeds)
    for output, expected in run_session(session(source / "model.onnx"), feeds).items():
        assert cosine(got[output], expected) >= 0.97, output


@pytest.mark.parametrize("name", FORMS)
def test_what_is_excluded_stays_as_it_was(name, tmp_path):
    model, _ = FORMS[name]()
    # One layer of the plain kind, so that there is something to quantize.
    weight = np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)
    dtype = "float16" if is_half(model) else "float32"
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(dtype), "plain"))
    embedded = next(n for n in model.graph.node if n.op_type == "Gather").output[0]
    model.graph.node.append(onnx.helper.make_node("MatMul", [embedded, "plain"], ["z"], name="z"))
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", kind, None))
    source, destination = save(model, tmp_path / "source"), tmp_path / "out"
    arguments = ["--method", "rtn", "--include", "plain", *COMMON]
    assert quantized(source, destination, *arguments)["totals"]["linears_quantized"] == 1
    written = onnx.load(destination / "model.onnx")

    def shape_of(nodes):
        return sorted((n.op_type, n.name, tuple(n.input), tuple(n.output)) for n in nodes)

    others = [n for n in written.graph.node if n.op_type != "MatMulNBits"]
    assert shape_of(others) == shape_of(n for n in model.graph.node if n.name != "z")
