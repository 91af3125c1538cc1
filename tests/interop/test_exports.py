"""Every exported model of ../shared: parity of the executor, then quantized and run for real.

For each model: `quantize forward` agrees with the stored outputs of ONNX Runtime; `quantize run` at
4 and 8 bits in both formats gives a model that ONNX Runtime loads and runs, whose outputs agree with
our own executor's. One line a model is printed at the end. Needs the program of PTQ_BUILD_DIR and
the models of ../shared (or PTQ_SHARED); what is absent is skipped.
"""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    SHARED,
    check_metadata,
    cosine,
    forward,
    quantize,
    quantized,
    relative_error,
    run_session,
    session,
    signature,
    summarize,
)

EXPORTS = SHARED / "onnx" / "exports"
MODELS = sorted(p.parent.name for p in EXPORTS.glob("*/model.onnx")) if EXPORTS.exists() else []

pytestmark = [
    pytest.mark.skipif(
        not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
    ),
    pytest.mark.skipif(not MODELS, reason=f"{EXPORTS} is absent"),
]

# Models that hold FP16 activations: every operator rounds, in an order that the runtime chooses.
HALF = {
    "bert-ts17-fp16",
    "qwen2-dynamo18-fp16",
    "tinystories-656k-fp16-fp16io",
    "tinystories-656k-fp16-keepio",
}
# All linears are inside the branches of an If, and both branches read the same weights.
MERGED = {"gpt2-optimum-merged", "t5-optimum-merged-decoder"}
# Least cosine with the float model. Random weights of standard deviation 0.2 are harder than trained
# ones, most of all in attention without a scale (T5) and in the class scores of one token.
LEAST_COSINE = {
    4: {
        "dinov2-dynamo23": 0.8,
        "dinov2-ts17": 0.8,
        "t5-decoder-dynamo18": 0.85,
        "t5-decoder-ts13": 0.85,
        "t5-optimum-merged-decoder": 0.85,
    },
    8: {
        "t5-decoder-dynamo18": 0.998,
        "t5-decoder-ts13": 0.998,
        "t5-encoder-ts13": 0.998,
        "t5-optimum-merged-decoder": 0.998,
    },
}
# Arrays whose padded positions ONNX Runtime leaves undefined: GroupQueryAttention does not read a
# mask but lengths. Only positions of the mask are compared.
UNDEFINED_PADDING = {("tinystories-656k-genai-fp32", "io_prompt.npz")}
CALIBRATED = [
    "bert-ts11",
    "gpt2-optimum-merged",
    "gpt2-ts13",
    "llama-ts14",
    "opt-dynamo18",
    "qwen2-dynamo18-fp16",
    "t5-encoder-ts13",
    "tinystories-656k-genai-fp32",
    "tinystories-656k-optimum-past-tied",
]
RUNS = [(bits, form) for bits in (4, 8) for form in ("matmulnbits", "qdq")]
RESULTS = {name: {} for name in MODELS}


def limit_for(name, half, full):
    return half if name in HALF else full


def arrays_of(name, file="io.npz"):
    with np.load(EXPORTS / name / file) as arrays:
        inputs = {n[3:]: arrays[n] for n in arrays.files if n.startswith("in.")}
        outputs = {n[4:]: arrays[n] for n in arrays.files if n.startswith("out.")}
    return inputs, outputs


def main_output(outputs):
    """The logits, or the first output where there are none."""
    return "logits" if "logits" in outputs else next(iter(outputs))


@pytest.fixture(scope="module", autouse=True)
def print_summary():
    yield
    for name, r in RESULTS.items():
        if not r:
            continue
        runs = "  ".join(
            f"{bits} bits {form}: {r[bits, form]}" for bits, form in RUNS if (bits, form) in r
        )
        counts = r.get("counts", "linears not counted")
        parity = f"parity {r['parity']:.1e}" if "parity" in r else "not run"
        summarize("exported models", f"{name:36}{parity:16}{counts}  {runs}")


def parity_where_defined(name, file, folder):
    """The largest relative difference over the positions that the attention mask keeps."""
    feeds, expected = arrays_of(name, file)
    own = forward(EXPORTS / name, feeds, folder)
    kept = feeds["attention_mask"].astype(bool)
    worst = 0.0
    for output, array in expected.items():
        # present: [batch, heads, length, size]
        a, e = (x.swapaxes(1, 2) if x.ndim == 4 else x for x in (own[output], array))
        worst = max(worst, relative_error(a[kept], e[kept]))
    return worst


@pytest.mark.parametrize("name", MODELS)
def test_forward_agrees_with_stored_outputs(name, tmp_path):
    folder = EXPORTS / name
    for stored in sorted(folder.glob("io*.npz")):
        if (name, stored.name) in UNDEFINED_PADDING:
            worst = parity_where_defined(name, stored.name, tmp_path)
            assert worst <= limit_for(name, 2e-3, 1e-4)
            continue
        done = quantize("forward", "--src", folder, "--inputs", stored, "--against")
        assert done.returncode == 0, f"{stored.name}: {done.stderr.strip()}"
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        assert rows
        worst = max(float(row[-2]) for row in rows)
        RESULTS[name]["parity"] = max(worst, RESULTS[name].get("parity", 0.0))
        assert worst <= limit_for(name, 2e-3, 1e-4), done.stdout


