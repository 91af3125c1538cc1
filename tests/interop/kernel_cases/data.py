"""Single-node models of the operators that shape, move and make tensors, with seeded inputs."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from single_node import F, I64, f32, filled, i64, kind_of, node, seeded

TYPES = [np.float32, np.int64, np.int32, np.uint8, np.int8, np.bool_]


def cast(rng):
    for source in TYPES:
        for target in TYPES:
            x = filled(rng, (3, 4), source)
            if source == np.float32:
                # Floats outside the range of the integer type differ between processors.
                x = np.abs(x) if target == np.uint8 else x * 20
                x.flat[0] = 0
            yield f"Cast/{source.__name__},{target.__name__}", node(
                "Cast", 13, [x], [kind_of(np.zeros(0, target))], to=kind_of(np.zeros(0, target)))
    yield "Cast/empty", node("Cast", 13, [f32(rng, 0, 2)], [I64], to=I64)
    yield "Cast/scalar", node("Cast", 9, [np.float32(2.7)], [TensorProto.INT32],
                              to=TensorProto.INT32)
    yield "Cast/double", node("Cast", 13, [f32(rng, 5).astype(np.float64)], [F], to=F)
    yield "Cast/half", node("Cast", 13, [f32(rng, 5).astype(np.float16)], [F], to=F)
    # Rounded to 16 bits, with numbers too large for the smaller type.
    x = np.concatenate([f32(rng, 40) * 10, np.array([1e6, -1e-9, np.inf], np.float32)])
    yield "Cast/to_half", node("Cast", 13, [x], [TensorProto.FLOAT16], to=TensorProto.FLOAT16)
    for kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        model, feeds = node("Cast", 13, [x], [F], to=kind)
        first = model.graph.node[0]
        first.output[0] = "rounded"
        model.graph.node.append(helper.make_node("Cast", ["rounded"], ["o0"], to=F))
        yield f"Cast/through{kind}", (model, feeds)
    for target in TYPES:
        yield f"CastLike/{target.__name__}", node(
            "CastLike", 15, [filled(rng, (2, 3), np.int8) % 3, filled(rng, (1,), target)],
            [kind_of(np.zeros(0, target))])


def shapes(rng):
    for opset, attributes in [(13, {}), (15, {"start": 1}), (15, {"start": -2}), (15, {"end": -1}),
                              (19, {"start": 1, "end": 2}), (21, {"start": 2, "end": 1}),
                              (23, {"start": -9, "end": 9})]:
        yield f"Shape/{opset},{attributes}", node(
            "Shape", opset, [f32(rng, 2, 0, 5)], [I64], **attributes)
    yield "Shape/scalar", node("Shape", 13, [np.float32(1)], [I64])
    for dtype in TYPES:
        x = filled(rng, (2, 3), dtype)
        yield f"Identity/{dtype.__name__}", node("Identity", 14, [x], [kind_of(x)])
    for shape in [(), (0,), (3, 4), (2, 0, 5), (1, 1), (7,)]:
        yield f"Size/{shape}", node("Size", 13, [np.zeros(shape, np.int32)], [I64])
    for shape, to in [((2, 3, 4), (0, -1)), ((2, 3, 4), (4, 0, 2)), ((2, 3, 4), (-1,)),
                      ((1,), ()), ((), (1, 1)), ((0, 4), (0, 2, 2)), ((2, 4, 0, 8), (2, -1, 4, 8)),
                      ((2, 3), (3, 2)), ((2, 0, 3), (0, 0, 3))]:
        yield f"Reshape/{shape},{to}", node("Reshape", 13, [f32(rng, *shape), i64(*to)], [F])
    yield "Reshape/allowzero", node(
        "Reshape", 14, [f32(rng, 3, 0), i64(0, 7)], [F], allowzero=1)
    yield "Reshape/constant,5", node(
        "Reshape", 7, [filled(rng, (4, 3), np.int64), i64(-1, 2)], [I64], constants=(1,))
    for axis in (0, 1, 2, 3, -1, -3):
        yield f"Flatten/{axis}", node(
            "Flatten", 13, [filled(rng, (2, 3, 4), np.int32)], [TensorProto.INT32], axis=axis)
    yield "Flatten/empty", node("Flatten", 11, [f32(rng, 0, 3, 2)], [F])
    yield "Flatten/default,9", node("Flatten", 9, [f32(rng, 3)], [F])
    x = f32(rng, 1, 3, 1, 2, 1)
    for axes in ([0], [2, 4], [-1, 0], [0, 2, 4]):
        yield f"Squeeze/{axes}", node("Squeeze", 13, [x, i64(*axes)], [F])
    yield "Squeeze/attribute", node("Squeeze", 11, [x], [F], axes=[0, -3])
    yield "Squeeze/attribute,7", node("Squeeze", 7, [x], [F], axes=[2])
    yield "Squeeze/none", node("Squeeze", 13, [x], [F])
    yield "Squeeze/none,9", node("Squeeze", 9, [x], [F])
    yield "Squeeze/empty", node("Squeeze", 21, [f32(rng, 1, 0, 1), i64(0)], [F])
    x = f32(rng, 2, 3)
    for axes in ([0], [2], [-1], [3, 0], [1, 2], [-1, -2], [0, 1, 2]):
        yield f"Unsqueeze/{axes}", node("Unsqueeze", 13, [x, i64(*axes)], [F])
    yield "Unsqueeze/attribute", node("Unsqueeze", 11, [x], [F], axes=[-1, 0])
    yield "Unsqueeze/attribute,7", node("Unsqueeze", 7, [x], [F], axes=[1])
    yield "Unsqueeze/scalar", node("Unsqueeze", 13, [np.int64(4), i64(0)], [I64])
    yield "Unsqueeze/empty", node("Unsqueeze", 23, [f32(rng, 0, 2), i64(1)], [F])


def transposes(rng):
    for shape, perm in [((2, 3), None), ((2, 3, 4), None), ((2, 7, 3, 5), (0, 2, 1, 3)),
                        ((2, 3, 7, 5), (0, 2, 3, 1)), ((2, 3, 7, 5), (3, 1, 0, 2)), ((), None),
                        ((1, 5, 1, 4), (2, 1, 0, 3)), ((0, 3, 2), (2, 0, 1)),
                        ((3, 4, 5), (0, 1, 2)),
                        ((2, 2, 3, 2, 3, 2), (5, 3, 1, 0, 2, 4)), ((200, 333), (1, 0)),
                        ((2, 64, 12, 64), (0, 2, 1, 3)), ((2, 64, 12, 64), (0, 2, 3, 1))]:
        attributes = {} if perm is None else {"perm": perm}
        yield f"Transpose/{shape},{perm}", node("Transpose", 13, [f32(rng, *shape)], [F],
                                                **attributes)
    for dtype in TYPES[1:]:
        x = filled(rng, (3, 4, 5), dtype)
        yield f"Transpose/{dtype.__name__}", node("Transpose", 13, [x], [kind_of(x)],
                                                  perm=(2, 0, 1))


def concats(rng):
    for parts, axis in [([(2, 3), (2, 1)], 1), ([(2, 3), (4, 3)], 0), ([(2, 3), (2, 3)], -1),
                        ([(1, 2, 0, 4), (1, 2, 3, 4)], 2), ([(0,), (3,), (0,)], 0), ([(5,)], 0),
                        ([(2, 1, 1)] * 5, -1), ([(3, 0), (3, 0)], 0), ([(1, 4, 32, 16)] * 2, 3)]:
        yield f"Concat/{parts},{axis}", node("Concat", 13, [f32(rng, *p) for p in parts], [F],
                                             axis=axis)
    for dtype in TYPES[1:]:
        a, b = filled(rng, (2, 2), dtype), filled(rng, (2, 3), dtype)
        yield f"Concat/{dtype.__name__}", node("Concat", 11, [a, b], [kind_of(a)], axis=1)
    for shape, axis, lengths in [((6, 2), 0, (1, 2, 3)), ((2, 6), -1, (4, 2)),
                                 ((2, 3, 4), 1, (0, 3)),
                                 ((2, 3), 1, (3,)), ((0, 4), 1, (2, 2)), ((4,), 0, (1, 0, 3))]:
        x = f32(rng, *shape)
        kinds = [F] * len(lengths)
        yield f"Split/input,{shape},{lengths}", node("Split", 13, [x, i64(*lengths)], kinds,
                                                     axis=axis)
        yield f"Split/attribute,{shape},{lengths}", node("Split", 11, [x], kinds, axis=axis,
                                                         split=lengths)
    yield "Split/equal,7", node("Split", 7, [f32(rng, 6, 2)], [F] * 3)
    yield "Split/equal,13", node("Split", 13, [f32(rng, 2, 6)], [F] * 2, axis=-1)
    yield "Split/num_outputs", node("Split", 18, [f32(rng, 7, 2)], [F] * 3, num_outputs=3)
    yield "Split/integers", node("Split", 18, [np.arange(6)], [I64] * 2, num_outputs=2)


def slices(rng):
    for i in range(24):
        rank = int(rng.integers(1, 5))
        shape = rng.integers(0, 6, rank)
        axes = rng.permutation(rank)[:int(rng.integers(1, rank + 1))]
        starts, ends = rng.integers(-8, 9, len(axes)), rng.integers(-8, 9, len(axes))
        steps = rng.choice([-3, -2, -1, 1, 2, 3], len(axes))
        # What a negative step makes of an axis without elements is not specified.
        steps = np.where(shape[axes] == 0, 1, steps)
        x = filled(rng, shape, TYPES[i % 4])
        written = np.where(rng.random(len(axes)) > 0.5, axes, axes - rank)
        kind = np.int32 if i % 3 == 0 else np.int64
        yield f"Slice/random{i}", node(
            "Slice", (10, 11, 13)[i % 3],
            [x] + [v.astype(kind) for v in (starts, ends, written if i % 3 else axes, steps)],
            [kind_of(x)])
        if i < 8:
            yield f"Slice/attribute{i}", node("Slice", 9, [x], [kind_of(x)], starts=starts,
                                              ends=ends, axes=axes)
    x = f32(rng, 4, 5)
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    yield "Slice/no_axes", node("Slice", 13, [x, i64(1, 0), i64(3, -1)], [F])
    yield "Slice/no_axes,attribute", node("Slice", 7, [x], [F], starts=[1, -3], ends=[3, high])
    yield "Slice/steps_only", node("Slice", 13, [x, i64(0, 4), i64(high, low), None, i64(2, -2)],
                                   [F])
    yield "Slice/reverse", node("Slice", 13, [x, i64(-1), i64(low), i64(0), i64(-1)], [F])
    yield "Slice/past_the_end", node("Slice", 13, [x, i64(1), i64(high), i64(-1)], [F])
    yield "Slice/nothing", node("Slice", 13, [x, i64(3), i64(1), i64(0)], [F])


def gathers(rng):
    for shape, indices, axis in [((5, 3), (2, 2), 0), ((5, 3), (4,), 1), ((5, 3), (), 0),
                                 ((2, 3, 4), (0,), 1), ((2, 3, 4), (2, 1, 3), -1), ((7,), (), 0),
                                 ((0, 3), (0, 2), 0), ((500, 64), (3, 700), 0)]:
        length = max(1, shape[axis])
        at = rng.integers(-length, length, indices).astype(np.int64)
        yield f"Gather/{shape},{indices},{axis}", node("Gather", 13, [f32(rng, *shape), at], [F],
                                                       axis=axis)
    for dtype in TYPES[1:]:
        x = filled(rng, (4, 3), dtype)
        yield f"Gather/{dtype.__name__}", node(
            "Gather", 11, [x, rng.integers(-4, 4, (2, 2)).astype(np.int32)], [kind_of(x)])
    for shape, indices, axis in [((3, 4), (2, 4), 0), ((3, 4), (3, 2), 1), ((3, 4), (1, 2), 0),
                                 ((5,), (9,), 0), ((2, 3, 4), (2, 2, 3), -2), ((2, 3), (0, 3), 0)]:
        at = rng.integers(-shape[axis], shape[axis], indices).astype(np.int64)
        x = f32(rng, *shape)
        yield f"GatherElements/{shape},{indices},{axis}", node("GatherElements", 13, [x, at], [F],
                                                               axis=axis)
        if all(a == b for a, b in zip(shape, indices)) or len(shape) > 1:
            updates = f32(rng, *indices)
            unique = np.argsort(rng.random(x.shape), axis=axis)
            unique = unique[tuple(slice(0, min(s, n)) for s, n in zip(shape, indices))]
            updates = f32(rng, *unique.shape)
            for op, opset in (("ScatterElements", 11), ("ScatterElements", 18), ("Scatter", 9)):
                yield f"{op}/{shape},{indices},{axis},{opset}", node(
                    op, opset, [x, unique.astype(np.int64), updates], [F], axis=axis)
            for reduction in ("add", "mul", "min", "max"):
                bounded = at[tuple(slice(0, n) for n in unique.shape)]
                yield f"ScatterElements/{shape},{indices},{axis},{reduction}", node(
                    "ScatterElements", 18, [x, bounded, updates], [F], axis=axis,
                    reduction=reduction)
    for shape, tuples, batch in [((3, 4), (2, 2), 0), ((3, 4), (2, 1), 0),
                                 ((2, 3, 4), (2, 5, 1), 1),
                                 ((2, 3, 4), (2, 3, 1), 2), ((2, 3, 4), (3, 3), 0), ((5,), (1,), 0),
                                 ((2, 3, 4), (2, 2), 1), ((2, 0, 3), (0, 2), 0)]:
        limits = shape[batch:batch + tuples[-1]]
        at = np.stack([rng.integers(-max(1, n), max(1, n), tuples[:-1]) for n in limits], -1)
        yield f"GatherND/{shape},{tuples},{batch}", node(
            "GatherND", 13, [f32(rng, *shape), at.astype(np.int64)], [F], batch_dims=batch)
    yield "GatherND/int64,11", node("GatherND", 11, [np.arange(6).reshape(2, 3), i64(1, -1)], [I64])


def scatter_nd(rng):
    for shape, tuples in [((6,), (3, 1)), ((4, 5), (2, 1)), ((4, 5), (3, 2)),
                          ((2, 3, 4), (2, 2, 2)),
                          ((3, 4), (0, 1)), ((5, 3), (2, 2, 1))]:
        limits = shape[:tuples[-1]]
        at = np.stack([rng.integers(-n, n, tuples[:-1]) for n in limits], -1).astype(np.int64)
        updates = f32(rng, *(tuples[:-1] + shape[tuples[-1]:]))
        x = f32(rng, *shape)
        places = rng.permutation(int(np.prod(limits)))[:int(np.prod(tuples[:-1]))]
        once = np.stack(np.unravel_index(places, limits), -1).reshape(tuples).astype(np.int64)
        for opset in (11, 13):
            yield f"ScatterND/{shape},{tuples},{opset}", node("ScatterND", opset,
                                                             [x, once, updates], [F])
        for reduction in ("add", "mul", "min", "max"):
            yield f"ScatterND/{shape},{tuples},{reduction}", node(
                "ScatterND", 18, [x, at, updates], [F], reduction=reduction)
    for dtype in TYPES[1:]:
        x = filled(rng, (4, 2), dtype)
        yield f"ScatterND/{dtype.__name__}", node(
            "ScatterND", 16, [x, np.array([[2], [-4]]), filled(rng, (2, 2), dtype)], [kind_of(x)])


def repeats(rng):
    for shape, to in [((2, 1), (2, 3)), ((3,), (2, 4, 3)), ((2, 1, 4), (1,)), ((1,), ()),
                      ((), (2, 3)),
                      ((1, 1), (0, 4)), ((1, 4, 1, 8, 16), (2, 4, 3, 8, 16)), ((0, 1), (1, 5))]:
        yield f"Expand/{shape},{to}", node("Expand", 13, [f32(rng, *shape), i64(*to)], [F])
    for dtype in TYPES[1:]:
        x = filled(rng, (1, 3), dtype)
        yield f"Expand/{dtype.__name__}", node("Expand", 8, [x, i64(2, 3)], [kind_of(x)])
    for shape, times in [((2, 3), (2, 2)), ((3,), (4,)), ((2, 3, 1), (1, 2, 5)), ((2, 2), (1, 1)),
                         ((2, 3), (0, 2)), ((0, 2), (3, 3)), ((1, 64), (100, 1))]:
        yield f"Tile/{shape},{times}", node("Tile", 13, [f32(rng, *shape), i64(*times)], [F])
    yield "Tile/int64,6", node("Tile", 7, [np.arange(3), i64(2)], [I64])
    yield "Tile/bool", node("Tile", 13, [filled(rng, (2, 2), np.bool_), i64(1, 3)],
                            [TensorProto.BOOL])


def constants(rng):
    for name, value in [("float", f32(rng, 2, 3)), ("int64", i64(4, 5)), ("scalar", np.float32(3)),
                        ("bool", np.array([True, False])), ("empty", np.zeros((0, 2), np.float32)),
                        ("int32", np.array([[7]], np.int32)), ("uint8", np.array([9], np.uint8))]:
        yield f"Constant/{name}", node("Constant", 13, [], [kind_of(value)],
                                       value=numpy_helper.from_array(np.asarray(value)))
    yield "Constant/value_int", node("Constant", 12, [], [I64], value_int=-3)
    yield "Constant/value_ints", node("Constant", 13, [], [I64], value_ints=[1, -2])
    yield "Constant/value_float", node("Constant", 13, [], [F], value_float=1.5)
    yield "Constant/value_floats", node("Constant", 13, [], [F], value_floats=[1.5, -2.0])
    for shape in [(2, 3), (), (0,), (3, 0, 2), (1,), (100, 500)]:
        yield f"ConstantOfShape/{shape}", node("ConstantOfShape", 9, [i64(*shape)], [F])
    for dtype in TYPES:
        value = np.array([3]).astype(dtype)
        yield f"ConstantOfShape/{dtype.__name__}", node(
            "ConstantOfShape", 20, [i64(2, 2)], [kind_of(value)],
            value=numpy_helper.from_array(value))
    for dtype in (np.int64, np.int32, np.int16, np.float32, np.float64):
        for start, limit, step in [(0, 5, 1), (10, -3, -4), (3, 3, 1), (3, 1, 1), (-5, 6, 3)]:
            values = [np.array(v, dtype) for v in (start, limit, step)]
            # The executor computes in float32: float64 is compared as such.
            yield f"Range/{dtype.__name__},{start},{limit},{step}", node(
                "Range", 11, values, [kind_of(values[0])])
    yield "Range/fraction", node("Range", 11, [np.float32(v) for v in (0.1, 2.3, 0.3)], [F])
    for attributes in ({}, {"k": 1}, {"k": -2}, {"k": 9}, {"dtype": F}, {"dtype": I64, "k": -1},
                       {"dtype": TensorProto.INT32, "k": 2}):
        x = np.zeros((3, 4), np.int64)
        kind = attributes.get("dtype", I64)
        yield f"EyeLike/{attributes}", node("EyeLike", 9, [x], [kind], **attributes)
    for shape in [(3, 3), (2, 3, 5), (1, 2, 4, 2), (2, 0), (0, 3, 3), (64, 64)]:
        for upper in (0, 1):
            for k in (None, 0, 2, -1, 100, -100):
                inputs = [f32(rng, *shape)] + ([] if k is None else [np.int64(k)])
                yield f"Trilu/{shape},{upper},{k}", node("Trilu", 14, inputs, [F], upper=upper)
    for dtype in (np.int64, np.bool_):
        x = filled(rng, (4, 4), dtype)
        yield f"Trilu/{dtype.__name__}", node("Trilu", 14, [x, np.int64(1)], [kind_of(x)])


def selections(rng):
    for shape, axis, dtype in [((3,), -1, np.int64), ((2, 3), 0, np.int32), ((2, 3), 1, np.float32),
                               ((0, 2), -1, np.int64), ((2, 2, 2), -2, np.int64)]:
        at = rng.integers(-7, 8, shape).astype(dtype)  # some are outside
        values = np.array([-1, 2], np.float32)
        yield f"OneHot/{shape},{axis},{dtype.__name__}", node(
            "OneHot", 11, [at, np.array([5], dtype), values], [F], axis=axis)
    yield "OneHot/int64,9", node("OneHot", 9, [i64(0, 2), i64(4), i64(5, 6)], [I64])
    yield "OneHot/scalar_depth", node("OneHot", 11, [i64(1, -1), np.int64(3), i64(0, 1)], [I64])
    for dtype in (np.float32, np.int64, np.int32, np.uint8, np.bool_):
        yield f"NonZero/{dtype.__name__}", node(
            "NonZero", 13, [filled(rng, (3, 4, 2), dtype) * (rng.random((3, 4, 2)) > 0.5)], [I64])
    for x in (f32(rng, 0, 3), np.zeros((2, 2), np.float32), np.float32(4),
              np.array([0, 1], np.int64)):
        yield f"NonZero/{x.shape}", node("NonZero", 9, [x], [I64])
    for shape, axis, length in [((3, 4), 0, 3), ((3, 4), 1, 2), ((3, 4), -1, 4), ((3, 4), None, 9),
                                ((2, 3, 4), 1, 3), ((5,), 0, 5), ((2, 3), None, 6)]:
        attributes = {} if axis is None else {"axis": axis}
        yield f"Compress/{shape},{axis},{length}", node(
            "Compress", 11, [f32(rng, *shape), rng.random(length) > 0.4], [F], **attributes)
    yield "Compress/int64", node("Compress", 9, [np.arange(4), np.array([False] * 4)], [I64],
                                 axis=0)
    for shape, axis, ordered in [((12,), None, 1), ((12,), None, 0), ((3, 4), None, 1),
                                 ((6, 2), 0, 1),
                                 ((6, 2), 0, 0), ((2, 7), -1, 1), ((2, 6, 2), 1, 1),
                                 ((2, 6, 2), 1, 0),
                                 ((0,), None, 1)]:
        attributes = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
        x = rng.integers(0, 2 if len(shape) > 1 else 5, shape)
        for dtype in (np.float32, np.int64):
            yield f"Unique/{shape},{axis},{ordered},{dtype.__name__}", node(
                "Unique", 11, [x.astype(dtype)], [kind_of(np.zeros(0, dtype)), I64, I64, I64],
                **attributes)
    yield "Unique/int8", node("Unique", 11, [np.array([3, -1, 3], np.int8)], [TensorProto.INT8])


def top_k(rng):
    for shape, axis, k in [((5,), -1, 3), ((3, 6), 1, 6), ((4, 3), 0, 2), ((2, 5, 3), 1, 4),
                           ((3, 4), -1, 0), ((2, 1000), -1, 10), ((0, 4), 1, 2)]:
        x = f32(rng, *shape)
        for largest in (0, 1):
            yield f"TopK/{shape},{axis},{k},{largest}", node(
                "TopK", 11, [x, i64(k)], [F, I64], axis=axis, largest=largest)
    yield "TopK/ties", node(
        "TopK", 11, [rng.integers(0, 3, (4, 9)).astype(np.float32), i64(5)], [F, I64])
    yield "TopK/ties,smallest", node(
        "TopK", 11, [rng.integers(0, 3, (4, 9)), i64(5)], [I64, I64], largest=0)
    yield "TopK/10", node("TopK", 10, [f32(rng, 3, 5), i64(2)], [F, I64], axis=0)
    yield "TopK/attribute", node("TopK", 9, [f32(rng, 3, 5)], [F, I64], k=3)
    yield "TopK/int32", node("TopK", 11, [filled(rng, (9,), np.int32), i64(4)],
                             [TensorProto.INT32, I64])


def pads(rng):
    for shape, around in [((3, 4), (1, 0, 0, 2)), ((2, 3, 4), (0, 1, 2, 0, 0, 3)), ((4,), (2, 3)),
                          ((5, 6), (-1, 1, 0, -2)), ((3, 3), (0, 0, 0, 0)),
                          ((1, 2, 4, 5), (0, 0, 2, 3, 0, 0, 1, 2))]:
        for mode in ("constant", "reflect", "edge", "wrap"):
            if mode != "constant" and min(around) < 0:
                continue
            x = f32(rng, *shape)
            opset = 19 if mode == "wrap" else 13
            yield f"Pad/{shape},{around},{mode}", node(
                "Pad", opset, [x, i64(*around)], [F], mode=mode)
            if mode != "wrap":
                yield f"Pad/attribute,{shape},{around},{mode}", node(
                    "Pad", 10, [x], [F], mode=mode, pads=around, value=0.5)
    yield "Pad/value", node("Pad", 11, [f32(rng, 2, 2), i64(1, 1, 1, 1), np.float32(7)], [F])
    yield "Pad/axes", node("Pad", 18, [f32(rng, 2, 3, 4), i64(1, 2, 0, 1), None, i64(-1, 0)], [F])
    yield "Pad/axes,reflect", node(
        "Pad", 18, [f32(rng, 2, 3, 4), i64(2, 1), None, i64(1)], [F], mode="reflect")
    yield "Pad/int64", node("Pad", 13, [np.arange(3), i64(1, 2), np.int64(9)], [I64])
    yield "Pad/bool", node("Pad", 13, [filled(rng, (2, 2), np.bool_), i64(0, 1, 1, 0)],
                           [TensorProto.BOOL])
    yield "Pad/empty", node("Pad", 13, [f32(rng, 0, 2), i64(1, 1, 1, 0)], [F])
    yield "Pad/two_sided_crop", node("Pad", 13, [f32(rng, 6, 6), i64(-2, -1, -1, -3)], [F])


def rearrangements(rng):
    for shape, block in [((1, 8, 2, 3), 2), ((2, 9, 2, 2), 3), ((2, 4, 1, 1), 2),
                         ((1, 3, 4, 5), 1)]:
        for mode in ("DCR", "CRD"):
            yield f"DepthToSpace/{shape},{block},{mode}", node(
                "DepthToSpace", 13, [f32(rng, *shape)], [F], blocksize=block, mode=mode)
    yield "DepthToSpace/9", node("DepthToSpace", 9, [f32(rng, 1, 4, 2, 2)], [F], blocksize=2)
    for shape, block in [((1, 2, 4, 6), 2), ((2, 1, 3, 3), 3), ((1, 3, 2, 2), 1), ((2, 2, 2, 4), 2),
                         ((1, 1, 8, 4), 4), ((3, 5, 6, 6), 2)]:
        yield f"SpaceToDepth/{shape},{block}", node("SpaceToDepth", 13, [f32(rng, *shape)], [F],
                                                    blocksize=block)
    for shape, lengths, batch in [((4, 3), (1, 4, 0), 1), ((3, 4), (4, 2, 1), 0),
                                  ((4, 2, 3), (3, 2), 1), ((2, 5, 2, 2), (5, 3), 0),
                                  ((1, 1), (1,), 0),
                                  ((3, 3), (3, 3, 3), 1)]:
        yield f"ReverseSequence/{shape},{lengths},{batch}", node(
            "ReverseSequence", 10, [f32(rng, *shape), i64(*lengths)], [F], batch_axis=batch,
            time_axis=1 - batch)
    for mode in ("linear", "circular"):
        for i, (shape, axis, length) in enumerate([((2, 3, 6, 4), -2, 2), ((1, 5, 3), 1, 5),
                                                   ((3, 6, 2, 2), 1, 1)]):
            capacity = shape[axis]
            update = list(shape)
            update[axis] = length
            starts = rng.integers(0, capacity if mode == "circular" else capacity - length + 1,
                                  shape[0])
            yield f"TensorScatter/{mode},{i}", node(
                "TensorScatter", 24, [f32(rng, *shape), f32(rng, *update), starts], [F], axis=axis,
                mode=mode)
    yield "TensorScatter/no_indices", node(
        "TensorScatter", 24, [f32(rng, 2, 3, 4, 2), f32(rng, 2, 3, 2, 2)], [F])
    boolean = TensorProto.BOOL
    for name, made in [
            ("7", node("Dropout", 7, [f32(rng, 2, 3)], [F], ratio=0.3)),
            ("10", node("Dropout", 10, [f32(rng, 2, 3)], [F], ratio=0.5)),
            ("12", node("Dropout", 12, [f32(rng, 2, 3), np.float32(0.5)], [F, boolean])),
            ("13", node("Dropout", 13, [f32(rng, 2, 0)], [F])),
            ("false", node("Dropout", 13, [f32(rng, 4), np.float32(0.5), np.bool_(False)],
                           [F, boolean])),
            ("zero", node("Dropout", 22, [f32(rng, 4), np.float32(0), np.bool_(False)],
                          [F, boolean]))]:
        yield f"Dropout/{name}", made
    for dtype in (np.uint8, np.uint32, np.uint64):
        for direction in ("LEFT", "RIGHT"):
            x = rng.integers(0, 255, (3, 4)).astype(dtype)
            yield f"BitShift/{np.dtype(dtype).name},{direction}", node(
                "BitShift", 11, [x, rng.integers(0, 7, (4,)).astype(dtype)], [kind_of(x)],
                direction=direction)


cases = seeded([cast, shapes, transposes, concats, slices, gathers, scatter_nd, repeats,
                constants, selections, top_k, pads, rearrangements], 13)
