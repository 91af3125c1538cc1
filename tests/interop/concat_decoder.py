"""The demo model with a cache that its graph concatenates, as optimum exports decoders: with heads of keys and
values repeated for groups of queries or not, and with two branches, of which one knows no past."""

import json
import pathlib
import shutil
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_models import Builder

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "runtimes"))
from runtime_models import DEMO, TOKENIZER, demo_weights  # noqa: E402


class Decoder:
    """Adds the demo's nodes to a builder. `past`: rows go behind those of inputs; else they are all there is."""

    def __init__(self, builder, config, weights, past, grouped, prefix=""):
        self.b, self.past, self.grouped, self.prefix = builder, past, grouped, prefix
        self.config, self.weights = config, weights
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.size = config["head_dim"]

    def ints(self, values):
        name = f"{self.prefix}ints_{len(self.b.nodes)}"
        made = helper.make_tensor(name, TensorProto.INT64, np.shape(values), np.ravel(values))
        self.b.nodes.append(helper.make_node("Constant", [], [name], name=name, value=made))
        return name

    def floats(self, values):
        name = f"{self.prefix}floats_{len(self.b.nodes)}"
        made = helper.make_tensor(name, TensorProto.FLOAT, np.shape(values), np.ravel(values))
        self.b.nodes.append(helper.make_node("Constant", [], [name], name=name, value=made))
        return name

    def node(self, op, inputs, name=None, output=None, **attributes):
        made = self.b.node(op, inputs, name and self.prefix + name, **attributes)
        if self.prefix and output is None:
            output = self.prefix + made
        if output is not None:
            self.b.nodes[-1].output[0] = output
        return output or made

    def norm(self, x, name):
        square = self.node("Mul", [x, x])
        mean = self.node("ReduceMean", [square], axes=[-1], keepdims=1)
        root = self.node("Sqrt", [self.node("Add", [mean, self.floats(self.config["rms_norm_eps"])])])
        return self.node("Mul", [self.node("Div", [x, root]), f"{name}.weight"])

    def linear(self, x, name):
        return self.node("MatMul", [x, f"{name}.weight"], f"/{name}/MatMul")

    def positions(self):
        """Numbers of the new tokens, and a mask [new, all] that hides later ones."""
        total = self.node("Gather", [self.node("Shape", ["attention_mask"]), self.ints(1)])
        new = self.node("Gather", [self.node("Shape", ["input_ids"]), self.ints(1)])
        seen = self.node("Sub", [total, new])
        own = self.node("Range", [seen, total, self.ints(1)])
        everyone = self.node("Range", [self.ints(0), total, self.ints(1)])
        rows = self.node("Unsqueeze", [own, self.ints([1])])
        hidden = self.node("Greater", [everyone, rows])
        mask = self.node("Where", [hidden, self.floats(-1e9), self.floats(0.0)])
        rates = self.config["rope_theta"] ** -(np.arange(0, self.size, 2) / self.size)
        angles = self.node("Mul", [self.node("Cast", [rows], to=TensorProto.FLOAT), self.floats(rates)])
        angles = self.node("Concat", [angles, angles], axis=-1)
        self.cosines, self.sines = (self.node(op, [angles]) for op in ("Cos", "Sin"))
        return mask

    def rotated(self, x):
        half = self.ints([self.size // 2])
        low = self.node("Slice", [x, self.ints([0]), half, self.ints([3])])
        high = self.node("Slice", [x, half, self.ints([self.size]), self.ints([3])])
        turned = self.node("Concat", [self.node("Neg", [high]), low], axis=-1)
        parts = self.node("Mul", [x, self.cosines]), self.node("Mul", [turned, self.sines])
        return self.node("Add", parts)

    def split(self, x, heads, perm=(0, 2, 1, 3), output=None):
        x = self.node("Reshape", [x, self.ints([0, 0, heads, self.size])])
        return x, self.node("Transpose", [x], perm=list(perm), output=output)

    def repeated(self, x):
        """repeat_kv: each head of the keys for several of the queries."""
        if not self.grouped:
            return x
        groups = self.heads // self.kv_heads
        shape = self.node("Shape", [x])
        batch, _, length, _ = (
            self.node("Unsqueeze", [self.node("Gather", [shape, self.ints(i)]), self.ints([0])])
            for i in range(4)
        )
        own, size = self.ints([self.kv_heads]), self.ints([self.size])
        target = self.node("Concat", [batch, own, self.ints([groups]), length, size], axis=0)
        x = self.node("Expand", [self.node("Unsqueeze", [x, self.ints([2])]), target])
        merged = self.node("Concat", [batch, self.ints([self.heads]), length, size], axis=0)
        return self.node("Reshape", [x, merged])

    def attention(self, h, layer, mask):
        name = f"model.layers.{layer}.self_attn"
        kv_heads = self.kv_heads if self.grouped else self.heads
        _, q = self.split(self.linear(h, f"{name}.q_proj"), self.heads)
        q = self.rotated(q)
        present = [f"{self.prefix}present.{layer}.{part}" for part in ("key", "value")]
        k, v = (self.linear(h, f"{name}.{part}_proj") for part in "kv")
        if self.past:
            k, v = self.rotated(self.split(k, kv_heads)[1]), self.split(v, kv_heads)[1]
            past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
            k, v = (
                self.node("Concat", [old, new], axis=-2, output=name)
                for old, new, name in zip(past, (k, v), present)
            )
        else:
            # One Transpose hands the rows out, and another one of the same makes them fit the product.
            k = self.split(k, kv_heads)[1]
            self.node("Identity", [self.rotated(k)], output=present[0])
            rows, v = self.split(v, kv_heads, output=present[1])
            k = present[0]
            if not self.grouped:
                v = self.node("Transpose", [rows], perm=[0, 2, 1, 3])
        keys = self.node("Transpose", [self.repeated(k)], perm=[0, 1, 3, 2])
        scores = self.node("MatMul", [self.node("Mul", [q, self.floats(self.size**-0.5)]), keys])
        weights = self.node("Softmax", [self.node("Add", [scores, mask])], axis=-1)
        mixed = self.node("MatMul", [weights, self.repeated(v)])
        mixed = self.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", [mixed, self.ints([0, 0, self.heads * self.size])])
        return self.linear(mixed, f"{name}.o_proj")

    def add(self):
        mask = self.positions()
        x = self.node("Gather", ["model.embed_tokens.weight", "input_ids"])
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            x = self.node("Add", [x, self.attention(self.norm(x, f"{name}.input_layernorm"), layer, mask)])
            h = self.norm(x, f"{name}.post_attention_layernorm")
            gate = self.linear(h, f"{name}.mlp.gate_proj")
            active = self.node("Mul", [gate, self.node("Sigmoid", [gate])])
            active = self.node("Mul", [active, self.linear(h, f"{name}.mlp.up_proj")])
            x = self.node("Add", [x, self.linear(active, f"{name}.mlp.down_proj")])
        head = [self.norm(x, "model.norm"), "lm_head.weight"]
        self.node("MatMul", head, "/lm_head/MatMul", output=f"{self.prefix}logits")


def interface(config, kv_heads):
    """Inputs and outputs of the model."""
    info, layers = helper.make_tensor_value_info, config["num_hidden_layers"]

    def caches(form, length):
        shape = ["batch", kv_heads, length, config["head_dim"]]
        names = [form.format(i, part) for i in range(layers) for part in ("key", "value")]
        return [info(name, TensorProto.FLOAT, shape) for name in names]

    inputs = [info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    inputs += [info("attention_mask", TensorProto.INT64, ["batch", "total"])]
    outputs = [info("logits", TensorProto.FLOAT, ["batch", "sequence", config["vocab_size"]])]
    inputs += caches("past_key_values.{}.{}", "past_sequence")
    return inputs, outputs + caches("present.{}.{}", "total")


def concat_decoder(form="grouped", opset=17):
    """`form`: grouped, plain (a head of keys for each of the queries), or merged (plain, an If)."""
    config = json.loads((DEMO / "config.json").read_text())
    weights, grouped = demo_weights(), form == "grouped"
    if not grouped:
        groups = config["num_attention_heads"] // config["num_key_value_heads"]
        for name in [n for n in weights if ".k_proj" in n or ".v_proj" in n]:
            heads = weights[name].reshape(weights[name].shape[0], -1, config["head_dim"])
            weights[name] = np.repeat(heads, groups, axis=1).reshape(len(heads), -1)
    b = Builder()
    for name, array in weights.items():
        b.constant(array, name)
    kv_heads = config["num_key_value_heads" if grouped else "num_attention_heads"]
    inputs, outputs = interface(config, kv_heads)
    if form == "merged":
        branches = {}
        for branch, past in (("then_branch", True), ("else_branch", False)):
            inner = Builder()
            Decoder(inner, config, weights, past, grouped, f"{branch}/").add()
            given = [helper.make_tensor_value_info(f"{branch}/{v.name}", v.type.tensor_type.elem_type,
                     [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
                     for v in outputs]  # fmt: skip
            branches[branch] = helper.make_graph(inner.nodes, branch, [], given)
        inputs.append(helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]))
        names = [v.name for v in outputs]
        b.nodes.append(helper.make_node("If", ["use_cache_branch"], names, name="merged", **branches))
    else:
        Decoder(b, config, weights, True, grouped).add()
    return b.model(inputs, outputs, opset=opset, ir=8 if opset < 21 else 10)


def save_concat_decoder(folder, form="grouped", opset=17):
    folder.mkdir(parents=True)
    onnx.save(concat_decoder(form, opset), folder / "model.onnx")
    for name in (*TOKENIZER, "config.json"):
        shutil.copy(DEMO / name, folder)
    return folder
