"""Model directories for runtimes: the demo model with a key-value cache, and sentence encoders.

Both are graphs as the exporters of these runtimes write them, filled with weights from elsewhere.
"""

import json
import math
import pathlib
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from quantize_cli import REPOSITORY  # noqa: E402
from small_models import Builder  # noqa: E402

DEMO = REPOSITORY / "data" / "demo"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def demo_weights():
    """data/demo's weights as float32 by the names of Hugging Face's Llama, linears as [K, N]."""
    graph = onnx.load(DEMO / "model.onnx").graph
    stored = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer}
    weights = {name: array for name, array in stored.items() if name.startswith("model.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{name}.weight"] = stored[node.input[1]]
    return weights


def demo_decoder():
    """The demo model in float32 with a key-value cache, in the form of the GenAI builder."""
    config = json.loads((DEMO / "config.json").read_text())
    weights = demo_weights()
    heads, kv_heads, size = (
        config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim")
    )
    b = Builder()
    # transformers.js makes the first, empty cache from these names.
    batch, sequence, total = "batch_size", "sequence_length", "total_sequence_length"
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, [batch, sequence]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [batch, total]),
    ]
    outputs = [
        helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, [batch, sequence, config["vocab_size"]]
        )
    ]

    def constant(name):
        return b.constant(weights[name], name)

    def norm(x, name):
        # ONNX Runtime registers this operator of its own in the domain of ONNX.
        return b.node(
            "SimplifiedLayerNormalization", [x, constant(f"{name}.weight")], f"/{name}",
            axis=-1, epsilon=config["rms_norm_eps"], stash_type=1,
        )  # fmt: skip

    def linear(x, name):
        return b.node("MatMul", [x, constant(f"{name}.weight")], f"/{name}/MatMul")

    axis = b.constant(np.array([1], np.int64), "axis_1")
    length = b.node("ReduceSum", ["attention_mask", axis], keepdims=0)
    one = b.constant(np.array(1, np.int64), "one")
    last = b.node("Cast", [b.node("Sub", [length, one])], to=TensorProto.INT32)
    known = b.node("Gather", [b.node("Shape", ["attention_mask"]), one])
    known = b.node("Cast", [known], to=TensorProto.INT32)
    rates = config["rope_theta"] ** -(np.arange(0, size, 2) / size)
    angles = np.outer(np.arange(config["max_position_embeddings"]), rates)
    rotary = [b.constant(f(angles), f"{f.__name__}_cache") for f in (np.cos, np.sin)]

    x = b.node("Gather", [constant("model.embed_tokens.weight"), "input_ids"])
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        h = norm(x, f"{name}.input_layernorm")
        q, k, v = (linear(h, f"{name}.self_attn.{part}_proj") for part in "qkv")
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        for values, names, length_name in (
            (inputs, past, "past_sequence_length"),
            (outputs, present, total),
        ):
            shape = [batch, kv_heads, length_name, size]
            values += [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]
        mixed = f"{name}.mixed"
        b.nodes.append(
            helper.make_node(
                "GroupQueryAttention", [q, k, v, *past, last, known, *rotary], [mixed, *present],
                name=f"/{name}/attention", domain="com.microsoft", num_heads=heads,
                kv_num_heads=kv_heads, do_rotary=1, rotary_interleaved=0,
            )
        )  # fmt: skip
        x = b.node("Add", [x, linear(mixed, f"{name}.self_attn.o_proj")])
        h = norm(x, f"{name}.post_attention_layernorm")
        gate = linear(h, f"{name}.mlp.gate_proj")
        active = b.node("Mul", [gate, b.node("Sigmoid", [gate])])
        active = b.node("Mul", [active, linear(h, f"{name}.mlp.up_proj")])
        x = b.node("Add", [x, linear(active, f"{name}.mlp.down_proj")])
    head = [norm(x, "model.norm"), constant("lm_head.weight")]
    b.nodes.append(helper.make_node("MatMul", head, ["logits"], name="/lm_head/MatMul"))
    return b.model(inputs, outputs, extra_domains=["com.microsoft"])


def genai_config():
    """What the GenAI builder writes for this model."""
    config = json.loads((DEMO / "config.json").read_text())
    decoder = {
        "session_options": {"provider_options": []},
        "filename": "model.onnx",
        "head_size": config["head_dim"],
        "hidden_size": config["hidden_size"],
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": config["num_attention_heads"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_key_value_heads": config["num_key_value_heads"],
    }
    model = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model |= {"type": "llama", "vocab_size": config["vocab_size"], "decoder": decoder}
    model["context_length"] = config["max_position_embeddings"]
    search = {"do_sample": False, "past_present_share_buffer": True, "max_length": 512}
    return {"model": model, "search": search}


def save_demo_decoder(folder):
    """A directory that GenAI and transformers.js load: the source to quantize."""
    folder.mkdir(parents=True)
    onnx.save(demo_decoder(), folder / "model.onnx")
    for name in (*TOKENIZER, "generation_config.json"):
        shutil.copy(DEMO / name, folder)
    config = json.loads((DEMO / "config.json").read_text())
    config["use_cache"] = True
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "genai_config.json").write_text(json.dumps(genai_config(), indent=4) + "\n")
    return folder


