"""Builds the models of kernel_cases/*.py: one node, with the arrays that it is fed."""

import ml_dtypes  # noqa: F401  teaches numpy the types that onnx maps to
import numpy as np
from onnx import TensorProto, helper, numpy_helper

F = TensorProto.FLOAT
I64 = TensorProto.INT64
MS = "com.microsoft"


def kind_of(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def ir_version(opset):
    return 8 if opset < 19 else 10 if opset < 24 else 13


def one_node(op, inputs, outputs, domain="", opset=21, **attributes):
    """(ModelProto, feeds) of one node. `inputs`: (name, array or TensorProto or None for one left
    out, constant?); what is constant, or a TensorProto, becomes an initializer. `outputs`: (name or
    "" for one left out, element type). Attributes that are None are left out."""
    graph_inputs, initializers, names, feeds = [], [], [], {}
    for name, value, constant in inputs:
        names.append("" if value is None else name)
        if isinstance(value, TensorProto):
            initializers.append(value)
        elif value is not None and constant:
            initializers.append(numpy_helper.from_array(np.asarray(value), name))
        elif value is not None:
            value = np.asarray(value)
            graph_inputs.append(helper.make_tensor_value_info(name, kind_of(value), value.shape))
            feeds[name] = value
    while names and not names[-1]:
        names.pop()
    given = {key: value for key, value in attributes.items() if value is not None}
    node = helper.make_node(op, names, [name for name, _ in outputs], name="tested", domain=domain,
                            **given)
    declared = [helper.make_tensor_value_info(n, kind, None) for n, kind in outputs if n]
    graph = helper.make_graph([node], "g", graph_inputs, declared, initializers)
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version(opset))
    return model, feeds


def node(op, opset, inputs, outputs, constants=(), domain="", **attributes):
    """one_node() with names given: `inputs` are arrays, None for one left out; `constants` the indices
    of those that become initializers; `outputs` are element types, None for one left out."""
    return one_node(op, [(f"i{i}", x, i in constants) for i, x in enumerate(inputs)],
                    [(f"o{i}" if kind else "", kind) for i, kind in enumerate(outputs)], domain,
                    opset, **attributes)


def then(model_and_feeds, op, kind, *more, **attributes):
    """Appends a node that reads the first output (and the constant arrays `more`), and takes its
    place: for results that Python cannot be handed, or whose order is free."""
    model, feeds = model_and_feeds
    graph = model.graph
    name = graph.node[0].output[0]
    graph.node[0].output[0] = "inner"
    names = [f"more{i}" for i in range(len(more))]
    graph.initializer.extend(numpy_helper.from_array(x, n) for x, n in zip(more, names))
    graph.node.append(helper.make_node(op, ["inner", *names], [name], name="after", **attributes))
    graph.output[0].type.tensor_type.elem_type = kind
    return model, feeds


def f32(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


def filled(rng, shape, dtype):
    """Random elements of any type; floats have a fraction and both signs."""
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype == np.bool_:
        return rng.random(shape) > 0.5
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return rng.integers(low, 100, shape).astype(dtype)


def seeded(groups, seed):
    """The cases() of a file: (name, ModelProto, feeds) of every group, the same ones in every run."""
    def cases():
        for group in groups:
            rng = np.random.default_rng(seed)
            with np.errstate(all="ignore"):
                for name, (model, feeds) in group(rng):
                    yield name, model, feeds
    return cases
