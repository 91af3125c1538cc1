"""Models of com.microsoft's fused convolutions, and of convolutions in channel blocks, as ONNX
Runtime itself saves them at its highest optimisation level on this machine."""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from single_node import F, MS, f32, one_node, seeded


def fused_conv(rng):
    activations = {None: None, "Relu": None, "Tanh": None, "Sigmoid": None, "LeakyRelu": [0.2],
                   "Clip": [-0.5, 1.5], "HardSigmoid": [0.3, 0.4]}
    for activation, parameters in activations.items():
        for i in range(4):
            bias, added = i % 2 == 0, i >= 2
            out = (2, 6, 5, 4)
            yield f"FusedConv/{activation},{bias},{added}", one_node(
                "FusedConv",
                [("x", f32(rng, 2, 4, 5, 4), 0), ("w", f32(rng, 6, 2, 3, 3), 1),
                 ("b", f32(rng, 6) if bias else None, 1), ("z", f32(rng, *out) if added else None, 0)],
                [("y", F)], MS, activation=activation, activation_params=parameters, group=2,
                pads=[1, 1, 1, 1], kernel_shape=[3, 3])


def nhwc_max_pool(rng):
    for kind, onnx_kind in ((np.uint8, TensorProto.UINT8), (np.int8, TensorProto.INT8)):
        low = 0 if kind == np.uint8 else -128
        x = rng.integers(low, low + 256, (2, 7, 6, 5)).astype(kind)
        for i, extra in enumerate([{}, {"pads": [1, 0, 1, 2]}, {"strides": [2, 2], "ceil_mode": 1},
                                   {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
                                   {"dilations": [2, 1]}]):
            yield f"NhwcMaxPool/{np.dtype(kind)},{i}", one_node(
                "NhwcMaxPool", [("x", x, 0)], [("y", onnx_kind)], MS, kernel_shape=[3, 3], **extra)


def saved(nodes, feeds, constants, opset=17):
    """The model that ONNX Runtime makes of these nodes at level ORT_ENABLE_ALL, and its feeds."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, F, x.shape) for n, x in feeds.items()],
        [helper.make_tensor_value_info("y", F, None)],
        [numpy_helper.from_array(x, n) for n, x in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model.SerializeToString(), options,
                                     providers=["CPUExecutionProvider"])
        made = onnx.load(path)
        made.producer_name = "made for this processor"
        return made, feeds


def blocked(rng):
    def conv(name, x, y, constants, channels, outputs, kernel=(3, 3), bias=True, **attributes):
        w = f"w_{name}"
        groups = attributes.get("group", 1)
        constants[w] = f32(rng, outputs, channels // groups, *kernel, scale=0.2)
        inputs = [x, w]
        if bias:
            constants[f"b_{name}"] = f32(rng, outputs)
            inputs.append(f"b_{name}")
        return helper.make_node("Conv", inputs, [y], name=name, kernel_shape=list(kernel),
                                **attributes)

    def chain(name, channels, *makers, size=(9, 8), opset=17, batch=2):
        feeds, constants, nodes = {"x": f32(rng, batch, channels, *size)}, {}, []
        value = "x"
        for i, make in enumerate(makers):
            out = "y" if i + 1 == len(makers) else f"v{i}"
            nodes.append(make(value, out, constants))
            value = out
        return f"nchwc/{name}", saved(nodes, feeds, constants, opset)

    def c(channels, outputs, **attributes):
        return lambda x, y, constants: conv(f"c_{y}", x, y, constants, channels, outputs,
                                            **attributes)

    def op(kind, **attributes):
        return lambda x, y, constants: helper.make_node(kind, [x], [y], name=f"n_{y}", **attributes)

    def resize(kind, **attributes):
        def make(x, y, constants):
            constants["scales"] = np.array([1, 1, 2, 3], np.float32)
            return helper.make_node("Resize", [x, "", "scales"], [y], name="resize", mode=kind,
                                    **attributes)
        return make

    same = {"pads": [1, 1, 1, 1]}
    yield chain("patches", 3, c(3, 64, kernel=(4, 4), strides=[4, 4]), size=(16, 12))
    yield chain("three channels", 3, c(3, 32, **same))
    yield chain("one after the other", 3, c(3, 32, **same), c(32, 48, strides=[2, 2]))
    yield chain("odd outputs", 32, c(32, 20, **same), c(20, 32))
    yield chain("odd inputs", 20, c(20, 32, **same, bias=False))
    yield chain("pointwise", 32, c(32, 64, kernel=(1, 1)), op("Relu"))
    yield chain("depthwise", 32, c(32, 32, **same, group=32), c(32, 32, kernel=(1, 1)))
    yield chain("depthwise odd", 24, c(24, 24, **same, group=24))
    yield chain("groups", 64, c(64, 64, **same, group=2))
    yield chain("dilated", 32, c(32, 32, dilations=[2, 2]))
    for kind, attributes in (("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"alpha": 0.2}),
                             ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("Gelu", {})):
        yield chain(f"activation {kind}", 32, c(32, 32, **same), op(kind, **attributes), opset=20)
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    yield chain("max pool", 32, c(32, 32), op("MaxPool", **pool, pads=[1, 1, 1, 1]))
    yield chain("average pool", 32, c(32, 32), op("AveragePool", **pool, pads=[1, 1, 1, 1]))
    yield chain("average pool with pad", 32, c(32, 32),
                op("AveragePool", **pool, pads=[1, 1, 1, 1], count_include_pad=1))
    yield chain("global average pool", 32, c(32, 40), op("GlobalAveragePool"))
    yield chain("global max pool", 32, c(32, 32), op("GlobalMaxPool"))
    yield chain("upsample nearest", 32, c(32, 32), resize(
        "nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
    for mode in ("asymmetric", "half_pixel", "align_corners"):
        yield chain(f"upsample linear {mode}", 32, c(32, 32),
                    resize("linear", coordinate_transformation_mode=mode))
    feeds, constants = {"x": f32(rng, 2, 32, 6, 6)}, {}
    nodes = [conv("a", "x", "va", constants, 32, 32, **same),
             conv("b", "va", "vb", constants, 32, 32, **same),
             helper.make_node("Add", ["vb", "va"], ["s"], name="sum"),
             helper.make_node("Relu", ["s"], ["y"], name="relu")]
    yield "nchwc/residual", saved(nodes, feeds, constants)
    feeds, constants = {"x": f32(rng, 1, 32, 6, 6)}, {}
    nodes = [conv("a", "x", "va", constants, 32, 32, **same),
             conv("b", "x", "vb", constants, 32, 64, **same),
             helper.make_node("Concat", ["va", "vb"], ["s"], name="join", axis=1),
             conv("c", "s", "y", constants, 96, 32, **same)]
    yield "nchwc/concatenated", saved(nodes, feeds, constants)
    feeds, constants = {"x": f32(rng, 1, 7, 6, 32)}, {}
    nodes = [helper.make_node("Transpose", ["x"], ["t"], name="first", perm=[0, 3, 1, 2]),
             conv("a", "t", "va", constants, 32, 20, **same),
             helper.make_node("Transpose", ["va"], ["y"], name="last", perm=[0, 2, 3, 1])]
    yield "nchwc/channels last", saved(nodes, feeds, constants)


cases = seeded([fused_conv, nhwc_max_pool, blocked], 43)
