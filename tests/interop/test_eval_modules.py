"""Which output of an encoder `quantize eval` takes, and that it is pooled as its modules say."""

import json

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
from eval_figures import (  # noqa: E402
    agree,
    evaluated,
    of_each_text,
    quantized_with_heads,
    small_encoder,
    vector_figures,
    write_pairs,
)
from quantize_cli import QUANTIZE  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

DENSE = (48, 64)


@pytest.fixture
def small(tmp_path):
    return small_encoder(tmp_path)


def pooled(states, modes):
    """The ways of sentence-transformers on one text's states [T, H], one behind the other."""
    states = states.astype(np.float64)
    weights = np.arange(1, len(states) + 1)[:, None]
    ways = {
        "pooling_mode_cls_token": lambda: states[0],
        "pooling_mode_max_tokens": lambda: states.max(axis=0),
        "pooling_mode_mean_tokens": lambda: states.mean(axis=0),
        "pooling_mode_mean_sqrt_len_tokens": lambda: states.sum(axis=0) / np.sqrt(len(states)),
        "pooling_mode_weightedmean_tokens": lambda: (states * weights).sum(axis=0) / weights.sum(),
        "pooling_mode_lasttoken": lambda: states[-1],
    }
    return np.concatenate([way() for mode, way in ways.items() if mode in modes])


def write_modules(folder, modes, dense=None):
    """modules.json with its folders; `dense`: weight, bias, activation, numpy type."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [("2_Dense", "Dense")] if dense else []
    kinds += [("3_Normalize", "Normalize")]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    config = {mode: mode in modes for mode in POOLING_MODES}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config | {"include_prompt": True}))
    if dense is None:
        return
    weight, bias, activation, dtype = dense
    (folder / "2_Dense").mkdir()
    config = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": True,
              "activation_function": activation}  # fmt: skip
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    arrays = {"linear.weight": weight.astype(dtype), "linear.bias": bias.astype(dtype)}
    write_safetensors(folder / "2_Dense" / "model.safetensors", arrays)


def write_safetensors(path, arrays):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        raw = array.tobytes()
        header[name] = {"dtype": {"float32": "F32", "float16": "F16"}[str(array.dtype)],
                        "shape": array.shape, "data_offsets": [len(data), len(data) + len(raw)]}  # fmt: skip
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


POOLING_MODES = [
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
]


@pytest.mark.parametrize("beside", ["source", "out"])
@pytest.mark.parametrize(
    "modes",
    [[mode] for mode in POOLING_MODES] + [["pooling_mode_mean_tokens", "pooling_mode_max_tokens"]],
    ids=lambda modes: "+".join(m.removeprefix("pooling_mode_") for m in modes),
)
def test_pooling_beside_the_model(small, tmp_path, modes, beside):
    write_modules(getattr(small, beside), modes)
    pairs = write_pairs(tmp_path / "pairs.jsonl", small.sentences, small.gold)
    found = evaluated(small.out, "--against", small.source, "--text", pairs)
    own, other = (
        of_each_text(m, small.rows, "last_hidden_state", lambda x: pooled(x, modes))
        for m in (small.out, small.source)
    )
    agree(f"pooling {found['pooling']}", found, vector_figures(own, other, small.gold))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("activation", ["activation.Tanh", "linear.Identity"])
def test_dense_layer_behind_the_pooling(small, tmp_path, activation, dtype):
    rng = np.random.default_rng(4)
    weight, bias = rng.standard_normal(DENSE) * 0.1, rng.standard_normal(DENSE[0]) * 0.1
    weight, bias = weight.astype(dtype), bias.astype(dtype)
    modes = ["pooling_mode_lasttoken"]
    write_modules(small.source, modes, (weight, bias, f"torch.nn.modules.{activation}", dtype))
    pairs = write_pairs(tmp_path / "pairs.jsonl", small.sentences, small.gold)
    found = evaluated(small.out, "--against", small.source, "--text", pairs)
    assert found["pooling"] == "last, dense 48 x 64"

    def embedding(states):
        y = weight.astype(np.float64) @ pooled(states, modes) + bias.astype(np.float64)
        return np.tanh(y) if activation.endswith("Tanh") else y

    own, other = (
        of_each_text(m, small.rows, "last_hidden_state", embedding)
        for m in (small.out, small.source)
    )
    agree(f"dense {activation}", found, vector_figures(own, other, small.gold))


@pytest.mark.parametrize("name", ["sentence_embedding", "text_embeds"])
def test_output_that_users_consume(tmp_path, name):
    """The states are untouched; only the embedding that the model itself makes is different."""
    source, out, rows, ids = quantized_with_heads(tmp_path, {name: ("sentence", 40)})
    write_modules(source, ["pooling_mode_cls_token"])  # the graph holds the pooling already
    found = evaluated(out, "--against", source, "--text", ids)
    assert (found["output"], found["pooling"]) == (name, None)
    own, other = (of_each_text(m, rows, name) for m in (out, source))
    expected = vector_figures(own, other)
    assert expected["cosine_least"] < 0.999
    agree(name, found, expected)
    options = ["--against", source, "--text", ids]
    states = evaluated(out, *options, "--output", "last_hidden_state")
    assert (states["pooling"], states["cosine_least"]) == ("cls", pytest.approx(1, abs=1e-6))
    states = evaluated(out, *options, "--pooling", "max")
    assert (states["output"], states["pooling"]) == ("last_hidden_state", "max")