def random_encoder_weights(config, seed=17):
    """Weights by the names of Hugging Face's Bert, linears as [N, K]."""
    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {}

    def linear(name, n, k):
        weights[f"{name}.weight"] = rng.standard_normal((n, k)) / math.sqrt(k)
        weights[f"{name}.bias"] = rng.standard_normal(n) * 0.1

    def norm(name):
        weights[f"{name}.weight"] = 1 + 0.2 * rng.standard_normal(hidden)
        weights[f"{name}.bias"] = 0.1 * rng.standard_normal(hidden)

    for name, rows in (
        ("word", config["vocab_size"]),
        ("position", config["max_position_embeddings"]),
        ("token_type", config["type_vocab_size"]),
    ):
        weights[f"embeddings.{name}_embeddings.weight"] = rng.standard_normal((rows, hidden))
    norm("embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{name}.attention.{part}", hidden, hidden)
        linear(f"{name}.intermediate.dense", inner, hidden)
        linear(f"{name}.output.dense", hidden, inner)
        norm(f"{name}.attention.output.LayerNorm")
        norm(f"{name}.output.LayerNorm")
    return {name: array.astype(np.float32) for name, array in weights.items()}


def encoder(config, weights):
    """input_ids, attention_mask, token_type_ids -> last_hidden_state, as exporters write Bert."""
    b = Builder()
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    size = hidden // heads
    b.constant(np.array([0, 0, heads, size], np.int64), "split_heads")
    b.constant(np.array([0, 0, hidden], np.int64), "merge_heads")
    b.constant(np.array(size**-0.5, np.float32), "scale")
    for value, name in ((0, "zero"), (1, "one")):
        b.constant(np.array(value, np.int64), name)
    names = ("input_ids", "attention_mask", "token_type_ids")
    shape = ["batch_size", "sequence_length"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in names]

    def constant(name):
        return b.constant(weights[name], name)

    def linear(x, name):
        weight = b.constant(np.ascontiguousarray(weights[f"{name}.weight"].T), f"{name}.weight")
        product = b.node("MatMul", [x, weight], f"/{name.replace('.', '/')}/MatMul")
        return b.node("Add", [product, constant(f"{name}.bias")])

    def norm(x, name, output=None):
        made = b.node(
            "LayerNormalization", [x, constant(f"{name}.weight"), constant(f"{name}.bias")],
            axis=-1, epsilon=config["layer_norm_eps"],
        )  # fmt: skip
        if output:
            b.nodes[-1].output[0] = output
        return output or made

    def split(x, perm):
        return b.node("Transpose", [b.node("Reshape", [x, "split_heads"])], perm=perm)

    length = b.node("Gather", [b.node("Shape", ["input_ids"]), "one"])
    positions = b.node("Range", ["zero", length, "one"])
    x = b.node("Gather", [constant("embeddings.word_embeddings.weight"), "input_ids"])
    types = constant("embeddings.token_type_embeddings.weight")
    types = b.node("Gather", [types, "token_type_ids"])
    places = b.node("Gather", [constant("embeddings.position_embeddings.weight"), positions])
    x = norm(b.node("Add", [b.node("Add", [x, types]), places]), "embeddings.LayerNorm")
    b.constant(np.array([1, 2], np.int64), "mask_axes")
    hidden_keys = b.node("Sub", ["one", b.node("Unsqueeze", ["attention_mask", "mask_axes"])])
    hidden_keys = b.node("Cast", [hidden_keys], to=TensorProto.FLOAT)
    mask = b.node("Mul", [hidden_keys, b.constant(np.array(-1e4, np.float32), "far")])
    last = config["num_hidden_layers"] - 1
    for layer in range(last + 1):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{p}") for p in ("query", "key", "value"))
        products = [split(q, (0, 2, 1, 3)), split(k, (0, 2, 3, 1))]
        scores = b.node("Mul", [b.node("MatMul", products), "scale"])
        shares = b.node("Softmax", [b.node("Add", [scores, mask])], axis=-1)
        mixed = b.node("MatMul", [shares, split(v, (0, 2, 1, 3))])
        merged = b.node("Reshape", [b.node("Transpose", [mixed], perm=(0, 2, 1, 3)), "merge_heads"])
        y = linear(merged, f"{name}.attention.output.dense")
        x = norm(b.node("Add", [x, y]), f"{name}.attention.output.LayerNorm")
        h = linear(x, f"{name}.intermediate.dense")
        y = linear(b.node("Gelu", [h]), f"{name}.output.dense")
        output = "last_hidden_state" if layer == last else None
        x = norm(b.node("Add", [x, y]), f"{name}.output.LayerNorm", output)
    info = helper.make_tensor_value_info(x, TensorProto.FLOAT, [*shape, hidden])
    return b.model(inputs, [info])


SMALL_ENCODER = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 2048,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}


def save_encoder(folder, config, weights, tokenizer):
    """A directory with an encoder and the tokenizer files of another directory."""
    folder.mkdir(parents=True)
    onnx.save(encoder(config, weights), folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in TOKENIZER:
        shutil.copy(tokenizer / name, folder)
    return folder


def read_safetensors(path):
    """Arrays of a .safetensors file, without the package: a length, a JSON header, the bytes."""
    raw = pathlib.Path(path).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    kinds = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        arrays[name] = np.frombuffer(raw[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return arrays
