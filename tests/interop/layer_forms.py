"""Layers that hide their product with a weight behind another operator, each in a small model.

`FORMS[name]()` gives (model, linears): input_ids pass an embedding, then the layer. Every model
agrees with its plain form, so the float model in ONNX Runtime is the expectation.
"""

import numpy as np
from onnx import TensorProto, helper

from small_models import TYPES, VOCABULARY, Builder

WIDTH = 64
MICROSOFT = "com.microsoft"


class Layer:
    """A model under construction: `h` is the activation [batch, length, WIDTH]."""

    def __init__(self, dtype="float32", opset=17):
        self.b = Builder(dtype)
        self.opset = opset
        table = self.b.constant(
            self.b.rng.standard_normal((VOCABULARY, WIDTH)).astype(np.float32), "embedding"
        )
        self.h = self.b.node("Gather", [table, "input_ids"])

    def ints(self, name, values):
        return self.b.constant(np.array(values, np.int64), name)

    def vector(self, name, size):
        return self.b.constant(self.b.rng.standard_normal(size).astype(np.float32), name)

    def rows(self):
        """The activation as [batch · length, WIDTH]."""
        return self.b.node("Reshape", [self.h, self.ints("rows_shape", [-1, WIDTH])])

    def done(self, y):
        self.b.nodes.append(helper.make_node("Identity", [y], ["y"], name="last"))
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
        out = helper.make_tensor_value_info("y", TYPES[self.b.dtype], None)
        return self.b.model([ids], [out], self.opset, 8, [MICROSOFT])


def gemm(dtype="float32", left=False, bias=None, turned=False, opset=17, **attributes):
    """Gemm with any of transA, transB, alpha, beta; `bias`: the shape of C."""
    layer = Layer(dtype, opset)
    x = layer.rows()
    if turned:  # so that transA (or, on the left, its absence) gives the features back
        x = layer.b.node("Transpose", [x], perm=(1, 0))
    n = 48
    weight_is_nk = bool(attributes.get("transB")) != left
    if left:
        weight_is_nk = not attributes.get("transA")
    w = layer.b.weight((n, WIDTH) if weight_is_nk else (WIDTH, n), "layer.weight")
    inputs = [w, x] if left else [x, w]
    if bias is not None:
        inputs.append(layer.vector("layer.bias", bias))
    return layer.done(layer.b.node("Gemm", inputs, "/layer/Gemm", **attributes)), 1


def fused_gemm():
    layer = Layer()
    w = layer.b.weight((48, WIDTH), "layer.weight")
    y = layer.b.node(
        "FusedGemm", [layer.rows(), w, layer.vector("layer.bias", 48)], "/layer/Gemm", MICROSOFT,
        transB=1, activation="LeakyRelu", activation_alpha=0.1,
    )  # fmt: skip
    return layer.done(y), 1


def fused_matmul(trans, turned=False):
    layer = Layer()
    x = layer.b.node("Transpose", [layer.h], perm=(0, 2, 1)) if turned else layer.h
    w = layer.b.weight((48, WIDTH) if trans else (WIDTH, 48), "layer.weight")
    y = layer.b.node(
        "FusedMatMul", [x, w], "/layer/MatMul", MICROSOFT, transA=int(turned), transB=trans,
        alpha=1.0 if turned else 0.125,
    )  # fmt: skip
    return layer.done(y), 1


def left_weight(shape=(48, WIDTH)):
    layer = Layer()
    turned = layer.b.node("Transpose", [layer.h], perm=(0, 2, 1))
    w = layer.b.weight(shape, "layer.weight")
    return layer.done(layer.b.node("MatMul", [w, turned], "/layer/MatMul")), 1


def leading_ones(shape=(1, WIDTH, 48)):
    layer = Layer()
    w = layer.b.weight(shape, "layer.weight")
    return layer.done(layer.b.node("MatMul", [layer.h, w], "/layer/MatMul")), 1


def batched(own_tokens, opset=17):
    """[E, K, N]: experts that all see all tokens, or each a part of their own."""
    layer = Layer(opset=opset)
    b = layer.b
    x = layer.rows()
    if own_tokens:
        up = b.node("Unsqueeze", [x, layer.ints("zero", [0])])
        x = b.node("Mul", [up, layer.b.constant(
            np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1), "weighting")])
    w = b.weight((4, WIDTH, 48), "experts.weight")
    y = b.node("MatMul", [x, w], "/experts/MatMul")
    w2 = b.weight((4, 48, 32), "experts.down.weight")
    return layer.done(b.node("MatMul", [b.node("Tanh", [y]), w2], "/experts/down/MatMul")), 8


