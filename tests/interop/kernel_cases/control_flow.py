"""If, Loop and Scan with random bodies, trip counts, axes and directions; seeded."""

import itertools

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SEED = 29
F, I64, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
WIDTH = 4


def info(name, kind=F, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))


def model(nodes, feeds, outputs, opset, initializers=()):
    """`outputs`: name to element type."""
    kinds = {k: helper.np_dtype_to_tensor_dtype(v.dtype) for k, v in feeds.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [info(name, kinds[name], list(array.shape)) for name, array in feeds.items()],
        [info(name, kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8 if opset < 21 else 10
    return made, feeds


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# ---- If ------------------------------------------------------------------------------------------


def branch(name, nodes, outputs, initializers=()):
    tensors = [numpy_helper.from_array(array, label) for label, array in initializers]
    return helper.make_graph(nodes, name, [], [info(o) for o in outputs], tensors)


def if_cases(rng):
    for taken, opset in itertools.product((True, False), (7, 11, 13, 16, 21)):
        feeds = {"c": np.array([taken]), "x": f32(rng, 3, WIDTH)}
        # The same names in both branches, one initializer inside, one of outside in both.
        branches = {
            f"{key}_branch": branch(
                key,
                [
                    helper.make_node("Mul", ["x", "k"], ["t"]),
                    helper.make_node(op, ["t"], ["u"]),
                    helper.make_node("MatMul", ["u", "w"], ["out"]),
                    helper.make_node("Neg", ["x"], ["neg"]),
                ],
                ["out", "neg"],
                [("k", f32(rng, WIDTH))],
            )
            for key, op in (("then", "Tanh"), ("else", "Sigmoid"))
        }
        nodes = [
            helper.make_node("If", ["c"], ["y", "z"], **branches),
            helper.make_node("Add", ["y", "z"], ["s"]),
        ]
        weight = [("w", f32(rng, WIDTH, WIDTH))]
        yield f"If/names-{opset}-{taken}", *model(nodes, feeds, {"s": F, "y": F}, opset, weight)


def nested_if(rng):
    for first, second in itertools.product((True, False), repeat=2):
        feeds = {"a": np.array(first), "b": np.array(second), "x": f32(rng, 2, WIDTH)}

        def inner(label, sign):
            return helper.make_node(
                "If", ["nb"], [f"{label}_out"],
                then_branch=branch("t", [helper.make_node("Relu", [sign], ["r"])], ["r"]),
                else_branch=branch("e", [helper.make_node("Abs", [sign], ["r"])], ["r"]),
            )  # fmt: skip

        def outer(label, op):
            nodes = [
                helper.make_node("Not", ["b"], ["nb"]),
                helper.make_node(op, ["x"], ["v"]),
                inner(label, "v"),
                helper.make_node("Add", [f"{label}_out", "x"], ["sum"]),
            ]
            return branch(label, nodes, ["sum"])

        nodes = [
            helper.make_node(
                "If", ["a"], ["y"], then_branch=outer("p", "Neg"), else_branch=outer("q", "Sin")
            )
        ]
        yield f"If/nested-{first}-{second}", *model(nodes, feeds, {"y": F}, 17)


def constant_condition(rng):
    for taken in (True, False):
        feeds = {"x": f32(rng, 2, WIDTH)}
        node = helper.make_node(
            "If", ["c"], ["y"],
            then_branch=branch("t", [helper.make_node("Relu", ["x"], ["r"])], ["r"]),
            else_branch=branch("e", [helper.make_node("Abs", ["x"], ["r"])], ["r"]),
        )  # fmt: skip
        constants = [("c", np.array(taken))]
        yield f"If/stored-{taken}", *model([node], feeds, {"y": F}, 17, constants)
        # A shape decides, as TorchScript writes Squeeze.
        nodes = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["rows"]),
            helper.make_node("Equal", ["rows", "two" if taken else "first"], ["c"]),
            node,
        ]
        constants = [("first", np.array(0)), ("two", np.array(2))]
        yield f"If/shape-{taken}", *model(nodes, feeds, {"y": F}, 17, constants)


# ---- Loop ----------------------------------------------------------------------------------------


def loop_body(rng, carried, scans, stop, scalar, captured):
    """Carried values change by a captured one and the iteration; scan outputs are functions of the
    carried ones. `stop`: the condition turns false when the iteration reaches it."""
    shape = [] if scalar else [1]
    nodes = [
        helper.make_node("Cast", ["i"], ["i_float"], to=F),
        constant("stop", np.array(stop, np.int64).reshape(shape)),
        helper.make_node("Less", ["i", "stop"], ["less"]),
        helper.make_node("And", ["less", "cond_in"], ["cond_out"]),
    ]
    inputs = [info("i", I64, shape), info("cond_in", B, shape)]
    outputs = [info("cond_out", B, shape)]
    for j in range(carried):
        inputs.append(info(f"v{j}", F, [2, WIDTH]))
        nodes.append(helper.make_node("Add", [f"v{j}", "i_float"], [f"t{j}"]))
        nodes.append(
            helper.make_node("MatMul" if captured else "Mul", [f"t{j}", "outer"], [f"v{j}_out"])
        )
        outputs.append(info(f"v{j}_out", F, [2, WIDTH]))
    for j in range(scans):
        source = f"v{j % carried}_out" if carried else "outer"
        nodes.append(helper.make_node("Tanh", [source], [f"s{j}"]))
        outputs.append(info(f"s{j}", F, [2, WIDTH] if carried else [WIDTH, WIDTH]))
    return helper.make_graph(nodes, "body", inputs, outputs)


def loops(rng):
    settings = itertools.product((0, 1, 3), (0, 2), (1, 100), (True, False))
    for n, (carried, scans, stop, scalar) in enumerate(settings):
        for trips, opset in ((0, 11), (3, 13), (5, 16), (4, 21)):
            if carried + scans == 0:
                continue
            body = loop_body(rng, carried, scans, stop, scalar, captured=True)
            feeds = {"m": np.array(trips, np.int64)}
            feeds["c"] = np.array(True if scalar else [True])
            feeds["outer"] = f32(rng, WIDTH, WIDTH) * 0.5
            feeds.update({f"x{j}": f32(rng, 2, WIDTH) for j in range(carried)})
            outputs = {f"y{j}": F for j in range(carried + scans)}
            given = ["m", "c"] + [f"x{j}" for j in range(carried)]
            if n % 3 == 1 and scalar:
                given[1] = ""  # no condition in the beginning
                del feeds["c"]
            nodes = [helper.make_node("Loop", given, list(outputs), body=body)]
            yield (
                f"Loop/{carried}-{scans}-{stop}-{scalar}-{trips}",
                *model(nodes, feeds, outputs, opset),
            )


def while_loop(rng):
    body = loop_body(rng, 1, 1, 4, True, captured=True)
    feeds = {"outer": f32(rng, WIDTH, WIDTH), "x": f32(rng, 2, WIDTH), "c": np.array(True)}
    nodes = [helper.make_node("Loop", ["", "c", "x"], ["y", "s"], body=body)]
    yield "Loop/while", *model(nodes, feeds, {"y": F, "s": F}, 13)
    feeds = {**feeds, "c": np.array(False)}
    yield "Loop/while-not", *model(nodes, feeds, {"y": F, "s": F}, 13)


def nested_loop(rng):
    """A Loop in a Loop, with an If inside that the iteration decides; all capture from outside."""
    inner = helper.make_graph(
        [
            helper.make_node("Identity", ["jc"], ["jc_out"]),
            constant("one", np.array(1, np.int64)),
            helper.make_node("Equal", ["j", "one"], ["is_one"]),
            helper.make_node(
                "If", ["is_one"], ["step"],
                then_branch=branch("t", [helper.make_node("Add", ["a", "outer"], ["r"])], ["r"]),
                else_branch=branch("e", [helper.make_node("Mul", ["a", "v"], ["r"])], ["r"]),
            ),
            helper.make_node("Tanh", ["step"], ["a_out"]),
        ],
        "inner",
        [info("j", I64, []), info("jc", B, []), info("a", F, [WIDTH])],
        [info("jc_out", B, []), info("a_out", F, [WIDTH]), info("step", F, [WIDTH])],
    )  # fmt: skip
    outer = helper.make_graph(
        [
            helper.make_node("Identity", ["ic"], ["ic_out"]),
            helper.make_node("Loop", ["i", "", "v"], ["v_out", "steps"], body=inner),
            helper.make_node("ReduceSum", ["steps"], ["sum"], keepdims=0),
        ],
        "outer",
        [info("i", I64, []), info("ic", B, []), info("v", F, [WIDTH])],
        [info("ic_out", B, []), info("v_out", F, [WIDTH]), info("sum", F, [])],
    )
    for trips in (0, 1, 4):
        feeds = {"m": np.array(trips, np.int64), "x": f32(rng, WIDTH), "outer": f32(rng, WIDTH)}
        nodes = [helper.make_node("Loop", ["m", "", "x"], ["y", "sums"], body=outer)]
        yield f"Loop/nested-{trips}", *model(nodes, feeds, {"y": F, "sums": F}, 16)


def loop_in_branch(rng):
    body = loop_body(rng, 1, 1, 2, True, captured=True)
    looped = branch(
        "t", [helper.make_node("Loop", ["m", "", "x"], ["last", "all"], body=body)], ["last"]
    )
    other = branch("e", [helper.make_node("Neg", ["x"], ["n"])], ["n"])
    for taken in (True, False):
        feeds = {"m": np.array(3, np.int64), "x": f32(rng, 2, WIDTH), "c": np.array(taken)}
        feeds["outer"] = f32(rng, WIDTH, WIDTH)
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=looped, else_branch=other)]
        yield f"Loop/in-if-{taken}", *model(nodes, feeds, {"y": F}, 16)


