"""Single-node models of com.microsoft's operators on quantized operands, with seeded inputs."""

import numpy as np
from onnx import TensorProto, helper
from single_node import F, MS, f32, one_node, seeded

KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


def codes(rng, shape, kind):
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max + 1, shape).astype(kind)


def value(rng, name, shape, kind):
    """The three inputs of a quantized operand; the scale is not round, so that no result lies
    halfway between two codes."""
    scale = np.float32(0.0137 + 0.01 * rng.random())
    return [(name, codes(rng, shape, kind), 0), (f"{name}_scale", scale, 1),
            (f"{name}_zero", codes(rng, (), kind) // 4, 1)]


def result(rng, kind, scale):
    return [("y_scale", np.float32(scale), 1), ("y_zero", codes(rng, (), kind) // 4, 1)]


def qlinear(rng):
    for kind, onnx_kind in KINDS.items():
        tag = np.dtype(kind).name
        y = [("y", onnx_kind)]
        for i, (a, b) in enumerate([((2, 3, 8), (2, 3, 8)), ((2, 3, 8), (8,)), ((5, 1), (1, 7)),
                                    ((2, 40), ())]):
            for op, scale in (("QLinearAdd", 0.0421), ("QLinearMul", 0.0293)):
                yield f"{op}/{tag},{i}", one_node(
                    op, value(rng, "a", a, kind) + value(rng, "b", b, kind)
                    + result(rng, kind, scale), y, MS)
        for op, scale, extra in (("QLinearSigmoid", 0.0041, {}),
                                 ("QLinearLeakyRelu", 0.0173, {"alpha": 0.3}),
                                 ("QLinearLeakyRelu", 0.0173, {})):
            yield f"{op}/{tag},{extra}", one_node(
                op, value(rng, "x", (2, 3, 8), kind) + result(rng, kind, scale), y, MS, **extra)
        for last in (0, 1):
            shape = (2, 7, 6, 4) if last else (2, 4, 7, 6)
            yield f"QLinearGlobalAveragePool/{tag},{last}", one_node(
                "QLinearGlobalAveragePool",
                value(rng, "x", shape, kind) + result(rng, kind, 0.0053), y, MS, channels_last=last)
            for i, extra in enumerate([{}, {"pads": [1, 1, 0, 1]}, {"strides": [2, 1]},
                                       {"pads": [1, 1, 1, 1], "count_include_pad": 1},
                                       {"ceil_mode": 1, "strides": [2, 2]}]):
                yield f"QLinearAveragePool/{tag},{last},{i}", one_node(
                    "QLinearAveragePool",
                    value(rng, "x", shape, kind) + result(rng, kind, 0.0113), y, MS,
                    kernel_shape=[3, 2], channels_last=last, **extra)
        for axis in (0, 1, -1):
            parts = [(2, 3, 4), (2, 3, 4), (2, 3, 4)]
            yield f"QLinearConcat/{tag},{axis}", one_node(
                "QLinearConcat",
                result(rng, kind, 0.0223) + sum((value(rng, f"x{i}", shape, kind)
                                                 for i, shape in enumerate(parts)), []), y, MS,
                axis=axis)
        for i, (condition, a, b) in enumerate([((2, 3, 4), (2, 3, 4), (2, 3, 4)),
                                               ((3, 1), (2, 3, 4), (4,))]):
            yield f"QLinearWhere/{tag},{i}", one_node(
                "QLinearWhere",
                [("c", rng.random(condition) > 0.5, 0)] + value(rng, "a", a, kind)
                + value(rng, "b", b, kind) + result(rng, kind, 0.0223), y, MS)


def qlinear_softmax(rng):
    for kind, onnx_kind in KINDS.items():
        for opset, axis in ((13, -1), (13, 1), (12, 1), (11, 2)):
            # ONNX Runtime has the result's scale and zero point fixed: 1 / 256, the lowest code.
            model, feeds = one_node(
                "QLinearSoftmax",
                value(rng, "x", (2, 5, 9), kind)
                + [("ys", np.float32(1 / 256), 1), ("yz", np.array(np.iinfo(kind).min, kind), 1)],
                [("y", onnx_kind)], MS, axis=axis)
            model.graph.node[0].attribute.append(helper.make_attribute("opset", opset))
            yield f"QLinearSoftmax/{np.dtype(kind)},{opset},{axis}", (model, feeds)


def products(rng):
    for kind in (np.uint8, np.int8):
        for i, (ta, tb, per_column, c, quantized) in enumerate([
                (0, 0, False, None, False), (0, 1, True, (7,), False), (1, 0, False, (5, 7), True),
                (0, 0, True, (1, 7), True), (0, 0, False, (7,), True)]):
            a = codes(rng, (9, 5) if ta else (5, 9), np.uint8)
            b = codes(rng, (7, 9) if tb else (9, 7), kind)
            columns = (7,) if per_column else ()
            scale = (0.01 + 0.01 * rng.random(columns)).astype(np.float32)
            out = result(rng, np.uint8, 0.613) if quantized else []
            yield f"QGemm/{np.dtype(kind)},{i}", one_node(
                "QGemm",
                [("a", a, 0), ("as", np.float32(0.0213), 1), ("az", np.uint8(110), 1), ("b", b, 1),
                 ("bs", scale, 1), ("bz", np.asarray(codes(rng, columns, kind) // 8, kind), 1),
                 ("c", None if c is None else rng.integers(-999, 999, c).astype(np.int32), 1)] + out,
                [("y", TensorProto.UINT8 if quantized else F)], MS, transA=ta, transB=tb,
                alpha=0.7 if i == 1 else None)
    a = rng.integers(-300, 300, (2, 3, 8)).astype(np.int16)
    b = rng.integers(-300, 300, (8, 5)).astype(np.int16)
    yield "MatMulInteger16/plain", one_node(
        "MatMulInteger16", [("a", a, 0), ("b", b, 1)], [("y", TensorProto.INT32)], MS)


def qattention(rng):
    def case(name, kind=np.uint8, per_column=False, mask=None, past=None, zeros=True, outputs=1,
             **attributes):
        batch, tokens, heads, size, width = 2, 5, 4, 8, 24
        columns = (3 * heads * size,) if per_column else ()
        w = codes(rng, (width, 3 * heads * size), kind)
        scale = (0.002 + 0.002 * rng.random(columns)).astype(np.float32)
        p = None if past is None else f32(rng, 2, batch, heads, past, size)
        center = 128 if kind == np.uint8 else 0
        wz = (center + rng.integers(-9, 9, columns)).astype(kind)
        return f"QAttention/{name}", one_node(
            "QAttention",
            [("x", codes(rng, (batch, tokens, width), np.uint8), 0), ("w", w, 1),
             ("b", f32(rng, 3 * heads * size), 1), ("xs", np.float32(0.013), 1), ("ws", scale, 1),
             ("mask", mask, 0), ("xz", np.uint8(121) if zeros else None, 1),
             ("wz", wz if zeros else None, 1), ("past", p, 0)],
            [(n, F) for n in ["y", "present"][:outputs]], MS, num_heads=heads, **attributes)

    for kind in (np.uint8, np.int8):
        for per_column in (False, True):
            yield case(f"{np.dtype(kind)},{per_column}", kind, per_column)
    yield case("no zero points", np.int8, zeros=False)
    yield case("lengths", mask=np.array([5, 3], np.int32))
    yield case("flags", mask=np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], np.int32))
    yield case("causal", unidirectional=1)
    yield case("past", past=3, outputs=2, unidirectional=1)
    yield case("scale", scale=0.5)


def qembed(rng):
    for kind in (np.uint8, np.int8):
        for i in range(4):
            segmented, masked = i % 2 == 0, i >= 2
            hidden, center = 16, 128 if kind == np.uint8 else 0
            tables = [("w", (30, hidden)), ("p", (12, hidden)), ("s", (2, hidden)), ("g", (hidden,)),
                      ("b", (hidden,))]
            kept = [n != "s" or segmented for n, _ in tables]
            yield f"QEmbedLayerNormalization/{np.dtype(kind)},{i}", one_node(
                "QEmbedLayerNormalization",
                [("ids", rng.integers(0, 30, (2, 5)).astype(np.int32), 0),
                 ("seg", rng.integers(0, 2, (2, 5)).astype(np.int32) if segmented else None, 0)]
                + [(n, codes(rng, shape, kind) if keep else None, 1)
                   for keep, (n, shape) in zip(kept, tables)]
                + [("mask", (rng.random((2, 5)) > 0.4).astype(np.int32) if masked else None, 0)]
                + [(f"{n}_scale", np.float32(0.01 + 0.01 * rng.random()) if keep else None, 1)
                   for keep, (n, _) in zip(kept, tables)]
                + [(f"{n}_zero", np.asarray(center + int(rng.integers(-9, 9)), kind) if keep
                    else None, 1) for keep, (n, _) in zip(kept, tables)],
                [("y", F), ("index", TensorProto.INT32)], MS, epsilon=1e-5)


cases = seeded([qlinear, qlinear_softmax, products, qattention, qembed], 47)