def gathered(stored_nk, left, dtype="float32"):
    """The experts' matrices are gathered for each token, as exporters write a mixture of experts."""
    layer = Layer(dtype)
    b = layer.b
    x = layer.rows()
    # A router would choose other experts when it is quantized, and the comparison tell nothing.
    chosen = b.node("Mod", ["input_ids", layer.ints("experts", 4)])
    expert = b.node("Reshape", [chosen, layer.ints("flat", [-1])])
    n = 48
    stack = b.weight((4, n, WIDTH) if stored_nk else (4, WIDTH, n), "experts.weight")
    w = b.node("Gather", [stack, expert], axis=0)
    if left != stored_nk:
        w = b.node("Transpose", [w], perm=(0, 2, 1))
    axis = layer.ints("axis", [2 if left else 1])
    x = b.node("Unsqueeze", [x, axis])
    y = b.node("MatMul", [w, x] if left else [x, w], "/experts/MatMul")
    return layer.done(b.node("Squeeze", [y, axis])), 1


def convolution(spatial, bias):
    layer = Layer()
    b = layer.b
    x = b.node("Transpose", [layer.h], perm=(0, 2, 1))
    if spatial == 2:
        x = b.node("Unsqueeze", [x, layer.ints("axis", [3])])
    w = b.weight((48, WIDTH) + (1,) * spatial, "layer.weight")
    inputs = [x, w] + ([layer.vector("layer.bias", 48)] if bias else [])
    return layer.done(b.node("Conv", inputs, "/layer/Conv", kernel_shape=[1] * spatial)), 1


def einsum(equation, x_shape, w_shape, weight_first=False):
    layer = Layer()
    x = layer.b.node("Reshape", [layer.h, layer.ints("x_shape", x_shape)])
    w = layer.b.weight(w_shape, "layer.weight")
    inputs = [w, x] if weight_first else [x, w]
    return layer.done(layer.b.node("Einsum", inputs, "/layer/Einsum", equation=equation)), 1


def parts(operator):
    """Weights that lie in one stored tensor: fused q, k, v taken apart, or a stack of experts."""
    layer = Layer()
    b = layer.b
    if operator == "Split":
        fused = b.weight((WIDTH, 96), "qkv.weight")
        outputs = ["part_a", "part_b", "part_c"]
        sizes = layer.ints("sizes", [48, 16, 32])
        b.nodes.append(helper.make_node("Split", [fused, sizes], outputs, name="split", axis=1))
    elif operator == "Slice":
        fused = b.weight((96, WIDTH), "qkv.weight")
        outputs = []
        for i, (begin, end) in enumerate(((0, 48), (48, 64), (64, 96))):
            bounds = [layer.ints(f"{kind}{i}", [v]) for kind, v in (("from", begin), ("to", end))]
            piece = b.node("Slice", [fused, *bounds, layer.ints(f"axis{i}", [0])])
            outputs.append(b.node("Transpose", [piece], perm=(1, 0)))
    else:
        fused = b.weight((3, WIDTH, 32), "experts.weight")
        outputs = [
            b.node("Gather", [fused, layer.ints(f"index{i}", i)], axis=0) for i in range(3)
        ]
    y = [b.node("MatMul", [layer.h, w], f"/layer/MatMul_{i}") for i, w in enumerate(outputs)]
    return layer.done(b.node("Concat", y, axis=-1)), 3


def scaled_weight():
    """The weight is a product of constants, as weight normalisation leaves it."""
    layer = Layer()
    gain = layer.vector("layer.gain", (1, 48))
    w = layer.b.node("Mul", [layer.b.weight((WIDTH, 48), "layer.weight"), gain])
    return layer.done(layer.b.node("MatMul", [layer.h, w], "/layer/MatMul")), 1