def passed_through(rng):
    """Outputs of the body that are its inputs, captured values or constants. Not the iteration: the
    runtime gives its last value for all."""
    body = helper.make_graph(
        [constant("k", f32(rng, 2)), helper.make_node("Identity", ["outer"], ["o"])],
        "body",
        [info("i", I64, []), info("c", B, []), info("v", F, [2]), info("w", F, [2])],
        [info("c", B, []), info("w", F, [2]), info("v", F, [2]), info("k", F, [2]),
         info("o", F, [2])],
    )  # fmt: skip
    feeds = {"x": f32(rng, 2), "z": f32(rng, 2), "outer": f32(rng, 2)}
    nodes = [
        constant("m", np.array(3, np.int64)),
        helper.make_node("Loop", ["m", "", "x", "z"], ["a", "b", "k0", "o0"], body=body),
    ]
    yield "Loop/passed", *model(nodes, feeds, {"a": F, "b": F, "k0": F, "o0": F}, 13)


# ---- Scan ----------------------------------------------------------------------------------------


def scan_body(rng, states, scanned, outputs):
    nodes, given = [], [info(f"h{j}", F, [WIDTH]) for j in range(states)]
    given += [info(f"e{j}", F, [WIDTH]) for j in range(scanned)]
    results = []
    for j in range(states):
        nodes.append(helper.make_node("Mul", [f"h{j}", "outer"], [f"p{j}"]))
        nodes.append(helper.make_node("Add", [f"p{j}", f"e{j % scanned}"], [f"h{j}_out"]))
        results.append(info(f"h{j}_out", F, [WIDTH]))
    for j in range(outputs):
        source = f"h{j % states}_out" if states else f"e{j % scanned}"
        nodes.append(helper.make_node("Tanh" if j else "Neg", [source], [f"r{j}"]))
        results.append(info(f"r{j}", F, [WIDTH]))
    return helper.make_graph(nodes, "body", given, results)


