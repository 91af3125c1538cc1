"""Single-node models of com.microsoft's attention operators in the forms of decoders: caches longer
than what they hold, beams, quantized caches, sliding windows, sparse blocks."""

import numpy as np
from onnx import TensorProto
from single_node import F, MS, f32, one_node, seeded

BATCH, HEADS, SIZE = 4, 3, 8


def shared_cache(rng):
    """The cache of MultiHeadAttention and DecoderMaskedMultiHeadAttention is as long as the tokens
    fill it, since ONNX Runtime leaves the rest undefined."""
    def case(name, masked, past=4, queries=1, mask=None, scores=None, beams=None, bias=False,
             outputs=3, cross=None, **attributes):
        total, width = past + queries, HEADS * SIZE
        q = ("q", f32(rng, BATCH, queries, width), 0)
        if cross:
            keys = [("k", f32(rng, BATCH, HEADS, cross, SIZE), 0),
                    ("v", f32(rng, BATCH, HEADS, cross, SIZE), 0)]
            cache, total = [("pk", None, 0), ("pv", None, 0), ("length", None, 0)], cross
        else:
            keys = [("k", f32(rng, BATCH, queries, width), 0),
                    ("v", f32(rng, BATCH, queries, width), 0)]
            cache = [("pk", f32(rng, BATCH, HEADS, total, SIZE), 0),
                     ("pv", f32(rng, BATCH, HEADS, total, SIZE), 0),
                     ("length", np.array([past], np.int32), 0)]
        table = None
        if beams:
            table = rng.integers(0, beams, (BATCH // beams, beams, total)).astype(np.int32)
        extra = None if scores is None else f32(rng, *scores, queries, total)
        bias = ("b", f32(rng, 3 * width) if bias else None, 1)
        mask = ("mask", None if mask is None else mask(total), 0)
        if masked:
            inputs = [q, *keys, mask, ("extra", extra, 0), *cache,
                      ("beams", np.array([beams], np.int32) if beams else None, 0),
                      ("table", table, 0), bias]
            attributes["past_present_share_buffer"] = 0 if cross else 1
            attributes["output_qk"] = 1 if outputs == 4 else None
        else:
            inputs = [q, *keys, bias, mask, ("extra", extra, 0), *cache, ("table", table, 0)]
        op = "DecoderMaskedMultiHeadAttention" if masked else "MultiHeadAttention"
        names = ["y", "present_k", "present_v", "qk"][:outputs]
        return f"{op}/shared,{name}", one_node(op, inputs, [(n, F) for n in names], MS,
                                               num_heads=HEADS, **attributes)

    def flags(total):
        kept = (rng.random((BATCH, total)) > 0.3).astype(np.int32)
        kept[:, -1] = 1
        return kept

    for masked in (False, True):
        yield case("plain", masked)
        yield case("first", masked, past=0)
        yield case("bias", masked, bias=True)
        yield case("scale", masked, scale=0.7)
        yield case("scores", masked, scores=(1, HEADS))
        yield case("scores of each", masked, scores=(BATCH, HEADS), outputs=4)
        yield case("qk", masked, outputs=4)
        yield case("mask", masked, mask=flags)
        for beams in (2, 4):
            yield case(f"beams {beams}", masked, beams=beams, past=6)
            yield case(f"beams {beams} scores", masked, beams=beams, scores=(1, HEADS))
    yield case("several", False, queries=3, unidirectional=1)
    yield case("several first", False, queries=3, past=0, unidirectional=1, bias=True)
    yield case("cross", True, cross=7, outputs=1)
    yield case("cross mask", True, cross=7, outputs=1, mask=flags)


cases = seeded([shared_cache], 53)
