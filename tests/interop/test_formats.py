"""Runs models with random codes in ONNX Runtime and compares them with the float product they mean.

Needs the helper `emit_helper` of the build directory that PTQ_BUILD_DIR names; the exported models
are in the folder `shared` beside the repository (or PTQ_SHARED). What is absent is skipped.
"""

import os
import pathlib
import subprocess

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from model_checks import sweep  # noqa: E402
from quantize_cli import skip_unless_runtime_has  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("PTQ_SHARED", REPOSITORY.parent / "shared"))
BUILD = pathlib.Path(os.environ.get("PTQ_BUILD_DIR", REPOSITORY / "build" / "release"))
HELPER = BUILD / "tests" / "interop" / "emit_helper"
EXPORTS = SHARED / "onnx" / "exports"

pytestmark = pytest.mark.skipif(
    not HELPER.exists(), reason=f"{HELPER} is absent: build it, or set PTQ_BUILD_DIR"
)


def emit(source, folder, form, bits, group, symmetric, *flags):
    """Returns (the written model's path, weights by the name of the linear's output, stdout)."""
    target, weights = folder / "out", folder / "weights.npz"
    arguments = [source, target, weights, form, bits, group, int(symmetric), *flags]
    done = subprocess.run(
        [HELPER, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"status {done.returncode}: {done.stderr.strip()}")
    arrays = dict(np.load(weights)) if weights.exists() else {}
    return target / "model.onnx", arrays, done.stdout


def session(model, exact=True):
    """Level-0 arithmetic: the fused QDQ form would otherwise quantize activations to 8 bits."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def linear_model(path, kind, k, n, dtype, opset=21, ir=10):
    """x [2, 3, k] (Gemm: [6, k]) times a constant, with a bias for Gemm."""
    rng = np.random.default_rng(7)
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    rows = [6] if kind.startswith("Gemm") else [2, 3]
    transposed = kind == "GemmTransB"
    w = rng.standard_normal((n, k) if transposed else (k, n)).astype(dtype)
    initializers = [numpy_helper.from_array(w, "w")]
    if kind == "MatMul":
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")
    else:
        initializers.append(numpy_helper.from_array(rng.standard_normal(n).astype(dtype), "b"))
        node = helper.make_node(
            "Gemm", ["x", "w", "b"], ["y"], name="layer", transB=int(transposed)
        )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", elem, rows + [k])],
        [helper.make_tensor_value_info("y", elem, rows + [n])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save(model, path)
    x = rng.standard_normal(rows + [k]).astype(dtype)
    bias = numpy_helper.to_array(initializers[1]) if len(initializers) > 1 else None
    return x, bias


def relative_error(actual, expected):
    if expected.size == 0:
        return 0.0
    scale = max(float(np.abs(expected).max()), 1e-30)
    return float(np.abs(actual.astype(np.float64) - expected).max()) / scale


CASES = [
    (form, bits, group, symmetric, kind, k, n, dtype)
    for form in ("matmulnbits", "qdq")
    for bits in (2, 3, 4, 8)
    for group in (16, 32, 64, 128, 256, 0)
    for symmetric in (True, False)
    for kind, k, n, dtype in (
        [("MatMul", 256, 48, "float32"), ("MatMul", 83, 37, "float32")]
        if group != 32
        else [
            ("MatMul", 96, 64, "float32"),
            ("MatMul", 83, 37, "float32"),
            ("MatMul", 20, 1, "float32"),
            ("MatMul", 96, 33, "float16"),
            ("Gemm", 83, 37, "float32"),
            ("GemmTransB", 83, 37, "float32"),
            ("GemmTransB", 96, 32, "float16"),
        ]
    )
    # ONNX Runtime computes these wrongly; they get another form (below).
    if not (form == "qdq" and bits == 2 and n % 4 != 0)
]


@pytest.mark.parametrize("form,bits,group,symmetric,kind,k,n,dtype", CASES)
def test_product_equals_dequantized_weights(
    tmp_path, form, bits, group, symmetric, kind, k, n, dtype
):
    skip_unless_runtime_has(bits, dtype)
    opset = 25 if form == "qdq" and bits == 2 else 21
    source = tmp_path / "source.onnx"
    x, bias = linear_model(source, kind, k, n, dtype, opset)
    model, weights, _ = emit(source, tmp_path, form, bits, group, symmetric)
    expected = x.astype(np.float64) @ weights["y"].astype(np.float64).T
    if bias is not None:
        expected = expected + bias
    actual = session(model).run(None, {"x": x})[0]
    assert actual.dtype == x.dtype and actual.shape == expected.shape
    assert relative_error(actual, expected) < (2e-3 if dtype == "float16" else 5e-6)


def nibbles(packed):
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def read_by_hand(model):
    """Of the one linear of a written model: codes [N, K], scales and zero points (or None) repeated
    to [N, K], as integers and floats of the file, by the definitions of the operators."""
    graph = onnx.load(model).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    node = next(n for n in graph.node if n.op_type in ("MatMulNBits", "DequantizeLinear"))
    own = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    codes, scales, *zeros = [tensors[name] for name in node.input if name in tensors]
    if node.op_type == "MatMulNBits":
        assert own["bits"] == 4 and codes.dtype == np.uint8
        k, block = own["K"], own["block_size"]
        codes = nibbles(codes.reshape(own["N"], -1))[:, :k]
        zeros = [nibbles(z.reshape(own["N"], -1))[:, : scales.shape[1]] for z in zeros]
        spread = lambda a: np.repeat(a, block, axis=1)[:, :k]  # noqa: E731
    else:
        assert codes.dtype.name == ("uint4" if zeros else "int4")
        block, codes = own.get("block_size", len(codes)), codes.T
        turn = lambda a: np.atleast_2d(a).T  # noqa: E731
        spread = lambda a: np.repeat(turn(a), block, axis=1)[:, : codes.shape[1]]  # noqa: E731
    zero = spread(zeros[0]).astype(int) if zeros else None
    return codes.astype(int), spread(scales), zero


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("group", [32, 128, 0])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("k", [256, 83])
def test_three_bit_codes_in_four_bits(tmp_path, form, group, symmetric, k):
    source = tmp_path / "source.onnx"
    x, _ = linear_model(source, "MatMul", k, 37, "float32")
    model, weights, _ = emit(source, tmp_path, form, 3, group, symmetric)
    codes, scales, zeros = read_by_hand(model)
    if symmetric:
        middle = 8 if form == "matmulnbits" else 0  # what the operators mean without zero points
        assert zeros is None and (codes.min(), codes.max()) == (middle - 4, middle + 3)
    else:
        middle = zeros
        assert 0 <= min(codes.min(), zeros.min()) and max(codes.max(), zeros.max()) <= 7
    by_hand = (codes - middle).astype(np.float32) * scales
    assert np.array_equal(by_hand, weights["y"])
    expected = x.astype(np.float64) @ by_hand.astype(np.float64).T
    assert relative_error(session(model).run(None, {"x": x})[0], expected) < 5e-6


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_runtime_runs_the_fused_operator(tmp_path, form):
    """At opset 21 both forms end as MatMulNBits inside the runtime."""
    source = tmp_path / "source.onnx"
    x, _ = linear_model(source, "MatMul", 128, 64, "float32")
    model, _, _ = emit(source, tmp_path, form, 4, 32, True)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    assert [node.op_type for node in optimized.graph.node] == ["MatMulNBits"]


def test_two_bit_qdq_below_opset_25_is_refused(tmp_path):
    source = tmp_path / "source.onnx"
    linear_model(source, "MatMul", 64, 32, "float32", 21)
    with pytest.raises(RuntimeError, match="status 4: 2-bit integers .* opset 25"):
        emit(source, tmp_path, "qdq", 2, 32, True)


def test_two_bit_qdq_rows_that_share_a_byte_become_blocks(tmp_path):
    """ONNX Runtime would compute them wrongly: the form gives way to the next in its order."""
    source = tmp_path / "source.onnx"
    x, _ = linear_model(source, "MatMul", 64, 38, "float32", 25)
    written, weights, _ = emit(source, tmp_path, "qdq", 2, 32, True)
    assert [node.op_type for node in onnx.load(written).graph.node] == ["MatMulNBits"]
    expected = x.astype(np.float64) @ weights["y"].astype(np.float64).T
    assert relative_error(session(written).run(None, {"x": x})[0], expected) < 5e-6


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("group", [512, 24, 8])
def test_unusable_groups_are_usage_errors(tmp_path, form, group):
    source = tmp_path / "source.onnx"
    linear_model(source, "MatMul", 64, 32, "float32")
    with pytest.raises(RuntimeError, match="status 2: .*16, 32, 64, 128 or 256"):
        emit(source, tmp_path, form, 4, group, True)


def test_constant_node_with_external_data_moves_along(tmp_path):
    """Its data file belongs to the source's directory and does not exist beside the result."""
    source = tmp_path / "source.onnx"
    x, _ = linear_model(source, "MatMul", 512, 512, "float32")
    model = onnx.load(source)
    table = np.random.default_rng(3).standard_normal((1, 512)).astype("float32")
    tensor = numpy_helper.from_array(table, "t")
    (tmp_path / "constants.bin").write_bytes(b"\0" * 64 + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "constants.bin"), ("offset", "64")):
        tensor.external_data.add(key=key, value=value)
    model.graph.node[0].output[0] = "product"
    model.graph.node.append(helper.make_node("Constant", [], ["t"], value=tensor))
    model.graph.node.append(helper.make_node("Add", ["product", "t"], ["y"]))
    source.write_bytes(model.SerializeToString())
    written, weights, _ = emit(source, tmp_path, "matmulnbits", 4, 32, True)
    assert not (written.parent / "constants.bin").exists()
    expected = x.astype(np.float64) @ weights["product"].astype(np.float64).T + table
    assert relative_error(session(written).run(None, {"x": x})[0], expected) < 5e-6


