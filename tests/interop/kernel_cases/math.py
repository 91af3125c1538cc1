"""Models of arithmetic, logic, activation, reduction, softmax and matrix product operators."""

import numpy as np
import single_node
from onnx import TensorProto
from single_node import MS, i64, kind_of, seeded

# Pairs that broadcast: equal, scalar, last axis, leading axes, both ways, zero-sized, long.
PAIRS = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), ()), ((2, 3, 4), (4,)), ((2, 3, 4), (2, 3, 1)),
         ((2, 1, 4), (3, 1)), ((), ()), ((2, 0, 4), (1, 1, 4)), ((2, 4, 5, 5), (2, 1, 1, 5)),
         ((1,), (3, 1, 5)), ((3, 70, 257), (70, 1))]
SHAPES = [(), (1,), (7,), (0, 3), (2, 3, 4), (3, 101, 130)]


def node(op, opset, inputs, outputs=1, domain="", constants=(), kinds=None, **attributes):
    """As single_node.node, with a number of outputs; their types are that of the first input unless
    `kinds` gives them."""
    if kinds is None:
        kinds = [kind_of(next(np.asarray(x) for x in inputs if x is not None))] * outputs
    return single_node.node(op, opset, inputs, kinds, constants, domain, **attributes)


def f32(rng, shape, low=None, high=None):
    x = rng.standard_normal(shape) if low is None else rng.uniform(low, high, shape)
    return np.asarray(x, np.float32)


def ints(rng, shape, kind=np.int64, low=-20, high=20, zero=True):
    info = np.iinfo(kind)
    x = np.asarray(rng.integers(max(low, info.min), min(high, info.max), shape, endpoint=True), kind)
    return x if zero else np.where(x == 0, np.asarray(3, kind), x)


def arithmetic(rng):
    for op in ("Add", "Sub", "Mul", "Div"):
        for a, b in PAIRS:
            yield f"{op}/{a},{b}", node(op, 14, [f32(rng, a), f32(rng, b)])
            yield f"{op}/swapped,{b},{a}", node(op, 7, [f32(rng, b), f32(rng, a)])
        for kind in (np.int64, np.int32, np.int8, np.uint8):
            yield f"{op}/{kind.__name__}", node(
                op, 14, [ints(rng, (3, 4), kind, 0 if op == "Sub" else -9, 9),
                         ints(rng, (4,), kind, -9, 9, zero=False)])
    for a, b in PAIRS:
        yield f"PRelu/{a}", node("PRelu", 16, [f32(rng, a), f32(rng, (a[-1],) if a else ())])
        for fmod in (0, 1):
            yield f"Mod/{a},{b},{fmod}", node("Mod", 13, [ints(rng, a), ints(rng, b, zero=False)],
                                              fmod=fmod)
        yield f"Mod/float,{a},{b}", node("Mod", 13, [f32(rng, a), f32(rng, b, 0.5, 2)], fmod=1)
        yield f"Pow/{a},{b}", node("Pow", 15, [f32(rng, a, 0.1, 3), f32(rng, b)])
    for e in (2.0, 3.0, 0.5, -1.0, 1.0, 0.0, -0.5):
        x = f32(rng, (3, 5), 0.1, 3)
        yield f"Pow/exponent,{e}", node("Pow", 13, [x, np.float32(e).reshape(())], constants=(1,))
        yield f"Pow/exponent64,{e}", node("Pow", 13, [x, np.int64(e).reshape(())], constants=(1,))
        special = np.array([np.inf, 0.0, 4.0, 1e-30, np.nan], np.float32)
        yield f"Pow/special,{e}", node("Pow", 13, [special, np.float32(e)], constants=(1,))
    yield "Pow/negative", node("Pow", 13, [f32(rng, (9,)), np.float32(3).reshape(())])
    yield "Pow/int", node("Pow", 13, [ints(rng, (4, 5)), np.array(3, np.int64)])
    yield "Pow/int,float", node("Pow", 13, [ints(rng, (4, 5), np.int32), np.array(2, np.float32)])
    for kind in (np.int64, np.int32, np.uint8):
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            for a, b in PAIRS[:6]:
                yield f"{op}/{kind.__name__},{a},{b}", node(
                    op, 18, [ints(rng, a, kind, 0, 127), ints(rng, b, kind, 0, 127)])
        for shape in SHAPES[:5]:
            yield f"BitwiseNot/{kind.__name__},{shape}", node("BitwiseNot", 18,
                                                              [ints(rng, shape, kind)])