def compare_with_own_executor(name, source, destination, folder):
    """Checks the written model in ONNX Runtime; returns the cosine of its output with the float's:
    the smallest, where arrays of several branches are stored."""
    written = session(destination / "model.onnx")
    assert signature(written) == signature(session(source / "model.onnx"))
    limit = limit_for(name, 2e-2, 2e-4)
    similarities = []
    for file in ("io.npz", "io_nocache.npz") if name in MERGED else ("io.npz",):
        feeds, stored = arrays_of(name, file)
        got = run_session(written, feeds)
        for output, expected in forward(destination, feeds, folder).items():
            error = relative_error(got[output], expected)
            assert error <= limit, f"{file}, {output}: relative difference {error:.2e}"
        main = main_output(stored)
        similarities.append(cosine(got[main], stored[main]))
    return min(similarities)


def check_counts(name, report, described):
    linears = described["linears"]
    kept = [linear for linear in linears if linear["decision"] == "keep"]
    assert all(linear["reason"] for linear in kept)
    counts = report["linears"]
    assert counts["kept"] == len(kept)
    assert counts["quantized"] > 0
    return (
        f"{len(linears)} linears: {counts['quantized']} quantized, {counts['fp16']} fp16, "
        f"{counts['kept']} kept"
    )


def nodes_of(graph):
    """The nodes of a graph and of all graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def tensors_of(graph):
    """The initializers of a graph and of all graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from tensors_of(attribute.g)


def check_operators(destination, form, quantized_linears):
    """The linears really are in the form asked for."""
    model = onnx.load(destination / "model.onnx", load_external_data=False)
    types = [node.op_type for node in nodes_of(model.graph)]
    count = types.count("MatMulNBits" if form == "matmulnbits" else "DequantizeLinear")
    assert count == quantized_linears
    if form == "qdq" and quantized_linears:
        assert "MatMulNBits" not in types
        assert max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) >= 21


@pytest.mark.parametrize("bits,form", RUNS)
@pytest.mark.parametrize("name", MODELS)
def test_quantized_runs_in_onnx_runtime(name, bits, form, tmp_path):
    source, destination = EXPORTS / name, tmp_path / "out"
    arguments = ["--method", "rtn", "--bits", bits, "--group-size", 32, "--format", form]
    arguments += ["--accuracy-level", 0]
    report = quantized(source, destination, *arguments)
    RESULTS[name]["counts"] = check_counts(name, report, check_metadata(destination))
    check_operators(destination, form, report["linears"]["quantized"])
    similarity = compare_with_own_executor(name, source, destination, tmp_path)
    RESULTS[name][bits, form] = f"runs, cosine {similarity:.5f}"
    assert similarity >= LEAST_COSINE[bits].get(name, 0.999 if bits == 8 else 0.9)


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("name", sorted(MERGED & set(MODELS)))
def test_branches_share_the_codes_of_their_weights(name, form, tmp_path):
    source, destination = EXPORTS / name, tmp_path / "out"
    arguments = ["--method", "rtn", "--bits", 4, "--group-size", 32, "--format", form]
    report = quantized(source, destination, *arguments, "--lm-head", "keep")
    written = onnx.load(destination / "model.onnx", load_external_data=False)
    operator = "MatMulNBits" if form == "matmulnbits" else "DequantizeLinear"
    # Codes are told apart by their place in the data file: the runtime wants those of QDQ in the
    # branch itself, under a name of their own.
    place = {t.name: str(t.external_data) + t.raw_data.hex() for t in tensors_of(written.graph)}
    codes = [
        place[node.input[1 if form == "matmulnbits" else 0]]
        for node in nodes_of(written.graph)
        if node.op_type == operator
    ]
    assert len(codes) == report["linears"]["quantized"]
    original = onnx.load(source / "model.onnx")
    # The LM head has the vocabulary as a dimension; some are the embedding's table, transposed.
    vocabulary = arrays_of(name)[1]["logits"].shape[-1]
    matrices = {
        t.name for t in original.graph.initializer if len(t.dims) == 2 and vocabulary not in t.dims
    }
    branches = [a.g for a in original.graph.node[-1].attribute if a.HasField("g")]
    used = [
        {node.input[1] for node in nodes_of(g) if node.op_type in ("MatMul", "Gemm")} & matrices
        for g in branches
    ]
    assert len(used[0] & used[1]) > 4
    assert len(codes) == len(used[0]) + len(used[1])
    assert len(set(codes)) == len(used[0] | used[1])


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_runs_in_onnx_runtime(name, tmp_path):
    source, destination = EXPORTS / name, tmp_path / "out"
    if not source.exists():
        pytest.skip(f"{source} is absent")
    ids = np.random.default_rng(3).integers(3, 300, size=(16, 48), dtype=np.int64)
    np.save(tmp_path / "ids.npy", ids)
    arguments = ["--method", "awq", "--bits", 4, "--group-size", 32, "--accuracy-level", 0]
    report = quantized(source, destination, *arguments, "--calib", tmp_path / "ids.npy")
    described = check_metadata(destination)
    check_counts(name, report, described)
    assert described["calibration"]["samples"] == 16
    for linear in described["linears"]:
        if linear["decision"] == "quantize":
            found = linear["quantized"]
            assert found["calibration_tokens"] > 0
            assert found["loss_after"] <= found["loss_before"] * (1 + 1e-9)
    similarity = compare_with_own_executor(name, source, destination, tmp_path)
    assert similarity >= 0.9, json.dumps(report["linears"])
