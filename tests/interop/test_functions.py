"""Model-local functions: our executor against ONNX Runtime, which inlines them itself, and against
onnx.inliner. Needs the program of PTQ_BUILD_DIR."""

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, inliner, numpy_helper  # noqa: E402
from quantize_cli import (  # noqa: E402
    QUANTIZE,
    forward,
    quantize,
    quantized,
    relative_error,
    run_session,
    session,
)

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

F = TensorProto.FLOAT
WIDTH = 32


def node(op, inputs, outputs, domain="", **attributes):
    return helper.make_node(op, inputs, outputs, domain=domain, **attributes)


def referring(op, inputs, outputs, attribute, kind, reference):
    made = node(op, inputs, outputs)
    added = made.attribute.add()
    added.name, added.type, added.ref_attr_name = attribute, kind, reference
    return made


def function(name, inputs, outputs, nodes, domain="local", opset=18, **options):
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_function(domain, name, inputs, outputs, nodes, imports, **options)


def built(nodes, functions, rng, outputs=("y",), opset=18, ir=10, domains=("local",)):
    weights = [
        numpy_helper.from_array(rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 6, name)
        for name in ("w0.weight", "w1.weight")
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", F, ["rows", WIDTH])],
        [helper.make_tensor_value_info(name, F, None) for name in outputs],
        weights,
    )
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    model = helper.make_model(graph, opset_imports=imports, functions=functions)
    model.ir_version = ir
    return model


LINEAR = function("Linear", ["a", "w"], ["r"], [node("MatMul", ["a", "w"], ["r"])])


def nested(rng):
    outer = function(
        "Twice", ["a", "w", "v"], ["r"],
        [
            node("Linear", ["a", "w"], ["t"], "local"),
            node("Tanh", ["t"], ["u"]),
            node("Linear", ["u", "v"], ["r"], "local"),
        ],
    )  # fmt: skip
    calls = [
        node("Twice", ["x", "w0.weight", "w1.weight"], ["t"], "local"),
        node("Twice", ["t", "w1.weight", "w0.weight"], ["y"], "local"),
    ]
    return built(calls, [LINEAR, outer], rng)


def overloaded(rng):
    plain = function("Act", ["a"], ["r"], [node("Relu", ["a"], ["r"])])
    plain.overload = "relu"
    other = function("Act", ["a"], ["r"], [node("Tanh", ["a"], ["r"])])
    other.overload = "tanh"
    calls = [node("Linear", ["x", "w0.weight"], ["m"], "local")]
    for i, (overload, source) in enumerate((("relu", "m"), ("tanh", "a0"))):
        calls.append(node("Act", [source], [f"a{i}"], "local"))
        calls[-1].overload = overload
    calls.append(node("Identity", ["a1"], ["y"]))
    return built(calls, [LINEAR, plain, other], rng)