def variadic(rng):
    sets = [[(2, 3)], [(2, 3), (2, 3)], [(2, 1), (3,), ()], [(1, 1), (4, 5), (5,), (4, 1)],
            [(0, 2), (1, 2)], [(), ()], [(200, 300), (300,)]]
    for op in ("Min", "Max", "Sum", "Mean"):
        for shapes in sets:
            yield f"{op}/{shapes}", node(op, 13, [f32(rng, s) for s in shapes])
            if op in ("Min", "Max"):
                for kind in (np.int64, np.int32):
                    yield f"{op}/{kind.__name__},{shapes}", node(
                        op, 13, [ints(rng, s, kind) for s in shapes])
        x = f32(rng, (4,))
        x[1] = np.nan
        yield f"{op}/nan", node(op, 13, [x, f32(rng, (4,))])


def logic(rng):
    result = [TensorProto.BOOL]
    for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        for a, b in PAIRS:
            yield f"{op}/{a},{b}", node(op, 16, [np.round(f32(rng, a)), np.round(f32(rng, b))],
                                        kinds=result)
        for kind in (np.int64, np.int32):
            yield f"{op}/{kind.__name__}", node(
                op, 16, [ints(rng, (5, 6), kind, -2, 2), ints(rng, (6,), kind, -2, 2)], kinds=result)
        x = np.array([np.nan, 1, np.inf, -np.inf], np.float32)
        yield f"{op}/special", node(op, 16, [x, x[:, None]], kinds=result)
    yield "Equal/bool", node("Equal", 13, [rng.random((4, 5)) < 0.5, rng.random(5) < 0.5], kinds=result)
    for op in ("And", "Or", "Xor"):
        for a, b in PAIRS:
            yield f"{op}/{a},{b}", node(op, 7, [np.asarray(rng.random(a) < 0.5),
                                                np.asarray(rng.random(b) < 0.5)])
    special = np.array([np.nan, 1, np.inf, -np.inf, 0, -0.0], np.float32)
    for shape in SHAPES:
        yield f"Not/{shape}", node("Not", 1, [np.asarray(rng.random(shape) < 0.5)])
        yield f"IsNaN/{shape}", node("IsNaN", 13, [np.log(f32(rng, shape))], kinds=result)
        yield f"IsInf/{shape}", node("IsInf", 10, [1 / np.round(f32(rng, shape))], kinds=result)
    yield "IsNaN/special", node("IsNaN", 9, [special], kinds=result)
    for negative in (0, 1):
        for positive in (0, 1):
            yield f"IsInf/{negative},{positive}", node(
                "IsInf", 10, [special], kinds=result, detect_negative=negative,
                detect_positive=positive)
    for a, b in PAIRS:
        for kind, make in ((TensorProto.FLOAT, f32), (TensorProto.INT64, ints)):
            c = np.asarray(rng.random(b) < 0.5)
            yield f"Where/{kind},{a},{b}", node("Where", 16, [c, make(rng, a), make(rng, ())],
                                                kinds=[kind])
            c = np.asarray(rng.random(a) < 0.5)
            yield f"Where/swapped,{kind},{a},{b}", node("Where", 9, [c, make(rng, b), make(rng, a)],
                                                        kinds=[kind])