def reference(source, weights):
    """The source with each linear's weight replaced by what the codes mean, as bytes."""
    model = onnx.load(source)
    found = 0
    for node in model.graph.node:
        if not node.output or node.output[0] not in weights:
            continue
        w = weights[node.output[0]]
        kinds = {t.name: t.data_type for t in model.graph.initializer}
        half = kinds.get(node.input[1]) == TensorProto.FLOAT16
        name = f"reference_weight_{found}"
        value = np.ascontiguousarray(w.T.astype(np.float16 if half else np.float32))
        model.graph.initializer.append(numpy_helper.from_array(value, name))
        node.input[1] = name
        for attribute in node.attribute:
            if attribute.name == "transB":
                attribute.i = 0
        found += 1
    return (model.SerializeToString() if found == len(weights) else None)


def data_size(model):
    data = pathlib.Path(f"{model}.data")
    return data.stat().st_size if data.exists() else 0


def inputs_of(folder):
    arrays = np.load(folder / "io.npz")
    return {name[3:]: arrays[name] for name in arrays.files if name.startswith("in.")}


MODELS = sorted(p.parent.name for p in EXPORTS.glob("*/model.onnx")) if EXPORTS.exists() else []


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("flags", [(), ("scale",), ("half", "floats")], ids="-".join)
@pytest.mark.parametrize("name", sweep(MODELS))
def test_exported_model_computes_with_the_codes(tmp_path, name, flags, form):
    source = EXPORTS / name / "model.onnx"
    try:
        model, weights, _ = emit(source, tmp_path, form, 4, 32, False, *flags)
    except RuntimeError as error:
        if "status 4" in str(error) and "kernel" in str(error):
            pytest.skip(str(error))
        raise
    if "SimplifiedLayerNormalization" not in source.read_bytes().decode("latin-1"):
        onnx.checker.check_model(str(model), full_check=True)  # also finds all external data
    before, after = onnx.load(source), onnx.load(model)
    assert {v.name for v in after.graph.input} <= {v.name for v in before.graph.input}
    assert list(after.graph.output) == list(before.graph.output)
    expected_model = reference(source, weights)
    feeds = inputs_of(EXPORTS / name)
    written = session(model)
    actual = written.run(None, feeds)
    if expected_model is None:
        pytest.skip("runs; no reference, because its functions are inlined under other names")
    if weights:
        assert model.stat().st_size + data_size(model) < source.stat().st_size + data_size(source)
    original = session(expected_model)
    assert [i.name for i in written.get_inputs()] == [i.name for i in original.get_inputs()]
    expected = original.run(None, feeds)
    limit = 3e-2 if "floats" in flags or "fp16" in name else 2e-4
    for output, a, e in zip(written.get_outputs(), actual, expected):
        if a.dtype.kind != "f":
            continue
        assert np.isfinite(e).all() and relative_error(a, e.astype(np.float64)) < limit, output.name
