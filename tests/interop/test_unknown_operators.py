"""Operators that the program does not run: methods that need no run quantize around them, and their
nodes are written as they were.

A domain of one's own cannot be loaded by ONNX Runtime here, so those nodes are compared as protos;
an operator that it has and the program lacks is run in it before and after.
"""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from model_checks import nodes_below  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    check_metadata,
    cosine,
    metadata,
    quantize,
    quantized,
    run_session,
    session,
)
from small_models import VOCABULARY, Builder, calibration_ids, feeds_of, llama, save  # noqa: E402

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

DOMAIN = "my.domain"
RTN = ["--method", "rtn", "--group-size", 16]


def info(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or None)


def inner_graph(name, captured):
    """A graph that reads a value of the one around it."""
    node = helper.make_node("Add", [f"{name}_in", captured], [f"{name}_out"], name=f"{name}_add")
    return helper.make_graph([node], name, [info(f"{name}_in")], [info(f"{name}_out")])


def custom_model():
    """Nodes of an unknown domain wherever a node can stand, with attributes of every kind, and
    under the names of operators that mean something else in the standard's domain."""
    b = Builder()
    b.functions = [
        helper.make_function(
            "local", "Block", ["a", "w"], ["r"],
            [
                helper.make_node("MatMul", ["a", "w"], ["m"], name="product"),
                helper.make_node("Gate", ["m"], ["r"], name="gate", domain=DOMAIN, kind="inner"),
            ],
            [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 3)],
        )
    ]  # fmt: skip
    table = numpy_helper.from_array(np.arange(6, dtype=np.float32), "table")

    def custom(op, inputs, outputs, name, **attributes):
        b.nodes.append(
            helper.make_node(op, inputs, outputs, name=name, domain=DOMAIN, **attributes)
        )

    table_of_words = b.weight((VOCABULARY, 64), "words.weight")
    x = b.node("Gather", [table_of_words, "input_ids"])
    b.constant(np.array(3, np.int64), "three")
    highest = b.node("ReduceMax", ["input_ids"], keepdims=0)
    condition = b.node("Greater", [highest, "three"])
    custom(
        "Prepare", [x], ["prepared", "", "list"], "prepare", ints=[1, 2], number=1.5,
        text="a", texts=["b", "c"], table=table, body=inner_graph("alone", "captured_alone"),
    )  # fmt: skip
    custom("Consume", ["list"], [], "consume")
    custom("Consume", ["list"], [], "consume")
    b.constant(np.ones(64, np.float32), "captured_alone")
    b.constant(np.ones(64, np.float32), "captured_in_list")
    several = helper.make_attribute("bodies", [inner_graph("first", "captured_in_list")])
    first = b.linear("prepared", 64, 64, "first")
    custom("Several", [first], ["several"], "several")
    b.nodes[-1].attribute.append(several)
    # What looks like a product, a constant and a move of one is nothing of the kind.
    b.weight((64, 64), "disguised.weight")
    custom("MatMul", ["several", "disguised.weight"], ["disguised"], "disguised")
    custom("Constant", [], ["no_constant"], "no_constant", value=table)
    custom("Identity", ["disguised.weight"], ["no_copy"], "no_copy")
    custom("Unpack", ["disguised.weight", "no_constant"], ["unpacked"], "unpack")
    b.nodes.append(helper.make_node("MatMul", ["disguised", "unpacked"], ["u"], name="by_unpacked"))
    b.nodes.append(helper.make_node("Add", ["u", "no_copy"], ["v"], name="add_copy"))
    branches = {}
    for key in ("then_branch", "else_branch"):
        weight = b.weight((64, 64), f"{key}.weight")
        branches[key] = helper.make_graph(
            [
                helper.make_node("Branch", ["v"], [f"{key}_a"], name=key, domain=DOMAIN, side=key),
                helper.make_node("MatMul", [f"{key}_a", weight], [f"{key}_y"], name=f"{key}_mm"),
            ],
            key, [], [info(f"{key}_y")],
        )  # fmt: skip
    b.nodes.append(helper.make_node("If", [condition], ["chosen"], name="choice", **branches))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"], name="go_on"),
            helper.make_node("Turn", ["state"], ["turned"], name="turn", domain=DOMAIN, axis=1),
            helper.make_node("MatMul", ["turned", b.weight((64, 64), "loop.weight")], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            info("state"),
        ],
        [helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []), info("next")],
    )
    b.nodes.append(
        helper.make_node("Loop", ["three", condition, "chosen"], ["looped"], name="loop", body=body)
    )
    b.weight((64, 64), "block.weight")
    b.nodes.append(
        helper.make_node("Block", ["looped", "block.weight"], ["y"], name="block", domain="local")
    )
    model = b.model(
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [info("y", "batch", "length", 64)],
        extra_domains=["local"],
    )
    model.opset_import.append(helper.make_opsetid(DOMAIN, 3))
    return model


