"""Mixtures of experts spelled out in plain operators, as exporters write them.

`looped`: the loop over experts of transformers 4, unrolled by the tracer. `gathered`: the experts of transformers 5, whose
matrices are picked for each token from stacks. Both: x [batch, tokens, width] -> y, with the router in front and a shared expert.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

END = 2**63 - 1


class Mixture:
    """The nodes of one layer. `normalize`: weights of the chosen experts are divided by their sum."""

    def __init__(self, dtype=np.float32, experts=4, chosen=2, width=64, inner=96, normalize=False,
                 activation="silu", seed=13):  # fmt: skip
        self.dtype, self.experts, self.chosen = np.dtype(dtype), experts, chosen
        self.width, self.inner, self.normalize, self.activation = width, inner, normalize, activation
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], {}

    def node(self, op, *inputs, outputs=1, name=None, **attributes):
        label = name or f"{op}_{len(self.nodes)}"
        names = [label if i == 0 else f"{label}_output_{i}" for i in range(outputs)]
        inputs = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(helper.make_node(op, inputs, names, name=label, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value):
        kind = None if isinstance(value, np.ndarray) else np.int64
        made = numpy_helper.from_array(np.asarray(value, kind))
        label = f"Constant_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Constant", [], [label], name=label, value=made))
        return label

    def weight(self, name, *shape):
        values = self.rng.standard_normal(shape, np.float32) / np.sqrt(shape[-2])
        self.weights[name] = values.astype(self.dtype)
        return name

    def activated(self, x):
        if self.activation == "silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if self.activation == "relu":
            return self.node("Relu", x)
        assert self.activation == "sigmoid"
        return self.node("Sigmoid", x)

    def dim(self, x, axis):
        return self.node("Gather", self.node("Shape", x), axis, axis=0)

    def listed(self, x):
        return self.node("Unsqueeze", x, [0])

    def rows_of(self, x):
        last = self.listed(self.dim(x, 2))
        return self.node("Reshape", x, self.node("Concat", [-1], last, axis=0), allowzero=0)

    def routed(self, rows):
        """Weights [T, k] and numbers [T, k] of the chosen experts."""
        logits = self.node("MatMul", rows, self.weight("mlp.gate.weight", self.width, self.experts), name="mlp/gate/MatMul")
        if self.dtype != np.float32:
            logits = self.node("Cast", logits, to=TensorProto.FLOAT)
        scores = self.node("Softmax", logits, axis=1)
        weights, numbers = self.node("TopK", scores, [self.chosen], outputs=2, axis=-1, largest=1, sorted=1)
        if self.normalize:
            weights = self.node("Div", weights, self.node("ReduceSum", weights, [-1], keepdims=1))
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        return self.node("Cast", weights, to=kind), numbers

    def shared(self, rows):
        gate = self.node("MatMul", rows, self.weight("mlp.shared.gate.weight", self.width, 48), name="mlp/shared/gate/MatMul")
        up = self.node("MatMul", rows, self.weight("mlp.shared.up.weight", self.width, 48), name="mlp/shared/up/MatMul")
        h = self.node("Mul", self.node("Mul", gate, self.node("Sigmoid", gate)), up)
        return self.node("MatMul", h, self.weight("mlp.shared.down.weight", 48, self.width), name="mlp/shared/down/MatMul")

    def expert(self, e, x):
        def product(x, kind, k, n):
            weight = self.weight(f"mlp.experts.{e}.{kind}_proj.weight", k, n)
            return self.node("MatMul", x, weight, name=f"mlp/experts.{e}/{kind}_proj/MatMul")

        gate = product(x, "gate", self.width, self.inner)
        activated = self.activated(gate)
        h = self.node("Mul", activated, product(x, "up", self.width, self.inner))
        return product(h, "down", self.inner, self.width)

    def looped(self, rows, missing=()):
        weights, numbers = self.routed(rows)
        zero = np.zeros(1, self.dtype)
        one_hot = self.node("OneHot", numbers, self.experts, [0, 1], axis=-1)
        places = self.node("Transpose", one_hot, perm=[2, 1, 0])
        stacked = self.node("Unsqueeze", rows, [0])
        columns = self.node("Unsqueeze", weights, [2])
        shape = self.node("Concat", self.listed(self.dim(rows, 0)), self.listed(self.dim(rows, 1)), axis=0)
        total = self.node("ConstantOfShape", shape, value=numpy_helper.from_array(zero))
        for e in range(self.experts):
            if e in missing:
                continue
            chosen = self.node("Cast", self.node("Gather", places, e, axis=0), to=TensorProto.BOOL)
            pairs = self.node("Transpose", self.node("NonZero", chosen), perm=[1, 0])
            slot, token = self.node("Split", pairs, [1, 1], outputs=2, axis=1)
            slot, token = self.node("Squeeze", slot, [1]), self.node("Squeeze", token, [1])
            x = self.node("Reshape", self.node("Gather", stacked, token, axis=1), [-1, self.width], allowzero=0)
            y = self.expert(e, x)
            sizes = self.node("Shape", columns)
            per_token, last = (self.node("Gather", sizes, [i], axis=0) for i in (1, 2))
            flat = self.node("Flatten", columns, axis=2)
            index = self.node("Add", slot, self.node("Mul", token, per_token))
            w = self.node("Reshape", self.node("Gather", flat, index, axis=0), self.node("Concat", [-1], last, axis=0), allowzero=0)
            y = self.node("Mul", y, w)
            first = self.node("Slice", total, [0, 0], [1, END], [0, 1])
            y = self.node("Expand", y, self.node("Shape", first))
            index = self.node("Expand", self.node("Unsqueeze", token, [1]), self.node("Shape", y))
            zeros = self.node("ConstantOfShape", self.node("Shape", total), value=numpy_helper.from_array(zero))
            total = self.node("Add", total, self.node("ScatterElements", zeros, index, y, axis=0))
        return total

    def gathered(self, rows, up_first=False):
        weights, numbers = self.routed(rows)
        repeated = self.node("Tile", self.node("Unsqueeze", rows, [1]), [1, self.chosen, 1])
        x = self.node("Unsqueeze", self.node("Flatten", repeated, axis=2), [-1])
        index = self.node("Reshape", numbers, [-1], allowzero=0)
        # Nodes of a stack are named as the exporter names them; weights [E, N, K].
        stack = self.weight("mlp.experts.gate_up_proj", self.experts, 2 * self.inner, self.width)
        both = self.node("Squeeze", self.node("MatMul", self.node("Gather", stack, index, axis=0), x), [2])
        first = self.node("Slice", both, [0], [self.inner], [-1])
        second = self.node("Slice", both, [self.inner], [2 * self.inner], [-1])
        gate, up = (second, first) if up_first else (first, second)
        h = self.node("Unsqueeze", self.node("Mul", self.activated(gate), up), [-1])
        stack = self.weight("mlp.experts.down_proj", self.experts, self.width, self.inner)
        y = self.node("Squeeze", self.node("MatMul", self.node("Gather", stack, index, axis=0), h), [2])
        column = self.node("Unsqueeze", self.node("Reshape", weights, [-1], allowzero=0), [-1])
        y = self.node("Reshape", self.node("Mul", y, column), [-1, self.chosen, self.width], allowzero=0)
        return self.node("ReduceSum", y, [1], keepdims=0)

    def model(self, spelling, shared=True, **named):
        """x [batch, tokens, width] -> the layer -> y of the same shape."""
        rows = self.rows_of("x")
        y = getattr(self, spelling)(rows, **named)
        if shared:
            y = self.node("Add", y, self.shared(rows))
        self.nodes.append(helper.make_node("Shape", ["x"], ["shape"], name="shape"))
        self.nodes.append(helper.make_node("Reshape", [y, "shape"], ["y"], name="back"))
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        x, y = (helper.make_tensor_value_info(n, kind, ["batch", "tokens", self.width]) for n in "xy")
        weights = [numpy_helper.from_array(v, name) for name, v in self.weights.items()]
        graph = helper.make_graph(self.nodes, "g", [x], [y], weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