def defaults_and_references(rng):
    """An attribute with a default, one in a subgraph, and one handed on to an inner call."""
    branch = helper.make_graph(
        [referring("LeakyRelu", ["t"], ["b"], "alpha", onnx.AttributeProto.FLOAT, "slope")],
        "then", [], [helper.make_tensor_value_info("b", F, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [node("Neg", ["t"], ["b"])], "else", [], [helper.make_tensor_value_info("b", F, None)]
    )
    inner = function(
        "Leaky", ["a", "w", "c"], ["r"],
        [
            node("Linear", ["a", "w"], ["t"], "local"),
            node("If", ["c"], ["r"], then_branch=branch, else_branch=other),
        ],
        attribute_protos=[helper.make_attribute("slope", 0.25)],
    )  # fmt: skip
    handed = referring("Leaky", ["a", "w", "c"], ["r"], "slope", onnx.AttributeProto.FLOAT, "s")
    handed.domain = "local"
    outer = function("Outer", ["a", "w", "c"], ["r"], [handed], attributes=["s"])
    calls = [
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Constant", [], ["zero"], value_float=0.0),
        node("Greater", ["top", "zero"], ["c"]),
        node("Leaky", ["x", "w0.weight", "c"], ["p"], "local"),
        node("Leaky", ["p", "w1.weight", "yes"], ["q"], "local", slope=0.75),
        node("Outer", ["q", "w1.weight", "c"], ["y"], "local", s=0.5),
    ]
    return built(calls, [LINEAR, inner, outer], rng)


def with_loop(rng):
    """A function whose Loop captures the function's own values."""
    body = helper.make_graph(
        [
            node("Identity", ["c"], ["c_out"]),
            node("MatMul", ["v", "w"], ["p"]),
            node("Add", ["p", "t"], ["s"]),
            node("Tanh", ["s"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", F, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", F, None),
        ],
    )
    looped = function(
        "Looped", ["a", "w"], ["r"],
        [
            node("Neg", ["a"], ["t"]),
            helper.make_node("Constant", [], ["m"], value=numpy_helper.from_array(np.array(3))),
            node("Loop", ["m", "", "a"], ["r"], body=body),
        ],
    )  # fmt: skip
    calls = [
        node("Looped", ["x", "w0.weight"], ["t"], "local"),
        node("Looped", ["t", "w1.weight"], ["y"], "local"),
    ]
    return built(calls, [looped], rng)


def missing_optionals(rng):
    """An optional input left out, and a second output that nobody uses."""
    clipped = function(
        "Clipped", ["a", "low", "w"], ["r", "unused"],
        [
            node("Clip", ["a", "low"], ["t"]),
            node("Neg", ["t"], ["unused"]),
            node("MatMul", ["t", "w"], ["r"]),
        ],
    )  # fmt: skip
    calls = [
        node("Constant", [], ["low"], value_float=-0.5),
        node("Clipped", ["x", "low", "w0.weight"], ["p", "dropped"], "local"),
        node("Clipped", ["p", "", "w1.weight"], ["q", "other"], "local"),
        node("Add", ["q", "p"], ["y"]),
    ]
    return built(calls, [clipped], rng)


def awkward_names(rng):
    """Names of the graph that look like those that an inlined body gets; the same in all bodies."""
    calls = [
        node("Relu", ["x"], ["Linear.0/r"]),
        node("Linear", ["Linear.0/r", "w0.weight"], ["r"], "local"),
        node("Twice", ["r", "w1.weight"], ["t"], "local"),
        node("Add", ["t", "Linear.0/r"], ["y"]),
    ]
    twice = function(
        "Twice", ["a", "w"], ["r"],
        [node("MatMul", ["a", "w"], ["t"]), node("MatMul", ["t", "w"], ["r"])],
    )  # fmt: skip
    return built(calls, [LINEAR, twice], rng)


def exporters_domains(rng):
    """The domains that exporters use, a name with dots, and one function that nobody calls."""
    module = function(
        "torch.nn.Linear", ["a", "w"], ["r"],
        [node("aten_mm", ["a", "w"], ["r"], "pkg.onnxscript.torch_lib")], "pkg.torch.2.4",
    )  # fmt: skip
    module.opset_import.append(helper.make_opsetid("pkg.onnxscript.torch_lib", 1))
    aten = function(
        "aten_mm", ["a", "w"], ["r"], [node("MatMul", ["a", "w"], ["r"])],
        "pkg.onnxscript.torch_lib",
    )  # fmt: skip
    own = function("Act", ["a"], ["r"], [node("Tanh", ["a"], ["r"])], "this")
    never = function("Never", ["a"], ["r"], [node("Softmax", ["a"], ["r"])], "this", opset=11)
    calls = [
        node("torch.nn.Linear", ["x", "w0.weight"], ["p"], "pkg.torch.2.4"),
        node("Act", ["p"], ["q"], "this"),
        node("torch.nn.Linear", ["q", "w1.weight"], ["y"], "pkg.torch.2.4"),
    ]
    domains = ("pkg.torch.2.4", "this", "pkg.onnxscript.torch_lib")
    return built(calls, [module, aten, own, never], rng, domains=domains)


BUILDERS = [
    nested, overloaded, defaults_and_references, with_loop, missing_optionals, awkward_names,
    exporters_domains,
]  # fmt: skip


@pytest.mark.parametrize("build", BUILDERS, ids=lambda b: b.__name__)
def test_runs_as_in_onnx_runtime(build, tmp_path):
    rng = np.random.default_rng(17)
    model = build(rng)
    feeds = {"x": rng.standard_normal((5, WIDTH)).astype(np.float32)}
    (tmp_path / "source").mkdir()
    onnx.save(model, tmp_path / "source" / "model.onnx")
    expected = run_session(session(tmp_path / "source" / "model.onnx"), feeds)
    own = forward(tmp_path / "source", feeds, tmp_path)
    for name, array in expected.items():
        assert relative_error(own[name], array) <= 1e-5, name
    # onnx.inliner (1.23) forgets a default that is referred to inside a subgraph.
    if build is not defaults_and_references:
        onnx.save(inliner.inline_local_functions(model), tmp_path / "flat.onnx")
        for name, array in run_session(session(tmp_path / "flat.onnx"), feeds).items():
            assert relative_error(own[name], array) <= 1e-5, name
    for form in ("matmulnbits", "qdq"):
        destination = tmp_path / form
        arguments = ["--method", "rtn", "--bits", 8, "--group-size", 32, "--format", form]
        report = quantized(tmp_path / "source", destination, *arguments, "--lm-head", "int8")
        written = onnx.load(destination / "model.onnx")
        assert not written.functions
        assert report["totals"]["linears_quantized"] > 0 and report["totals"]["linears_kept"] == 0
        got = run_session(session(destination / "model.onnx"), feeds)
        for name, array in expected.items():
            assert relative_error(got[name], array) <= 0.05, f"{form}: {name}"


def test_another_opset_is_refused_with_a_reason(tmp_path):
    rng = np.random.default_rng(3)
    old = function("Old", ["a", "w"], ["r"], [node("MatMul", ["a", "w"], ["r"])], opset=9)
    onnx.save(built([node("Old", ["x", "w0.weight"], ["y"], "local")], [old], rng),
              tmp_path / "model.onnx")  # fmt: skip
    done = quantize("run", "--src", tmp_path, "--dst", tmp_path / "out", "--method", "rtn")
    assert done.returncode != 0
    assert "'Old' is written for opset 9" in done.stderr
