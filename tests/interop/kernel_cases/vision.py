"""Single-node models of operators on images and regions of them, with seeded inputs."""

import numpy as np
from onnx import TensorProto
from single_node import F, I64, f32, filled, i64, kind_of, node, seeded


def grids(rng):
    for mode2, mode3, opset in (("bilinear", None, 16), ("linear", "linear", 20),
                                ("nearest", "nearest", 20), ("cubic", None, 20),
                                ("bicubic", None, 16), ("linear", "linear", 22)):
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                name = f"GridSample/{opset},{mode2},{padding},{align}"
                options = dict(padding_mode=padding, align_corners=align)
                for i, (shape, places) in enumerate([((2, 3, 5, 7), (4, 6)), ((1, 2, 1, 4), (3, 1)),
                                                     ((1, 1, 9, 8), (30, 20))]):
                    # A third of the places lies outside the image.
                    grid = rng.uniform(-1.7, 1.7, (shape[0], *places, 2)).astype(np.float32)
                    yield f"{name},{i}", node("GridSample", opset, [f32(rng, *shape), grid], [F],
                                              mode=mode2, **options)
                if mode3:
                    grid = rng.uniform(-1.5, 1.5, (2, 3, 2, 4, 3)).astype(np.float32)
                    yield f"{name},volume", node("GridSample", opset, [f32(rng, 2, 2, 4, 3, 5), grid],
                                                 [F], mode=mode3, **options)
    yield "GridSample/no places", node(
        "GridSample", 20, [f32(rng, 1, 2, 3, 3), np.zeros((1, 0, 2, 2), np.float32)], [F])
    for align in (0, 1):
        for size in [(2, 3, 5, 7), (1, 1, 2, 2), (3, 2, 4, 3, 5), (1, 4, 2, 6, 2)]:
            rank = len(size) - 2
            yield f"AffineGrid/{size},{align}", node(
                "AffineGrid", 20, [f32(rng, size[0], rank, rank + 1), i64(*size)], [F],
                align_corners=align)


def regions(rng):
    # ONNX Runtime has no kernels for opset 22, which only admits more types.
    for opset, options in [(10, {}), (16, {}),
                           (16, {"coordinate_transformation_mode": "output_half_pixel"})]:
        for mode in ("avg", "max"):
            for ratio in (0, 1, 2, 3):
                corners = rng.uniform(0, 20, (5, 2, 2))
                rois = np.sort(corners, axis=1).reshape(5, 4).astype(np.float32)
                yield f"RoiAlign/{opset},{mode},{ratio},{len(options)}", node(
                    "RoiAlign", opset,
                    [f32(rng, 2, 3, 9, 11), rois, rng.integers(0, 2, 5)], [F], mode=mode,
                    sampling_ratio=ratio, output_height=3, output_width=2, spatial_scale=0.5,
                    **options)
    yield "RoiAlign/none", node(
        "RoiAlign", 16, [f32(rng, 1, 2, 4, 4), np.zeros((0, 4), np.float32), i64()], [F])
    for i in range(6):
        corners = np.sort(rng.uniform(0, 10, (4, 2, 2)), axis=1).reshape(4, 4)
        rois = np.concatenate([rng.integers(0, 2, (4, 1)), corners], 1).astype(np.float32)
        yield f"MaxRoiPool/{i}", node("MaxRoiPool", 7, [f32(rng, 2, 3, 8, 9), rois], [F],
                                      pooled_shape=[1 + i % 3, 2], spatial_scale=1.0 if i < 3 else 0.7)


def suppressions(rng):
    for i in range(12):
        batches, boxes, classes = 1 + i % 2, (20, 1, 60)[i % 3], 1 + i % 4
        if i % 2:
            middle = rng.uniform(0, 10, (batches, boxes, 2))
            at = np.concatenate([middle, rng.uniform(1, 5, (batches, boxes, 2))], -1)
        else:
            at = rng.uniform(0, 10, (batches, boxes, 4))  # corners in any order
        scores = rng.random((batches, classes, boxes)).astype(np.float32)
        if i == 4:
            scores = np.round(scores * 4) / 4  # ties
        limits = [i64((3, 100, 0)[i % 3] if i < 9 else 5), np.array([0.3], np.float32),
                  np.array([0.4], np.float32)][:1 + i % 3]
        yield f"NonMaxSuppression/{i}", node(
            "NonMaxSuppression", 10 if i < 4 else 11, [at.astype(np.float32), scores, *limits], [I64],
            center_point_box=i % 2)
    yield "NonMaxSuppression/no limits", node(
        "NonMaxSuppression", 11, [f32(rng, 1, 4, 4), f32(rng, 1, 2, 4)], [I64])
    yield "NonMaxSuppression/no boxes", node(
        "NonMaxSuppression", 11, [f32(rng, 1, 0, 4), f32(rng, 1, 2, 0), i64(3)], [I64])


