"""Single-node models of operators on quantized values, with seeded inputs."""

import math

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper
from single_node import F, MS, f32, filled, kind_of, node, one_node, seeded, then


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
                a, bias = f32(rng, *lead, k), f32(rng, n) if count % 2 else None
                for level in (0, 4):  # 4 rounds activations where there is a kernel that does
                    yield f"MatMulNBits/{bits},{block},{zeros},{k},{n},level{level}", one_node(
                        "MatMulNBits",
                        [("a", a, 0), ("b", pack(codes, bits), 1), ("s", scales, 1), ("z", z, 1),
                         ("g", g, 1), ("bias", bias, 1)],
                        [("y", F)], MS, K=k, N=n, bits=bits, block_size=block,
                        accuracy_level=level)


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
        # Python cannot be handed 4- and 2-bit tensors.
        packed = any(kind in name for kind in ("int4", "int2"))
        yield name, then(case, "DequantizeLinear", F, np.float32(1)) if packed else case


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


FLOAT8 = {TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
          TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
          TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
          TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz}


def float8(rng):
    limits = [0, -0.0, 448, 449, 464, 465, 1e6, -1e6, np.inf, -np.inf, np.nan, 240, 248, 249, 57344,
              1e-3, -1e-9, 2**-9, 2**-10, 1.5 * 2**-9]
    for kind, dtype in FLOAT8.items():
        for saturate in (0, 1):
            x = np.concatenate([f32(rng, 80, scale=10), np.array(limits, np.float32)])
            yield f"Cast/float8,{kind},{saturate}", then(
                node("Cast", 19, [x], [kind], to=kind, saturate=saturate), "Cast", F, to=F)
            for zero in (None, np.zeros((), dtype)):
                made = node("QuantizeLinear", 19 if zero is not None else 21,
                            [x, np.float32(0.25), zero], [kind], constants=(1, 2),
                            saturate=saturate, output_dtype=kind if zero is None else None)
                yield f"QuantizeLinear/float8,{kind},{saturate},{zero is None}", then(
                    made, "DequantizeLinear", F, np.float32(0.25))
        codes = np.arange(256, dtype=np.uint8).view(dtype)
        yield f"Cast/from float8,{kind}", node("Cast", 19, [codes], [F], constants=(0,), to=F)
        yield f"CastLike/float8,{kind}", then(
            node("CastLike", 19, [f32(rng, 9), codes], [kind], constants=(1,)), "Cast", F, to=F)
        yield f"DequantizeLinear/float8,{kind}", node(
            "DequantizeLinear", 19, [codes.reshape(16, 16), f32(rng, 16)], [F], constants=(0, 1),
            axis=1)
        yield f"DequantizeLinear/float8,{kind},block", node(
            "DequantizeLinear", 21, [codes.reshape(16, 16), f32(rng, 2, 16)], [F], constants=(0, 1),
            axis=0, block_size=8)


def packed_casts(rng):
    for name in ("int4", "uint4", "int2", "uint2"):
        dtype, opset = INTEGERS[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        codes = integers(rng, name, (3, 7))
        for other in (np.float32, np.float16, np.int64, np.int32, np.uint8, np.int8, np.bool_):
            x = filled(rng, (5, 3), other)
            x = x * 5 if np.dtype(other).kind == "f" else x
            yield f"Cast/{name},{other.__name__}", then(
                node("Cast", opset, [x], [kind], to=kind), "Cast", F, to=F)
            yield f"Cast/from {name},{other.__name__}", node(
                "Cast", opset, [codes], [kind_of(x)], constants=(0,), to=kind_of(x))


def bit_casts(rng):
    for source, target in [(np.float32, np.int32), (np.int32, np.float32), (np.float32, np.uint32),
                           (np.int64, np.uint64), (np.int8, np.uint8), (np.uint16, np.int16)]:
        x = filled(rng, (3, 4), source)
        kind = kind_of(np.zeros(0, target))
        yield f"BitCast/{source.__name__},{target.__name__}", node("BitCast", 26, [x], [kind], to=kind)


cases = seeded([float8, packed_casts, bit_casts, matmul_nbits, dequantize, quantize,
                gather_block_quantized, matmul_bnb4, experts], 13)
