"""Single-node models of com.microsoft's recurrent, gated and hyper-connected layers."""

import numpy as np
from single_node import F, MS, f32, one_node, seeded


def linear_attention(rng):
    def case(name, batch=2, tokens=5, heads=4, kv=4, keys=None, size=8, value=6, rule="gated_delta",
             per_key=False, beta_one=False, past=False, **attributes):
        keys = kv if keys is None else keys
        k = f32(rng, batch, tokens, keys, size)
        k /= np.linalg.norm(k, axis=-1, keepdims=True)
        decay = -rng.random((batch, tokens, kv * size if per_key else kv)).astype(np.float32)
        beta = rng.random((batch, tokens, 1 if beta_one else kv)).astype(np.float32)
        return f"LinearAttention/{name}", one_node(
            "LinearAttention",
            [("q", f32(rng, batch, tokens, heads * size), 0),
             ("k", k.reshape(batch, tokens, -1), 0), ("v", f32(rng, batch, tokens, kv * value), 0),
             ("past", f32(rng, batch, kv, size, value) if past else None, 0),
             ("decay", decay if rule.startswith("gated") else None, 0),
             ("beta", beta if rule.endswith("delta") else None, 0)],
            [("y", F), ("state", F)], MS, q_num_heads=heads, kv_num_heads=kv, update_rule=rule, **attributes)

    for rule in ("linear", "gated", "delta", "gated_delta"):
        for past in (False, True):
            yield case(f"{rule},{past}", rule=rule, past=past)
        yield case(f"{rule},decode", rule=rule, past=True, tokens=1, batch=3)
        yield case(f"{rule},scale", rule=rule, scale=0.3)
        yield case(f"{rule},shared", rule=rule, heads=6, kv=2)
        yield case(f"{rule},inverse", rule=rule, heads=2, kv=4, past=True)
    yield case("default rule", rule="gated_delta", tokens=70, chunk_size=16, size=16, value=32)
    yield case("shared keys", heads=2, kv=4, keys=2)
    yield case("decay per key", per_key=True, past=True)
    yield case("decay per key, gated", per_key=True, rule="gated")
    yield case("one beta", beta_one=True)


def linear_attention_gate(rng):
    for i, beta in enumerate((True, False)):
        a = f32(rng, 2, 5, 8, scale=8.0)
        yield f"LinearAttentionGate/{i}", one_node(
            "LinearAttentionGate",
            [("a", a, 0), ("dt", f32(rng, 8), 1), ("s", -rng.random(8).astype(np.float32), 1),
             ("b", f32(rng, 2, 5, 8) if beta else None, 0)],
            [("decay", F), ("beta", F)][:1 + beta], MS)


def causal_conv(rng):
    def case(name, batch=2, channels=6, tokens=7, taps=4, bias=True, past=False, last=False,
             dilation=None, shape=None, **attributes):
        carried = (taps - 1) * (dilation or 1)
        shape = shape or (channels,)
        x = f32(rng, batch, tokens, *shape) if last else f32(rng, batch, channels, tokens)
        state = (batch, carried, *shape) if last else (batch, channels, carried)
        return f"CausalConvWithState/{name}", one_node(
            "CausalConvWithState",
            [("x", x, 0), ("w", f32(rng, channels, 1, taps), 1),
             ("b", f32(rng, channels) if bias else None, 1),
             ("past", f32(rng, *state) if past else None, 0)],
            [("y", F), ("state", F)], MS, channels_last=1 if last else None, dilation=dilation, **attributes)

    for activation in (None, "none", "silu", "swish"):
        for past in (False, True):
            yield case(f"{activation},{past}", activation=activation, past=past)
    yield case("no bias", bias=False)
    yield case("decode", tokens=1, past=True, activation="silu", batch=3)
    yield case("one tap", taps=1)
    yield case("fewer tokens than taps", tokens=2, taps=5, past=True)
    for last in (False, True):
        yield case(f"dilated {last}", dilation=3, past=True, last=last)
        yield case(f"last {last}", last=last, past=True, activation="silu")
    yield case("two channel axes", last=True, shape=(2, 3), past=True)