def custom_nodes(graph):
    """The unknown nodes of a graph and those within it, without their names' prefixes."""
    found = {}
    for node in nodes_below(graph.node):
        if node.domain == DOMAIN:
            found.setdefault(node.name.split("/")[-1], []).append(node)
    return found


@pytest.mark.parametrize(
    "options", [[], ["--format", "qdq"], ["--float", "fp16"], ["--asymmetric", "--bits", 8]]
)
def test_nodes_of_an_unknown_domain_are_written_as_they_were(tmp_path, options):
    model = custom_model()
    source = save(model, tmp_path / "source")
    done = quantize("run", "--src", source, "--dst", tmp_path / "out", *RTN, *options)
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "not verified" in line]
    assert "my.domain::Prepare" in warning and "'prepare'" in warning
    described = check_metadata(tmp_path / "out")
    assert described["verification"] is None
    assert {entry["name"] for entry in described["linears"] if entry["decision"] == "quantize"} == {
        "first", "then_branch", "else_branch", "loop", "block",
    }  # fmt: skip
    written = onnx.load(tmp_path / "out" / "model.onnx")
    before, after = custom_nodes(model.graph), custom_nodes(written.graph)
    gate = model.functions[0].node[1]
    assert set(after) == {*before, gate.name}
    for name, nodes in before.items():
        assert [n.SerializeToString() for n in nodes] == [
            n.SerializeToString() for n in after[name]
        ], name
    assert list(after[gate.name][0].attribute) == list(gate.attribute)
    assert {e.version for e in written.opset_import if e.domain == DOMAIN} == {3}
    kept = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name in ("captured_alone", "captured_in_list", "disguised.weight"):
            np.testing.assert_array_equal(kept[tensor.name], numpy_helper.to_array(tensor))


def test_report_and_inspect_say_that_nothing_was_run(tmp_path):
    source = save(custom_model(), tmp_path / "source")
    planned = quantized(source, tmp_path / "out", *RTN, "--dry-run")
    assert any("my.domain::Prepare" in note for note in planned["notes"])
    assert not (tmp_path / "out").exists()
    report = quantized(source, tmp_path / "out", *RTN)
    assert not report["verification"]["done"]
    assert "my.domain::Prepare" in report["verification"]["note"]
    shown = quantize("inspect", source)
    assert shown.returncode == 0
    assert "my.domain::Prepare" in shown.stdout and "by_unpacked" not in shown.stdout
    assert "--method rtn" in shown.stdout and "then_branch" in shown.stdout


def murmur_model():
    """A decoder whose token ids are hashed by an operator that ONNX Runtime has."""
    model = llama()
    gather = next(n for n in model.graph.node if n.op_type == "Gather")
    gather.input[1] = "hashed_ids"
    hashing = [
        helper.make_node("MurmurHash3", ["input_ids"], ["hash"], name="hash",
                         domain="com.microsoft", positive=1, seed=7),
        helper.make_node("Cast", ["hash"], ["hash64"], name="widen", to=TensorProto.INT64),
        helper.make_node("Mod", ["hash64", "words"], ["hashed_ids"], name="wrap"),
    ]  # fmt: skip
    for i, node in enumerate(hashing):
        model.graph.node.insert(i, node)
    words = numpy_helper.from_array(np.array(VOCABULARY, np.int64), "words")
    model.graph.initializer.append(words)
    if not any(e.domain == "com.microsoft" for e in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


@pytest.mark.parametrize("options", [[], ["--format", "qdq"], ["--float", "fp16"]])
def test_operator_that_onnx_runtime_runs_and_we_do_not(tmp_path, options):
    model = murmur_model()
    source = save(model, tmp_path / "source")
    report = quantized(
        source, tmp_path / "out", *RTN, "--bits", 8, "--accuracy-level", 0, *options
    )
    assert report["totals"]["linears_quantized"] == 7
    assert metadata(tmp_path / "out")["verification"] is None
    feeds = feeds_of(model)
    before = run_session(session(source / "model.onnx"), feeds)
    after = run_session(session(tmp_path / "out" / "model.onnx"), feeds)
    assert cosine(after["logits"], before["logits"]) >= 0.9999
    assert not np.array_equal(after["logits"], before["logits"])


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_calibration_is_refused_before_any_work(tmp_path, dry):
    source = save(murmur_model(), tmp_path / "source")
    ids = calibration_ids(tmp_path / "ids.npy")
    done = quantize("run", "--src", source, "--dst", tmp_path / "out", "--calib", ids, *dry)
    assert done.returncode == 4 and not (tmp_path / "out").exists()
    for word in ("'hash'", "com.microsoft::MurmurHash3", "--method rtn"):
        assert word in done.stderr
