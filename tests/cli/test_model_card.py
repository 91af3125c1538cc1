"""--model-card: its front matter is YAML that the Hub reads, and its lines of Python run."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from quantize_cli import QUANTIZE, REPOSITORY, metadata, quantize, quantized
from small_models import llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
RTN = ["--method", "rtn", "--group-size", 32, "--no-verify"]
CARD = """---
license: apache-2.0
language:
- en
tags:
- poetry
---
# Original

Its own words.
"""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "tiny"
    save(llama(), folder)
    word_tokenizer(folder / "tokenizer.json")
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "_name_or_path": "someone/tiny"})
    )
    return folder


def card_of(folder, name="README.md"):
    """The front matter as YAML reads it, and the text."""
    _, front, text = (folder / name).read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def run_python(text, folder):
    """What the Python of a card prints, run as it stands in the model's directory."""
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_card_is_made_where_the_source_has_none(source, tmp_path):
    out = tmp_path / "out"
    report = quantized(source, out, *RTN, "--model-card", "README.md")
    front, text = card_of(out)
    assert front == {
        "base_model": "someone/tiny",
        "base_model_relation": "quantized",
        "library_name": "onnx",
        "pipeline_tag": "text-generation",
        "tags": ["onnx", "onnxruntime", "quantized", "int4"],
    }
    assert f"{report['totals']['linears_quantized']} quantized" in text
    assert run_python(text, out).strip().startswith("[(1, ")  # the logits of one text
    found = metadata(out)
    assert found["model_card"] == "README.md"
    (listed,) = [f for f in found["files"] if f["file"] == "README.md"]
    assert listed["bytes"] == (out / "README.md").stat().st_size


def test_the_card_of_the_source_keeps_its_front_and_its_words(source, tmp_path):
    (source / "README.md").write_text(CARD)
    quantized(source, tmp_path / "out", *RTN, "--model-card", "README.md")
    front, text = card_of(tmp_path / "out")
    assert front["license"] == "apache-2.0" and front["language"] == ["en"]
    assert front["tags"] == ["poetry"]
    assert front["base_model"] == "someone/tiny" and front["base_model_relation"] == "quantized"
    assert "Its own words." in text.split("## The original model")[1]


def test_measured_quality_is_in_the_card(source, tmp_path):
    (tmp_path / "held-out.txt").write_text("w1 w2 w3 w4 w5\n\nw6 w7 w8 w9\n")
    quantized(source, tmp_path / "out", *RTN, "--bits", 8, "--gate", "kl<=1", "--gate-text",
              tmp_path / "held-out.txt", "--model-card", "README.md")  # fmt: skip
    _, text = card_of(tmp_path / "out")
    (result,) = metadata(tmp_path / "out")["gate"]["results"]
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {result['figure']} ")]
    assert float(row.split("|")[2]) == pytest.approx(result["value"], rel=1e-4)


def test_a_result_is_replaced_with_its_card_and_found_up_to_date_with_it(source, tmp_path):
    arguments = [source, tmp_path / "out", *RTN]
    assert not quantized(*arguments)["up_to_date"]
    assert quantized(*arguments)["up_to_date"]
    card = ["--model-card", "README.md", "--overwrite"]
    assert not quantized(*arguments, *card)["up_to_date"]
    assert quantized(*arguments, *card)["up_to_date"]
    assert not quantized(*arguments, *card, "--bits", 8)["up_to_date"]
    assert card_of(tmp_path / "out")[0]["tags"][-1] == "int8"


def test_a_template_of_ones_own(source, tmp_path):
    template = tmp_path / "card.md"
    template.write_text("{{ title }}: {{ summary.method }} {% for m in models %}{{ m }}{% endfor %}\n")
    quantized(source, tmp_path / "out", *RTN, "--model-card", "CARD.md", "--model-card-template", template)
    assert (tmp_path / "out" / "CARD.md").read_text() == "tiny: rtn model.onnx"
    template.write_text("one\n{{ misspelt }}\n")
    done = quantize("run", source, tmp_path / "other", *RTN, "--model-card", "CARD.md",
                    "--model-card-template", template)  # fmt: skip
    assert done.returncode == 3 and "card.md:2" in done.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["../README.md", "sub/README.md", "model.onnx", "/tmp/README.md"])
def test_the_card_is_a_file_of_the_result(source, tmp_path, name):
    done = quantize("run", source, tmp_path / "out", *RTN, "--model-card", name)
    assert done.returncode == 2 and "--model-card" in done.stderr
    single = quantize("run", source, tmp_path / "out.onnx", *RTN, "--model-card", "README.md")
    assert single.returncode == 2 and "directory" in single.stderr


def test_the_card_of_the_demo_model_runs(tmp_path):
    quantized(REPOSITORY / "data" / "demo", tmp_path / "out", "--method", "rtn", "--no-verify",
              "--model-card", "README.md")  # fmt: skip
    _, text = card_of(tmp_path / "out")
    assert "2048)" in run_python(text, tmp_path / "out")
    for language in ("js", "py"):
        assert f"```{language}\n" not in text  # neither is for this directory
