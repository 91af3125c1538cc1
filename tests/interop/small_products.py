"""Small models built in code, one for each way in which a weight reaches a product."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from small_models import TYPES, Builder


def linear_forms(dtype="float32", opset=21, even=False):
    """x [2, 3, 83] through every form of product; ragged K, odd N (a multiple of 4 with `even`)."""
    k, n = (84, 40) if even else (83, 37)
    b = Builder(dtype)
    outputs = []

    def out(value, name):
        b.nodes.append(helper.make_node("Identity", [value], [name], name=f"{name}_node"))
        outputs.append(helper.make_tensor_value_info(name, TYPES[dtype], None))

    out(b.node("MatMul", ["x", b.weight((k, n), "direct.weight")], "direct"), "y_direct")
    turned = b.node("Transpose", [b.weight((n, k), "turned.weight")], perm=(1, 0))
    out(b.node("MatMul", ["x", turned], "turned"), "y_turned")
    same = b.node("Identity", [b.weight((k, n), "same.weight")])
    out(b.node("MatMul", ["x", same], "same"), "y_same")
    narrow = b.constant(b.rng.standard_normal((k, n)).astype(np.float32) * 0.2, "cast.weight",
                        "float16" if dtype == "float32" else "float32")
    cast = b.node("Cast", [narrow], to=TYPES[dtype])
    out(b.node("MatMul", ["x", cast], "cast"), "y_cast")
    shape = b.constant(np.array([k, n], np.int64), "kn")
    flat = b.node("Reshape", [b.weight((k * n,), "flat.weight"), shape])
    out(b.node("MatMul", ["x", flat], "flat"), "y_flat")
    # One weight, used twice, on different activations.
    shared = b.weight((k, n), "shared.weight")
    out(b.node("MatMul", ["x", shared], "shared_a"), "y_shared_a")
    out(b.node("MatMul", [b.node("Tanh", ["x"]), shared], "shared_b"), "y_shared_b")
    rows = b.node("Reshape", ["x", b.constant(np.array([6, k], np.int64), "rows")])
    bias = b.constant(b.rng.standard_normal(n).astype(np.float32), "gemm.bias")
    for trans in (0, 1):
        weight = b.weight((n, k) if trans else (k, n), f"gemm{trans}.weight")
        out(b.node("Gemm", [rows, weight, bias], f"gemm{trans}", transB=trans), f"y_gemm{trans}")
    weight = b.weight((n, k), "nobias.weight")
    out(b.node("Gemm", [rows, weight], "nobias", transB=1), "y_nobias")
    for trans in (0, 1):
        weight = b.weight((n, k) if trans else (k, n), f"fused{trans}.weight")
        made = b.node(
            "FusedMatMul", ["x", weight], f"fused{trans}", "com.microsoft", transB=trans, alpha=1.0
        )
        out(made, f"y_fused{trans}")
    x = helper.make_tensor_value_info("x", TYPES[dtype], [2, 3, k])
    ir = 13 if opset >= 25 else 10
    return b.model([x], outputs, opset, ir, extra_domains=["com.microsoft"])


def bf16_product():
    """One bfloat16 product between casts from and to float32."""
    b = Builder("bfloat16")
    x = b.node("Cast", ["x"], to=TYPES["bfloat16"])
    product = b.linear(x, 48, 64, "layer")
    b.nodes.append(helper.make_node("Cast", [product], ["y"], to=TensorProto.FLOAT, name="widen"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 48])
    return b.model([x], [y])


def with_branches():
    """A linear outside of an If and one inside of each branch, whose weight is outside."""
    b = Builder()
    outer = b.linear("x", 64, 64, "outer")
    inner = b.weight((64, 32), "inner.weight")
    info = [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)]
    branches = {
        key: helper.make_graph(
            [
                helper.make_node(op, [outer], [f"{key}_a"], name=f"{key}_{op}"),
                helper.make_node("MatMul", [f"{key}_a", inner], ["branch"], name=f"{key}_MatMul"),
            ],
            key,
            [],
            info,
        )
        for key, op in (("then_branch", "Tanh"), ("else_branch", "Sigmoid"))
    }
    b.nodes.append(helper.make_node("If", ["condition"], ["y"], name="choice", **branches))
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64]),
        helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
    ]
    return b.model(inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 32])])


def with_function():
    """Two calls of one model-local function that holds the product; the weights are arguments."""
    b = Builder()
    body = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0], name="turn"),
        helper.make_node("MatMul", ["a", "wt"], ["m"], name="product"),
        helper.make_node("Add", ["m", "c"], ["r"], name="bias"),
    ]
    imports = [helper.make_opsetid("", 21)]
    b.functions = [helper.make_function("local", "Linear", ["a", "w", "c"], ["r"], body, imports)]
    x = "x"
    for i, (n, k) in enumerate(((48, 64), (32, 48))):
        weight = b.weight((n, k), f"layer{i}.weight")
        bias = b.constant(b.rng.standard_normal(n).astype(np.float32), f"layer{i}.bias")
        x = b.node("Linear", [x, weight, bias], f"layer{i}", "local")
    b.nodes.append(helper.make_node("Tanh", [x], ["y"], name="last"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 32])]
    return b.model(inputs, outputs, extra_domains=["local"])


def mixture_of_experts(dtype=np.float32, bias=True, experts=4, width=64, inner=96, **attributes):
    """x [rows, width] -> Linear -> MoE of com.microsoft, 2 experts for each row -> Linear."""
    rng = np.random.default_rng(13)
    hidden = inner * (2 if attributes.get("activation_type") == "swiglu" else 1)
    stored = {
        "in.weight": rng.standard_normal((width, width)) / 8,
        "router.weight": rng.standard_normal((width, experts)),
        "moe.fc1.weight": rng.standard_normal((experts, hidden, width)) / 8,
        "moe.fc2.weight": rng.standard_normal((experts, width, inner)) / 10,
        "out.weight": rng.standard_normal((width, 32)) / 8,
    }
    if bias:
        stored["moe.fc1.bias"] = rng.standard_normal((experts, hidden)) / 4
        stored["moe.fc2.bias"] = rng.standard_normal((experts, width)) / 4
    names = ["moe.fc1.weight", "moe.fc1.bias", "moe.fc2.weight", "moe.fc2.bias"]
    inputs = ["h", "scores", *(name if name in stored else "" for name in names)]
    attributes = {"k": 2, "activation_type": "silu", **attributes}
    nodes = [
        helper.make_node("MatMul", ["x", "in.weight"], ["h"], name="in"),
        helper.make_node("MatMul", ["h", "router.weight"], ["scores"], name="router"),
        helper.make_node(
            "MoE", inputs, ["m"], name="moe", domain="com.microsoft", **attributes
        ),
        helper.make_node("MatMul", ["m", "out.weight"], ["y"], name="out"),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights = [numpy_helper.from_array(v.astype(dtype), name) for name, v in stored.items()]
    x, y = (helper.make_tensor_value_info(n, kind, ["rows", s]) for n, s in (("x", width), ("y", 32)))
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