def packed_attention(mask, sizes=None, causal=False, opset=17):
    """com.microsoft Attention; `mask`: its rank, 0 for none."""
    layer = Layer(opset=opset)
    b = layer.b
    q, k, v = sizes or (WIDTH,) * 3
    w = b.weight((WIDTH, q + k + v), "attention.weight")
    inputs = [layer.h, w, layer.vector("attention.bias", q + k + v)]
    if mask == 2:  # every token but those with id 0
        nonzero = b.node("Greater", ["input_ids", layer.ints("none", 0)])
        kept = b.node("Cast", [nonzero], to=TensorProto.INT32)
        b.nodes.append(helper.make_node("Identity", [kept], ["mask"], name="mask_node"))
        inputs.append("mask")
    if mask == 1:  # three tokens of each row: lengths, summed as optimizers do
        nonzero = b.node("Greater", ["input_ids", layer.ints("none", -1)])
        kept = b.node("Cast", [nonzero], to=TensorProto.INT32)
        places = b.node("CumSum", [kept, layer.ints("one", 1)])
        early = b.node("Less", [places, b.constant(np.array([[4]], np.int32), "limits")])
        b.nodes.append(helper.make_node("Cast", [early], ["mask"], name="mask_node", to=6))
        inputs.append(b.node("ReduceSum", ["mask", layer.ints("axes", [1])], keepdims=0))
    attributes = {"num_heads": 4, "unidirectional": int(causal)}
    if sizes:
        attributes["qkv_hidden_sizes"] = list(sizes)
    y = b.node("Attention", inputs, "attention", MICROSOFT, **attributes)
    model = layer.done(y)
    if mask:
        model.graph.value_info.append(
            helper.make_tensor_value_info("mask", TensorProto.INT32, ["batch", "length"])
        )
    return model, 1


def packed_attention_with_past(opset):
    model, count = packed_attention(0, causal=True, opset=opset)
    node = next(n for n in model.graph.node if n.op_type == "Attention")
    shape = [2, "batch", 4, 3, WIDTH // 4]
    for name, values in (("past", model.graph.input), ("present", model.graph.output)):
        dims = shape if name == "past" else None
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    node.input.extend(["", "past"])
    node.output.append("present")
    return model, count


FORMS = {
    "gemm transA": lambda: gemm(turned=True, transA=1, bias=48),
    "gemm transA transB": lambda: gemm(turned=True, transA=1, transB=1),
    "gemm alpha beta": lambda: gemm(alpha=0.25, beta=2.0, bias=48),
    "gemm alpha": lambda: gemm(alpha=0.25, transB=1),
    "gemm bias [1, N]": lambda: gemm(bias=(1, 48)),
    "gemm scalar bias": lambda: gemm(bias=(1,), opset=11),
    "gemm FP16 alpha": lambda: gemm("float16", alpha=0.25, bias=48),
    "gemm left": lambda: gemm(left=True, transB=1),
    "gemm left transA": lambda: gemm(left=True, turned=True, transA=1, alpha=0.5),
    "fused gemm": fused_gemm,
    "fused matmul": lambda: fused_matmul(0),
    "fused matmul transB": lambda: fused_matmul(1),
    "fused matmul transA": lambda: fused_matmul(1, turned=True),
    "weight on the left": left_weight,
    "weight [1, K, N]": leading_ones,
    "weight [1, 1, K, N]": lambda: leading_ones((1, 1, WIDTH, 48)),
    "experts, all tokens": lambda: batched(False),
    "experts, own tokens": lambda: batched(True),
    "experts, opset 18": lambda: batched(True, 18),
    "gathered [E, N, K] left": lambda: gathered(True, True),
    "gathered [E, N, K] right": lambda: gathered(True, False),
    "gathered [E, K, N] left": lambda: gathered(False, True),
    "gathered [E, K, N] right": lambda: gathered(False, False),
    "gathered FP16": lambda: gathered(True, True, "float16"),
    "conv 1": lambda: convolution(1, True),
    "conv 1x1": lambda: convolution(2, False),
    "einsum ibh,hnd->ibnd": lambda: einsum("ibh,hnd->ibnd", [0, 0, WIDTH], (WIDTH, 4, 12)),
    "einsum ibnd,hnd->ibh": lambda: einsum("ibnd,hnd->ibh", [0, 0, 4, 16], (48, 4, 16)),
    "einsum bhl,oh->bol": lambda: einsum("hbl,oh->bol", [WIDTH, 2, -1], (48, WIDTH)),
    "einsum weight first": lambda: einsum("oh,blh->blo", [0, 0, WIDTH], (48, WIDTH), True),
    "split": lambda: parts("Split"),
    "slice": lambda: parts("Slice"),
    "gather": lambda: parts("Gather"),
    "product of constants": scaled_weight,
    "packed attention": lambda: packed_attention(0),
    "packed attention, mask": lambda: packed_attention(2),
    "packed attention, lengths": lambda: packed_attention(1),
    "packed attention, causal, sizes": lambda: packed_attention(0, (32, 32, 64), True),
    "packed attention, past": lambda: packed_attention_with_past(17),
    "packed attention, past, opset 12": lambda: packed_attention_with_past(12),
}
