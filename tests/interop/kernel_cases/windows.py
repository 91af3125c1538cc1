"""Single-node models of convolutions, pools and resizing, with seeded inputs."""

import numpy as np
from onnx import TensorProto
from single_node import F, I64, f32, filled, i64, kind_of, node, seeded


def convolutions(rng):
    for i, (x, w, attributes) in enumerate([
            ((1, 3, 8, 8), (4, 3, 3, 3), {}),
            ((2, 3, 32, 32), (16, 3, 8, 8), {"strides": [8, 8]}),
            ((1, 4, 7, 9), (6, 2, 3, 2), {"group": 2, "pads": [1, 0, 2, 1]}),
            ((2, 4, 9, 9), (4, 1, 3, 3), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
            ((1, 2, 10, 11), (3, 2, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
            ((1, 2, 10, 11), (3, 2, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
            ((1, 2, 6, 6), (3, 2, 3, 3), {"auto_pad": "VALID"}),
            ((2, 5, 4, 4), (7, 5, 1, 1), {}), ((2, 4, 4, 4), (6, 2, 1, 1), {"group": 2}),
            ((1, 3, 5, 5), (2, 3, 1, 1), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ((2, 8, 50), (12, 8, 3), {"pads": [1, 1]}),
            ((1, 8, 50), (12, 8, 3), {"pads": [1, 1], "strides": [2]}),
            ((1, 6, 20), (6, 1, 4), {"group": 6, "pads": [3, 0]}),
            ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), {"pads": [0, 1, 1, 1, 0, 1], "strides": [1, 2, 1]}),
            ((0, 2, 5, 5), (3, 2, 3, 3), {}),
            ((1, 16, 96, 96), (24, 16, 3, 3), {"pads": [1, 1, 1, 1]})]):
        for bias in (False, True):
            inputs = [f32(rng, *x), f32(rng, *w)] + ([f32(rng, w[0])] if bias else [])
            yield f"Conv/{i},{bias}", node("Conv", 11 if i % 2 else 22, inputs, [F],
                                           kernel_shape=w[2:], **attributes)
    yield "Conv/no_kernel_shape", node("Conv", 7, [f32(rng, 1, 1, 4, 4), f32(rng, 1, 1, 2, 2)], [F])
    for i, (x, w, attributes) in enumerate([
            ((1, 3, 4, 5), (3, 2, 3, 3), {}), ((2, 4, 3, 3), (4, 3, 2, 2), {"strides": [2, 2]}),
            ((1, 4, 5, 5), (4, 2, 3, 3), {"group": 2, "pads": [1, 0, 1, 2], "strides": [2, 1]}),
            ((1, 2, 4, 4), (2, 3, 3, 3), {"strides": [3, 2], "output_padding": [1, 1]}),
            ((1, 2, 4, 4), (2, 2, 3, 3), {"dilations": [2, 2]}),
            ((1, 2, 3, 3), (2, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
            ((1, 2, 3, 3), (2, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
            ((1, 2, 3, 3), (2, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
            ((2, 3, 7), (3, 4, 4), {"strides": [2], "pads": [1, 1]}),
            ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), {"strides": [1, 2, 1]})]):
        for bias in (False, True):
            channels = w[1] * attributes.get("group", 1)
            inputs = [f32(rng, *x), f32(rng, *w)] + ([f32(rng, channels)] if bias else [])
            yield f"ConvTranspose/{i},{bias}", node("ConvTranspose", 11, inputs, [F],
                                                    kernel_shape=w[2:], **attributes)


def pools(rng):
    settings = [((1, 2, 6, 7), {"kernel_shape": [2, 3]}),
                ((2, 1, 8, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
                ((1, 1, 7, 7), {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
                ((1, 1, 8, 9), {"kernel_shape": [3, 3], "strides": [3, 2], "ceil_mode": 1,
                                "pads": [1, 0, 1, 1]}),
                ((1, 2, 9, 9), {"kernel_shape": [2, 2], "dilations": [2, 3]}),
                ((1, 2, 5, 6), {"kernel_shape": [3, 3], "strides": [2, 2],
                                "auto_pad": "SAME_UPPER"}),
                ((1, 2, 5, 6), {"kernel_shape": [2, 3], "strides": [1, 2],
                                "auto_pad": "SAME_LOWER"}),
                ((2, 3, 11), {"kernel_shape": [4], "strides": [2], "pads": [1, 2]}),
                ((1, 2, 4, 5, 6), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2]}),
                ((1, 1, 2, 2), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1,
                                "pads": [1, 1, 1, 1]})]
    for i, (shape, attributes) in enumerate(settings):
        x = f32(rng, *shape)
        yield f"MaxPool/{i}", node("MaxPool", 12, [x], [F], **attributes)
        yield f"MaxPool/{i},places", node("MaxPool", 12, [x], [F, I64], **attributes)
        for include in (0, 1):
            yield f"AveragePool/{i},{include}", node("AveragePool", 19, [x], [F],
                                                     count_include_pad=include, **attributes)
    yield "MaxPool/column_major", node("MaxPool", 12, [f32(rng, 1, 2, 5, 4)], [F, I64],
                                       kernel_shape=[2, 2], storage_order=1)
    yield "MaxPool/7", node("MaxPool", 7, [f32(rng, 1, 1, 4, 4)], [F], kernel_shape=[2, 2])
    for dtype in (np.int8, np.uint8):
        x = filled(rng, (1, 2, 5, 5), dtype)
        yield f"MaxPool/{dtype.__name__}", node("MaxPool", 12, [x], [kind_of(x)],
                                                kernel_shape=[3, 3])
    yield "AveragePool/7", node("AveragePool", 7, [f32(rng, 1, 1, 4, 4)], [F], kernel_shape=[2, 2],
                                pads=[1, 1, 0, 0])
    for shape in [(1, 2, 3, 4), (2, 3, 5), (1, 1, 2, 2, 2), (2, 2, 1, 1), (1, 3, 40, 40),
                  (0, 2, 3, 3)]:
        for op in ("GlobalAveragePool", "GlobalMaxPool"):
            yield f"{op}/{shape}", node(op, 7, [f32(rng, *shape)], [F])


def resizes(rng):
    x = f32(rng, 1, 2, 5, 6)
    coordinates = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    for mode in coordinates:
        for scales in [(1, 1, 2, 3), (1, 1, 0.6, 0.5), (1, 1, 1.7, 1)]:
            scale = np.array(scales, np.float32)
            for kind in ("nearest", "linear", "cubic"):
                yield f"Resize/{mode},{scales},{kind}", node(
                    "Resize", 13, [x, None, scale], [F], mode=kind,
                    coordinate_transformation_mode=mode)
        for sizes in [(1, 2, 10, 4), (1, 2, 1, 7)]:
            for kind in ("nearest", "linear", "cubic"):
                yield f"Resize/{mode},sizes{sizes},{kind}", node(
                    "Resize", 13, [x, None, None, i64(*sizes)], [F], mode=kind,
                    coordinate_transformation_mode=mode)
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        for scales in [(1, 1, 2, 2), (1, 1, 0.5, 0.7)]:
            yield f"Resize/{rounding},{scales}", node(
                "Resize", 11, [x, np.zeros(0, np.float32), np.array(scales, np.float32)], [F],
                nearest_mode=rounding)
    yield "Resize/half_pixel_symmetric", node(
        "Resize", 19, [x, None, np.array([1, 1, 1.3, 0.7], np.float32)], [F], mode="linear",
        coordinate_transformation_mode="half_pixel_symmetric")
    yield "Resize/exclude_outside", node(
        "Resize", 13, [x, None, np.array([1, 1, 2, 2], np.float32)], [F], mode="cubic",
        exclude_outside=1, cubic_coeff_a=-0.5)
    for policy in ("stretch", "not_larger", "not_smaller"):
        yield f"Resize/{policy}", node("Resize", 18, [x, None, None, i64(9, 7)], [F], axes=[2, 3],
                                       keep_aspect_ratio_policy=policy)
    for kind in ("nearest", "linear"):
        yield f"Resize/crop,{kind}", node(
            "Resize", 13, [x, np.array([0, 0, 0.2, 0.1, 1, 1, 0.9, 1.3], np.float32), None,
                           i64(1, 2, 4, 5)], [F], mode=kind,
            coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.0)
        for scales in [(1, 1, 2, 2), (1, 1, 0.6, 1.5)]:
            yield f"Resize/10,{kind},{scales}", node(
                "Resize", 10, [x, np.array(scales, np.float32)], [F], mode=kind)
        grow = np.array([1, 1, 2, 3], np.float32)
        yield f"Upsample/9,{kind}", node("Upsample", 9, [x, grow], [F], constants=(1,), mode=kind)
        yield f"Upsample/7,{kind}", node("Upsample", 7, [x], [F], mode=kind,
                                         scales=[1.0, 1.0, 1.5, 2.0])
    yield "Upsample/3d", node("Upsample", 9, [f32(rng, 1, 2, 5), np.array([1, 1, 2], np.float32)],
                              [F],
                              constants=(1,))
    yield "Upsample/same", node("Upsample", 9, [x, np.ones(4, np.float32)], [F], constants=(1,))
    yield "Resize/uint8", node("Resize", 13, [filled(rng, (1, 1, 3, 3), np.uint8), None,
                                              np.array([1, 1, 2, 2], np.float32)],
                                              [TensorProto.UINT8])
    for kind in ("linear", "cubic"):
        for scales in [(1, 1, 0.5, 0.4), (1, 1, 0.23, 2.3), (1, 1, 1.7, 1)]:
            for mode in ("half_pixel", "align_corners", "asymmetric"):
                for exclude in (0, 1):
                    yield f"Resize/antialias,{kind},{scales},{mode},{exclude}", node(
                        "Resize", 18, [f32(rng, 1, 2, 11, 13), None, np.array(scales, np.float32)],
                        [F], mode=kind, antialias=1, exclude_outside=exclude,
                        coordinate_transformation_mode=mode)
        yield f"Resize/antialias,sizes,{kind}", node(
            "Resize", 19, [f32(rng, 2, 1, 20, 30), None, None, i64(7, 11)], [F], mode=kind,
            antialias=1, axes=[2, 3])
        for dtype in (np.uint8, np.int32):
            # Not a factor with ties: how those round is not specified.
            small = np.array([1, 1, 0.37, 0.37], np.float32)
            x8 = filled(rng, (1, 2, 9, 9), dtype)
            yield f"Resize/antialias,{dtype.__name__},{kind}", node(
                "Resize", 18, [x8, None, small], [kind_of(x8)], mode=kind, antialias=1)
    for dtype in (np.uint8, np.int8):
        x8 = filled(rng, (1, 2, 9, 9), dtype)
        yield f"Resize/linear,{dtype.__name__}", node(
            "Resize", 13, [x8, None, np.array([1, 1, 1.3, 0.7], np.float32)], [kind_of(x8)],
            mode="linear")
    for scales in [(1, 1, 2, 3, 2), (1, 1, 0.6, 1, 0.5)]:
        for kind in ("nearest", "linear"):
            yield f"Resize/volume,{scales},{kind}", node(
                "Resize", 13, [f32(rng, 1, 2, 4, 3, 5), None, np.array(scales, np.float32)], [F],
                mode=kind)
    yield "Resize/1d", node("Resize", 13, [f32(rng, 6), None, np.array([1.5], np.float32)], [F])


def picker(rng):
    """(a number from low to high, one of some values), drawn at random."""
    return (lambda low, high: int(rng.integers(low, high + 1)),
            lambda *values: values[int(rng.integers(len(values)))])


def random_convolutions(rng):
    number, choice = picker(rng)
    for i in range(60):
        rank, groups = number(1, 3), choice(1, 1, 2, 4)
        inputs, outputs = groups * number(1, 3), groups * number(1, 3)
        kernel, padding = [number(1, 3) for _ in range(rank)], choice("NOTSET", "VALID", "SAME_UPPER",
                                                                     "SAME_LOWER")
        options = {"group": groups, "strides": [number(1, 3) for _ in kernel]}
        if padding == "NOTSET":
            options["pads"] = [number(0, 2) for _ in range(2 * rank)]
        else:
            options["auto_pad"] = padding
        if padding == "NOTSET" or i % 2 == 0 and padding == "VALID":
            options["dilations"] = [number(1, 2) for _ in kernel]
        x = f32(rng, number(1, 2), inputs, *(number(4, 10) for _ in kernel))
        bias = choice(None, f32(rng, outputs))
        if i % 2 == 0:
            yield f"Conv/random{i}", node(
                "Conv", 11, [x, f32(rng, outputs, inputs // groups, *kernel), bias], [F], **options)
        else:
            if choice(True, False):
                options["output_padding"] = [number(0, n - 1) for n in options["strides"]]
            yield f"ConvTranspose/random{i}", node(
                "ConvTranspose", 11, [x, f32(rng, inputs, outputs // groups, *kernel), bias], [F],
                **options)


def random_pools(rng):
    number, choice = picker(rng)
    for i in range(90):
        op = ("MaxPool", "AveragePool", "LpPool")[i % 3]
        kernel = [number(1, 4) for _ in range(number(1, 3))]
        # ONNX Runtime crops the image where a kernel shorter than its stride is padded to SAME.
        options = {"kernel_shape": kernel, "strides": [number(1, min(3, n)) for n in kernel]}
        padding = choice("NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
        if padding == "NOTSET":
            options["pads"] = [number(0, n - 1) for n in kernel] * 2
            options["ceil_mode"] = number(0, 1)
        else:
            options["auto_pad"] = padding
        if not padding.startswith("SAME"):
            options["dilations"] = [number(1, 2) for _ in kernel]
        outputs, opset = [F], {"MaxPool": 12, "AveragePool": choice(19, 22), "LpPool": 18}[op]
        if op == "MaxPool":
            options["storage_order"] = number(0, 1)
            outputs = choice([F], [F, I64])
        elif op == "AveragePool":
            options["count_include_pad"] = number(0, 1)
        else:
            options["p"] = number(1, 3)
        x = f32(rng, 1, 2, *(number(7, 10) for _ in kernel))
        yield f"{op}/random{i}", node(op, opset, [x], outputs, **options)
    for i, shape in enumerate([(1, 2, 3, 4), (2, 3, 5), (1, 1, 2, 2, 2), (0, 2, 3, 3)]):
        for p in (1, 2, 3):
            yield f"GlobalLpPool/{i},{p}", node("GlobalLpPool", 2, [f32(rng, *shape)], [F], p=p)
    yield "LpPool/2", node("LpPool", 2, [f32(rng, 1, 2, 5, 5)], [F], kernel_shape=[2, 2])


def random_resizes(rng):
    number, choice = picker(rng)
    for i in range(90):
        opset = choice(11, 13, 18, 19)
        coordinates = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
        coordinates += ["half_pixel_symmetric"] if opset == 19 else []
        options = {"mode": choice("nearest", "linear", "cubic"),
                   "coordinate_transformation_mode": choice(*coordinates)}
        if options["mode"] == "nearest":
            options["nearest_mode"] = choice("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        if options["mode"] == "cubic":
            options |= {"exclude_outside": number(0, 1), "cubic_coeff_a": choice(-0.5, -0.75)}
        x = f32(rng, 1, number(1, 3), number(3, 8), number(3, 8))
        none = np.zeros(0, np.float32) if opset == 11 else None
        scales = np.array([number(3, 25) / 10, number(3, 25) / 10], np.float32)
        if opset < 18:
            inputs = [x, none, np.concatenate([np.ones(2, np.float32), scales])]
        else:
            options |= {"axes": choice([2, 3], [-1, -2]),
                        "antialias": number(0, 1) if options["mode"] != "nearest" else None}
            sizes = i64(number(2, 12), number(2, 12))
            policy = choice(None, "stretch", "not_larger", "not_smaller")
            # A common factor brings ties of the nearest mode.
            if policy and options["mode"] != "nearest":
                # ONNX Runtime takes no negative axes here.
                options |= {"keep_aspect_ratio_policy": policy, "axes": [2, 3]}
                inputs = [x, None, None, sizes]
            else:
                inputs = [x, None, scales]
        yield f"Resize/random{i}", node("Resize", opset, inputs, [F], **options)


cases = seeded([convolutions, pools, resizes, random_convolutions, random_pools, random_resizes], 13)