def gated_norms(rng):
    for i, (shape, width) in enumerate([((2, 5, 24), 24), ((2, 5, 24), 8), ((7, 16), 16)]):
        for activation in (None, "silu", "swish", "sigmoid"):
            yield f"GatedRMSNorm/{i},{activation}", one_node(
                "GatedRMSNorm",
                [("x", f32(rng, *shape), 0), ("s", f32(rng, width), 1), ("g", f32(rng, *shape), 0)],
                [("y", F)], MS, activation=activation, epsilon=1e-3 if i else None)
        yield f"GatedAdd/{i}", one_node(
            "GatedAdd", [("x", f32(rng, *shape), 0), ("y", f32(rng, *shape), 0),
                         ("g", f32(rng, *shape[:-1], 1), 0)], [("o", F)], MS)
        scale = np.float32(1.7).reshape(() if i else (1,))
        yield f"ScaledSiLU/{i}", one_node(
            "ScaledSiLU", [("x", f32(rng, *shape), 0), ("s", scale if i else None, 0)], [("y", F)],
            MS, alpha=0.5 if i != 1 else None)


def hyper_connections(rng):
    for i, (lead, branches, width) in enumerate([((2, 5), 4, 8), ((3,), 2, 17), ((1, 1), 1, 4)]):
        for flat in (False, True):
            shape = (*lead, branches * width) if flat else (*lead, branches, width)
            x, number = f32(rng, *shape), branches if flat else None
            for j, scale in enumerate([(width,), (branches, width), (branches * width,), None]):
                yield f"BranchwiseRMSNorm/{i},{flat},{j}", one_node(
                    "BranchwiseRMSNorm",
                    [("x", x, 0), ("s", None if scale is None else f32(rng, *scale), 1)],
                    [("y", F)], MS, num_branches=number, epsilon=1e-3 if j else None)
            for j, mix in enumerate([(branches,), (branches, 1), (branches, width)]):
                weights = f32(rng, *lead, *mix)
                yield f"HyperConnectionPreMix/{i},{flat},{j}", one_node(
                    "HyperConnectionPreMix", [("x", x, 0), ("w", weights, 0)], [("y", F)], MS,
                    num_branches=number, reduction_scale=0.25 if j else None)
                for matrix in (False, True):
                    yield f"HyperConnectionPostMix/{i},{flat},{j},{matrix}", one_node(
                        "HyperConnectionPostMix",
                        [("x", x, 0), ("o", f32(rng, *lead, width), 0), ("w", weights, 0),
                         ("m", f32(rng, *lead, branches, branches) if matrix else None, 0)],
                        [("y", F)], MS, num_branches=number)
    for normed in (False, True):
        shape = (2, 3, 4, 16)
        yield f"EngramGate/{normed}", one_node(
            "EngramGate",
            [("k", f32(rng, *shape), 0), ("q", f32(rng, *shape), 0), ("v", f32(rng, 2, 3, 16), 0),
             ("ks", f32(rng, 4, 16), 1), ("qs", f32(rng, 4, 16), 1),
             ("cs", f32(rng, 4, 16) if normed else None, 1)],
            [("y", F), ("n", F)][:1 + normed], MS, epsilon=1e-4)


def mrotary(rng):
    half, heads = 8, 3
    cos, sin = f32(rng, 40, half), f32(rng, 40, half)
    for layout in (0, 1):
        for interleaved in (0, 1):
            for sections in ((2, 3, 3), (8, 0, 0), (4, 2, 2)):
                for partial in (False, True):
                    for four in (False, True):
                        size = 24 if partial else 2 * half
                        shape = (2, heads, 5, size) if four else (2, 5, heads * size)
                        yield (f"MRotaryEmbedding/{layout},{interleaved},{sections},{partial},{four}",
                               one_node(
                                   "MRotaryEmbedding",
                                   [("x", f32(rng, *shape), 0),
                                    ("p", rng.integers(0, 40, (3, 2, 5)), 0), ("c", cos, 1),
                                    ("s", sin, 1)], [("y", F)], MS, mrope_section=list(sections),
                                   mrope_layout=layout, interleaved=interleaved,
                                   num_heads=heads if partial or not four else None,
                                   rotary_embedding_dim=2 * half if partial else None))


cases = seeded([linear_attention, linear_attention_gate, causal_conv, gated_norms,
                hyper_connections, mrotary], 41)
