"""Every model of the corpus that tests/interop/corpus/export_corpus.py writes.

The same checks as for the exported models of ../shared, on many families and exporter settings. The
folder is named by PTQ_CORPUS; without it nothing runs. At 4 bits, and with AWQ, a random model may lose
any cosine; agreement with our own executor is what counts.
"""

import os
import pathlib

import pytest

pytest.importorskip("onnxruntime")
from model_checks import (  # noqa: E402
    RUNS,
    arrays_of,
    calibrate_and_run,
    counts_of,
    is_half,
    models_below,
    parity,
    print_results,
    quantize_and_run,
)
from quantize_cli import QUANTIZE, session  # noqa: E402

CORPUS = pathlib.Path(os.environ.get("PTQ_CORPUS", "/nonexistent"))
MODELS = models_below(CORPUS) if CORPUS.exists() else []
RESULTS = {name: {} for name in MODELS}

# Traced with lengths, a batch or the tokens of each expert as constants: ONNX Runtime, too, refuses
# other inputs than the stored ones.
ONE_SHAPE = ("jetmoe", "led", "longformer", "mistral-ts11", "olmo3-ts14", "switch_transformers")
# Attention without a scale turns random weights' small differences into large ones.
UNSCALED = ("t5", "mt5", "umt5", "longt5", "switch_transformers")
# Outputs of several thousand from gates on random weights: a thousandth more or less in the input
# already gives a cosine of .999.
UNSTABLE = ("timm-repvit",)
# Other numbers on each run.
RANDOM = ("vit_mae",)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it"),
    pytest.mark.skipif(not MODELS, reason="PTQ_CORPUS names no folder of exported models"),
]


@pytest.fixture(scope="module", autouse=True)
def print_summary():
    yield
    print_results("corpus", RESULTS)


@pytest.mark.parametrize("name", MODELS)
def test_forward_agrees_with_stored_outputs(name):
    if name.startswith(RANDOM):
        pytest.skip("random numbers")
    worst = parity(CORPUS / name)
    assert worst <= (2e-3 if is_half(CORPUS / name / "model.onnx") else 1e-4)
    RESULTS[name]["parity"] = worst


@pytest.mark.parametrize("bits,form", RUNS)
@pytest.mark.parametrize("name", MODELS)
def test_quantized_runs_in_onnx_runtime(name, bits, form, tmp_path):
    folder = CORPUS / name
    if name.startswith(RANDOM):
        pytest.skip("random numbers")
    try:
        session(folder / "model.onnx")
    except Exception as error:  # the runtime has a class of its own for each failure
        pytest.skip(f"ONNX Runtime refuses the source: {error}")
    limit = 2e-2 if is_half(folder / "model.onnx") else 2e-4
    report, described, similarity = quantize_and_run(folder, bits, form, tmp_path, limit)
    RESULTS[name]["counts"] = counts_of(report, described)
    RESULTS[name][bits, form] = f"cosine {similarity:.5f}"
    least = 0.98 if name.startswith(UNSCALED) else 0.9 if name.startswith(UNSTABLE) else 0.999
    assert similarity >= (least if bits == 8 else 0)


@pytest.mark.parametrize("name", MODELS)
def test_calibrated_runs_in_onnx_runtime(name, tmp_path):
    folder = CORPUS / name
    inputs = arrays_of(folder)[0]
    if "input_ids" not in inputs or {"pixel_values", "input_features"} & set(inputs):
        pytest.skip("not from token ids alone")
    if name.startswith(ONE_SHAPE):
        pytest.skip("traced for one shape")
    length = inputs.get("attention_mask", inputs["input_ids"]).shape[-1]
    limit = 2e-2 if is_half(folder / "model.onnx") else 2e-4
    _, _, similarity = calibrate_and_run(folder, tmp_path, limit, samples=32, length=length)
    RESULTS[name]["calibrated"] = f"cosine {similarity:.5f}"
