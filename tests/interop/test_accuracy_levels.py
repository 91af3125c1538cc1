"""Accuracy levels of MatMulNBits, on a decoder whose norms give out channels that are hundreds of times
larger than the others: what the program says of level 4 is what ONNX Runtime does, and levels that are
chosen keep the answers. The model is built in code."""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from eval_figures import evaluated, write_ids  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    quantized,
    run_session,
    session,
)
from small_models import VOCABULARY, llama, save  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

HIDDEN, LAYERS, LOUD = 64, 2, 512
ROWS, LENGTH = 24, 40
READERS = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
           "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")}  # fmt: skip


def loud_decoder():
    """Two channels of each norm's output are 512 times larger, and the weights that read them 512 times
    smaller: the same function."""
    model = llama(hidden=HIDDEN, layers=LAYERS)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    random = np.random.default_rng(4)

    def scale(name, factors):
        values = numpy_helper.to_array(stored[name]) * factors
        stored[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))

    for layer in range(LAYERS):
        for norm, readers in READERS.items():
            factors = np.ones(HIDDEN, np.float32)
            factors[random.choice(HIDDEN, 2, replace=False)] = LOUD
            scale(f"model.layers.{layer}.{norm}.weight", factors)
            for reader in readers:
                scale(f"model.layers.{layer}.{reader}.weight", 1 / factors[:, None])
    return model


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loud")
    save(loud_decoder(), folder / "source")
    ids = np.random.default_rng(8).integers(0, VOCABULARY, (ROWS, LENGTH))
    return folder / "source", write_ids(folder / "ids.npz", list(ids)), ids


def products(folder):
    """The accuracy level of each product of codes, by the name of its output."""
    nodes = onnx.load(folder / "model.onnx").graph.node
    return {n.output[0]: next(a.i for a in n.attribute if a.name == "accuracy_level")
            for n in nodes if n.op_type == "MatMulNBits"}  # fmt: skip


def at_level(folder, level, to):
    """The logits that ONNX Runtime gives when all products have the level."""
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = level
    save(model, to)
    return to


def logits(folder, ids):
    return run_session(session(folder / "model.onnx"), {"input_ids": ids})["logits"]


def divergence(expected, actual):
    def logs(x):
        x = x.astype(np.float64)[:, :-1]
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    p, q = logs(expected), logs(actual)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def test_evaluates_the_file_as_it_runs(source, tmp_path):
    folder, text, ids = source
    quantized(folder, tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", 32)
    figures = evaluated(tmp_path / "out", "--against", folder, "--text", text)
    expected = divergence(logits(folder, ids), logits(tmp_path / "out", ids))
    found = figures["kl"]
    exact = divergence(
        logits(folder, ids), logits(at_level(tmp_path / "out", 0, tmp_path / "exact"), ids)
    )
    assert expected > 2 * exact, "the model shows nothing"
    assert found == pytest.approx(expected, rel=0.05)


def test_measures_what_level_4_costs_and_says_so(source, tmp_path):
    folder, text, ids = source
    report = quantized(folder, tmp_path / "out", "--method", "gptq", "--bits", 8, "--group-size", 32,
                       "--calib", text)  # fmt: skip
    assert any("accuracy level 4 rounds activations" in note for note in report["notes"])
    found = {own["name"]: own["quantized"] for own in check_metadata(tmp_path / "out")["linears"]
             if own["quantized"]}  # fmt: skip
    loud = found["model.layers.0.self_attn.q_proj"]
    assert loud["accuracy_level"] == 4
    assert loud["relative_activation_loss"] > 10 * loud["relative_loss"]
    assert loud["relative_activation_loss"] == pytest.approx(cost_of_first_product(folder, ids), rel=0.25)
    quiet = found["model.layers.0.self_attn.o_proj"]
    assert quiet["relative_activation_loss"] < 1e-3 * loud["relative_activation_loss"]


def cost_of_first_product(folder, ids):
    """Energy of the error that rounding in blocks of 32 makes in layer 0's queries, in that of the
    queries, from the definition."""
    stored = {t.name: numpy_helper.to_array(t).astype(np.float64)
              for t in onnx.load(folder / "model.onnx").graph.initializer}  # fmt: skip
    x = stored["model.embed_tokens.weight"][ids.ravel()]
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    x = x * stored["model.layers.0.input_layernorm.weight"]
    blocks = x.reshape(len(x), -1, 32)
    step = np.abs(blocks).max(-1, keepdims=True) / 127
    error = (np.rint(blocks / step) * step - blocks).reshape(x.shape)
    weight = stored["model.layers.0.self_attn.q_proj.weight"]
    return ((error @ weight) ** 2).sum() / ((x @ weight) ** 2).sum()


@pytest.mark.parametrize("method", ["rtn", "awq", "best"])
@pytest.mark.parametrize("bits", [4, 8])
def test_chooses_levels_that_keep_the_answers(source, method, bits, tmp_path):
    folder, text, ids = source
    report = quantized(folder, tmp_path / "out", "--method", method, "--bits", bits, "--group-size", 32,
                       "--accuracy-level", "auto", "--calib", text)  # fmt: skip
    assert report["recipe"]["accuracy_level"] == "auto"
    levels = products(tmp_path / "out")
    described = [own["quantized"]["accuracy_level"]
                 for own in check_metadata(tmp_path / "out")["linears"] if own["quantized"]]  # fmt: skip
    assert sorted(described) == sorted(levels.values())
    exact, fixed, chosen = (
        logits(made, ids).argmax(-1)
        for made in (at_level(tmp_path / "out", 0, tmp_path / "exact"),
                     at_level(tmp_path / "out", 4, tmp_path / "fixed"), tmp_path / "out")
    )  # fmt: skip
    if method == "rtn":
        assert (exact != fixed).mean() > 0.01, "the model shows nothing"
    assert (exact != chosen).mean() <= 0.001


def test_chooses_by_the_time_of_one_token_where_there_is_a_cache(source, tmp_path):
    """A graph that is given what it computed before: level 0 of 8-bit products takes far longer."""
    folder, text, _ = source
    model = onnx.load(folder / "model.onnx")
    past = onnx.helper.make_tensor_value_info("past_length", onnx.TensorProto.FLOAT, [1, 1, 1])
    model.graph.input.append(past)
    first = model.graph.node[0]
    model.graph.node.insert(1, onnx.helper.make_node("Mul", ["past_length", first.output[0]], ["with_past"]))
    for node in model.graph.node[2:]:
        for i, name in enumerate(node.input):
            if name == first.output[0]:
                node.input[i] = "with_past"
    save(model, tmp_path / "source")
    calibration = dict(np.load(text)) | {"past_length": np.ones((ROWS, 1, 1), np.float32)}
    calibration.pop("attention_mask")
    np.savez(tmp_path / "feeds.npz", **{f"in.{k}": v for k, v in calibration.items()})
    quantized(tmp_path / "source", tmp_path / "out", "--method", "gptq", "--bits", 8, "--group-size", 32,
              "--accuracy-level", "auto", "--calib", tmp_path / "feeds.npz")  # fmt: skip
    assert set(products(tmp_path / "out").values()) == {4}