UNARY = {  # operator: opset, range of the inputs
    "Neg": (13, -9, 9), "Abs": (13, -9, 9), "Sign": (13, -2, 2), "Sqrt": (13, 0, 50),
    "Reciprocal": (13, 0.1, 50), "Exp": (13, -30, 10), "Log": (13, 1e-3, 50), "Erf": (13, -5, 5),
    "Sin": (7, -3000, 3000), "Cos": (7, -3000, 3000), "Tan": (7, -1.5, 1.5), "Asin": (7, -1, 1),
    "Acos": (7, -1, 1), "Atan": (7, -30, 30), "Sinh": (9, -6, 6), "Cosh": (9, -6, 6),
    "Asinh": (9, -30, 30), "Acosh": (9, 1, 30), "Atanh": (9, -0.99, 0.99), "Tanh": (13, -10, 10),
    "Sigmoid": (13, -30, 30), "Floor": (13, -9, 9), "Ceil": (13, -9, 9), "Round": (11, -9, 9),
    "Relu": (14, -9, 9), "Softplus": (1, -30, 30), "Softsign": (1, -30, 30), "Mish": (18, -20, 20),
    "HardSwish": (14, -5, 5), "LeakyRelu": (16, -5, 5), "ThresholdedRelu": (10, -5, 5),
    "Elu": (6, -5, 5), "Selu": (6, -5, 5), "Celu": (12, -5, 5), "HardSigmoid": (6, -5, 5),
    "Gelu": (20, -6, 6), "Shrink": (9, -2, 2), "Swish": (24, -8, 8)}
ATTRIBUTES = {
    "LeakyRelu": [dict(alpha=0.3), dict(alpha=-0.5)], "ThresholdedRelu": [dict(alpha=0.2)],
    "Elu": [dict(alpha=0.4)], "Selu": [dict(alpha=1.2, gamma=0.7)], "Celu": [dict(alpha=0.6)],
    "HardSigmoid": [dict(alpha=0.3, beta=0.1)], "Gelu": [dict(approximate="tanh")],
    "Shrink": [dict(lambd=0.8, bias=0.3)], "Swish": [dict(alpha=1.702), dict(alpha=0.5)]}
SPECIAL_SAFE = {"Neg", "Abs", "Sqrt", "Reciprocal", "Exp", "Log", "Floor", "Ceil", "Round"}


def unary(rng):
    for op, (opset, low, high) in UNARY.items():
        for shape in SHAPES:
            yield f"{op}/{shape}", node(op, opset, [f32(rng, shape, low, high)])
        for attributes in ATTRIBUTES.get(op, []):
            for shape in SHAPES[-2:]:
                yield f"{op}/{shape},{attributes}", node(op, opset, [f32(rng, shape, low, high)],
                                                         **attributes)
        if op in SPECIAL_SAFE:
            x = np.array([np.inf, -np.inf, np.nan, 0.0, 200.0, -200.0], np.float32)
            yield f"{op}/special", node(op, opset, [x])
        if op in ("Neg", "Abs", "Sign"):
            for kind in (np.int64, np.int32, np.int8):
                yield f"{op}/{kind.__name__}", node(op, opset, [ints(rng, (5, 3), kind)])
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32)
    yield "Round/halves", node("Round", 11, [halves])
    for kind in (np.int64, np.int8, np.uint8):
        yield f"Shrink/{kind.__name__}", node("Shrink", 9, [ints(rng, (5, 3), kind)], lambd=2.5, bias=1.0)
    yield "Relu/int32", node("Relu", 14, [ints(rng, (5, 3), np.int32)])
    for op in ("Gelu", "QuickGelu", "FastGelu"):
        for shape in SHAPES[1:]:
            yield f"ms.{op}/{shape}", node(op, 20, [f32(rng, shape, -6, 6)], domain=MS)
    yield "ms.QuickGelu/alpha", node("QuickGelu", 20, [f32(rng, (4, 5))], domain=MS, alpha=0.7)
    for shape in [(8,), (2, 8), (2, 3, 8), (1, 100, 400), (0, 4), (3, 1)]:
        for op in ("BiasGelu", "FastGelu"):
            yield f"ms.{op}/bias,{shape}", node(op, 17, [f32(rng, shape), f32(rng, shape[-1:])],
                                                domain=MS)