def scans(rng):
    for states, scanned, outputs in itertools.product((0, 1, 2), (1, 2), (1, 2)):
        # The runtime refuses to scan nothing.
        for length, opset in ((4, 9), (1, 11), (5, 16), (3, 21)):
            attributes, feeds = {}, {"outer": f32(rng, WIDTH)}
            shapes = []
            negative = opset >= 11
            axes = [int(rng.integers(-2 if negative else 0, 2)) for _ in range(scanned)]
            for axis in axes:
                shapes.append([length, WIDTH] if axis in (0, -2) else [WIDTH, length])
            attributes["scan_input_axes"] = axes
            attributes["scan_input_directions"] = [int(d) for d in rng.integers(0, 2, scanned)]
            low = -2 if negative else 0
            attributes["scan_output_axes"] = [int(a) for a in rng.integers(low, 2, outputs)]
            attributes["scan_output_directions"] = [int(d) for d in rng.integers(0, 2, outputs)]
            feeds.update({f"s{j}": f32(rng, WIDTH) for j in range(states)})
            feeds.update({f"x{j}": f32(rng, *shape) for j, shape in enumerate(shapes)})
            names = [f"s{j}" for j in range(states)] + [f"x{j}" for j in range(scanned)]
            results = {f"y{j}": F for j in range(states + outputs)}
            body = scan_body(rng, states, scanned, outputs)
            node = helper.make_node(
                "Scan", names, list(results), body=body, num_scan_inputs=scanned, **attributes
            )
            yield (
                f"Scan/{opset}-{states}-{scanned}-{outputs}-{length}",
                *model([node], feeds, results, opset),
            )


def batched_scans(rng):
    for lengths, directions in itertools.product((None, [3, 1], [2, 3]), ([0, 0], [1, 0])):
        feeds = {"outer": f32(rng, WIDTH), "s0": f32(rng, 2, WIDTH)}
        feeds.update({f"x{j}": f32(rng, 2, 3, WIDTH) for j in range(2)})
        names = ["", "s0", "x0", "x1"]
        if lengths:
            feeds["lengths"] = np.array(lengths, np.int64)
            names[0] = "lengths"
        results = {f"y{j}": F for j in range(3)}
        body = scan_body(rng, 1, 2, 2)
        node = helper.make_node(
            "Scan", names, list(results), body=body, num_scan_inputs=2, directions=directions
        )
        yield f"Scan/8-{lengths}-{directions}", *model([node], feeds, results, 8)


def cases():
    rng = np.random.default_rng(SEED)
    for make in (if_cases, nested_if, constant_condition, loops, while_loop, nested_loop,
                 loop_in_branch, passed_through, scans, batched_scans):  # fmt: skip
        yield from make(rng)
