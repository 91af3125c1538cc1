"""Single-node models of normalisation, attention and quantized operators, with seeded inputs."""

import math

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper, numpy_helper

SEED = 13
MS = "com.microsoft"


def f32(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def one_node(op, inputs, outputs, domain="", opset=21, **attributes):
    """A model of one node. `inputs`: list of (name, array or None, constant?) in order; an array
    marked constant becomes an initializer. `outputs`: list of (name or "", element type)."""
    graph_inputs, initializers, names, feeds = [], [], [], {}
    for name, array, constant in inputs:
        names.append("" if array is None else name)
        if array is None:
            continue
        if isinstance(array, TensorProto):
            initializers.append(array)
        elif constant:
            initializers.append(numpy_helper.from_array(array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph_inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
            feeds[name] = array
    while names and not names[-1]:
        names.pop()
    node = helper.make_node(op, names, [n for n, _ in outputs], name="tested", domain=domain,
                            **{k: v for k, v in attributes.items() if v is not None})
    graph_outputs = [helper.make_tensor_value_info(n, t, None) for n, t in outputs if n]
    graph = helper.make_graph([node], "g", graph_inputs, graph_outputs, initializers)
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10 if opset < 24 else 11
    if opset >= 25:
        model.ir_version = 13
    return model, feeds


F = TensorProto.FLOAT


def with_dequantize(model_and_feeds):
    """Appends DequantizeLinear with scale 1: Python cannot be handed 4- and 2-bit tensors."""
    model, feeds = model_and_feeds
    graph = model.graph
    graph.node[0].output[0] = "codes"
    graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    graph.node.append(helper.make_node("DequantizeLinear", ["codes", "one"], ["y"], name="widen"))
    graph.output[0].type.tensor_type.elem_type = F
    return model, feeds


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


def pack(codes, bits):
    """Codes [..., n] as bytes [..., ceil(n * bits / 8)], lowest bits first."""
    per = 8 // bits
    pad = -codes.shape[-1] % per
    codes = np.concatenate([codes, np.zeros(codes.shape[:-1] + (pad,), codes.dtype)], -1)
    codes = codes.reshape(codes.shape[:-1] + (-1, per)).astype(np.uint8)
    out = np.zeros(codes.shape[:-1], np.uint8)
    for i in range(per):
        out |= (codes[..., i] << (bits * i)).astype(np.uint8)
    return out


def matmul_nbits(rng):
    count = 0
    for bits in (2, 4, 8):
        for block in (16, 32, 64, 128, 256):
            for zeros in ("none", "packed", "float"):
                if zeros == "float" and bits == 8:
                    continue
                count += 1
                k = int(rng.choice([96, 300, 64, 520]))
                n = int(rng.choice([1, 33, 64, 300]))
                lead = [(5,), (3, 2), (0,), (7,)][count % 4]
                blocks = math.ceil(k / block)
                codes = rng.integers(0, 2**bits, (n, blocks, block))
                z = None
                if zeros == "packed":
                    z = pack(rng.integers(0, 2**bits, (n, blocks)), bits)
                elif zeros == "float":
                    z = (rng.random((n, blocks)) * 2**bits).astype(np.float32)
                g = None
                if zeros != "packed" and bits == 4 and block == 32:
                    g = rng.integers(0, blocks, k).astype(np.int32)
                scales = f32(rng, n, blocks, scale=0.1)
                if count % 3 == 0:
                    scales = scales.reshape(-1)
                yield f"MatMulNBits/{bits},{block},{zeros},{k},{n}", one_node(
                    "MatMulNBits",
                    [("a", f32(rng, *lead, k), 0), ("b", pack(codes, bits), 1), ("s", scales, 1),
                     ("z", z, 1), ("g", g, 1),
                     ("bias", f32(rng, n) if count % 2 else None, 1)],
                    [("y", F)], MS, K=k, N=n, bits=bits, block_size=block)


INTEGERS = {
    "int8": (np.int8, 10), "uint8": (np.uint8, 10), "int32": (np.int32, 10),
    "int16": (np.int16, 21), "uint16": (np.uint16, 21),
    "int4": (ml_dtypes.int4, 21), "uint4": (ml_dtypes.uint4, 21),
    "int2": (ml_dtypes.int2, 25), "uint2": (ml_dtypes.uint2, 25),
}


def integers(rng, kind, shape):
    dtype = INTEGERS[kind][0]
    wide = np.dtype(dtype).itemsize > 1
    if kind == "int32":
        return rng.integers(-1000, 1000, shape).astype(dtype)
    info = np.iinfo(dtype) if wide or kind in ("int8", "uint8") else ml_dtypes.iinfo(dtype)
    return rng.integers(int(info.min), int(info.max) + 1, shape).astype(dtype)


def dequantize(rng):
    for kind, (_, first) in INTEGERS.items():
        for opset in sorted({max(first, 10 if first == 10 else first), max(first, 13),
                             max(first, 21), 25}):
            shape = (3, 10, 5)
            x = integers(rng, kind, shape)
            zero_scalar = None if kind == "int32" else integers(rng, kind, ())
            yield f"DequantizeLinear/{kind},{opset},tensor", one_node(
                "DequantizeLinear", [("x", x, 1), ("s", np.float32(0.25), 1),
                                     ("z", zero_scalar, 1)], [("y", F)], opset=opset)
            yield f"DequantizeLinear/{kind},{opset},nozero", one_node(
                "DequantizeLinear", [("x", x, 1), ("s", np.float32(-0.25), 1)], [("y", F)],
                opset=opset)
            if opset >= 13:
                for axis in (1, -1, 0):
                    z = None if kind == "int32" else integers(rng, kind, (shape[axis],))
                    yield f"DequantizeLinear/{kind},{opset},axis{axis}", one_node(
                        "DequantizeLinear", [("x", x, 1), ("s", f32(rng, shape[axis]), 1),
                                             ("z", z, 1)], [("y", F)], opset=opset, axis=axis)
            if opset >= 21:
                for axis, block in ((1, 4), (1, 10), (-1, 2), (0, 2), (-1, 5)):
                    blocks = list(shape)
                    blocks[axis] = math.ceil(shape[axis] / block)
                    z = None if kind == "int32" else integers(rng, kind, blocks)
                    yield f"DequantizeLinear/{kind},{opset},block{axis},{block}", one_node(
                        "DequantizeLinear", [("x", x, 1), ("s", f32(rng, *blocks), 1),
                                             ("z", z, 1)], [("y", F)], opset=opset, axis=axis,
                        block_size=block)
    x = integers(rng, "int8", (4, 6))
    yield "DequantizeLinear/ms,tensor", one_node(
        "DequantizeLinear", [("x", x, 0), ("s", np.float32(0.5), 1), ("z", np.int8(3), 1)],
        [("y", F)], MS)
    yield "DequantizeLinear/ms,axis", one_node(
        "DequantizeLinear",
        [("x", x, 0), ("s", f32(rng, 6), 1), ("z", integers(rng, "int8", (6,)), 1)],
        [("y", F)], MS, axis=1)
    yield "DequantizeLinear/empty", one_node(
        "DequantizeLinear", [("x", x[:0], 0), ("s", np.float32(0.5), 1)], [("y", F)])


def quantize(rng):
    for name, case in quantize_cases(rng):
        packed = any(kind in name for kind in ("int4", "int2"))
        yield name, with_dequantize(case) if packed else case


def quantize_cases(rng):
    for kind, (_, first) in INTEGERS.items():
        if kind == "int32":
            continue
        dtype = INTEGERS[kind][0]
        out = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        for opset in sorted({first, max(first, 13), max(first, 21), 25}):
            shape = (3, 10, 5)
            x = f32(rng, *shape, scale=4)
            x.flat[:6] = [0.5, 1.5, -0.5, 2.5, 1e7, -1e7]
            yield f"QuantizeLinear/{kind},{opset},tensor", one_node(
                "QuantizeLinear", [("x", x, 0), ("s", np.float32(0.5), 1),
                                   ("z", integers(rng, kind, ()), 1)], [("y", out)], opset=opset)
            if opset >= 13:
                for axis in (1, -1):
                    yield f"QuantizeLinear/{kind},{opset},axis{axis}", one_node(
                        "QuantizeLinear",
                        [("x", x, 0), ("s", rng.random(shape[axis]).astype(np.float32) + 0.1, 1),
                         ("z", integers(rng, kind, (shape[axis],)), 1)], [("y", out)],
                        opset=opset, axis=axis)
            if opset >= 21:
                for axis, block in ((1, 4), (-1, 5), (0, 2)):
                    blocks = list(shape)
                    blocks[axis] = math.ceil(shape[axis] / block)
                    yield f"QuantizeLinear/{kind},{opset},block{axis},{block}", one_node(
                        "QuantizeLinear",
                        [("x", x, 0), ("s", rng.random(blocks).astype(np.float32) + 0.1, 1),
                         ("z", integers(rng, kind, blocks), 1)], [("y", out)], opset=opset,
                        axis=axis, block_size=block)
                yield f"QuantizeLinear/{kind},{opset},output_dtype", one_node(
                    "QuantizeLinear", [("x", x, 0), ("s", np.float32(0.5), 1)], [("y", out)],
                    opset=opset, output_dtype=out)
    yield "QuantizeLinear/default", one_node(
        "QuantizeLinear", [("x", f32(rng, 4, 5), 0), ("s", np.float32(0.5), 1)],
        [("y", TensorProto.UINT8)], opset=13)


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


def gather_block_quantized(rng):
    def case(name, data, indices, scales, zeros, **attributes):
        return f"GatherBlockQuantized/{name}", one_node(
            "GatherBlockQuantized",
            [("data", data, 1), ("i", indices, 0), ("s", scales, 1), ("z", zeros, 1)], [("y", F)],
            MS, **attributes)

    for bits in (2, 4, 8):
        for block, width in ((16, 64), (32, 96), (16, 40)):
            for zeros in (False, True):
                blocks = math.ceil(width / block)
                codes = rng.integers(0, 2**bits, (20, width))
                z = pack(rng.integers(0, 2**bits, (20, blocks)), bits) if zeros else None
                index = rng.integers(-20, 20, (2, 3)).astype(np.int64 if zeros else np.int32)
                yield case(f"uint8,{bits},{block},{width},{zeros}", pack(codes, bits), index,
                           f32(rng, 20, blocks), z, bits=bits, block_size=block)
    for kind in ("int4", "uint4"):
        for gather, quantized in ((0, 1), (0, -1), (1, 0), (1, 2), (2, 1), (0, 0), (1, 1)):
            for zeros in (False, True):
                shape = (32, 32, 32)
                blocks = list(shape)
                blocks[quantized] = 2
                yield case(f"{kind},{gather},{quantized},{zeros}", integers(rng, kind, shape),
                           rng.integers(0, 32, (4,)).astype(np.int64), f32(rng, *blocks),
                           integers(rng, kind, blocks) if zeros else None, gather_axis=gather,
                           quantize_axis=quantized, block_size=16)
    codes = rng.integers(0, 16, (20, 32))
    yield case("scalar index", pack(codes, 4), np.array(7, np.int64), f32(rng, 20, 2), None,
               block_size=16)
    yield case("no index", pack(codes, 4), np.zeros((0, 2), np.int64), f32(rng, 20, 2), None,
               block_size=16)


def matmul_bnb4(rng):
    for quant_type in (0, 1):
        for block, k, n in ((16, 32, 8), (64, 48, 33), (128, 256, 5), (64, 65, 3)):
            size = n * k
            packed = rng.integers(0, 256, (size + 1) // 2).astype(np.uint8)
            scale = rng.random(math.ceil(size / block)).astype(np.float32)
            yield f"MatMulBnb4/{quant_type},{block},{k},{n}", one_node(
                "MatMulBnb4", [("a", f32(rng, 3, 2, k), 0), ("b", packed, 1), ("m", scale, 1)],
                [("y", F)], MS, K=k, N=n, block_size=block, quant_type=quant_type)


def experts(rng):
    def sizes(activation, inter):
        return inter * (2 if activation == "swiglu" else 1)

    for i, (activation, top, normalize) in enumerate([
            ("relu", 1, 0), ("relu", 2, 1), ("gelu", 2, 0), ("silu", 2, 1), ("identity", 3, 1),
            ("swiglu", 2, 1), ("swiglu", 4, 0), ("silu", 1, 0)]):
        hidden, inter, count, tokens = 32, 64, 4, 7
        rows = sizes(activation, inter)
        shape = (tokens, hidden) if i % 2 else (1, tokens, hidden)
        extra = {}
        if activation == "swiglu":
            extra = dict(swiglu_fusion=1, activation_alpha=1.702, activation_beta=1.0,
                         swiglu_limit=7.0 if i == 5 else None)
        common = dict(k=top, normalize_routing_weights=normalize, activation_type=activation,
                      **extra)
        x, router = f32(rng, *shape), f32(rng, tokens, count)
        bias = i % 3 != 0
        yield f"MoE/{i},{activation}", one_node(
            "MoE",
            [("x", x, 0), ("r", router, 0), ("w1", f32(rng, count, rows, hidden, scale=0.2), 1),
             ("b1", f32(rng, count, rows) if bias else None, 1),
             ("w2", f32(rng, count, hidden, inter, scale=0.2), 1),
             ("b2", f32(rng, count, hidden) if bias else None, 1)], [("y", F)], MS, **common)
        for bits in (2, 4, 8):
            for block in (None, 16, 32):
                if bits == 8 and block or bits == 2 and block == 32 and rows > inter:
                    continue  # ONNX Runtime rounds the activations to int8 there
                zeros = bool(block) and i % 2 == 1 and bits == 4

                def weight(n, k):
                    codes = rng.integers(0, 2**bits, (count, n, k))
                    scale = f32(rng, count, n, k // block, scale=0.05) if block else f32(
                        rng, count, n, scale=0.05)
                    z = None
                    if zeros:
                        z = pack(rng.integers(0, 2**bits, (count, n, k // block)), bits)
                    return pack(codes, bits), scale, z

                w1, s1, z1 = weight(rows, hidden)
                w2, s2, z2 = weight(hidden, inter)
                yield f"QMoE/{i},{activation},{bits},{block}", one_node(
                    "QMoE",
                    [("x", x, 0), ("r", router, 0), ("w1", w1, 1), ("s1", s1, 1),
                     ("b1", f32(rng, count, rows) if bias else None, 1), ("w2", w2, 1),
                     ("s2", s2, 1), ("b2", f32(rng, count, hidden) if bias else None, 1),
                     ("w3", None, 1), ("s3", None, 1), ("b3", None, 1), ("z1", z1, 1),
                     ("z2", z2, 1), ("z3", None, 1),
                     ("mix", rng.random(router.shape).astype(np.float32) if block == 16 else None,
                      0)], [("y", F)], MS, expert_weight_bits=bits, block_size=block,
                    **common)


GROUPS = [layer_norms, skip_norms, rotary, attention_onnx, gqa, matmul_nbits, dequantize, quantize,
          mha, attention_contrib, embed_layer_norm, channel_norms, gather_block_quantized,
          matmul_bnb4, experts]


def cases():
    """(name, ModelProto, feeds) of every case; the same ones in every run."""
    for group in GROUPS:
        rng = np.random.default_rng(SEED)
        for name, (model, feeds) in group(rng):
            yield name, model, feeds
