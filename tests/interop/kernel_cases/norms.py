"""Single-node models of normalisation, with seeded inputs."""

import numpy as np
from onnx import TensorProto
from single_node import F, MS, f32, one_node, seeded


def layer_norms(rng):
    shapes = [(2, 5, 16), (1, 7), (3, 4, 8, 33), (0, 8), (2, 0, 8), (300, 256)]
    for i, shape in enumerate(shapes):
        for axis in ([-1] if len(shape) < 3 else [-1, -2, 1]):
            if 0 in shape[axis:]:
                continue
            width = shape[axis:]
            x, g, b = f32(rng, *shape) + 3, f32(rng, *width), f32(rng, *width)
            yield f"LayerNormalization/{i},{axis}", one_node(
                "LayerNormalization", [("x", x, 0), ("g", g, 0), ("b", b, 0)],
                [("y", F), ("mean", F), ("dev", F)] if i % 2 == 0 else [("y", F)],
                opset=17, axis=axis, epsilon=1e-3 if i == 1 else None)
            yield f"LayerNormalization/nobias,{i},{axis}", one_node(
                "LayerNormalization", [("x", x, 0), ("g", g, 1)], [("y", F)], opset=17, axis=axis)
            yield f"RMSNormalization/{i},{axis}", one_node(
                "RMSNormalization", [("x", x, 0), ("g", g, 0)], [("y", F)], opset=23, axis=axis,
                epsilon=1e-6)
            yield f"SimplifiedLayerNormalization/{i},{axis}", one_node(
                "SimplifiedLayerNormalization", [("x", x, 0), ("g", g, 0)],
                [("y", F), ("dev", F)] if i == 0 else [("y", F)], axis=axis,
                epsilon=1e-6, stash_type=1)
    x = f32(rng, 2, 3, 8)
    for shape in [(1,), (8,), (3, 1), (3, 8), (2, 1, 8), (2, 3, 8), (1, 1, 8)]:
        axis = -1
        yield f"LayerNormalization/broadcast{shape}", one_node(
            "LayerNormalization", [("x", x, 0), ("g", f32(rng, *shape), 0)], [("y", F)],
            opset=17, axis=axis)


def skip_norms(rng):
    for i, (shape, skip) in enumerate([((2, 5, 16), (2, 5, 16)), ((2, 5, 16), (1, 5, 16)),
                                       ((2, 5, 16), (5, 16)), ((7, 24), (7, 24)),
                                       ((1, 0, 16), (1, 0, 16)), ((2, 200, 128), (2, 200, 128))]):
        x, s, h = f32(rng, *shape), f32(rng, *skip), shape[-1]
        for beta in (0, 1):
            for bias in (0, 1):
                tail = [("bias", f32(rng, h) if bias else None, 0)]
                outputs = [("y", F), ("", F), ("", F), ("sum", F)] if (i + bias) % 2 else [("y", F)]
                yield f"SkipLayerNormalization/{i},{beta},{bias}", one_node(
                    "SkipLayerNormalization",
                    [("x", x, 0), ("s", s, 0), ("g", f32(rng, h), 0),
                     ("beta", f32(rng, h) if beta else None, 0)] + tail,
                    outputs, MS, epsilon=1e-5)
                if beta == 0:
                    yield f"SkipSimplifiedLayerNormalization/{i},{bias}", one_node(
                        "SkipSimplifiedLayerNormalization",
                        [("x", x, 0), ("s", s, 0), ("g", f32(rng, h), 0)] + tail,
                        outputs, MS, epsilon=1e-5)


def embed_layer_norm(rng):
    for i in range(8):
        batch, seq, hidden = 2, 5, 16
        ids = rng.integers(0, 30, (batch, seq)).astype(np.int32)
        seg = rng.integers(0, 2, (batch, seq)).astype(np.int32) if i % 2 else None
        mask = (rng.random((batch, seq)) > 0.4).astype(np.int32) if i % 3 else None
        pos = [None, rng.integers(0, 12, (batch, seq)).astype(np.int32),
               rng.integers(0, 12, (1, seq)).astype(np.int32)][i % 3]
        yield f"EmbedLayerNormalization/{i}", one_node(
            "EmbedLayerNormalization",
            [("ids", ids, 0), ("seg", seg, 0), ("w", f32(rng, 30, hidden), 1),
             ("p", f32(rng, 12, hidden), 1), ("s", f32(rng, 2, hidden) if i % 2 else None, 1),
             ("g", f32(rng, hidden), 1), ("b", f32(rng, hidden), 1), ("mask", mask, 0),
             ("pos", pos, 0)],
            [("y", F), ("index", TensorProto.INT32), ("sum", F)][:2 + i % 2], MS,
            epsilon=1e-5 if i else None)


def channel_norms(rng):
    shapes = [(2, 6, 5), (1, 6, 4, 3), (3, 12, 7), (2, 6, 1), (2, 6, 40, 50), (1, 6, 2, 2, 2)]
    for i, shape in enumerate(shapes):
        x, c = f32(rng, *shape) + 2, shape[1]
        eps = 1e-3 if i % 2 else None
        yield f"InstanceNormalization/{i}", one_node(
            "InstanceNormalization", [("x", x, 0), ("g", f32(rng, c), 0), ("b", f32(rng, c), 0)],
            [("y", F)], opset=7, epsilon=eps)
        for groups in (1, 3):
            for opset in (18, 21):
                n = groups if opset == 18 else c
                yield f"GroupNormalization/{opset},{i},{groups}", one_node(
                    "GroupNormalization",
                    [("x", x, 0), ("g", f32(rng, n), 0), ("b", f32(rng, n), 0)], [("y", F)],
                    opset=opset, num_groups=groups, epsilon=eps)
        for opset in (7, 9, 14, 15):
            yield f"BatchNormalization/{opset},{i}", one_node(
                "BatchNormalization",
                [("x", x, 0), ("g", f32(rng, c), 0), ("b", f32(rng, c), 0), ("m", f32(rng, c), 0),
                 ("v", rng.random(c).astype(np.float32) + 0.1, 0)], [("y", F)], opset=opset,
                epsilon=eps)
        yield f"BatchNormalization/training,{i}", one_node(
            "BatchNormalization",
            [("x", x, 0), ("g", f32(rng, c), 0), ("b", f32(rng, c), 0), ("m", f32(rng, c), 0),
             ("v", rng.random(c).astype(np.float32) + 0.1, 0)],
            [("y", F), ("mean", F), ("variance", F)], opset=15, epsilon=eps, momentum=0.8,
            training_mode=1)


cases = seeded([layer_norms, skip_norms, embed_layer_norm, channel_norms], 13)
