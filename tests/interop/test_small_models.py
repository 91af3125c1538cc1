"""Models built in code, quantized in every way and run in ONNX Runtime; needs nothing but PTQ_BUILD_DIR.

The expectation is our own executor on the written model (`quantize forward`), whose operators are
compared with ONNX Runtime one by one in test_kernels.py, and for 8 bits the float model itself.
"""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from onnx import TensorProto, numpy_helper  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    cosine,
    forward,
    hashes,
    quantized,
    relative_error,
    run_session,
    session,
    signature,
    skip_unless_runtime_has,
)
from small_models import calibration_ids, feeds_of, llama, save  # noqa: E402
from small_products import (  # noqa: E402
    bf16_product,
    linear_forms,
    with_branches,
    with_function,
)

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

RTN = ["--method", "rtn", "--accuracy-level", 0]


def check(model, folder, *arguments, limit=1e-4, least_cosine=0.0, external=False):
    """Quantizes, runs in both engines, compares; returns (report, metadata, written ModelProto)."""
    source = save(model, folder / "source", external)
    report = quantized(source, folder / "out", *arguments)
    described = check_metadata(folder / "out")
    feeds = feeds_of(model)
    written = session(folder / "out" / "model.onnx")
    got = run_session(written, feeds)
    for name, expected in forward(folder / "out", feeds, folder).items():
        error = relative_error(got[name], expected)
        assert error <= limit, f"{name}: relative difference {error:.2e}"
    original = session(source / "model.onnx")
    assert signature(written) == signature(original)
    for name, expected in run_session(original, feeds).items():
        assert cosine(got[name], expected) >= least_cosine, name
    return report, described, onnx.load(folder / "out" / "model.onnx")


# ---- Every form of product ----------------------------------------------------------------------

FORMS = [
    "direct", "turned", "same", "cast", "flat", "shared_a", "shared_b", "gemm0", "gemm1", "nobias",
    "fused0", "fused1",
]  # fmt: skip


