"""The other models of ../shared: old exporters, ONNX Runtime's fused files, GenAI's test models.

They come without inputs: what their declarations allow is made here, and ONNX Runtime with its graph
optimisations off says what is expected. Files that it cannot load or run, and those without a linear
that can be quantized, are skipped with the reason.
"""

import shutil

import numpy as np
import onnx
import pytest

ort = pytest.importorskip("onnxruntime")
from model_checks import (  # noqa: E402
    RUNS,
    counts_of,
    is_half,
    nodes_of,
    parity,
    print_results,
    quantize_and_run,
)
from quantize_cli import QUANTIZE, SHARED  # noqa: E402

ROOT = SHARED / "onnx"
LINEAR = {"MatMul", "Gemm", "FusedMatMul", "Attention"}
FOLDERS = ("genai", "optimum-onnx-tests", "ort-2022-testdata")


def with_linears():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.onnx")):
            model = onnx.load(path, load_external_data=False)
            if any(node.op_type in LINEAR for node in nodes_of(model)):
                yield str(path.relative_to(ROOT))


MODELS = list(with_linears()) if ROOT.exists() else []
RESULTS = {name: {} for name in MODELS}
TYPES = {
    "tensor(float)": "f4",
    "tensor(float16)": "f2",
    "tensor(int64)": "i8",
    "tensor(int32)": "i4",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it"),
    pytest.mark.skipif(not MODELS, reason=f"{ROOT} is absent"),
]


@pytest.fixture(scope="module", autouse=True)
def print_summary():
    yield
    print_results("other models of ../shared", RESULTS)


def dimension(name, index, length, past):
    """What an open dimension is, by its name."""
    name = str(name)
    if index == 0 or "batch" in name:
        return 2
    if "total" in name or "+" in name:
        return past + length
    return past if "past" in name else length


def made_inputs(session, length, past):
    generator = np.random.default_rng(0)
    feeds = {}
    for value in session.get_inputs():
        if value.type not in TYPES:
            pytest.skip(f"input {value.name} is a {value.type}")
        shape = [
            d if isinstance(d, int) else dimension(d, i, length, past)
            for i, d in enumerate(value.shape)
        ]
        if "float" in value.type:
            array = generator.normal(size=shape)
        elif "mask" in value.name.lower():
            array = np.ones(shape)
        elif "position" in value.name:
            array = np.broadcast_to(np.arange(shape[-1]), shape)
        else:
            array = generator.integers(0, 2, size=shape)  # within any table
        feeds[value.name] = array.astype(TYPES[value.type])
    return feeds


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    """A folder with the model and io.npz."""
    source = ROOT / request.param
    outputs = [name for node in onnx.load(source).graph.node for name in node.output if name]
    if len(outputs) != len(set(outputs)):
        pytest.skip("values are defined twice, differently")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    outputs, error = None, None
    try:
        session = ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as refused:  # onnxruntime's own exceptions have no common base
        pytest.skip(f"ONNX Runtime: {str(refused)[:150]}")
    for length, past in ((8, 4), (1, 4)):  # a step of a decoder may take a single token
        feeds = made_inputs(session, length, past)
        try:
            outputs = session.run(None, feeds)
            break
        except Exception as refused:
            error = str(refused)[:150]
    if outputs is None:
        pytest.skip(f"ONNX Runtime: {error}")
    folder = tmp_path / "model"
    folder.mkdir()
    for beside in source.parent.iterdir():
        if beside.is_file() and beside.suffix in (".data", ".json"):
            shutil.copy(beside, folder)
    shutil.copy(source, folder / "model.onnx")
    expected = dict(zip((v.name for v in session.get_outputs()), outputs))
    arrays = {f"in.{n}": a for n, a in feeds.items()} | {f"out.{n}": a for n, a in expected.items()}
    np.savez(folder / "io.npz", **arrays)
    return request.param, folder


def test_agrees_and_runs_quantized(model, tmp_path):
    name, folder = model
    half = is_half(folder / "model.onnx")
    worst = parity(folder)
    assert worst <= (2e-3 if half else 1e-4)
    RESULTS[name]["parity"] = worst
    for bits, form in RUNS:
        scratch = tmp_path / f"{bits}{form}"
        scratch.mkdir()
        try:
            found = quantize_and_run(folder, bits, form, scratch, 2e-2 if half else 2e-4)
        except AssertionError as refused:
            if "no product with a constant weight" in str(refused):
                pytest.skip("no product with a constant weight")
            raise
        report, described, cosine = found
        RESULTS[name]["counts"] = counts_of(report, described)
        RESULTS[name][bits, form] = f"cosine {cosine:.5f}"
        # What is all zeros has no direction.
        assert cosine >= (0.999 if bits == 8 else 0.8) or cosine == 0
