"""Random operators, shapes, attributes and broadcasts, against ONNX Runtime.

    python fuzz_kernels.py [--seconds 60] [--seed N] [--only Op]

Each case is one node with random inputs. What ONNX Runtime runs, `quantize forward` has to run as well:
integers and booleans exactly, floats within 1e-4 of the largest value. What ONNX Runtime refuses is
left out. The seed is printed, and the case that failed is written to a file.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import helper
from quantize_cli import quantize, relative_error
from test_kernels import TOLERANCE, session_of

OPSET = 21
CASES_A_MODEL = 24


class Draw:
    """Random choices for one node."""

    def __init__(self, rng):
        self.rng = rng
        self.feeds = {}

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def shape(self, low=1, high=4, largest=5, empty=True):
        dims = [int(self.rng.integers(1, largest + 1)) for _ in range(self.rng.integers(low, high + 1))]
        if empty and dims and self.rng.random() < 0.04:
            dims[self.rng.integers(len(dims))] = 0
        return dims

    def broadcast(self, shape):
        """A shape that broadcasts with this one."""
        dims = [1 if self.rng.random() < 0.3 else d for d in shape]
        return dims[self.rng.integers(len(dims) + 1) :]

    def axis(self, rank):
        return int(self.rng.integers(-rank, rank)) if rank else 0

    def axes(self, rank):
        count = int(self.rng.integers(1, rank + 1))
        chosen = self.rng.permutation(rank)[:count]
        return [int(a) - rank if self.rng.random() < 0.3 else int(a) for a in chosen]

    def floats(self, shape, low=-3.0, high=3.0):
        return self.add(self.rng.uniform(low, high, shape).astype(np.float32))

    def whole(self, shape, low, high, dtype=np.int64):
        return self.add(self.rng.integers(low, high, shape).astype(dtype))

    def numbers(self, shape):
        dtype = self.pick(np.float32, np.float32, np.int64, np.int32)
        return self.floats(shape) if dtype == np.float32 else self.whole(shape, -9, 10, dtype)

    def like(self, name, shape):
        dtype = self.feeds[name].dtype
        return self.floats(shape) if dtype == np.float32 else self.whole(shape, -9, 10, dtype)

    def truths(self, shape):
        return self.add(self.rng.random(shape) < 0.5)

    def add(self, array):
        name = f"x{len(self.feeds)}"
        self.feeds[name] = np.asarray(array)
        return name

    def ints(self, values):
        return self.add(np.array(values, np.int64))


def unary(*kinds):
    return lambda d: (d.pick(*kinds), [d.floats(d.shape(0))], {})


def binary(d):
    shape = d.shape(0)
    kind = d.pick("Add", "Sub", "Mul", "Min", "Max", "Greater", "Less", "Equal", "GreaterOrEqual")
    a = d.numbers(d.broadcast(shape))
    return kind, [a, d.like(a, shape)], {}


def division(d):
    shape = d.shape(0)
    whole = d.pick(True, False)
    values = d.rng.integers(1, 9, shape) * d.rng.choice([-1, 1], shape)
    a = d.whole(d.broadcast(shape), -99, 99) if whole else d.floats(d.broadcast(shape))
    kind = d.pick("Div", "Mod", "Pow") if whole else d.pick("Div", "Mod")
    if kind == "Pow":
        return kind, [a, d.whole(shape, 0, 4)], {}
    b = d.add(values.astype(np.int64 if whole else np.float32))
    fmod = int(not whole) if kind == "Mod" else None
    return kind, [a, b], {} if fmod is None else {"fmod": fmod}


def where(d):
    shape = d.shape(0)
    return "Where", [d.truths(d.broadcast(shape)), d.floats(shape), d.floats(d.broadcast(shape))], {}


def reduction(d):
    shape = d.shape(0, empty=False)
    kind = d.pick("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                  "ReduceSumSquare", "ReduceLogSumExp")  # fmt: skip
    inputs = [d.floats(shape)]
    if shape and d.rng.random() < 0.8:
        inputs.append(d.ints(d.axes(len(shape))))
    return kind, inputs, {"keepdims": d.pick(0, 1), "noop_with_empty_axes": d.pick(0, 1)}


def extreme(d):
    shape = d.shape(1, empty=False)
    attributes = {"axis": d.axis(len(shape)), "keepdims": d.pick(0, 1), "select_last_index": d.pick(0, 1)}
    return d.pick("ArgMax", "ArgMin"), [d.whole(shape, -3, 4, np.int32)], attributes


def softmax(d):
    shape = d.shape(1)
    return d.pick("Softmax", "LogSoftmax", "Hardmax"), [d.floats(shape)], {"axis": d.axis(len(shape))}


def matmul(d):
    batch = d.shape(0, 2, 3, empty=False)
    m, k, n = (int(v) for v in d.rng.integers(1, 20, 3))
    left, right = d.broadcast(batch) + [m, k], d.broadcast(batch) + [k, n]
    if d.rng.random() < 0.1:
        left = [k]
    elif d.rng.random() < 0.1:
        right = [k]
    return "MatMul", [d.floats(left), d.floats(right)], {}


def gemm(d):
    m, k, n = (int(v) for v in d.rng.integers(1, 20, 3))
    a, b = d.pick(0, 1), d.pick(0, 1)
    inputs = [d.floats([k, m] if a else [m, k]), d.floats([n, k] if b else [k, n])]
    if d.rng.random() < 0.6:
        inputs.append(d.floats(d.pick([n], [m, n], [1, n], [m, 1], [1])))
    return "Gemm", inputs, {"transA": a, "transB": b, "alpha": d.pick(1.0, 0.5), "beta": d.pick(1.0, 2.0)}


def transpose(d):
    shape = d.shape(1)
    return "Transpose", [d.numbers(shape)], {"perm": [int(i) for i in d.rng.permutation(len(shape))]}


def sliced(d):
    shape = d.shape(1)
    axes = d.axes(len(shape))
    steps = [d.pick(1, 1, 2, -1, -3) for _ in axes]
    starts = [d.pick(-99, -3, -1, 0, 1, 2, 99) for _ in axes]
    # The last element by the largest number, forward only: ONNX Runtime takes it for the first one else.
    ends = [d.pick(-99, -3, -1, 0, 1, 2, 2**63 - 1 if step > 0 else -(2**63)) for step in steps]
    return "Slice", [d.numbers(shape), d.ints(starts), d.ints(ends), d.ints(axes), d.ints(steps)], {}


def gathered(d):
    shape = d.shape(1, empty=False)
    axis = d.axis(len(shape))
    size = shape[axis]
    kind = d.pick("Gather", "GatherElements")
    indices = d.shape(0, 2) if kind == "Gather" else [int(d.rng.integers(1, s + 1)) for s in shape]
    return kind, [d.numbers(shape), d.whole(indices, -size, size)], {"axis": axis}


def scattered(d):
    shape = d.shape(1, empty=False)
    axis = d.axis(len(shape))
    part = [int(d.rng.integers(1, s + 1)) for s in shape]
    rows = np.stack([d.rng.permutation(shape[axis])[: part[axis]] for _ in range(1)])[0]
    index = np.zeros(part, np.int64)
    index += rows.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
    return "ScatterElements", [d.floats(shape), d.add(index), d.floats(part)], {"axis": axis}


def concat(d):
    shape = d.shape(1)
    axis = d.axis(len(shape))
    parts = []
    for _ in range(d.rng.integers(1, 4)):
        own = list(shape)
        own[axis] = int(d.rng.integers(0, 4))
        parts.append(d.floats(own))
    return "Concat", parts, {"axis": axis}


def padded(d):
    shape = d.shape(1, 3, empty=False)
    mode = d.pick("constant", "edge", "reflect", "wrap")
    most = 3 if mode in ("constant", "edge") else max(0, min(shape) - 1)
    pads = d.ints([int(v) for v in d.rng.integers(0, most + 1, 2 * len(shape))])
    return "Pad", [d.floats(shape), pads], {"mode": mode}


def expanded(d):
    shape = d.shape(0)
    return "Expand", [d.numbers(d.broadcast(shape)), d.ints(shape)], {}


def tiled(d):
    shape = d.shape(1)
    return "Tile", [d.numbers(shape), d.ints([int(v) for v in d.rng.integers(0, 4, len(shape))])], {}


def reshaped(d):
    shape = d.shape(1, empty=False)
    kind = d.pick("Reshape", "Flatten", "Squeeze", "Unsqueeze")
    if kind == "Reshape":
        return kind, [d.numbers(shape), d.ints(d.pick([-1], [0, -1], [-1, 1]))], {}
    if kind == "Flatten":
        return kind, [d.numbers(shape)], {"axis": d.axis(len(shape))}
    if kind == "Squeeze":
        return kind, [d.numbers([1, *shape, 1])], {}
    rank = len(shape) + 2
    return kind, [d.numbers(shape), d.ints([int(a) for a in d.rng.permutation(rank)[:2]])], {}


def topk(d):
    shape = d.shape(1, 3, empty=False)
    axis = d.axis(len(shape))
    values = d.rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    k = d.ints([int(d.rng.integers(0, shape[axis] + 1))])
    return "TopK", [d.add(values), k], {"axis": axis, "largest": d.pick(0, 1)}


def cumulative(d):
    shape = d.shape(1)
    axis = d.add(np.array(d.axis(len(shape)), np.int64))
    return "CumSum", [d.floats(shape), axis], {"exclusive": d.pick(0, 1), "reverse": d.pick(0, 1)}


def cast(d):
    to = d.pick(onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT)
    return "Cast", [d.numbers(d.shape(0))], {"to": to}


def layer_norm(d):
    shape = d.shape(1, 3, 12, empty=False)
    axis = int(d.rng.integers(0, len(shape)))
    inputs = [d.floats(shape), d.floats(shape[axis:])]
    if d.rng.random() < 0.6:
        inputs.append(d.floats(shape[axis:]))
    return "LayerNormalization", inputs, {"axis": axis, "epsilon": 1e-3}


def convolution(d):
    groups = d.pick(1, 1, 2)
    rank = d.pick(1, 2)
    channels, out = groups * int(d.rng.integers(1, 4)), groups * int(d.rng.integers(1, 4))
    kernel = [int(v) for v in d.rng.integers(1, 4, rank)]
    size = [int(v) for v in d.rng.integers(6, 10, rank)]
    inputs = [d.floats([d.pick(1, 2), channels, *size]), d.floats([out, channels // groups, *kernel])]
    if d.rng.random() < 0.5:
        inputs.append(d.floats([out]))
    attributes = {"group": groups, "strides": [d.pick(1, 2)] * rank, "dilations": [d.pick(1, 2)] * rank}
    attributes["pads"] = [int(v) for v in d.rng.integers(0, 2, 2 * rank)]
    return "Conv", inputs, attributes


def pooled(d):
    rank = d.pick(1, 2)
    size = [int(v) for v in d.rng.integers(4, 8, rank)]
    attributes = {"kernel_shape": [d.pick(1, 2, 3)] * rank, "strides": [d.pick(1, 2)] * rank}
    attributes["ceil_mode"] = d.pick(0, 1)
    return d.pick("MaxPool", "AveragePool"), [d.floats([1, 2, *size])], attributes


def logic(d):
    shape = d.shape(0)
    return d.pick("And", "Or", "Xor"), [d.truths(d.broadcast(shape)), d.truths(shape)], {}


def trilu(d):
    k = d.add(np.array(int(d.rng.integers(-4, 5)), np.int64))
    return "Trilu", [d.numbers([*d.shape(0, 2), *d.shape(2, 2)]), k], {"upper": d.pick(0, 1)}


def onehot(d):
    indices = d.whole(d.shape(1, 2), -3, 4)
    return "OneHot", [indices, d.add(np.array(4, np.int64)), d.add(np.array([0.5, 2], np.float32))], {"axis": d.pick(-1, 0)}


def split(d):
    shape = d.shape(1, empty=False)
    axis = d.axis(len(shape))
    first = int(d.rng.integers(0, shape[axis] + 1))
    return "Split", [d.numbers(shape), d.ints([first, shape[axis] - first])], {"axis": axis}


MAKERS = [
    unary("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Erf", "Floor", "Ceil", "Round", "Sin", "Cos", "Sign",
          "Softplus", "HardSwish", "Gelu", "Mish", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "Identity", "Softsign",
          "Celu", "ThresholdedRelu", "Reciprocal"),
    binary, binary, division, where, reduction, reduction, extreme, softmax, matmul, gemm, transpose, sliced,
    sliced, gathered, scattered, concat, padded, expanded, tiled, reshaped, topk, cumulative, cast, layer_norm,
    convolution, pooled, logic, trilu, onehot, split,
]  # fmt: skip
OUTPUTS = {"TopK": 2, "Split": 2}


def model_of(cases):
    """One model of all the cases, their names prefixed."""
    nodes, infos, outputs, feeds = [], [], [], {}
    for i, (kind, inputs, attributes, own) in enumerate(cases):
        names = [f"c{i}y{j}" for j in range(OUTPUTS.get(kind, 1))]
        nodes.append(helper.make_node(kind, [f"c{i}{n}" for n in inputs], names, **attributes))
        for name, array in own.items():
            feeds[f"c{i}{name}"] = array
            kind_of = helper.np_dtype_to_tensor_dtype(array.dtype)
            infos.append(helper.make_tensor_value_info(f"c{i}{name}", kind_of, [None] * array.ndim))
        outputs += [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph(nodes, "g", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return model, feeds


def draw(rng, only):
    while True:
        d = Draw(rng)
        kind, inputs, attributes = MAKERS[rng.integers(len(MAKERS))](d)
        if not only or kind in only:
            return kind, inputs, attributes, d.feeds


def expected_of(case):
    """What ONNX Runtime gives; None for what it refuses."""
    model, feeds = model_of([case])
    try:
        session = session_of(model, precise=True)
        names = [output.name for output in session.get_outputs()]
        return session.run(names, feeds)
    except Exception:  # whatever it may be: the case is no judge then
        return None


def differences(cases, expected, folder):
    """Why each case that differs does, by its place."""
    model, feeds = model_of(cases)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    np.savez(folder / "in.npz", **{f"in.{name}": array for name, array in feeds.items()})
    done = quantize("forward", folder / "model.onnx", "--inputs", folder / "in.npz", "--out", folder / "out.npz")
    if done.returncode != 0:
        if len(cases) == 1:
            return {0: f"status {done.returncode}: {done.stderr.strip()}"}
        alone = [differences([c], [e], folder) for c, e in zip(cases, expected)]
        return {i: found[0] for i, found in enumerate(alone) if found}
    found = {}
    with np.load(folder / "out.npz") as arrays:
        for i, (case, wanted) in enumerate(zip(cases, expected)):
            for j, right in enumerate(wanted):
                got = arrays[f"out.c{i}y{j}"]
                if got.dtype != right.dtype or got.shape != right.shape:
                    found[i] = f"{got.dtype} {got.shape} instead of {right.dtype} {right.shape}"
                elif right.dtype.kind == "f":
                    error = relative_error(got, right)
                    if error > TOLERANCE:
                        found[i] = f"differs by {error:.2g}"
                elif not np.array_equal(got, right):
                    found[i] = "differs"
    return found


def search(seed, seconds, models, only=()):
    """(cases, findings) of random models until the time or their number is over."""
    rng = np.random.default_rng(seed)
    end = time.monotonic() + seconds
    count, findings = 0, []
    with tempfile.TemporaryDirectory() as name:
        while models > 0 and time.monotonic() < end and not findings:
            models -= 1
            drawn = [draw(rng, only) for _ in range(CASES_A_MODEL)]
            judged = [(case, expected_of(case)) for case in drawn]
            judged = [(case, right) for case, right in judged if right is not None]
            if not judged:
                continue
            cases, expected = zip(*judged)
            count += len(cases)
            for i, why in differences(list(cases), list(expected), pathlib.Path(name)).items():
                findings.append((cases[i], why))
    return count, findings


def describe(case, why):
    kind, inputs, attributes, feeds = case
    shapes = ", ".join(f"{n}: {feeds[n].dtype}{list(feeds[n].shape)}" for n in inputs)
    small = {n: feeds[n].tolist() for n in inputs if feeds[n].dtype.kind in "iu" and feeds[n].size < 20}
    return f"{kind}({shapes}) {attributes} {small}: {why}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="*", default=())
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    count, findings = search(options.seed, options.seconds, 1 << 30, options.only)
    for case, why in findings:
        print(describe(case, why))
        onnx.save(model_of([case])[0], "fuzz-kernels.onnx")
    print(f"{count} cases agree" if not findings else f"{len(findings)} of {count} cases differ")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
