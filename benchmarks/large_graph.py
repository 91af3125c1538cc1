#!/usr/bin/env python3
"""Time and memory of what a graph costs by its nodes alone, in one run.

  large_graph.py QUANTIZE [--nodes 100000 1000000] [--keep DIRECTORY]
  large_graph.py --write FILE --nodes 100000

For each number of nodes a model is written (no weight of it is large), and `quantize inspect` and
`quantize run --dry-run --method rtn` read it: seconds, peak resident memory, and the ratio of the
last number of nodes to the first. With --write the model is only made.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WIDTH = 16
BLOCK = 250  # nodes; two linears in each, so a million nodes hold 8,000
COMMANDS = {
    "inspect": ["inspect", "--top", "1"],
    "dry run": ["run", "--dry-run", "--method", "rtn", "--src"],
}


def block(index, x, nodes, weights):
    """A norm in plain nodes, a product with a bias, a chain of elementwise nodes, a gated product,
    and a residual; returns the value that the next block reads."""
    prefix = f"model.layers.{index}"
    count = 0

    def add(op, *inputs, **attributes):
        nonlocal count
        output = f"{prefix}.{op}_{count}"
        count += 1
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def weight(name, shape):
        values = np.resize(np.linspace(-1, 1, 251 + index % 7), shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"{prefix}.{name}.weight"))
        return weights[-1].name

    mean = add("ReduceMean", x, axes=[-1])
    centred = add("Sub", x, mean)
    variance = add("ReduceMean", add("Mul", centred, centred), axes=[-1])
    normed = add("Div", centred, add("Sqrt", add("Add", variance, "epsilon")))
    normed = add("Mul", normed, weight("norm", [WIDTH]))
    up = add("Add", add("MatMul", normed, weight("up", [WIDTH, WIDTH])), weight("bias", [WIDTH]))
    gate = add("Mul", up, add("Sigmoid", up))
    while count < BLOCK - 2:
        gate = add("Mul" if count % 2 else "Add", gate, "half" if count % 2 else up)
    return add("Add", x, add("MatMul", gate, weight("down", [WIDTH, WIDTH])))


def write(path, count):
    nodes, weights = [], []
    for name, value in (("epsilon", 1e-5), ("half", 0.5)):
        weights.append(numpy_helper.from_array(np.float32(value), name))
    x = "x"
    for index in range(max(1, count // BLOCK)):
        x = block(index, x, nodes, weights)
    shape = ["batch", "tokens", WIDTH]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    pathlib.Path(path).write_bytes(model.SerializeToString())


def measure(command):
    """Seconds and MiB of one process."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return seconds, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", nargs="?")
    parser.add_argument("--nodes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--keep", type=pathlib.Path, help="where models are kept for the next time")
    parser.add_argument("--write", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.write is not None:
        return write(arguments.write, arguments.nodes[0])
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        models = {count: folder / f"{count}.onnx" for count in arguments.nodes}
        for count, path in models.items():
            if not path.exists():  # in a process of its own: the memory of protobuf's objects
                command = [sys.executable, __file__, "--write", path, "--nodes", str(count)]
                subprocess.run(command, check=True)
        for name, command in COMMANDS.items():
            seconds = []
            for count, path in models.items():
                taken, peak = measure([arguments.program, *command, path])
                seconds.append(taken)
                print(f"{name:8} {count:>9,} nodes {taken:8.2f} s {peak:7.0f} MiB", flush=True)
            nodes = arguments.nodes[-1] / arguments.nodes[0]
            print(f"{name:8} {nodes:.0f} times the nodes: {seconds[-1] / seconds[0]:.1f} × the time")


if __name__ == "__main__":
    main()
