"""A value that is added to itself sixty times over has 2^60 paths to it; no command may walk them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import quantize

WIDTH, TIMES = 64, 60


def doubled(where):
    """x -> MatMul -> MatMul, with the chain on the activation, on a bias or on a weight between."""
    rng = np.random.default_rng(3)
    nodes = []
    small = np.float32(2.0**-TIMES)

    def weight(name, factor):
        values = 0.1 * factor * rng.standard_normal((WIDTH, WIDTH))
        return numpy_helper.from_array(values.astype(np.float32), name)

    initializers = [weight("first", np.float32(1)), weight("second", np.float32(1))]

    def chain(value):
        for i in range(TIMES):
            nodes.append(helper.make_node("Add", [value, value], [f"double_{i}"]))
            value = f"double_{i}"
        return value

    nodes.append(helper.make_node("MatMul", ["x", "first"], ["h"], name="/first/MatMul"))
    h, w = "h", "second"
    if where == "activation":
        initializers.append(numpy_helper.from_array(small, "small"))
        nodes.append(helper.make_node("Mul", [h, "small"], ["h_small"]))
        h = chain("h_small")
    elif where == "constant":
        initializers.append(numpy_helper.from_array(np.full(WIDTH, small), "bias"))
        nodes.append(helper.make_node("Add", [h, chain("bias")], ["h_biased"]))
        h = "h_biased"
    else:
        initializers.append(weight("tiny", small))
        w = chain("tiny")
    nodes.append(helper.make_node("MatMul", [h, w], ["y"], name="/second/MatMul"))
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in "xy"
    ]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], initializers)
    imports = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


@pytest.mark.parametrize("where", ["activation", "constant", "weight"])
def test_every_command_ends(tmp_path, where):
    source = tmp_path / "model" / "model.onnx"
    source.parent.mkdir()
    onnx.save(doubled(where), source)
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=np.random.default_rng(4).standard_normal((8, WIDTH)).astype(np.float32))
    asked = ["run", source, tmp_path / "out", "--group-size", 32]
    commands = [["inspect", source], [*asked, "--method", "rtn", "--dry-run"]]
    commands += [[*asked[:2], tmp_path / m, "--method", m] for m in ("rtn", "fp16")]
    for method in ("awq", "best"):
        commands.append([*asked[:2], tmp_path / method, "--method", method, "--calib", samples])
    for command in commands:
        done = quantize(*command, timeout=120)
        assert done.returncode == 0, (command, done.stderr)