def clip(rng):
    x = f32(rng, (4, 5), -3, 3)
    scalar = lambda v, kind=np.float32: np.array(v, kind)  # noqa: E731
    yield "Clip/6,both", node("Clip", 6, [x], min=-1.0, max=1.5)
    yield "Clip/6,low", node("Clip", 6, [x], min=-1.0)
    yield "Clip/6,none", node("Clip", 6, [x])
    for opset in (11, 13):
        yield f"Clip/{opset},both", node("Clip", opset, [x, scalar(-1), scalar(1)])
        yield f"Clip/{opset},low", node("Clip", opset, [x, scalar(-1)])
        yield f"Clip/{opset},high", node("Clip", opset, [x, None, scalar(1)], constants=(2,))
        yield f"Clip/{opset},none", node("Clip", opset, [x])
    yield "Clip/empty", node("Clip", 13, [f32(rng, (0, 3)), scalar(0)])
    yield "Clip/crossed", node("Clip", 13, [x, scalar(2), scalar(1)])
    y = x.copy()
    y[0, :3] = np.nan, np.inf, -np.inf
    yield "Clip/special", node("Clip", 13, [y, scalar(-1), scalar(1)])
    for kind in (np.int64, np.int32, np.int8, np.uint8):
        yield f"Clip/{kind.__name__}", node("Clip", 13, [ints(rng, (9,), kind), scalar(1, kind),
                                                         scalar(5, kind)])


def reductions(rng):
    shapes = [((3, 4, 5), [(2,), (0,), (1,), (0, 2), (0, 1, 2), (-1, 1), (), (-3,)]),
              ((2, 3, 4, 5), [(1, 3), (2, 3), (1, 2), (0, 3), (-2,)]),
              ((1, 5, 1, 3), [(1,), (0, 2), (2, 3)]), ((6,), [(0,)]), ((40, 5000), [(1,), (0,)]),
              ((2, 0, 3), [(0,), (2,)]), ((), [()])]
    for op in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"):
        positive = op in ("LogSum", "Prod")
        for shape, choices in shapes:
            for axes in choices:
                high = 1.2 if op == "Prod" and shape == (40, 5000) else 2
                x = f32(rng, shape, 0.9 if positive else -1, high if positive else 1)
                if shape == (40, 5000) and op == "Prod":
                    continue  # a product of thousands of factors overflows
                keep = int(rng.integers(0, 2))
                name = f"Reduce{op}/{shape},{axes},{keep}"
                if shape:
                    yield f"{name},attribute", node(f"Reduce{op}", 11, [x], keepdims=keep,
                                                    **(dict(axes=axes) if axes else {}))
                inputs = [x, i64(*axes)] if axes else [x]
                yield f"{name},input", node(f"Reduce{op}", 18, inputs, keepdims=keep)
        x = f32(rng, (3, 4), 0.5, 2)
        yield f"Reduce{op}/noop", node(f"Reduce{op}", 18, [x], noop_with_empty_axes=1)
        yield f"Reduce{op}/noop,axes", node(f"Reduce{op}", 18, [x, i64(1)], constants=(1,),
                                            noop_with_empty_axes=1)
        for kind in (np.int64, np.int32):
            if op in ("LogSum", "LogSumExp", "L2", "L1") or (op == "SumSquare" and kind == np.int64):
                continue
            for axes in ((1,), (0,)):
                yield f"Reduce{op}/{kind.__name__},{axes}", node(
                    f"Reduce{op}", 18, [ints(rng, (3, 5), kind, -5, 5), i64(*axes)])
    for op in ("Sum", "Prod"):
        yield f"Reduce{op}/nothing", node(f"Reduce{op}", 18, [f32(rng, (2, 0, 3)), i64(1)])
    for op in ("Max", "Min"):
        for kind in (np.int8, np.uint8):
            yield f"Reduce{op}/{kind.__name__}", node(f"Reduce{op}", 18,
                                                      [ints(rng, (3, 5), kind), i64(1)])
        yield f"Reduce{op}/bool", node(f"Reduce{op}", 20, [rng.random((4, 3)) < 0.5, i64(1)])


