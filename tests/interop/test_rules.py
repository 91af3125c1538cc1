"""Rules for single tensors: several precisions and forms in one model, run in ONNX Runtime."""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from quantize_cli import QUANTIZE, quantize, quantized, run_session, session  # noqa: E402
from small_models import calibration_ids, feeds_of, llama, save  # noqa: E402
from test_small_models import check  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

RTN = ["--method", "rtn", "--accuracy-level", 0, "--group-size", 32]
WIDTH = 64  # of the hidden states of llama()


def by_name(described):
    return {linear["name"].rsplit(".", 1)[-1]: linear for linear in described["linears"]}


def test_two_forms_and_four_precisions_in_one_model(tmp_path):
    rules = [
        "*.q_proj: form=qdq bits=8 group=channel",
        "*.k_proj: form=qdq symmetric=no",
        "*.v_proj: bits=2 group=16",
        "*.o_proj: form=keep",
        "*.down_proj: form=fp16",
        "lm_head: bits=8",
        "*embed*: form=fp16",
    ]
    arguments = [word for rule in rules for word in ("--rule", rule)]
    _, described, written = check(llama(), tmp_path, *RTN, *arguments, limit=1e-3)
    linears = by_name(described)
    shown = {
        name: (x["quantized"] or {}).get("form", x["decision"]) for name, x in linears.items()
    }
    assert shown["q_proj"] == shown["k_proj"] == "qdq" and shown["v_proj"] == "matmulnbits"
    assert (shown["o_proj"], shown["down_proj"]) == ("keep", "fp16")
    assert linears["q_proj"]["quantized"]["bits"] == 8
    assert linears["q_proj"]["quantized"]["group_size"] == 0
    assert linears["k_proj"]["quantized"]["symmetric"] is False
    assert linears["v_proj"]["quantized"]["bits"] == 2
    assert linears["lm_head"]["quantized"]["bits"] == 8
    assert described["tables"][0]["decision"] == "fp16"
    types = [node.op_type for node in written.graph.node]
    assert types.count("DequantizeLinear") == 2
    bits = [a.i for n in written.graph.node for a in n.attribute if a.name == "bits"]
    assert sorted(bits) == [2, 4, 4, 8]  # v, gate, up, and the head


@pytest.mark.parametrize("method", ["rtn", "awq", "best"])
def test_siblings_may_have_methods_of_their_own(tmp_path, method):
    ids = calibration_ids(tmp_path / "ids.npy")
    arguments = ["--method", method, "--calib", ids, "--accuracy-level", 0, "--group-size", 32]
    arguments += ["--rule", "*.q_proj: method=gptq bits=8", "--rule", "*.v_proj: method=rtn"]
    _, described, _ = check(llama(), tmp_path, *arguments, least_cosine=0.9)
    linears = by_name(described)
    q, k, v = (linears[name]["quantized"] for name in ("q_proj", "k_proj", "v_proj"))
    assert (q["bits"], k["bits"], v["bits"]) == (8, 4, 4)
    assert q["calibration_tokens"] == v["calibration_tokens"] == 8 * 24
    assert q["scaling"] == k["scaling"] == v["scaling"]  # of the site
    assert q["loss_after"] <= q["loss_before"]


def test_a_result_is_made_again_from_its_metadata(tmp_path):
    source = save(llama(), tmp_path / "source")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'method = "rtn"\ngroup_size = 32\n\n[[rule]]\npattern = "*.q_proj"\nbits = 8\n'
        'group = "channel"\n\n[[rule]]\npattern = "*.o_proj"\nform = "qdq"\nsymmetric = false\n'
    )
    report = quantized(source, tmp_path / "a", "--config", recipe)
    assert [rule["pattern"] for rule in report["recipe"]["rule"]] == ["*.q_proj", "*.o_proj"]
    quantized(source, tmp_path / "b", "--config", tmp_path / "a")
    for name in ("model.onnx", "model.onnx.data", "quantization_metadata.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    again = quantized(source, tmp_path / "a", "--config", recipe)
    assert again["up_to_date"]


def test_rules_of_the_command_line_stand_in_front_of_the_files(tmp_path):
    source = save(llama(), tmp_path / "source")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"rule": [{"pattern": "*_proj", "bits": 8}]}))
    report = quantized(
        source, tmp_path / "out", *RTN, "--config", recipe, "--rule", "*.o_proj: bits=2", "--dry-run"
    )
    bits = {x["name"].rsplit(".", 1)[-1]: x.get("bits") for x in report["linears"]}
    assert (bits["q_proj"], bits["o_proj"]) == (8, 2)


