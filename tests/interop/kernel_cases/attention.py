"""Single-node models of attention and rotary embeddings, with seeded inputs."""

import numpy as np
from single_node import F, MS, f32, one_node, seeded


def tables(rng, length, half):
    angles = np.outer(np.arange(length), 1.0 / 10000 ** (np.arange(half) / max(1, half)))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotary(rng):
    count = 0
    for interleaved in (0, 1):
        for four in (False, True):
            for partial in (False, True):
                for batch, seq in ((2, 5), (1, 1), (3, 0)):
                    heads, size = 4, 12
                    dims = 8 if partial else size
                    shape = (batch, heads, seq, size) if four else (batch, seq, heads * size)
                    x = f32(rng, *shape)
                    cos, sin = tables(rng, 32, dims // 2)
                    pos = rng.integers(0, 32, (batch, seq)).astype(np.int64)
                    common = dict(interleaved=interleaved,
                                  num_heads=heads if (partial or not four) else None)
                    common["rotary_embedding_dim"] = dims if partial else None
                    count += 1
                    if seq:
                        yield f"RotaryEmbedding/onnx,{count}", one_node(
                            "RotaryEmbedding",
                            [("x", x, 0), ("cos", cos, 0), ("sin", sin, 0), ("pos", pos, 0)],
                            [("y", F)], opset=23, **common)
                        yield f"RotaryEmbedding/onnx,nopos,{count}", one_node(
                            "RotaryEmbedding",
                            [("x", x, 0), ("cos", cos[pos], 0), ("sin", sin[pos], 0)],
                            [("y", F)], opset=23, **common)
                    contrib = dict(common)
                    if not partial:
                        contrib["num_heads"] = None
                    first = np.array([3], np.int64)
                    if seq:
                        yield f"RotaryEmbedding/ms,{count}", one_node(
                            "RotaryEmbedding",
                            [("x", x, 0), ("pos", pos, 0), ("cos", cos, 1), ("sin", sin, 1)],
                            [("y", F)], MS, **contrib)
                        yield f"RotaryEmbedding/ms,offset,{count}", one_node(
                            "RotaryEmbedding",
                            [("x", x, 0), ("pos", first, 0), ("cos", cos, 1), ("sin", sin, 1)],
                            [("y", F)], MS, scale=2.0 if count == 1 else None, **contrib)


def attention_onnx(rng):
    def case(name, opset=23, batch=2, heads=4, kv=4, queries=5, keys=5, size=8, value=8, past=None,
             mask=None, three=False, outputs=1, nonpad=None, **attributes):
        q, k, v = f32(rng, batch, heads, queries, size), f32(rng, batch, kv, keys, size), f32(
            rng, batch, kv, keys, value)
        if three:
            q, k, v = (np.swapaxes(a, 1, 2).reshape(batch, a.shape[2], -1) for a in (q, k, v))
            attributes.update(q_num_heads=heads, kv_num_heads=kv)
        past_k = past_v = None
        if past is not None:
            past_k, past_v = f32(rng, batch, kv, past, size), f32(rng, batch, kv, past, value)
        names = ["y", "pk", "pv", "qk"][:outputs]
        if outputs == 4 and past is None:
            names = ["y", "", "", "qk"]
        model = one_node(
            "Attention",
            [("q", q, 0), ("k", k, 0), ("v", v, 0), ("mask", mask, 0), ("past_k", past_k, 0),
             ("past_v", past_v, 0), ("nonpad", nonpad, 0)],
            [(n, F) for n in names], opset=opset, **attributes)
        return f"Attention/onnx{opset},{name}", model

    yield case("plain")
    yield case("plain", opset=24)
    yield case("three", three=True)
    yield case("grouped", kv=2)
    yield case("grouped three", kv=1, three=True, value=12)
    yield case("cross", queries=3, keys=9, value=6)
    yield case("causal", is_causal=1)
    yield case("causal long", is_causal=1, queries=300, keys=300, heads=2, kv=1, size=16)
    yield case("past", past=7, queries=2, keys=2, is_causal=1, outputs=3)
    yield case("past three", past=7, queries=2, keys=2, is_causal=1, outputs=3, three=True, kv=2)
    yield case("one causal query", queries=1, keys=5, is_causal=1)
    yield case("one causal query, two new keys", opset=25, past=4, queries=1, keys=2, is_causal=1,
               outputs=3)
    yield case("empty past", past=0, is_causal=1, outputs=3)
    yield case("present three", three=True, outputs=3, kv=2)
    yield case("scale", scale=0.3)
    yield case("softcap", softcap=1.5)
    yield case("softcap causal", softcap=1.5, is_causal=1, scale=2.0)
    # ONNX Runtime refuses masks that repeat over the queries, such as (1, 5).
    for shape in ((5, 5), (4, 5, 5), (2, 1, 5, 5), (2, 4, 5, 5)):
        mask = rng.random(shape) > 0.3
        mask[..., 0] = True
        yield case(f"bool {shape}", mask=mask)
        yield case(f"float {shape}", mask=f32(rng, *shape))
        yield case(f"bool causal {shape}", mask=mask, is_causal=1, opset=24)
    yield case("integer mask", mask=rng.integers(-3, 3, (5, 5)))
    mask = rng.random((2, 1, 5, 12)) > 0.3
    mask[..., :8] = True
    yield case("bool past", past=7, mask=mask, outputs=3)
    blank = rng.random((2, 1, 5, 5)) > 0.5
    blank[0, 0, 2] = False
    yield case("blank row", mask=blank)
    for mode in range(4):
        for opset in (23, 24):
            yield case(f"scores {mode}", opset=opset, outputs=4, qk_matmul_output_mode=mode)
            yield case(f"scores {mode} capped", opset=opset, outputs=4, softcap=2.0, kv=2,
                       mask=f32(rng, 5, 5), qk_matmul_output_mode=mode)
        if mode == 2:
            continue  # ONNX Runtime writes the lowest float where the specification has -infinity
        yield case(f"scores {mode} causal past", outputs=4, qk_matmul_output_mode=mode, is_causal=1,
                   past=3)
    yield case("nonpad", opset=24, keys=9, nonpad=np.array([4, 9], np.int64))
    yield case("nonpad causal", opset=24, queries=3, keys=9, nonpad=np.array([4, 9], np.int64),
               is_causal=1)
    yield case("nonpad grouped three", opset=24, keys=9, kv=2, three=True,
               nonpad=np.array([1, 6], np.int64))


def random_attention(rng):
    def number(low, high):
        return int(rng.integers(low, high + 1))

    for i in range(90):
        opset, batch, heads = (23, 24, 25)[i % 3], number(1, 2), 2 ** number(0, 2)
        kv, size, value = heads if number(0, 1) else 1, 4 * number(1, 2), 2 * number(2, 3)
        past = number(0, 4) if number(0, 1) else None
        queries, attributes, mask, nonpad = number(1, 6), {}, None, None
        keys = queries if number(0, 1) else number(1, 7)
        total = keys + (past or 0)
        if opset > 23 and past is None and number(0, 2) == 0:
            nonpad = rng.integers(1, keys + 1, batch)
        for name, given in (("is_causal", 1), ("scale", 0.37), ("softcap", 1.7)):
            attributes |= {name: given} if number(0, 2) == 0 else {}
        if queries == 1 and past is not None and keys > 1 and opset < 25:
            # ONNX Runtime lets a single query behind a cache see every new key, not only the first,
            # as the specification has it and it does itself from opset 25 on.
            attributes.pop("is_causal", None)
        if number(0, 1):
            shapes = [(queries, total), (heads, queries, total), (batch, 1, queries, total),
                      (1, heads, queries, total), (batch, heads, queries, total)]
            shape = shapes[number(0, 4)]
            mask = f32(rng, *shape)
            if number(0, 1):
                mask = mask > -0.5
                mask[..., 0] = True
        past_k = past_v = None
        if past is not None:
            past_k, past_v = f32(rng, batch, kv, past, size), f32(rng, batch, kv, past, value)
        names = ["y", "pk", "pv"] if past is not None else ["y", "", ""]
        if number(0, 2) == 0:
            # Mode 2 hands out -infinity, where ONNX Runtime has the lowest float.
            attributes["qk_matmul_output_mode"] = (0, 1, 3)[number(0, 2)]
            names.append("qk")
        q, k, v = f32(rng, batch, heads, queries, size), f32(rng, batch, kv, keys, size), f32(
            rng, batch, kv, keys, value)
        if number(0, 1):
            q, k, v = (np.swapaxes(a, 1, 2).reshape(batch, a.shape[2], -1) for a in (q, k, v))
            attributes |= {"q_num_heads": heads, "kv_num_heads": kv}
        yield f"Attention/random{i}", one_node(
            "Attention",
            [("q", q, 0), ("k", k, 0), ("v", v, 0), ("mask", mask, 0), ("past_k", past_k, 0),
             ("past_v", past_v, 0), ("nonpad", nonpad, 0)],
            [(n, F) for n in names], opset=opset, **attributes)


def gqa(rng):
    def case(name, batch=1, heads=4, kv=2, size=16, past=0, seq=5, packed=False, capacity=None,
             rotary=False, partial=False, lengths=None, bias=None, sinks=False, positions=None,
             outputs=3, total=None, **attributes):
        q = f32(rng, batch, seq, heads * size)
        k, v = f32(rng, batch, seq, kv * size), f32(rng, batch, seq, kv * size)
        if packed:
            q, k, v = np.concatenate([q, k, v], -1), None, None
        cap = past if capacity is None else capacity
        pk, pv = f32(rng, batch, kv, cap, size), f32(rng, batch, kv, cap, size)
        total = past + seq if total is None else total
        lengths = np.full(batch, total - 1) if lengths is None else np.array(lengths)
        cos, sin = tables(rng, 512, (size // 2 if partial else size) // 2)
        b = None
        if bias:
            b = f32(rng, *[{"B": batch, "H": heads, "1": 1}[c] for c in bias], seq, total)
        names = ["y", "pk", "pv", "qk"][:outputs]
        return f"GroupQueryAttention/{name}", one_node(
            "GroupQueryAttention",
            [("q", q, 0), ("k", k, 0), ("v", v, 0), ("past_k", pk, 0), ("past_v", pv, 0),
             ("seqlens", lengths.astype(np.int32), 0), ("total", np.array(total, np.int32), 0),
             ("cos", cos if rotary else None, 1), ("sin", sin if rotary else None, 1),
             ("pos", positions, 0), ("bias", b, 0),
             ("sinks", f32(rng, heads) if sinks else None, 1)],
            [(n, F) for n in names], MS, num_heads=heads, kv_num_heads=kv,
            do_rotary=1 if rotary else None, **attributes)

    yield case("prompt")
    yield case("prompt batch", batch=3, packed=True)
    yield case("prompt rotary", rotary=True, batch=2)
    yield case("prompt rotary interleaved", rotary=True, rotary_interleaved=1, packed=True)
    yield case("prompt rotary partial", rotary=True, partial=True, size=32)
    yield case("prompt long", rotary=True, seq=260, heads=2, kv=1)
    yield case("decode", past=9, seq=1, batch=2, rotary=True)
    yield case("decode packed", past=9, seq=1, packed=True, rotary=True, kv=4)
    yield case("decode ragged", past=9, seq=1, batch=3, rotary=True, lengths=[9, 4, 0])
    yield case("decode capacity", past=9, seq=1, batch=2, rotary=True, capacity=16)
    yield case("chunk", past=6, seq=4, rotary=True)
    yield case("chunk positions", past=6, seq=4, rotary=True,
               positions=np.array([[6, 7, 8, 9]], np.int64))
    yield case("prompt positions", rotary=True, positions=np.array([[0, 1, 2, 3, 4]], np.int64))
    yield case("padded prompt", batch=2, rotary=True, lengths=[4, 4])
    for window in (1, 2, 3, 100):
        yield case(f"window {window}", local_window_size=window)
        yield case(f"window decode {window}", local_window_size=window, past=9, seq=1)
        yield case(f"window chunk {window}", local_window_size=window, past=6, seq=3)
    yield case("softcap", softcap=1.0)
    yield case("scale", scale=0.7, packed=True)
    yield case("smooth", smooth_softmax=1)
    yield case("smooth window", smooth_softmax=1, local_window_size=2, past=6, seq=3)
    yield case("sinks", sinks=True)
    yield case("sinks decode", sinks=True, past=5, seq=1, batch=2)
    for form in ("BH", "1H", "B1", "11"):
        yield case(f"bias {form}", bias=form, batch=2)
        yield case(f"bias decode {form}", bias=form, batch=2, past=4, seq=1)
    yield case("bias capacity", bias="11", past=4, seq=1, capacity=12)
    yield case("bidirectional", causal=0, batch=2)
    yield case("scores raw", outputs=4, qk_output=1)
    yield case("scores softmax", outputs=4, qk_output=2, past=3, seq=2)


def padding_masks(rng, batch, queries, total):
    """Every form of mask of com.microsoft Attention that ONNX Runtime takes on CPU."""
    ends = rng.integers(1, total + 1, batch)
    starts = np.minimum(rng.integers(0, total, batch), ends - 1)
    flags = (rng.random((batch, total)) > 0.3).astype(np.int32)
    flags[:, 0] = 1
    square = (rng.random((batch, queries, total)) > 0.3).astype(np.int32)
    yield "lengths", ends.astype(np.int32)
    yield "ends and starts", np.concatenate([ends, starts]).astype(np.int32)
    yield "keys", flags
    yield "left padding", np.sort(flags, -1)
    yield "blank", np.zeros_like(flags)
    yield "square", square
    yield "placeholder", np.ones((batch, 1), np.int32)


def mha(rng):
    def case(name, batch=2, heads=4, queries=5, keys=5, size=8, value=8, past=None, form="flat",
             bias=False, mask=None, scores=None, outputs=1, **attributes):
        q = f32(rng, batch, queries, heads * size)
        k, v = f32(rng, batch, keys, heads * size), f32(rng, batch, keys, heads * value)
        if form == "heads":
            k = f32(rng, batch, heads, keys, size)
            v = f32(rng, batch, heads, keys, value)
        b = f32(rng, heads * (2 * size + value)) if bias else None
        pk = pv = None
        if past is not None:
            pk, pv = f32(rng, batch, heads, past, size), f32(rng, batch, heads, past, value)
        names = ["y", "pk", "pv", "qk"][:outputs]
        if outputs == 4 and past is None:
            names = ["y", "", "", "qk"]
        extra = None if scores is None else f32(rng, *scores)
        return f"MultiHeadAttention/{name}", one_node(
            "MultiHeadAttention",
            [("q", q, 0), ("k", k, 0), ("v", v, 0), ("b", b, 1), ("mask", mask, 0),
             ("extra", extra, 0), ("past_k", pk, 0), ("past_v", pv, 0)],
            [(n, F) for n in names], MS, num_heads=heads, **attributes)

    yield case("plain")
    yield case("bias", bias=True)
    yield case("cross", queries=3, keys=9, value=12)
    yield case("cross heads", queries=3, keys=9, form="heads")
    yield case("causal", unidirectional=1)
    yield case("scale", scale=0.5, unidirectional=1, bias=True)
    yield case("past", past=6, queries=2, keys=2, outputs=3)
    yield case("past causal", past=6, queries=3, keys=3, outputs=3, unidirectional=1, bias=True)
    yield case("decode", past=6, queries=1, keys=1, outputs=3, unidirectional=1)
    yield case("empty past", past=0, outputs=3)
    yield case("present", outputs=3)
    yield case("long", queries=200, keys=200, heads=2, unidirectional=1)
    for shape in ((2, 4, 5, 5), (1, 4, 5, 5), (2, 1, 5, 5), (1, 1, 5, 5)):
        yield case(f"scores {shape}", scores=shape)
    yield case("scores causal past", scores=(1, 4, 5, 8), past=3, outputs=3, unidirectional=1)
    for name, mask in padding_masks(rng, 2, 5, 5):
        if name in ("placeholder", "ends and starts"):
            continue  # not a form of this operator
        yield case(f"mask {name}", mask=mask)
        yield case(f"mask {name} causal", mask=mask, unidirectional=1, mask_filter_value=-1e4)
    for name, mask in padding_masks(rng, 2, 5, 8):
        if name in ("keys", "left padding", "square"):
            yield case(f"mask {name} past", mask=mask, past=3, outputs=3)
    yield case("mask and scores", scores=(1, 4, 5, 5),
               mask=np.array([[1, 1, 1, 0, 0]] * 2, np.int32))
    yield case("raw scores", outputs=4)
    yield case("raw scores past", outputs=4, past=2, scores=(1, 1, 5, 7))


def attention_contrib(rng):
    def case(name, batch=2, heads=4, queries=5, size=8, inputs=24, past=None, mask=None,
             scores=None, sizes=None, outputs=1, **attributes):
        hidden = sizes or [heads * size] * 3
        x, w = f32(rng, batch, queries, inputs), f32(rng, inputs, sum(hidden), scale=0.2)
        b = f32(rng, sum(hidden))
        p = None if past is None else f32(rng, 2, batch, heads, past, size)
        return f"Attention/ms,{name}", one_node(
            "Attention",
            [("x", x, 0), ("w", w, 1), ("b", b, 1), ("mask", mask, 0), ("past", p, 0),
             ("extra", None if scores is None else f32(rng, *scores), 0)],
            [(n, F) for n in ["y", "present"][:outputs]], MS, num_heads=heads,
            qkv_hidden_sizes=sizes, **attributes)

    yield case("plain")
    yield case("one", batch=1, queries=1)
    yield case("sizes", sizes=[16, 16, 40])
    yield case("causal", unidirectional=1)
    yield case("scale", scale=0.5)
    yield case("present", outputs=2)
    yield case("past", past=4, outputs=2)
    yield case("past causal", past=4, outputs=2, unidirectional=1)
    yield case("empty past", past=0, outputs=2, unidirectional=1)
    for shape in ((2, 4, 5, 5), (1, 4, 5, 5), (2, 1, 5, 5), (1, 1, 5, 5)):
        yield case(f"scores {shape}", scores=shape)
    for name, mask in padding_masks(rng, 2, 5, 5):
        yield case(f"mask {name}", mask=mask)
        yield case(f"mask {name} causal", mask=mask, unidirectional=1)
        yield case(f"mask {name} filter", mask=mask, mask_filter_value=-1e30)
    for name, mask in padding_masks(rng, 2, 5, 8):
        yield case(f"mask {name} past", mask=mask, past=3, outputs=2, unidirectional=1)
    yield case("mask and scores", mask=np.array([5, 3], np.int32), scores=(1, 4, 5, 5))


cases = seeded([rotary, attention_onnx, random_attention, gqa, mha, attention_contrib], 13)
