"""`compare`: two results or models side by side."""

import json

import pytest
from quantize_cli import QUANTIZE, metadata, quantize
from small_models import calibration_ids, llama, save

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


@pytest.fixture
def source(tmp_path):
    return save(llama(layers=2), tmp_path / "tiny")


@pytest.fixture
def results(source, tmp_path):
    for bits, name in ((4, "a"), (8, "b")):
        done = quantize("run", source, tmp_path / name, "--method", "rtn", "--bits", bits,
                        "--group-size", 32, "--rule", "*.q_proj: bits=8")  # fmt: skip
        assert done.returncode == 0, done.stderr
    return tmp_path / "a", tmp_path / "b"


def compare(*arguments):
    done = quantize("compare", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def size(folder):
    return sum(p.stat().st_size for p in folder.glob("model.onnx*"))


def test_results_differ_in_what_the_recipe_changed(results):
    found = compare(*results)
    assert found["same_source"] is True
    assert found["recipe_changes"] == [{"key": "bits", "a": 4, "b": 8}]
    assert [found[side]["bytes"] for side in "ab"] == [size(folder) for folder in results]
    linears = [metadata(folder)["linears"] for folder in results]
    tensors = {tensor["name"]: tensor for tensor in found["tensors"]}
    for one, other in zip(*linears, strict=True):
        tensor = tensors[one["name"]]
        assert tensor["a"]["bytes"] == one["bytes_after"]
        assert tensor["b"]["bytes"] == other["bytes_after"]
        changed = one["quantized"] is not None and not one["name"].endswith("q_proj")
        assert tensor["differs"] == changed
        if changed:
            assert (tensor["a"]["form"], tensor["b"]["form"]) == ("4 bits, g32", "8 bits, g32")


def test_the_list_is_ordered_and_cut(results):
    found = compare(*results, "--sort", "bytes", "--top", 3)
    changes = [tensor["a"]["bytes"] - tensor["b"]["bytes"] for tensor in found["tensors"]]
    assert len(changes) == 3 and changes == sorted(changes)
    assert changes[0] == min(
        one["bytes_after"] - other["bytes_after"]
        for one, other in zip(*(metadata(r)["linears"] for r in results), strict=True)
    )


def test_metadata_files_are_enough(results):
    files = [folder / "quantization_metadata.json" for folder in results]
    assert compare(*files)["tensors"] == compare(*results)["tensors"]


def test_a_result_is_compared_with_its_source(source, results):
    found = compare(source, results[0])
    assert (found["a"]["result"], found["b"]["result"]) == (False, True)
    assert found["same_source"] is None
    first = found["tensors"][0]
    assert first["a"]["form"] == "float32" and first["b"]["form"] == "8 bits, g32"
    assert first["a"]["bytes"] == 64 * 64 * 4


def test_both_are_measured_as_eval_does(source, results, tmp_path):
    ids = calibration_ids(tmp_path / "ids.npy")
    found = compare(*results, "--text", ids, "--against", source)
    for side, folder in zip("ab", results, strict=True):
        measured = json.loads(
            quantize("eval", folder, "--against", source, "--text", ids, "--json").stdout
        )
        assert found[side]["figures"]["kl"] == pytest.approx(measured["kl"])
    beside = compare(*results, "--text", ids)
    assert beside["a"]["figures"] == {} and beside["b"]["figures"]["kl"] > 0


def test_models_of_other_parts_say_what_only_one_has(source, results, tmp_path):
    small = save(llama(layers=1), tmp_path / "small")
    found = compare(source, small)
    absent = [tensor["name"] for tensor in found["tensors"] if tensor["b"] is None]
    assert absent and all(name.startswith("model.layers.1.") for name in absent)
    text = quantize("compare", source, small).stdout
    assert "absent" in text and "-" in text


@pytest.mark.parametrize("wrong,part", [("absent", "no file"), ("broken.json", "no metadata")])
def test_what_is_neither_result_nor_model_is_refused(source, tmp_path, wrong, part):
    (tmp_path / "broken.json").write_text("[]")
    done = quantize("compare", source, tmp_path / wrong)
    assert done.returncode == 3 and part in done.stderr


def test_a_report_shows_what_differs(results, tmp_path):
    page = tmp_path / "compare.html"
    found = compare(*results, "--report", page)
    text = page.read_text()
    for tensor in found["tensors"]:
        assert (tensor["name"] in text) == tensor["differs"]
    assert "recipe: bits" in text and "4 bits, g32 -&gt; 8 bits, g32" in text
