"""Single-node models of com.microsoft's small operators on tensors."""

import numpy as np
from onnx import TensorProto
from single_node import F, I64, MS, f32, i64, one_node, seeded


def shapes(rng):
    x = f32(rng, 3, 5, 7)
    for axis in (0, 1, 3, -1, -4):
        yield f"ExpandDims/{axis}", one_node(
            "ExpandDims", [("x", x, 0), ("a", np.array(axis, np.int32), 1)], [("y", F)], MS)
    for axis, size, step in ((-1, 3, 1), (1, 2, 2), (0, 3, 1), (2, 7, 3), (-1, 2, 5)):
        yield f"UnfoldTensor/{axis},{size},{step}", one_node(
            "UnfoldTensor", [("x", x, 0)], [("y", F)], MS, dim=axis, size=size, step=step)
    yield "UnfoldTensor/integers", one_node(
        "UnfoldTensor", [("x", rng.integers(-9, 9, (4, 6)), 0)], [("y", I64)], MS, size=2)
    for upper in (None, 0, 1):
        for k in (None, -1, 2):
            yield f"Trilu/{upper},{k}", one_node(
                "Trilu", [("x", x, 0), ("k", None if k is None else np.array(k), 1)], [("y", F)], MS,
                upper=upper)
    for kind, onnx_kind, limits in ((np.int64, I64, (2, 11, 3)), (np.float32, F, (0.5, 3.1, 0.25)),
                                    (np.int32, TensorProto.INT32, (5, -4, -2))):
        for form in ((), (1,)):
            ends = [np.full(form, value, kind) for value in limits]
            yield f"Range/{np.dtype(kind)},{form}", one_node(
                "Range", [(n, v, 1) for n, v in zip("abc", ends)], [("y", onnx_kind)], MS)
    yield "Range/no step", one_node(
        "Range", [("a", np.int64(2), 1), ("b", np.int64(7), 1)], [("y", I64)], MS)
    yield "GatherND/rows", one_node(
        "GatherND", [("x", x, 0), ("i", i64([0, 1], [2, 4]), 0)], [("y", F)], MS)
    for mode in (None, "constant", "reflect", "edge"):
        yield f"Pad/{mode}", one_node(
            "Pad", [("x", x, 0), ("p", i64(1, 0, 2, 0, 1, 1), 1),
                    ("v", np.array([0.5], np.float32) if mode == "constant" else None, 1)],
            [("y", F)], MS, mode=mode)


def generation(rng):
    for i, (rows, columns) in enumerate([(5, 9), (9, 5), (1, 4), (4, 1), (40, 60)]):
        cost = f32(rng, *((1,) if i % 2 else ()), rows, columns)
        if i == 4:
            cost = np.round(cost)  # many ties
        yield f"DynamicTimeWarping/{rows},{columns}", one_node(
            "DynamicTimeWarping", [("x", cost, 0)], [("y", TensorProto.INT32)], MS)
    for size in (1, 2, 3):
        yield f"NGramRepeatBlock/{size}", one_node(
            "NGramRepeatBlock",
            [("ids", rng.integers(0, 4, (3, 12)), 0), ("scores", f32(rng, 3, 6), 0)], [("y", F)], MS,
            ngram_size=size)
    yield "NGramRepeatBlock/short", one_node(
        "NGramRepeatBlock",
        [("ids", rng.integers(0, 4, (2, 2)), 0), ("scores", f32(rng, 2, 6), 0)], [("y", F)], MS,
        ngram_size=4)


def numbers(rng):
    x = rng.integers(-3, 4, 20).astype(np.float32)
    yield "Unique/plain", one_node(
        "Unique", [("x", x, 0)], [("y", F), ("index", I64), ("counts", I64)], MS)
    for shape in ((1, 1), (4, 4), (2, 3, 5, 5)):
        matrices = f32(rng, *shape) + 3 * np.eye(shape[-1], dtype=np.float32)
        yield f"Inverse/{shape}", one_node("Inverse", [("x", matrices, 0)], [("y", F)], MS)
    for metric in ("euclidean", "sqeuclidean"):
        yield f"CDist/{metric}", one_node(
            "CDist", [("a", f32(rng, 6, 9), 0), ("b", f32(rng, 4, 9), 0)], [("y", F)], MS,
            metric=metric)


cases = seeded([shapes, generation, numbers], 59)
