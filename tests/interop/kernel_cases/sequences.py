"""Operators on sequences and optionals, in small graphs whose outputs are tensors; seeded."""

import itertools

import numpy as np
from onnx import helper

from control_flow import F, I64, B, constant, f32, info, model

SEED = 31


def n(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def built(rng):
    """A sequence made, changed and read at positive and negative positions."""
    feeds = {f"x{i}": f32(rng, 2, 3) for i in range(4)}
    for at, erased, read in itertools.product((None, 0, 3, -1), (None, 1, -2), (0, 2, -1)):
        positions = {"at": at, "erased": erased, "read": read}
        nodes = [constant(k, np.array(v)) for k, v in positions.items() if v is not None]
        nodes += [
            n("SequenceConstruct", ["x0", "x1", "x2"], ["s"]),
            n("SequenceInsert", ["s", "x3"] + (["at"] if at is not None else []), ["t"]),
            n("SequenceErase", ["t"] + (["erased"] if erased is not None else []), ["u"]),
            n("SequenceAt", ["u", "read"], ["y"]),
            n("SequenceLength", ["u"], ["length"]),
            n("ConcatFromSequence", ["t"], ["all"], axis=1),
            n("ConcatFromSequence", ["t"], ["stacked"], axis=-1, new_axis=1),
        ]
        outputs = {"y": F, "length": I64, "all": F, "stacked": F}
        yield f"SequenceInsert/{at}-{erased}-{read}", *model(nodes, feeds, outputs, 11)


def split(rng):
    shape = (4, 6)
    for axis, (parts, keep) in itertools.product(
        (0, 1, -1), ((None, 1), (None, 0), (2, 1), (4, 1), ([1, 3], 1), ([2, 4], 1), ([4], 0))
    ):
        if isinstance(parts, list) and sum(parts) != shape[axis]:
            continue
        feeds = {"x": f32(rng, *shape)}
        nodes = [] if parts is None else [constant("parts", np.array(parts, np.int64))]
        nodes += [
            n("SplitToSequence", ["x"] + (["parts"] if nodes else []), ["s"], axis=axis,
              keepdims=keep),
            constant("last", np.array(-1)),
            n("SequenceAt", ["s", "last"], ["y"]),
            n("SequenceLength", ["s"], ["length"]),
        ]  # fmt: skip
        yield f"SplitToSequence/{axis}-{parts}-{keep}", *model(nodes, feeds, {"y": F, "length": I64}, 11)


def sequence_info(name):
    return helper.make_tensor_sequence_value_info(name, F, None)


def carried(rng):
    """A Loop that collects its states in a sequence, which starts empty."""
    body = helper.make_graph(
        [
            n("Identity", ["c"], ["c_out"]),
            n("Mul", ["v", "outer"], ["v_out"]),
            n("SequenceInsert", ["s", "v_out"], ["s_out"]),
        ],
        "body",
        [info("i", I64, []), info("c", B, []), info("v", F, [3]), sequence_info("s")],
        [info("c_out", B, []), info("v_out", F, [3]), sequence_info("s_out")],
    )
    for trips in (1, 4):
        feeds = {"m": np.array(trips, np.int64), "x": f32(rng, 3), "outer": f32(rng, 3)}
        nodes = [
            n("SequenceEmpty", [], ["none"]),
            n("Loop", ["m", "", "x", "none"], ["y", "states"], body=body),
            n("ConcatFromSequence", ["states"], ["all"], axis=0, new_axis=1),
        ]
        yield f"SequenceEmpty/loop-{trips}", *model(nodes, feeds, {"y": F, "all": F}, 13)


def mapped(rng):
    body = helper.make_graph(
        [n("Mul", ["a", "b"], ["p"]), n("Add", ["p", "outer"], ["q"])],
        "body",
        [info("a", F, None), info("b", F, None)],
        [info("q", F, None), info("p", F, None)],
    )
    for both in (True, False):
        feeds = {f"x{i}": f32(rng, 2, 3) for i in range(3)}
        feeds["outer"] = f32(rng, 3)
        nodes = [
            n("SequenceConstruct", ["x0", "x1", "x2"], ["s"]),
            n("SequenceConstruct", ["x2", "x0", "x1"], ["t"]),
            n("SequenceMap", ["s", "t" if both else "x1"], ["qs", "ps"], body=body),
            n("ConcatFromSequence", ["qs"], ["y"], axis=0),
            n("ConcatFromSequence", ["ps"], ["z"], axis=0),
        ]
        yield f"SequenceMap/{both}", *model(nodes, feeds, {"y": F, "z": F}, 17)


def chosen(rng):
    """A sequence out of an If."""
    def branch(name, order):
        return helper.make_graph(
            [n("SequenceConstruct", order, ["s"])], name, [], [sequence_info("s")]
        )  # fmt: skip

    for taken in (True, False):
        feeds = {"c": np.array(taken), "x0": f32(rng, 3), "x1": f32(rng, 3)}
        nodes = [
            n("If", ["c"], ["s"], then_branch=branch("t", ["x0", "x1"]),
              else_branch=branch("e", ["x1", "x0", "x1"])),
            n("ConcatFromSequence", ["s"], ["y"], axis=0),
        ]  # fmt: skip
        yield f"SequenceConstruct/if-{taken}", *model(nodes, feeds, {"y": F}, 16)


def optionals(rng):
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(F, None))
    for opset, filled in ((15, True), (18, True), (15, False), (18, False)):
        feeds = {"x": f32(rng, 3)}
        made = n("Optional", ["x"], ["o"]) if filled else n("Optional", [], ["o"], type=kind.optional_type.elem_type)
        nodes = [made, n("OptionalHasElement", ["o"], ["has"])]
        outputs = {"has": B}
        if filled:
            nodes.append(n("OptionalGetElement", ["o"], ["y"]))
            outputs["y"] = F
        yield f"Optional/{opset}-{filled}", *model(nodes, feeds, outputs, opset)


def cases():
    rng = np.random.default_rng(SEED)
    for make in (built, split, carried, mapped, chosen, optionals):
        yield from make(rng)
