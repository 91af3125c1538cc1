"""Small models built in code: decoders, encoders and both in one, and what goes into them.

Every builder is seeded and returns an onnx.ModelProto. `feeds_of` makes inputs for any of them.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 96
TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def tensor(array, name, dtype):
    """An initializer of element type `dtype` from float32 values."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        return helper.make_tensor(
            name, TensorProto.BFLOAT16, array.shape, rounded.tobytes(), raw=True
        )
    kind = np.float32 if dtype == "float32" else np.float16
    return numpy_helper.from_array(np.ascontiguousarray(array, kind), name)


class Builder:
    """Collects nodes and constants. `stored`: the weights' type; `dtype`: that of activations."""

    def __init__(self, dtype="float32", stored=None, constants_as_nodes=False, seed=5):
        self.dtype, self.stored = dtype, stored or dtype
        self.constants_as_nodes = constants_as_nodes
        self.nodes, self.initializers, self.functions = [], [], []
        self.rng = np.random.default_rng(seed)

    def node(self, op, inputs, name=None, domain="", **attributes):
        output = f"{name or op}_{len(self.nodes)}_out"
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=name or output, domain=domain, **attributes)
        )
        return output

    def constant(self, array, name, dtype=None):
        if isinstance(array, np.ndarray) and array.dtype.kind == "i":
            made = numpy_helper.from_array(array, name)
        else:
            made = tensor(array, name, dtype or self.dtype)
        if self.constants_as_nodes:
            self.nodes.append(
                helper.make_node("Constant", [], [name], name=f"{name}_node", value=made)
            )
        else:
            self.initializers.append(made)
        return name

    def weight(self, shape, name, scale=0.2):
        """A weight in its stored type, cast to the activations' type where they differ."""
        values = self.rng.standard_normal(shape).astype(np.float32) * scale
        stored = self.constant(values, name, self.stored)
        if self.stored == self.dtype:
            return stored
        return self.node("Cast", [stored], to=TYPES[self.dtype])

    def linear(self, x, n, k, name):
        return self.node("MatMul", [x, self.weight((k, n), f"{name}.weight")], f"/{name}/MatMul")

    def rms_norm(self, x, width, name):
        square = self.node("Mul", [x, x])
        mean = self.node("ReduceMean", [square, "last_axis"], keepdims=1)
        root = self.node("Sqrt", [self.node("Add", [mean, "epsilon"])])
        gain = 1 + 0.3 * self.rng.standard_normal(width).astype(np.float32)
        scaled = self.node("Div", [x, root])
        return self.node("Mul", [scaled, self.constant(gain, f"{name}.weight")])

    def model(self, inputs, outputs, opset=21, ir=10, extra_domains=()):
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.initializers)
        imports = [helper.make_opsetid("", opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in extra_domains]
        return helper.make_model(
            graph, opset_imports=imports, ir_version=ir, functions=self.functions
        )


def llama(dtype="float32", stored=None, constants_as_nodes=False, tied=False, hidden=64, ffn=96,
          heads=4, layers=1, opset=21, vocabulary=VOCABULARY, cached=False, seed=5):
    """input_ids [batch, length] -> logits: RMSNorm, attention, SwiGLU, with `model.layers.N` names.

    cached: new keys and values go behind past ones, which are inputs, and are outputs then.
    tied: the embedding is the head, read through Transpose. Smaller tables than 256 rows get no
    codes, unless a rule names them."""
    b = Builder(dtype, stored, constants_as_nodes, seed)
    b.constant(np.array([-1], np.int64), "last_axis")
    b.constant(np.array(1e-5, np.float32), "epsilon")
    b.constant(np.array([0, 0, heads, hidden // heads], np.int64), "split_heads")
    b.constant(np.array([0, 0, hidden], np.int64), "merge_heads")
    b.constant(np.array((hidden // heads) ** -0.5, np.float32), "attention_scale")
    table = b.weight((vocabulary, hidden), "model.embed_tokens.weight", 1.0)
    x = b.node("Gather", [table, "input_ids"])
    past, present = [], []
    for layer in range(layers):
        name = f"model.layers.{layer}"
        h = b.rms_norm(x, hidden, f"{name}.input_layernorm")
        parts = []
        for part, perm in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
            y = b.linear(h, hidden, hidden, f"{name}.self_attn.{part}_proj")
            y = b.node("Reshape", [y, "split_heads"])
            if cached and part != "q":
                rows = b.node("Transpose", [y], perm=(0, 2, 1, 3))
                past.append(f"past_key_values.{layer}.{'key' if part == 'k' else 'value'}")
                present.append(past[-1].replace("past_key_values", "present"))
                b.nodes.append(helper.make_node("Concat", [past[-1], rows], present[-1:], axis=2))
                turned = (0, 1, 3, 2) if part == "k" else (0, 1, 2, 3)
                parts.append(b.node("Transpose", present[-1:], perm=turned))
                continue
            parts.append(b.node("Transpose", [y], perm=perm))
        scores = b.node("Mul", [b.node("MatMul", parts[:2]), "attention_scale"])
        mixed = b.node("MatMul", [b.node("Softmax", [scores], axis=-1), parts[2]])
        merged = b.node("Reshape", [b.node("Transpose", [mixed], perm=(0, 2, 1, 3)), "merge_heads"])
        x = b.node("Add", [x, b.linear(merged, hidden, hidden, f"{name}.self_attn.o_proj")])
        h = b.rms_norm(x, hidden, f"{name}.post_attention_layernorm")
        gate = b.linear(h, ffn, hidden, f"{name}.mlp.gate_proj")
        up = b.linear(h, ffn, hidden, f"{name}.mlp.up_proj")
        active = b.node("Mul", [b.node("Mul", [gate, b.node("Sigmoid", [gate])]), up])
        x = b.node("Add", [x, b.linear(active, hidden, ffn, f"{name}.mlp.down_proj")])
    x = b.rms_norm(x, hidden, "model.norm")
    if tied:
        weight = b.node("Transpose", [table], perm=(1, 0))
    else:
        weight = b.weight((hidden, vocabulary), "lm_head.weight")
    b.nodes.append(helper.make_node("MatMul", [x, weight], ["logits"], name="/lm_head/MatMul"))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TYPES[dtype], ["batch", "length", vocabulary])
    caches = [
        [helper.make_tensor_value_info(n, TYPES[dtype], ["batch", heads, "rows", hidden // heads])
         for n in names] for names in (past, present)
    ]  # fmt: skip
    return b.model([ids, *caches[0]], [logits, *caches[1]], opset)


def encoder(hidden=64, ffn=96, seed=5):
    """input_ids, attention_mask [batch, length] -> last_hidden_state: attention that the mask keeps
    from padding, and a feed-forward layer; positions enter by a table of 64 rows."""
    b = Builder(seed=seed)
    b.constant(np.array(hidden**-0.5 / 4, np.float32), "attention_scale")
    b.constant(np.array(1, np.float32), "one")
    b.constant(np.array(-1e9, np.float32), "far")
    b.constant(np.array([1], np.int64), "middle")
    table = b.weight((VOCABULARY, hidden), "embeddings.weight", 1.0)
    mask = b.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    hidden_places = b.node("Mul", [b.node("Sub", ["one", mask]), "far"])
    bias = b.node("Unsqueeze", [hidden_places, "middle"])
    x = b.node("Gather", [table, "input_ids"])
    q, k, v = (b.linear(x, hidden, hidden, f"layer.0.attention.{part}") for part in "qkv")
    scores = b.node("MatMul", [q, b.node("Transpose", [k], perm=(0, 2, 1))])
    scores = b.node("Add", [b.node("Mul", [scores, "attention_scale"]), bias])
    mixed = b.node("MatMul", [b.node("Softmax", [scores], axis=-1), v])
    x = b.node("Add", [x, b.linear(mixed, hidden, hidden, "layer.0.attention.o")])
    inner = b.node("Relu", [b.linear(x, ffn, hidden, "layer.0.inner")])
    outer = b.linear(inner, hidden, ffn, "layer.0.outer")
    b.nodes.append(helper.make_node("Add", [x, outer], ["last_hidden_state"], name="last"))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
              for name in ("input_ids", "attention_mask")]  # fmt: skip
    shape = ["batch", "length", hidden]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)
    return b.model(inputs, [output])


def with_heads(model, heads, hidden=64, seed=6):
    """`model` (an encoder), with more outputs made of its last hidden state.

    heads: output name -> (kind, width); kind "sentence" takes the mean of all tokens through a
    product and tanh, "first" the first token through a product, "tokens" each token."""
    rng = np.random.default_rng(seed)
    for name, (kind, width) in heads.items():
        weight = (rng.standard_normal((hidden, width)) * 0.3).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, f"{name}.weight"))
        x = "last_hidden_state"
        if kind == "first":
            index = numpy_helper.from_array(np.array(0, np.int64), f"{name}.index")
            model.graph.initializer.append(index)
            x = f"{name}_x"
            model.graph.node.append(
                helper.make_node("Gather", ["last_hidden_state", index.name], [x], axis=1)
            )
        elif kind == "sentence":
            x = f"{name}_x"
            model.graph.node.append(
                helper.make_node("ReduceMean", ["last_hidden_state", "middle"], [x], keepdims=0)
            )
        product = helper.make_node("MatMul", [x, f"{name}.weight"], [name], name=f"/{name}/MatMul")
        model.graph.node.append(product)
        shape = ["batch", "length", width] if kind == "tokens" else ["batch", width]
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def word_tokenizer(path):
    """A tokenizer.json whose words w0 ... w91 are the tokens 0 ... 91, put between [B] and [E]."""
    words = {f"w{i}": i for i in range(VOCABULARY - 4)} | {"[U]": 92, "[B]": 93, "[E]": 94}
    special = [
        {"id": words[name], "content": name, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True}
        for name in ("[B]", "[E]")
    ]  # fmt: skip
    template = [{"SpecialToken": {"id": "[B]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[E]", "type_id": 0}}]  # fmt: skip
    names = {n: {"id": n, "ids": [words[n]], "tokens": [n]} for n in ("[B]", "[E]")}
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template,
                           "special_tokens": names},
        "decoder": None, "model": {"type": "WordLevel", "vocab": words, "unk_token": "[U]"},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def save(model, folder, external=False):
    """Writes folder/model.onnx (and model.onnx.data) and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if external:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        onnx.save(
            copy,
            folder / "model.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=256,
        )
    else:
        onnx.save(model, folder / "model.onnx")
    return folder


def feeds_of(model, seed=11):
    """Inputs for a model: open dimensions are 2, 5; ids within the vocabulary."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        open_sizes = iter((2, 5, 3))
        shape = [d.dim_value or next(open_sizes) for d in kind.shape.dim]
        if kind.elem_type == TensorProto.INT64:
            feeds[value.name] = rng.integers(0, VOCABULARY, shape)
        elif kind.elem_type == TensorProto.BOOL:
            feeds[value.name] = np.array(True)
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
    return feeds


def calibration_ids(path, rows=8, length=24):
    np.save(path, np.random.default_rng(3).integers(0, VOCABULARY, (rows, length)))
    return path


def encoder_decoder(hidden=64, ffn=96, start=0):
    """encoder_model, decoder_model and decoder_with_past_model as Optimum names them: one layer each,
    without heads; both decoders hold the same weights, and the embedding is that of the encoder."""
    vocabulary = VOCABULARY
    rng = np.random.default_rng(21)
    names = ["encoder.q", "encoder.k", "encoder.v", "encoder.o", "decoder.self.q", "decoder.self.k",
             "decoder.self.v", "decoder.self.o", "decoder.cross.q", "decoder.cross.k",
             "decoder.cross.v", "decoder.cross.o"]  # fmt: skip
    shapes = {name: (hidden, hidden) for name in names}
    shapes |= {f"{side}.wi": (hidden, ffn) for side in ("encoder", "decoder")}
    shapes |= {f"{side}.wo": (ffn, hidden) for side in ("encoder", "decoder")}
    shapes |= {"lm_head": (hidden, vocabulary), "shared": (vocabulary, hidden)}
    weights = {
        name: rng.standard_normal(shape).astype(np.float32) * (1.0 if name == "shared" else 0.2)
        for name, shape in shapes.items()
    }
    # Channels of different sizes, so that scaling pays.
    sizes = np.exp(0.7 * rng.standard_normal(hidden)).astype(np.float32)
    gains = {n: sizes * (1 + 0.1 * i) for i, n in enumerate(("encoder", "decoder", "cross", "ffn"))}

    def part(b):
        b.constant(np.array([-1], np.int64), "last_axis")
        b.constant(np.array(1e-5, np.float32), "epsilon")

        b.constant(np.array(hidden**-0.5 / 8, np.float32), "attention_scale")

        def weight(name):
            full = name if name == "shared" else f"{name}.weight"
            if not any(t.name == full for t in b.initializers):
                b.constant(weights[name], full)
            return full

        def linear(x, name):
            return b.node("MatMul", [x, weight(name)], f"/{name.replace('.', '/')}/MatMul")

        def norm(x, name):
            mean = b.node("ReduceMean", [b.node("Mul", [x, x]), "last_axis"], keepdims=1)
            scaled = b.node("Div", [x, b.node("Sqrt", [b.node("Add", [mean, "epsilon"])])])
            gain = b.constant(gains[name.rsplit(".", 1)[-1]], f"{name}.norm.weight")
            return b.node("Mul", [scaled, gain])

        def attend(q, k, v):
            scores = b.node("MatMul", [q, b.node("Transpose", [k], perm=(0, 2, 1))])
            scores = b.node("Mul", [scores, "attention_scale"])
            return b.node("MatMul", [b.node("Softmax", [scores], axis=-1), v])

        def feed_forward(x, side):
            h = b.node("Relu", [linear(norm(x, f"{side}.ffn"), f"{side}.wi")])
            return b.node("Add", [x, linear(h, f"{side}.wo")])

        return weight, linear, norm, attend, feed_forward

    def info(name, *shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    def renamed(b, value, name):
        b.nodes.append(helper.make_node("Identity", [value], [name], name=f"{name}_out"))

    def encoder():
        b = Builder()
        weight, linear, norm, attend, feed_forward = part(b)
        x = b.node("Gather", [weight("shared"), "input_ids"])
        h = norm(x, "encoder")
        mixed = attend(*(linear(h, f"encoder.{n}") for n in "qkv"))
        x = b.node("Add", [x, linear(mixed, "encoder.o")])
        renamed(b, feed_forward(x, "encoder"), "last_hidden_state")
        ids = [info(n, "b", "t", kind=TensorProto.INT64) for n in ("input_ids", "attention_mask")]
        return b.model(ids, [info("last_hidden_state", "b", "t", hidden)])

    def decoder(past):
        b = Builder()
        weight, linear, norm, attend, feed_forward = part(b)
        x = b.node("Gather", [weight("shared"), "input_ids"])
        h = norm(x, "decoder")
        present = {}
        for n, which in (("k", "key"), ("v", "value")):
            made = linear(h, f"decoder.self.{n}")
            if past:
                made = b.node("Concat", [f"past_key_values.0.decoder.{which}", made], axis=1)
            present[f"present.0.decoder.{which}"] = made
        mixed = attend(linear(h, "decoder.self.q"), *present.values())
        x = b.node("Add", [x, linear(mixed, "decoder.self.o")])
        cross = []
        for n, which in (("k", "key"), ("v", "value")):
            if past:
                cross.append(f"past_key_values.0.encoder.{which}")
            else:
                cross.append(linear("encoder_hidden_states", f"decoder.cross.{n}"))
                present[f"present.0.encoder.{which}"] = cross[-1]
        mixed = attend(linear(norm(x, "decoder.cross"), "decoder.cross.q"), *cross)
        x = b.node("Add", [x, linear(mixed, "decoder.cross.o")])
        x = feed_forward(x, "decoder")
        logits = b.node("MatMul", [x, weight("lm_head")], "/lm_head/MatMul")
        renamed(b, logits, "logits")
        for name, value in present.items():
            renamed(b, value, name)
        inputs = [info("input_ids", "b", "t", kind=TensorProto.INT64),
                  info("encoder_attention_mask", "b", "s", kind=TensorProto.INT64)]  # fmt: skip
        if past:
            inputs += [info(f"past_key_values.0.{side}.{which}", "b", "p", hidden)
                       for side in ("decoder", "encoder") for which in ("key", "value")]  # fmt: skip
        else:
            inputs.append(info("encoder_hidden_states", "b", "s", hidden))
        results = [info("logits", "b", "t", vocabulary)]
        return b.model(inputs, results + [info(name, "b", None, hidden) for name in present])

    return {
        "encoder_model": encoder(),
        "decoder_model": decoder(past=False),
        "decoder_with_past_model": decoder(past=True),
    }
