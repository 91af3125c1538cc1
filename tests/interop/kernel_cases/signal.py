"""Single-node models of signal processing and of plain normalisations, with seeded inputs."""

import numpy as np
from onnx import TensorProto
from single_node import F, f32, node, seeded


def transforms(rng):
    for shape, axis in [((2, 8, 1), 1), ((2, 15, 2), 1), ((1, 7, 1), 1), ((3, 4, 6, 1), 2),
                        ((3, 4, 6, 2), 1), ((1, 100, 1), 1), ((2, 97, 2), 1), ((16, 2), 0)]:
        for inverse in (0, 1):
            for half in ((0, 1) if shape[-1] == 1 and not inverse else (0,)):
                x = f32(rng, *shape)
                options = dict(inverse=inverse, onesided=half)
                name = f"{shape},{axis},{inverse},{half}"
                if axis or len(shape) == 3:
                    yield f"DFT/17,{name}", node("DFT", 17, [x], [F], axis=axis, **options)
                yield f"DFT/20,{name}", node("DFT", 20, [x, None, np.int64(axis - len(shape))], [F],
                                             constants=(2,), **options)
                for length in (5, 20):
                    yield f"DFT/length {length},{name}", node(
                        "DFT", 20, [x, np.int64(length), np.int64(axis)], [F], constants=(1, 2),
                        **options)
    yield "DFT/one", node("DFT", 20, [f32(rng, 3, 1, 2)], [F])
    yield "DFT/default axis", node("DFT", 20, [f32(rng, 2, 3, 8, 1)], [F])
    for samples, step, length, half in [(64, 16, 32, 1), (100, 10, 25, 0), (50, 7, 50, 1),
                                        (400, 160, 400, 1), (33, 4, 9, 0)]:
        for parts in (1, 2):
            if half and parts == 2:
                continue
            x = f32(rng, 2, samples, parts)
            window = np.hanning(length).astype(np.float32)
            for inputs in ([x, np.int64(step), window], [x, np.int64(step), None, np.int64(length)],
                           [x, np.int64(step), window, np.int64(length)]):
                yield f"STFT/{samples},{step},{length},{half},{parts},{len(inputs)}", node(
                    "STFT", 17, inputs, [F], constants=(1, 3), onesided=half)


def tables(rng):
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for size in (1, 2, 9, 16, 400):
            for periodic in (0, 1):
                if size == 1 or size == 2 and not periodic:
                    continue  # 0, or a division of 0 by 0
                yield f"{op}/{size},{periodic}", node(op, 17, [np.int64(size)], [F], periodic=periodic)
        yield f"{op}/double", node(op, 17, [np.int32(7)], [TensorProto.DOUBLE],
                                   output_datatype=TensorProto.DOUBLE)
    for bins, length, rate, low, high in [(8, 16, 8192, 0, 4096), (80, 400, 16000, 0, 8000),
                                          (40, 512, 16000, 20, 7600), (13, 64, 44100, 300, 15000)]:
        yield f"MelWeightMatrix/{bins},{length}", node(
            "MelWeightMatrix", 17,
            [np.int64(bins), np.int64(length), np.int64(rate), np.float32(low), np.float32(high)], [F])


def plain_norms(rng):
    for shape, axes in [((2, 3, 4), (-1, 0, 1)), ((5,), (0,)), ((2, 6, 3, 5), (1, -2)), ((0, 3), (1,))]:
        for axis in axes:
            for p in (1, 2):
                x = f32(rng, *shape)
                x[..., :1] *= axis != -1
                yield f"LpNormalization/{shape},{axis},{p}", node("LpNormalization", 1, [x], [F],
                                                                 axis=axis, p=p)
    yield "LpNormalization/default", node("LpNormalization", 22, [f32(rng, 3, 4)], [F])
    yield "LpNormalization/zeros", node("LpNormalization", 1, [np.zeros((2, 3), np.float32)], [F])
    for shape, axes in [((2, 3, 4, 5), None), ((2, 3, 4, 5), [2, 3]), ((3, 7), [1]), ((3, 7), [0]),
                        ((2, 3, 4, 5), [0, 1, 2, 3]), ((2, 6, 5), [-1])]:
        yield f"MeanVarianceNormalization/{shape},{axes}", node(
            "MeanVarianceNormalization", 13 if axes else 9, [f32(rng, *shape) + 2], [F], axes=axes)
    for size in (1, 3, 5, 7):
        yield f"LRN/{size}", node("LRN", 13, [f32(rng, 2, 6, 3, 4)], [F], size=size, alpha=0.3,
                                  beta=0.6, bias=2.0)
    yield "LRN/default", node("LRN", 7, [f32(rng, 1, 5, 2, 2)], [F], size=3)
    for shape in [(2, 2), (3, 3), (2, 3, 5, 5), (0, 3, 3), (1, 1), (4, 8, 8)]:
        yield f"Det/{shape}", node("Det", 22 if len(shape) > 2 else 11, [f32(rng, *shape)], [F])


cases = seeded([transforms, tables, plain_norms], 23)