def positions(rng):
    for op in ("ArgMax", "ArgMin"):
        for shape, axis in [((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), -1), ((7,), 0), ((0, 3), 1),
                            ((2, 9), -2), ((20, 500), 1)]:
            for last in (0, 1):
                keep = int(rng.integers(0, 2))
                yield f"{op}/{shape},{axis},{last},{keep}", node(
                    op, 13, [np.round(f32(rng, shape) * 2)], kinds=[TensorProto.INT64], axis=axis,
                    keepdims=keep, select_last_index=last)
        yield f"{op}/default", node(op, 11, [f32(rng, (3, 4))], kinds=[TensorProto.INT64])
        yield f"{op}/int32", node(op, 13, [ints(rng, (3, 4), np.int32)], kinds=[TensorProto.INT64],
                                  axis=1)
    for shape, axis in [((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), -1), ((7,), 0), ((0, 3), 1),
                        ((2, 0), 1), ((3, 700), 1)]:
        for exclusive in (0, 1):
            for reverse in (0, 1):
                options = dict(exclusive=exclusive, reverse=reverse)
                for x in (f32(rng, shape), ints(rng, shape), ints(rng, shape, np.int32)):
                    yield f"CumSum/{x.dtype},{shape},{axis},{exclusive}{reverse}", node(
                        "CumSum", 14, [x, np.array(axis, np.int64)], **options)
    for axis in (0, -1):
        for x in (f32(rng, (3, 4)), ints(rng, (3, 4), np.int64, -3, 3)):
            for reverse in (0, 1):
                yield f"CumProd/{x.dtype},{axis},{reverse}", node(
                    "CumProd", 26, [x, np.array(axis, np.int64)], exclusive=reverse, reverse=reverse)
    yield "CumSum/axis,1-d,int32", node("CumSum", 11, [f32(rng, (3, 4)), np.array([1], np.int32)])


def softmaxes(rng):
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for shape in [(5,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (0, 3), (2, 0), (4, 6, 40, 70)]:
            for opset in (11, 13):
                for axis in {None, 0, -1, len(shape) // 2}:
                    if (axis is None and opset == 11 and len(shape) < 2):
                        continue
                    if op == "Hardmax" and 0 in shape:
                        continue
                    options = {} if axis is None else dict(axis=axis)
                    yield f"{op}/{opset},{shape},{axis}", node(op, opset, [4 * f32(rng, shape)],
                                                               **options)
    x = f32(rng, (2, 6))
    x[:, 3:] = -np.inf
    yield "Softmax/masked", node("Softmax", 13, [x])
    x[:, 3:] = np.finfo(np.float32).min
    yield "Softmax/lowest", node("Softmax", 13, [x])
    yield "Softmax/large", node("Softmax", 13, [x[:, :3] * 1e4])
    yield "LogSoftmax/large", node("LogSoftmax", 13, [x[:, :3] * 1e4])


def matmuls(rng):
    pairs = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)),
             ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 6)), ((3, 4), (2, 4, 5)), ((4,), (2, 4, 5)),
             ((2, 3, 4), (4,)), ((2, 8, 20, 16), (2, 8, 16, 20)), ((1, 2, 3, 4), (1, 2, 4, 1)),
             ((2, 0, 4), (4, 5)), ((0, 3, 4), (0, 4, 5)), ((2, 4, 1, 16), (2, 4, 16, 9)),
             ((70, 300), (300, 1100)), ((1, 300), (300, 1100))]
    for a, b in pairs:
        yield f"MatMul/{a},{b}", node("MatMul", 13, [f32(rng, a), f32(rng, b)])
        yield f"MatMul/constant,{a},{b}", node("MatMul", 9, [f32(rng, a), f32(rng, b)], constants=(1,))
    yield "MatMul/nothing", node("MatMul", 13, [f32(rng, (2, 0)), f32(rng, (0, 3))])
    for kind in (np.int32, np.int64):
        for a, b in pairs[:6]:
            yield f"MatMul/{kind.__name__},{a},{b}", node("MatMul", 13, [ints(rng, a, kind),
                                                                         ints(rng, b, kind)])
    for ta in (0, 1):
        for tb in (0, 1):
            for c in (None, (), (1,), (6,), (5, 1), (5, 6), (1, 6)):
                a, b = f32(rng, (4, 5) if ta else (5, 4)), f32(rng, (6, 4) if tb else (4, 6))
                inputs = [a, b] + ([] if c is None else [f32(rng, c)])
                yield f"Gemm/{ta}{tb},{c}", node("Gemm", 13, inputs, transA=ta, transB=tb,
                                                 alpha=0.7, beta=1.3)
    yield "Gemm/defaults", node("Gemm", 7, [f32(rng, (5, 4)), f32(rng, (4, 6)), f32(rng, (6,))])
    yield "Gemm/beta 0", node("Gemm", 13, [f32(rng, (5, 4)), f32(rng, (4, 6)), f32(rng, (6,))], beta=0.0)
    yield "Gemm/no rows", node("Gemm", 13, [f32(rng, (0, 4)), f32(rng, (4, 6)), f32(rng, (6,))])
    yield "Gemm/large", node("Gemm", 13, [f32(rng, (100, 400)), f32(rng, (900, 400)), f32(rng, (900,))],
                             transB=1, constants=(1, 2))
    for batch in [(), (2,), (2, 3)]:
        for ta in (0, 1):
            for tb in (0, 1):
                a = batch + ((4, 5) if ta else (5, 4))
                b = batch + ((6, 4) if tb else (4, 6))
                yield f"FusedMatMul/{a},{b},{ta}{tb}", node(
                    "FusedMatMul", 13, [f32(rng, a), f32(rng, b)], domain=MS, transA=ta, transB=tb,
                    alpha=0.3)
    for which in ("A", "B"):
        for t in (0, 1):
            a, b = (3, 5, 4), (3, 4, 6)
            if which == "A":
                a = (4, 3, 5) if t else (5, 3, 4)
            else:
                b = (6, 3, 4) if t else (4, 3, 6)
            yield f"FusedMatMul/transBatch{which},{t}", node(
                "FusedMatMul", 13, [f32(rng, a), f32(rng, b)], domain=MS,
                **{f"transBatch{which}": 1, f"trans{which}": t})
    for activation in ("Relu", "Tanh", "Sigmoid", "LeakyRelu"):
        for tb in (0, 1):
            yield f"FusedGemm/{activation},{tb}", node(
                "FusedGemm", 13, [f32(rng, (5, 4)), f32(rng, (6, 4) if tb else (4, 6)), f32(rng, (6,))],
                domain=MS, activation=activation, transB=tb,
                **(dict(activation_alpha=0.2) if activation == "LeakyRelu" else {}))