def deformations(rng):
    for i, (x, w, options) in enumerate([
            ((1, 3, 6, 7), (4, 3, 3, 3), {}),
            ((2, 4, 7, 6), (6, 2, 3, 2), {"group": 2, "pads": [1, 0, 1, 1]}),
            ((1, 4, 8, 8), (2, 4, 2, 3), {"offset_group": 2, "strides": [2, 1]}),
            ((2, 6, 9, 9), (6, 1, 3, 3), {"group": 6, "offset_group": 3, "dilations": [2, 2],
                                          "pads": [2, 2, 2, 2]})]):
        pads, strides = options.get("pads", [0] * 4), options.get("strides", [1, 1])
        dilations = options.get("dilations", [1, 1])
        out = [(x[2 + a] + pads[a] + pads[2 + a] - (w[2 + a] - 1) * dilations[a] - 1) // strides[a] + 1
               for a in (0, 1)]
        taps, groups = w[2] * w[3], options.get("offset_group", 1)
        for extra in range(3):
            inputs = [f32(rng, *x), f32(rng, *w), 2 * f32(rng, x[0], groups * taps * 2, *out)]
            inputs += [f32(rng, w[0]) if extra else None]
            inputs += [rng.random((x[0], groups * taps, *out)).astype(np.float32)] if extra == 2 else []
            yield f"DeformConv/{i},{extra}", node("DeformConv", 22 if i % 2 else 19, inputs, [F],
                                                  kernel_shape=w[2:], **options)


def columns(rng):
    for i, (image, block, options) in enumerate([
            ((5, 5), (1, 5), {}), ((6, 7), (2, 3), {"strides": [2, 2]}),
            ((5, 6), (2, 2), {"pads": [1, 0, 1, 2]}), ((7, 8), (2, 3), {"dilations": [2, 1]}),
            ((4, 5, 6), (1, 2, 3), {"strides": [1, 1, 2]}), ((6,), (3,), {"pads": [1, 1]})]):
        rank = len(image)
        pads = options.get("pads", [0] * 2 * rank)
        strides, dilations = options.get("strides", [1] * rank), options.get("dilations", [1] * rank)
        places = [(image[a] + pads[a] + pads[rank + a] - dilations[a] * (block[a] - 1) - 1)
                  // strides[a] + 1 for a in range(rank)]
        x = f32(rng, 2, 3 * int(np.prod(block)), int(np.prod(places)))
        yield f"Col2Im/{i}", node("Col2Im", 18, [x, i64(*image), i64(*block)], [F], **options)


def crops(rng):
    for i, (shape, lengths, axes) in enumerate([
            ((4, 7, 3), (6, 4, 3), None), ((5, 6), (2, 9), None), ((3, 5, 8), (2, 7), [0, -1]),
            ((4, 5), (1,), [1]), ((2, 3), (0, 3), None), ((7, 1), (4, 4), None)]):
        for dtype in (np.float32, np.int64):
            x = filled(rng, shape, dtype)
            yield f"CenterCropPad/{i},{dtype.__name__}", node(
                "CenterCropPad", 18, [x, i64(*lengths)], [kind_of(x)], axes=axes)


def unpools(rng):
    for i, (shape, options) in enumerate([
            ((1, 2, 4, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ((2, 1, 6, 6), {"kernel_shape": [3, 3], "strides": [3, 3]}),
            ((1, 3, 8), {"kernel_shape": [2], "strides": [2]}),
            ((1, 1, 4, 4, 4), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]})]):
        pooled = [shape[0], shape[1]] + [n // k for n, k in zip(shape[2:], options["kernel_shape"])]
        x = f32(rng, *pooled)
        places = rng.permutation(int(np.prod(shape)))[:x.size].reshape(pooled)
        yield f"MaxUnpool/{i}", node("MaxUnpool", 11, [x, places], [F], **options)
        larger = i64(*shape[:2], *(n + 1 for n in shape[2:]))
        yield f"MaxUnpool/shape,{i}", node("MaxUnpool", 22, [x, places, larger], [F], **options)


def integer_convolutions(rng):
    def codes(shape, signed):
        return rng.integers(-128, 128, shape).astype(np.int8) if signed else rng.integers(
            0, 256, shape).astype(np.uint8)

    for i, (x, w, options) in enumerate([
            ((1, 3, 6, 7), (4, 3, 3, 3), {}),
            ((2, 4, 9, 8), (6, 2, 3, 2), {"group": 2, "pads": [1, 0, 1, 1], "strides": [2, 1]}),
            ((1, 6, 8, 8), (6, 1, 3, 3), {"group": 6, "dilations": [2, 2], "auto_pad": "VALID"}),
            ((1, 70, 5, 5), (8, 70, 5, 5), {"pads": [2, 2, 2, 2]}), ((2, 5, 12), (3, 5, 4), {})]):
        for signed in (0, 1):
            # ONNX Runtime's ConvInteger takes an unsigned image and one zero point of the weight.
            for zeros in ([], [codes((), 0)], [codes((), 0), codes((), signed)]):
                yield f"ConvInteger/{i},{signed},{len(zeros)}", node(
                    "ConvInteger", 10, [codes(x, 0), codes(w, signed), *zeros],
                    [TensorProto.INT32], **options)
            per_channel = i % 2 == 1
            weight_scale = rng.uniform(0.001, 0.01, w[:1] if per_channel else ()).astype(np.float32)
            weight_zero = np.zeros(w[:1], np.int8) if per_channel else codes((), signed)
            kind = np.int8 if per_channel or signed else np.uint8
            bias = rng.integers(-3000, 3000, w[0]).astype(np.int32)
            for biased in (0, 1):
                image = codes(x, per_channel and signed)
                yield f"QLinearConv/{i},{signed},{biased}", node(
                    "QLinearConv", 10,
                    [image, np.float32(0.02), image.flat[0], codes(w, kind is np.int8), weight_scale,
                     weight_zero, np.float32(0.03), image.flat[1], bias if biased else None],
                    [kind_of(image)], constants=(1, 2, 3, 4, 5, 6, 7, 8), **options)


cases = seeded([grids, regions, suppressions, deformations, columns, crops, unpools,
                integer_convolutions], 19)