@pytest.mark.parametrize(
    "text, message",
    [
        ('[[rule]]\npattern = "*.q_proj"\nbits = 5\n', "line 3: bits: '5' is none of 2, 3, 4, 7, 8"),
        ('[[rule]]\npattern = "*.q_proj"\nbit = 8\n', "line 3: a rule has no key 'bit'; did you"),
        ('bits = 4\n[[rule]]\npattern = "*.x"\nbits = 8\n', "line 2: '*.x' matches no linear"),
        ('[[rule]]\nmodel = "vision"\npattern = "*"\nbits = 8\n', "line 1: the rule '*' is for"),
        ('[[bits]]\npattern = "*"\n', "line 1: 'bits' is no list of tables"),
        ("rule = 4\n", "line 1: '4' is no rule"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, text, message):
    source = save(llama(), tmp_path / "source")
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    done = quantize("run", source, tmp_path / "out", *RTN, "--config", recipe)
    assert done.returncode == 2
    assert f"'{recipe}' {message}" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_rules_name_models_of_a_directory(tmp_path):
    for part in ("encoder_model", "decoder_model"):
        save(llama(), tmp_path / part)
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / part / "model.onnx").rename(tmp_path / "source" / f"{part}.onnx")
    arguments = ["--rule", "encoder_model:*.q_proj: bits=8", "--rule", "*.o_proj: bits=2 group=16"]
    quantized(tmp_path / "source", tmp_path / "out", *RTN, *arguments)
    described = json.loads((tmp_path / "out" / "quantization_metadata.json").read_text())
    bits = {
        model["file"]: {x["name"].rsplit(".", 1)[-1]: (x["quantized"] or {}).get("bits")
                        for x in model["linears"]}
        for model in described["models"]
    }  # fmt: skip
    assert bits["encoder_model.onnx"]["q_proj"] == 8 and bits["decoder_model.onnx"]["q_proj"] == 4
    assert {model["o_proj"] for model in bits.values()} == {2}
    feeds = feeds_of(llama())
    for part in ("encoder_model", "decoder_model"):
        assert run_session(session(tmp_path / "out" / f"{part}.onnx"), feeds)
    done = quantize(
        "run", tmp_path / "source", tmp_path / "x", *RTN, "--rule", "encoder_model:nobody: bits=8"
    )
    assert done.returncode == 2 and "matches no linear, table or convolution of any model" in done.stderr


def test_a_form_that_refuses_gives_way_and_says_why(tmp_path):
    """2-bit QDQ weights need a multiple of 4 outputs."""
    model = llama()
    head = next(n for n in model.graph.node if n.output[0] == "logits" or "lm_head" in n.name)
    weight = np.random.default_rng(3).normal(size=(WIDTH, 63)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "odd.weight"))
    hidden = head.input[0]
    model.graph.node.append(
        onnx.helper.make_node("MatMul", [hidden, "odd.weight"], ["odd"], name="odd")
    )
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("odd", onnx.TensorProto.FLOAT, None)
    )
    model.opset_import[0].version = 25
    model.ir_version = 13
    arguments = ["--format", "qdq", "--bits", "2", "--lm-head", "keep"]
    report, described, _ = check(model, tmp_path, *RTN, *arguments, limit=1e-3)
    odd = next(x for x in described["linears"] if x["node"] == "odd")
    assert odd["quantized"]["form"] == "matmulnbits"
    assert "multiple of 4" in odd["reason"]