def integer_products(rng):
    def codes(shape, signed):
        return ints(rng, shape, np.int8 if signed else np.uint8, -128, 255)

    def factors(a, b, signed):
        """Codes whose pairs of products ONNX Runtime adds exactly on every processor: without VNNI it
        saturates those of uint8 and int8 in 16 bits, and asked for precision only where the weight is
        constant. Our own sums of large codes are compared with exact arithmetic in
        tests/unit/ops/quantized_matmul_test.cc."""
        left, right = codes(a, False), codes(b, signed)
        return [left // 2 if signed else left, right]

    i32 = [TensorProto.INT32]
    for a, b in [((3, 4), (4, 5)), ((2, 3, 8), (8, 5)), ((2, 3, 8), (2, 8, 5)), ((1, 64), (64, 70)),
                 ((0, 4), (4, 5))]:
        for signed in (0, 1):
            za, zb = codes((), False), codes((), signed)
            for zeros in ([], [za], [za, zb]):
                yield f"MatMulInteger/{a},{b},{signed},{len(zeros)}", node(
                    "MatMulInteger", 10, factors(a, b, signed) + zeros, kinds=i32)
            yield f"MatMulInteger/columns,{a},{b},{signed}", node(
                "MatMulInteger", 10,
                factors(a, b, signed) + [za, codes(b[-1:] if len(b) == 2 else (), signed)],
                kinds=i32, constants=(1, 3))
    for shape in SHAPES:
        if 0 in shape:
            continue
        for low, high in ((-3, 3), (0.5, 2), (-2, -1)):
            yield f"DynamicQuantizeLinear/{shape},{low}", node(
                "DynamicQuantizeLinear", 11, [f32(rng, shape, low, high)], outputs=3,
                kinds=[TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8])
    yield "DynamicQuantizeLinear/zeros", node(
        "DynamicQuantizeLinear", 11, [np.zeros((2, 3), np.float32)], outputs=3,
        kinds=[TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8])
    scale = lambda: np.float32(rng.uniform(0.01, 0.05)).reshape(())  # noqa: E731
    for a, b in [((3, 4), (4, 5)), ((2, 3, 8), (8, 5)), ((1, 64), (64, 70))]:
        for signed in (0, 1):
            kind = TensorProto.UINT8
            left, right = factors(a, b, signed)
            yield f"QLinearMatMul/{a},{b},{signed}", node(
                "QLinearMatMul", 10,
                [left, scale(), codes((), False), right, scale(),
                 codes((), signed), np.float32(0.3).reshape(()), codes((), False)],
                kinds=[kind], constants=(1, 2, 4, 5, 6, 7))
            bias = f32(rng, b[-1:]) if signed else None
            per_column = f32(rng, b[-1:], 0.01, 0.05) if signed else scale()
            left, right = factors(a, b, signed)
            yield f"MatMulIntegerToFloat/{a},{b},{signed}", node(
                "MatMulIntegerToFloat", 17,
                [left, right, scale(), per_column, codes((), False),
                 codes((), signed), bias], domain=MS, kinds=[TensorProto.FLOAT], constants=(1,))
            yield f"DynamicQuantizeMatMul/{a},{b},{signed}", node(
                "DynamicQuantizeMatMul", 17,
                [f32(rng, a), codes(b, signed), per_column, codes((), signed), bias], domain=MS,
                constants=(1, 2, 3))


def einsums(rng):
    for equation, *shapes in [
            ("ij,jk->ik", (3, 4), (4, 5)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
            ("bthd,bshd->bhts", (2, 3, 4, 5), (2, 6, 4, 5)), ("bhts,bshd->bthd", (2, 4, 3, 6), (2, 6, 4, 5)),
            ("i,j->ij", (3,), (4,)), ("i,i->", (5,), (5,)), ("ij->ji", (3, 4)), ("ij->", (3, 4)),
            ("ij->i", (3, 4)), ("ii->i", (4, 4)), ("ii", (4, 4)), ("ij,jk", (3, 4), (4, 5)),
            ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)), ("...ij,jk->...ik", (2, 6, 3, 4), (4, 5)),
            ("i , j -> i j", (3,), (4,)), ("ijk,ijk->ij", (2, 3, 4), (2, 3, 4)),
            ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("ab,cd->abcd", (2, 3), (4, 5)),
            ("bij,j->bi", (2, 3, 4), (4,)), ("nd,kd->nk", (5, 6), (7, 6)),
            ("n,nd->nd", (3,), (3, 4)), ("bhd,hde->bhe", (2, 3, 4), (3, 4, 5)),
            ("blh,dhk->bldk", (2, 3, 4), (5, 4, 6)), ("...ii->...i", (2, 3, 3)), ("ii->", (4, 4)),
            ("iij->ij", (3, 3, 2)), ("ijij->ij", (2, 3, 2, 3)), ("i...->...i", (2, 3, 4)),
            ("...,...->...", (2, 3), (2, 3)), ("i...j,j...k->...ik", (2, 5, 3), (3, 5, 4)),
            ("ab...,bc...->ac...", (2, 3, 4), (3, 5, 4)), ("A,aB->aBA", (2,), (3, 4)),
            ("ii,ij->j", (3, 3), (3, 4)), ("...,a->...a", (), (3,)), ("ij,kj->ik", (2, 1), (3, 4)),
            ("bhwk,hkc->bhwc", (2, 3, 4, 5), (3, 5, 2)), ("bij,bjk->bik", (0, 2, 3), (0, 3, 4))]:
        yield f"Einsum/{equation}", node("Einsum", 12, [f32(rng, s) for s in shapes],
                                         equation=equation)
        if len(shapes) < 3:
            for kind in (np.int64, np.int32):
                yield f"Einsum/{kind.__name__},{equation}", node(
                    "Einsum", 12, [ints(rng, s, kind) for s in shapes], equation=equation)


cases = seeded([arithmetic, variadic, logic, unary, clip, reductions, positions, softmaxes, matmuls,
                integer_products, einsums], 17)
