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


def tables(length, half):
    angles = np.outer(np.arange(length), 1.0 / 10000 ** (np.arange(half) / half))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def grouped(rng, name, batch=1, heads=4, kv=2, size=16, seen=0, seq=5, rows=None, lengths=None,
            bits=None, per_channel=False, packed=False, rotary=False, partial=False, positions=False,
            bias=None, sinks=False, outputs=3, **attributes):
    """GroupQueryAttention over `seq` tokens after `seen` others, of which the cache has `rows`."""
    rows, total = seen if rows is None else rows, seen + seq
    q = f32(rng, batch, seq, heads * size)
    k, v = f32(rng, batch, seq, kv * size), f32(rng, batch, seq, kv * size)
    if packed:
        q, k, v = np.concatenate([q, k, v], -1), None, None
    caches = [f32(rng, batch, kv, rows, size) for _ in range(2)]
    scales, kind = [None, None], F
    if bits:
        shape = (1, kv, 1, size) if per_channel else (1,)
        scales = [(0.02 + 0.01 * rng.random(shape)).astype(np.float32) * 2 ** (8 - bits)
                  for _ in range(2)]
        if bits == 8:
            caches = [rng.integers(-128, 128, c.shape).astype(np.int8) for c in caches]
            kind = TensorProto.INT8
        else:
            caches = [rng.integers(0, 256, (*c.shape[:3], size // 2)).astype(np.uint8)
                      for c in caches]
            kind = TensorProto.UINT8
        attributes["k_quant_type"] = "PER_CHANNEL" if per_channel else "PER_TENSOR"
        attributes["v_quant_type"] = attributes["k_quant_type"]
        attributes["kv_cache_bit_width"] = bits
    lengths = np.full(batch, total - 1) if lengths is None else np.array(lengths)
    cos, sin = tables(128, (size // 2 if partial else size) // 2)
    place = np.arange(seen, total)[None].repeat(batch, 0) if positions else None
    extra = None
    if bias:
        extra = f32(rng, *[{"B": batch, "H": heads, "1": 1}[c] for c in bias], seq, total)
    return f"GroupQueryAttention/{name}", one_node(
        "GroupQueryAttention",
        [("q", q, 0), ("k", k, 0), ("v", v, 0), ("past_k", caches[0], 0), ("past_v", caches[1], 0),
         ("seqlens", lengths.astype(np.int32), 0), ("total", np.array(total, np.int32), 0),
         ("cos", cos if rotary else None, 1), ("sin", sin if rotary else None, 1),
         ("pos", place, 0), ("bias", extra, 0), ("sinks", f32(rng, heads) if sinks else None, 1),
         ("ks", scales[0], 1), ("vs", scales[1], 1)],
        [("y", F), ("pk", kind), ("pv", kind), ("qk", F)][:outputs], MS, num_heads=heads,
        kv_num_heads=kv, do_rotary=1 if rotary else None, **attributes)


def quantized_caches(rng):
    for bits in (8, 4):
        for per_channel in (False, True):
            tag = f"{bits} bits,{per_channel}"
            common = dict(bits=bits, per_channel=per_channel)
            yield grouped(rng, f"{tag},prompt", **common)
            yield grouped(rng, f"{tag},decode", seen=9, seq=1, batch=2, rotary=True, **common)
            yield grouped(rng, f"{tag},ragged", seen=9, seq=1, batch=3, lengths=[9, 4, 0],
                          packed=True, **common)
            yield grouped(rng, f"{tag},room", seen=5, seq=1, rows=12, lengths=[5], **common)
            yield grouped(rng, f"{tag},chunk", seen=6, seq=4, rotary=True, softcap=2.0, **common)
            yield grouped(rng, f"{tag},window", seen=6, seq=1, local_window_size=3, **common)
            yield grouped(rng, f"{tag},bias", seen=6, seq=1, bias="1H", **common)


def sliding_caches(rng):
    """The rows behind the resident tokens are undefined: here the cache is always full."""
    def full(total, rows, window):
        step = rows - window + 1
        return total == rows or (total > rows and (total - rows) % step == 0)

    for rows, window in ((4, 4), (6, 4), (7, 2)):
        for seen in range(0, 14):
            for seq in (1, 3, 9):
                if not full(seen + seq, rows, window) or (seq > 1 and seen + seq > 16):
                    continue
                name = f"sliding {rows},{window},{seen},{seq}"
                yield grouped(rng, name, seen=seen, seq=seq, rows=rows, local_window_size=window,
                              sliding_window_cache=1, rotary=seq != 3,
                              batch=1 if seen and seq > 1 else 2)
    common = dict(local_window_size=4, sliding_window_cache=1)
    yield grouped(rng, "sliding bias", seen=7, seq=1, rows=4, bias="1H", batch=2, **common)
    yield grouped(rng, "sliding sinks", seen=7, seq=1, rows=4, sinks=True, packed=True, **common)
    yield grouped(rng, "sliding 8 bits", seen=7, seq=1, rows=4, bits=8, **common)
    yield grouped(rng, "sliding 4 bits", seen=9, seq=1, rows=4, bits=4, size=32, **common)


def grouped_mixes(rng):
    """Random choices of everything at once."""
    def pick(*choices):
        return choices[rng.integers(len(choices))]

    for i in range(60):
        kv, seq = pick(1, 2, 4), pick(1, 1, 2, 6)
        seen = pick(0, 3, 8)
        batch = 1 if seen and seq > 1 else pick(1, 2, 3)
        rotary = pick(True, False)
        partial, causal, scores = rotary and pick(True, False), pick(1, 1, 1, 0), pick(None, 1, 2)
        yield grouped(
            rng, f"mix {i}", batch=batch, heads=kv * pick(1, 2, 3), kv=kv, size=32 if partial else pick(16, 32),
            seen=seen, seq=seq, rows=pick(seen, seen + seq + 4), packed=pick(True, False),
            rotary=rotary, partial=partial,
            positions=rotary and pick(True, False), bias=pick(None, None, "1H", "B1", "11"),
            sinks=pick(True, False), outputs=4 if scores else 3, rotary_interleaved=pick(None, 0, 1),
            softcap=pick(None, 1.5), scale=pick(None, 0.4), smooth_softmax=pick(None, 0, 1),
            local_window_size=pick(None, 2, 5) if causal else None, causal=causal,
            qk_output=scores)


def in_place(model_and_feeds):
    """ONNX Runtime wants these caches before and after to share memory."""
    model_and_feeds[0].metadata_props.add(key="in_place", value="pk=present_k pv=present_v")
    return model_and_feeds


def sparse_blocks(rng):
    """Layouts of Phi-3-small: the blocks next to the query, and every third one. All sequences have
    the same length: of others ONNX Runtime's CPU kernel returns what its description does not say."""
    def layout(kind, count, nearest):
        rows, columns = [0], []
        for row in range(count):
            seen = [c for c in range(row + 1) if row - c < nearest or c % 3 == kind % 3]
            columns += seen
            rows.append(len(columns))
        return rows, columns

    def case(name, batch=1, heads=4, kv=2, size=16, seen=0, seq=40, block=16, count=6, layouts=2,
             packed=False, rotary=False, **attributes):
        total = seen + seq
        q = f32(rng, batch, seq, heads * size)
        k, v = f32(rng, batch, seq, kv * size), f32(rng, batch, seq, kv * size)
        if packed:
            q, k, v = np.concatenate([q, k, v], -1), None, None
        made = [layout(i, count, 1 + i) for i in range(layouts)]
        widest = max(len(columns) for _, columns in made)
        columns = np.array([c + [-1] * (widest - len(c)) for _, c in made], np.int32)
        rows = np.array([r for r, _ in made], np.int32)
        cos, sin = tables(256, size // 2)
        caches = [f32(rng, batch, kv, total, size) for _ in range(2)]
        return f"SparseAttention/{name}", in_place(one_node(
            "SparseAttention",
            [("q", q, 0), ("k", k, 0), ("v", v, 0), ("pk", caches[0], 0), ("pv", caches[1], 0),
             ("rows", rows, 1), ("columns", columns, 1), ("total", np.array([total], np.int32), 0),
             ("lengths", np.full(batch, total, np.int32), 0), ("cos", cos if rotary else None, 1),
             ("sin", sin if rotary else None, 1)],
            [("y", F), ("present_k", F), ("present_v", F)], MS, num_heads=heads, kv_num_heads=kv,
            sparse_block_size=block, do_rotary=1 if rotary else None, **attributes))

    for packed in (False, True):
        for rotary in (False, True):
            yield case(f"prompt {packed},{rotary}", packed=packed, rotary=rotary)
            yield case(f"decode {packed},{rotary}", packed=packed, rotary=rotary, seen=69, seq=1)
    yield case("one layout", layouts=1, batch=2)
    yield case("four layouts", layouts=4, kv=4, scale=0.3)
    yield case("whole layout", seq=96)
    yield case("decode batch", batch=3, seen=53, seq=1, rotary=True, rotary_interleaved=1)


cases = seeded([sparse_blocks, shared_cache, quantized_caches, sliding_caches, grouped_mixes], 53)
