"""Every exported model of ../shared: parity of the executor, then quantized and run for real.

For each model: `quantize forward` agrees with the stored outputs of ONNX Runtime; `quantize run` at
4 and 8 bits in both formats gives a model that ONNX Runtime loads and runs, whose outputs agree with
our own executor's. One line a model is printed at the end. Needs the program of PTQ_BUILD_DIR and
the models of ../shared (or PTQ_SHARED); what is absent is skipped.
"""

import onnx
import pytest

pytest.importorskip("onnxruntime")
from model_checks import (  # noqa: E402
    RUNS,
    arrays_of,
    calibrate_and_run,
    counts_of,
    is_half,
    models_below,
    nodes_below,
    nodes_of,
    parity,
    print_results,
    quantize_and_run,
    sweep,
)
from quantize_cli import QUANTIZE, SHARED, forward, quantized, relative_error  # noqa: E402

EXPORTS = SHARED / "onnx" / "exports"
MODELS = models_below(EXPORTS) if EXPORTS.exists() else []

pytestmark = [
    pytest.mark.skipif(
        not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
    ),
    pytest.mark.skipif(not MODELS, reason=f"{EXPORTS} is absent"),
]

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
RESULTS = {name: {} for name in MODELS}


def limit_for(name, half, full):
    return half if is_half(EXPORTS / name / "model.onnx") else full


@pytest.fixture(scope="module", autouse=True)
def print_summary():
    yield
    print_results("exported models", RESULTS)


def parity_where_defined(name, file, folder):
    """The largest relative difference over the positions that the attention mask keeps."""
    feeds, expected = arrays_of(EXPORTS / name, file)
    own = forward(EXPORTS / name, feeds, folder)
    kept = feeds["attention_mask"].astype(bool)
    worst = 0.0
    for output, array in expected.items():
        # present: [batch, heads, length, size]
        a, e = (x.swapaxes(1, 2) if x.ndim == 4 else x for x in (own[output], array))
        worst = max(worst, relative_error(a[kept], e[kept]))
    return worst


@pytest.mark.parametrize("name", sweep(MODELS))
def test_forward_agrees_with_stored_outputs(name, tmp_path):
    worst = 0.0
    for stored in sorted((EXPORTS / name).glob("io*.npz")):
        if (name, stored.name) in UNDEFINED_PADDING:
            found = parity_where_defined(name, stored.name, tmp_path)
        else:
            found = parity(EXPORTS / name, stored.name)
        assert found <= limit_for(name, 2e-3, 1e-4), stored.name
        worst = max(worst, found)
    RESULTS[name]["parity"] = worst


def tensors_of(graph):
    """The initializers of a graph and of all graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from tensors_of(attribute.g)


@pytest.mark.parametrize("bits,form", RUNS)
@pytest.mark.parametrize("name", sweep(MODELS))
def test_quantized_runs_in_onnx_runtime(name, bits, form, tmp_path):
    limit = limit_for(name, 2e-2, 2e-4)
    report, described, cosine = quantize_and_run(EXPORTS / name, bits, form, tmp_path, limit)
    assert report["totals"]["linears_quantized"] > 0
    RESULTS[name]["counts"] = counts_of(report, described)
    RESULTS[name][bits, form] = f"cosine {cosine:.5f}"
    assert cosine >= LEAST_COSINE[bits].get(name, 0.999 if bits == 8 else 0.9)


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
        for node in nodes_of(written)
        if node.op_type == operator
    ]
    assert len(codes) == report["totals"]["linears_quantized"]
    original = onnx.load(source / "model.onnx")
    # The LM head has the vocabulary as a dimension; some are the embedding's table, transposed.
    vocabulary = arrays_of(EXPORTS / name)[1]["logits"].shape[-1]
    matrices = {
        t.name for t in original.graph.initializer if len(t.dims) == 2 and vocabulary not in t.dims
    }
    branches = [a.g for a in original.graph.node[-1].attribute if a.HasField("g")]
    used = [
        {node.input[1] for node in nodes_below(g.node) if node.op_type in ("MatMul", "Gemm")} & matrices
        for g in branches
    ]
    assert len(used[0] & used[1]) > 4
    assert len(codes) == len(used[0]) + len(used[1])
    assert len(set(codes)) == len(used[0] | used[1])


@pytest.mark.parametrize("name", sweep(CALIBRATED))
def test_calibrated_runs_in_onnx_runtime(name, tmp_path):
    if name not in MODELS:
        pytest.skip(f"{EXPORTS / name} is absent")
    limit = limit_for(name, 2e-2, 2e-4)
    report, described, cosine = calibrate_and_run(EXPORTS / name, tmp_path, limit)
    assert report["totals"]["linears_quantized"] > 0
    RESULTS[name]["calibrated"] = f"cosine {cosine:.5f}"
    assert cosine >= 0.9
