"""quantize analyze: what each linear loses at each width, what stands out, how errors grow."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from quantize_cli import QUANTIZE, metadata, quantize, quantized
from small_models import calibration_ids, llama, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
GROUPS = ["--group-size", 32]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The source, a result of it, samples, and the analysis of both."""
    folder = tmp_path_factory.mktemp("analyze")
    save(llama(), folder / "source")
    word_tokenizer(folder / "source" / "tokenizer.json")
    ids = calibration_ids(folder / "ids.npy")
    quantized(folder / "source", folder / "out", "--method", "rtn", "--bits", 4, *GROUPS,
              "--asymmetric")  # fmt: skip
    found = analysis(folder / "source", "--against", folder / "out", "--calib", ids, *GROUPS)
    return folder, ids, found


def analysis(*arguments):
    done = quantize("analyze", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_losses_are_those_of_runs_at_each_width(made, tmp_path):
    folder, ids, found = made
    for bits in (2, 3, 4, 8):
        out = tmp_path / str(bits)
        quantized(folder / "source", out, "--method", "awq", "--scaling", "none", "--grid", "minmax",
                  "--bits", bits, *GROUPS, "--calib", ids)  # fmt: skip
        written = {x["name"]: x for x in metadata(out)["linears"] if x["quantized"]}
        assert written.keys() == {linear["name"] for linear in found["linears"]}
        for linear in found["linears"]:
            (width,) = [w for w in linear["widths"] if w["bits"] == bits]
            own = written[linear["name"]]
            assert width["relative_loss"] == pytest.approx(own["quantized"]["relative_loss"], rel=1e-4)
            assert width["bytes"] == own["bytes_after"]


def test_candidates_gain_most_for_each_byte_first(made):
    found = made[2]
    linears = {linear["name"]: linear for linear in found["linears"]}
    ratios = []
    for one in found["candidates"]:
        widths = {w["bits"]: w for w in linears[one["name"]]["widths"]}
        before, after = widths[one["from_bits"]], widths[one["to_bits"]]
        assert one["from_bits"] == 4 == linears[one["name"]]["bits"] and one["to_bits"] == 8
        assert one["bytes"] == after["bytes"] - before["bytes"] > 0
        assert one["gain"] == pytest.approx(before["relative_loss"] - after["relative_loss"])
        ratios.append(one["gain"] / one["bytes"])
    assert ratios == sorted(ratios, reverse=True) and len(ratios) == len(linears)


def test_three_bits_are_no_smaller_than_four(made):
    found = analysis(made[0] / "source", "--calib", made[1], "--bits", 3, *GROUPS)
    assert {(one["from_bits"], one["to_bits"]) for one in found["candidates"]} == {(3, 8)}
    assert found["growth"] == [] and found["reference"] is None


def test_growth_is_that_of_onnx_runtime(made):
    """Both models in the real runtime, on the same tokens, for the same values."""
    folder, ids, found = made
    assert len(found["growth"]) > 1
    names = [segment["value"] for segment in found["growth"]]
    outputs = []
    for model in ("source", "out"):
        graph = onnx.load(folder / model / "model.onnx")
        known = {output.name for output in graph.graph.output}
        for name in names:
            if name not in known:
                graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        path = folder / model / "probed.onnx"
        onnx.save(graph, path)
        session = onnxruntime.InferenceSession(path)
        path.unlink()
        texts = np.load(ids)[:16, :128].astype(np.int64)
        outputs.append([session.run(names, {"input_ids": text[None]}) for text in texts])
    for i, segment in enumerate(found["growth"]):
        a = np.concatenate([text[i].reshape(-1, text[i].shape[-1]) for text in outputs[0]])
        b = np.concatenate([text[i].reshape(-1, text[i].shape[-1]) for text in outputs[1]])
        error = np.square(a - b).sum() / np.square(a).sum()
        assert segment["relative_error"] == pytest.approx(error, rel=0.1)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert segment["cosine"] == pytest.approx(cosine.mean(), abs=0.02)


def test_statistics_serve_instead_of_samples(made, tmp_path):
    folder, ids, found = made
    stats = tmp_path / "model.stats"
    done = quantize("stats", folder / "source", "--calib", ids, "--out", stats)
    assert done.returncode == 0, done.stderr
    again = analysis(folder / "source", "--stats", stats, *GROUPS)
    assert again["linears"] == found["linears"] and again["sites"] == found["sites"]


def test_a_result_of_another_model_is_refused(made, tmp_path):
    save(llama(tied=True), tmp_path / "other")
    done = quantize("analyze", tmp_path / "other", "--against", made[0] / "out", "--calib", made[1])
    assert done.returncode == 3 and "another model" in done.stderr


def test_tables_and_page(made, tmp_path):
    folder, ids, _ = made
    report = tmp_path / "analysis.html"
    done = quantize("analyze", folder / "source", "--against", folder / "out", "--calib", ids, *GROUPS,
                    "--top", 2, "--report", report)  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for heading in ("most sensitive", "worth more bits", "most salient", "behind"):
        assert sum(line.startswith(heading) for line in text.splitlines()) == 1
    assert text.count("model.layers") >= 6
    page = report.read_text()
    for section in ("growth", "candidates", "sensitivity", "channels"):
        assert f'<section id="{section}"' in page