@pytest.mark.parametrize("group", [16, 32, 128, "channel"])
@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("symmetry", ["--symmetric", "--asymmetric"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_form_of_product(tmp_path, bits, symmetry, form, group):
    skip_unless_runtime_has(bits)
    two_bit_qdq = form == "qdq" and bits == 2  # needs opset 25 and whole bytes in a row
    model = linear_forms(opset=25 if two_bit_qdq else 21, even=two_bit_qdq)
    arguments = ["--bits", bits, symmetry, "--format", form, "--group-size", group]
    report, described, _ = check(
        model, tmp_path, *RTN, *arguments, least_cosine={2: 0.6, 3: 0.9, 4: 0.98, 8: 0.9999}[bits]
    )
    assert report["totals"]["linears_quantized"] == len(FORMS)
    nodes = [linear["node"] for linear in described["linears"]]
    assert sorted(nodes) == sorted(FORMS)


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("bits", [4, 8])
def test_every_form_of_product_in_fp16(tmp_path, bits, form):
    model = linear_forms("float16")
    arguments = ["--bits", bits, "--format", form, "--group-size", 32]
    report, _, _ = check(model, tmp_path, *RTN, *arguments, limit=2e-3, least_cosine=0.98)
    assert report["totals"]["linears_quantized"] == len(FORMS)


def test_one_weight_used_twice_is_stored_once(tmp_path):
    arguments = ["--bits", 4, "--group-size", 32]
    _, described, written = check(linear_forms(), tmp_path, *RTN, *arguments)
    sizes = {linear["node"]: linear["bytes_after"] for linear in described["linears"]}
    assert sorted([sizes["shared_a"] > 0, sizes["shared_b"] > 0]) == [False, True]
    read = [n.input[1] for n in written.graph.node if n.op_type == "MatMulNBits"]
    assert len(read) == len(FORMS) and len(set(read)) == len(FORMS) - 1


# ---- A decoder ----------------------------------------------------------------------------------

STORAGE = {
    "inline": {},
    "external": {"external": True},
    "constant-nodes": {"constants_as_nodes": True},
}
FLOATS = {
    "fp32": {},
    "fp16": {"dtype": "float16"},
    "fp16-cast": {"stored": "float16"},
    "bf16-cast": {"stored": "bfloat16"},
}


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("floats", FLOATS)
def test_decoder_with_awq(tmp_path, floats, storage, form):
    options = {**FLOATS[floats], **STORAGE[storage]}
    external = options.pop("external", False)
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = ["--method", "awq", "--accuracy-level", 0, "--bits", 4, "--group-size", 32]
    arguments += ["--format", form, "--calib", ids]
    limit = 1e-2 if floats == "fp16" else 1e-4
    model = llama(**options)
    report, described, _ = check(
        model, tmp_path, *arguments, limit=limit, least_cosine=0.95, external=external
    )
    assert report["totals"]["linears_quantized"] == 7
    names = [linear["name"] for linear in described["linears"]]
    assert names[0] == "model.layers.0.self_attn.q_proj" and names[-1] == "lm_head"
    for linear in described["linears"]:
        if linear["quantized"]:
            found = linear["quantized"]
            assert found["calibration_tokens"] == 8 * 24
            assert found["loss_after"] <= found["loss_before"] * (1 + 1e-9)


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_bf16_product_runs_where_the_source_does_not(tmp_path, form):
    """ONNX Runtime has no bfloat16 MatMul on the CPU; the written product computes in float32."""
    model = bf16_product()
    source = save(model, tmp_path / "source")
    arguments = ["--bits", 8, "--group-size", 32, "--format", form]
    quantized(source, tmp_path / "out", *RTN, *arguments)
    feeds = feeds_of(model)
    got = run_session(session(tmp_path / "out" / "model.onnx"), feeds)["y"]
    own = forward(tmp_path / "out", feeds, tmp_path)["y"]
    assert relative_error(got, own) <= 1e-2
    assert cosine(got, forward(source, feeds, tmp_path)["y"]) >= 0.9999


HEADS = {"fp16": 7, "int8": 8, "int4": 8, "keep": 7}


@pytest.mark.parametrize("tied", [False, True], ids=["own", "tied"])
@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("head", HEADS)
def test_head_forms(tmp_path, head, form, tied):
    arguments = ["--bits", 8, "--group-size", 32, "--lm-head", head, "--format", form]
    report, described, _ = check(
        llama(tied=tied), tmp_path, *RTN, *arguments, least_cosine=0.99 if head == "int4" else 0.999
    )
    assert report["totals"]["linears_quantized"] == HEADS[head]
    last = described["linears"][-1]
    expected = {"fp16": "fp16", "keep": "keep"}.get(head, "quantize")
    assert last["decision"] == expected
    if expected == "quantize":
        assert last["quantized"]["bits"] == int(head[3:])


def producers(graph):
    return {output: node for node in graph.node for output in node.output}


def test_fp16_head_is_an_fp16_initializer_cast_in_front_of_the_product(tmp_path):
    _, _, written = check(llama(), tmp_path, *RTN, "--bits", 4, "--group-size", 32)
    made = producers(written.graph)
    (head,) = [n for n in written.graph.node if n.op_type == "MatMul" and "logits" in n.output]
    cast = made[head.input[1]]
    assert cast.op_type == "Cast"
    types = {t.name: t.data_type for t in written.graph.initializer}
    assert types[cast.input[0]] == TensorProto.FLOAT16


def test_tied_fp16_head_is_stored_once(tmp_path):
    arguments = ["--bits", 4, "--group-size", 32, "--lm-head", "fp16"]
    _, _, written = check(llama(tied=True), tmp_path, *RTN, *arguments)
    tables = [t for t in written.graph.initializer if sorted(t.dims) == [64, 96] and t.data_type in
              (TensorProto.FLOAT, TensorProto.FLOAT16)]  # fmt: skip
    assert [t.data_type for t in tables] == [TensorProto.FLOAT16]
    gathers = [n for n in written.graph.node if n.op_type == "Gather"]
    assert [n.input[0] for n in gathers] == [tables[0].name], "the Cast belongs after the Gather"


@pytest.mark.parametrize("tied", [False, True], ids=["own", "tied"])
def test_float_fp16_halves_what_is_left(tmp_path, tied):
    arguments = ["--bits", 4, "--group-size", 32, "--float", "fp16"]
    report, _, written = check(llama(tied=tied), tmp_path, *RTN, *arguments, limit=2e-3)
    large = {
        t.name: t.data_type
        for t in written.graph.initializer
        if int(np.prod(t.dims)) >= 64 and t.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    scales = {n.input[2] for n in written.graph.node if n.op_type == "MatMulNBits"}
    assert large and {kind for name, kind in large.items() if name not in scales} == {
        TensorProto.FLOAT16
    }
    assert report["bytes_after"] < report["bytes_before"] / 2


@pytest.mark.parametrize("method", ["rtn", "awq"])
@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_same_bytes_at_any_thread_count(tmp_path, method, form):
    source = save(llama(layers=2, hidden=128, ffn=160), tmp_path / "source", external=True)
    ids = calibration_ids(tmp_path / "ids.npy", 16, 48)
    arguments = ["--method", method, "--group-size", 32, "--format", form, "--calib", ids]
    found = []
    for run, threads in enumerate((1, 2, 2)):
        quantized(source, tmp_path / f"out{run}", *arguments, threads=threads)
        found.append(hashes(tmp_path / f"out{run}"))
    assert len(found[0]) == 3
    assert found[0] == found[1] == found[2]


# ---- Scopes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_linears_inside_branches_are_quantized_with_one_set_of_codes(tmp_path, form):
    arguments = ["--bits", 8, "--group-size", 32, "--format", form]
    report, described, written = check(
        with_branches(), tmp_path, *RTN, *arguments, least_cosine=0.999
    )
    assert report["totals"]["linears_quantized"] == 3
    assert not any(linear["decision"] == "keep" for linear in described["linears"])
    names = [tensor.name for tensor in written.graph.initializer]
    # The codes of QDQ stand in the branches, as the runtime wants them.
    here = 1 if form == "matmulnbits" else 0
    assert sum("inner" in name and "scales" in name for name in names) == here
    assert "inner.weight" not in names


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
def test_linears_inside_functions_are_quantized(tmp_path, form):
    arguments = ["--bits", 8, "--group-size", 32, "--format", form]
    report, _, _ = check(with_function(), tmp_path, *RTN, *arguments, least_cosine=0.999)
    assert report["totals"]["linears_quantized"] == 2


def test_exclusion_leaves_the_weight_bit_for_bit(tmp_path):
    model = llama()
    arguments = ["--bits", 4, "--group-size", 32, "--exclude", "*.o_proj", "/mlp/"]
    report, described, written = check(model, tmp_path, *RTN, *arguments)
    decisions = {linear["name"]: linear["decision"] for linear in described["linears"]}
    assert decisions["model.layers.0.self_attn.o_proj"] == "keep"
    assert decisions["model.layers.0.mlp.up_proj"] == "keep"
    assert report["totals"]["linears_quantized"] == 3
    name = "model.layers.0.self_attn.o_proj.weight"
    arrays = [
        numpy_helper.to_array(t)
        for m in (model, written)
        for t in m.graph.initializer
        if t.name == name
    ]
    assert len(arrays) == 2 and np.array_equal(*arrays)


@pytest.mark.parametrize("form", [["--format", "matmulnbits"], ["--format", "qdq"]])
@pytest.mark.parametrize("imports", [
    [("", 18), ("ai.onnx", 18)], [("ai.onnx", 18), ("", 18)], [("", 18), ("", 18)],
    [("ai.onnx", 18)], [("", 11), ("ai.onnx", 18)], [("", 18), ("x.y", 1), ("x.y", 2)],
])  # fmt: skip
def test_imports_every_domain_once(tmp_path, imports, form):
    """The last import of a domain counts in ONNX Runtime, under either of the default one's names."""
    model = llama(opset=18)
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in imports)
    _, _, written = check(model, tmp_path, *RTN, "--bits", 8, *form, least_cosine=0.99)
    domains = [entry.domain for entry in written.opset_import]
    assert len(set(domains)) == len(domains) and "ai.onnx" not in domains
    assert {"": 21 if "qdq" in form else 18}.items() <= {
        entry.domain: entry.version for entry in written.opset_import
    }.items()
