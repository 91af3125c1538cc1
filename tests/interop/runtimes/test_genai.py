"""ONNX Runtime GenAI on directories that were quantized here. Installed by tools/runtimes.sh."""

import pathlib
import shutil

import pytest

og = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai: run tools/runtimes.sh")
from quantize_cli import QUANTIZE, SHARED, quantized  # noqa: E402
from runtime_checks import check_greedy, report  # noqa: E402
from runtime_models import save_demo_decoder  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

BUILDER_MODEL = SHARED / "onnx" / "exports" / "tinystories-656k-genai-fp32"
BUILDER_TOKENIZER = SHARED / "models" / "tinystories-656k-llama"
PROMPT = "And it came to pass in those days, that"


def generate(folder, prompt, length):
    """Greedy decoding by GenAI: (all tokens, how many are the prompt's, text)."""
    model = og.Model(str(folder))
    tokenizer = og.Tokenizer(model)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=length, do_sample=False)
    generator = og.Generator(model, params)
    prompt_ids = tokenizer.encode(prompt)
    generator.append_tokens(prompt_ids)
    while not generator.is_done():
        generator.generate_next_token()
    ids = [int(i) for i in generator.get_sequence(0)]
    return ids, len(prompt_ids), tokenizer.decode(ids)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_demo_decoder(tmp_path_factory.mktemp("genai") / "source")


@pytest.mark.parametrize("form", ["matmulnbits", "qdq"])
@pytest.mark.parametrize("bits", [8, 4])
def test_demo_model_generates(source, tmp_path, bits, form):
    out = tmp_path / "out"
    quantized(source, out, "--method", "rtn", "--bits", bits, "--group-size", 32, "--format", form)
    ids, prompt_length, text = generate(out, PROMPT, 60)
    report(f"GenAI {og.__version__}, {form}, {bits} bits: {text!r}")
    check_greedy(out / "model.onnx", ids, prompt_length, slack=1e-3)
    if bits == 8:
        expected, _, expected_text = generate(source, PROMPT, 60)
        assert (ids, text) == (expected, expected_text)


def test_layout_of_transformers_js_is_also_one_of_genai(source, tmp_path):
    out = tmp_path / "out"
    arguments = ["--bits", 4, "--group-size", 32, "--layout", "transformers.js"]
    quantized(source, out, "--method", "rtn", *arguments)
    ids, prompt_length, _ = generate(out, PROMPT, 40)
    check_greedy(out / "onnx" / "model_q4.onnx", ids, prompt_length, slack=1e-3)


@pytest.mark.skipif(not BUILDER_MODEL.exists(), reason=f"{BUILDER_MODEL} is absent")
@pytest.mark.parametrize("bits, same", [(8, 32), (4, 0)])
def test_folder_of_the_genai_builder(tmp_path, bits, same):
    source = tmp_path / "source"
    source.mkdir()
    for folder, names in (
        (BUILDER_MODEL, ("model.onnx", "model.onnx.data", "genai_config.json")),
        (BUILDER_TOKENIZER, ("config.json", "tokenizer.json", "tokenizer_config.json")),
    ):
        for name in names:
            shutil.copyfile(pathlib.Path(folder) / name, source / name)
    out = tmp_path / "out"
    quantized(source, out, "--method", "rtn", "--bits", bits, "--group-size", 32)
    ids, prompt_length, text = generate(out, "Once upon a time", 60)
    report(f"GenAI {og.__version__}, its builder's folder, {bits} bits: {text!r}")
    check_greedy(out / "model.onnx", ids, prompt_length, slack=1e-3)
    assert ids[:same] == generate(source, "Once upon a time", 60)[0][:same]


@pytest.mark.parametrize("bits", [8, 4])
def test_demo_model_generates_through_a_quantized_cache(source, tmp_path, bits):
    """GenAI takes the type of the caches from the model; its configuration is the source's."""
    out = tmp_path / "out"
    quantized(source, out, "--method", "rtn", "--exclude", "*", "--kv-cache", f"int{bits}")
    ids, prompt_length, text = generate(out, PROMPT, 60)
    report(f"GenAI {og.__version__}, cache of {bits} bits: {text!r}")
    assert len(ids) > prompt_length + 8
    if bits == 8:
        expected, _, _ = generate(source, PROMPT, 60)
        assert ids[: prompt_length + 8] == expected[: prompt_length + 8]
