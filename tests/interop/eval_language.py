"""Figures of language models, computed from logits in float64, and small ones of special forms."""

import numpy as np
from onnx import TensorProto, helper
from small_models import VOCABULARY, Builder, llama


def log_probabilities(logits):
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class LanguageSums:
    """What one model and another say of the tokens that follow."""

    def __init__(self):
        self.tokens, self.loss, self.reference_loss, self.kl, self.same = 0, 0.0, 0.0, 0.0, 0

    def add(self, logits, reference, following):
        """Logits [N, V] of both, and the tokens [N] that they should prefer."""
        q, p = log_probabilities(logits), log_probabilities(reference)
        following = np.asarray(following)[:, None]
        self.tokens += len(following)
        self.loss -= np.take_along_axis(q, following, axis=1).sum()
        self.reference_loss -= np.take_along_axis(p, following, axis=1).sum()
        self.kl += (np.exp(p) * (p - q)).sum()
        self.same += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())

    def figures(self):
        own, other = (np.exp(x / self.tokens) for x in (self.loss, self.reference_loss))
        return {
            "tokens": self.tokens,
            "perplexity": own,
            "reference_perplexity": other,
            "perplexity_ratio": own / other,
            "kl": self.kl / self.tokens,
            "top1_agreement": self.same / self.tokens,
        }


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def causal_llama(**options):
    """`llama` of tokens that attend to those before them alone: one mask for its only layer."""
    model = llama(**options)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    scores = softmax.input[0]
    nodes = [
        helper.make_node("Shape", [scores], ["causal_shape"]),
        helper.make_node("Gather", ["causal_shape", "causal_two"], ["causal_rows"], axis=0),
        helper.make_node("Gather", ["causal_shape", "causal_three"], ["causal_columns"], axis=0),
        helper.make_node("Sub", ["causal_columns", "causal_rows"], ["causal_past"]),
        helper.make_node("ConstantOfShape", ["causal_shape"], ["causal_lowest"],
                         value=helper.make_tensor("far", TensorProto.FLOAT, [1], [-1e9])),
        helper.make_node("Add", ["causal_past", "causal_one"], ["causal_diagonal"]),
        helper.make_node("Trilu", ["causal_lowest", "causal_diagonal"], ["causal_mask"], upper=1),
        helper.make_node("Add", [scores, "causal_mask"], ["causal_scores"]),
    ]  # fmt: skip
    softmax.input[0] = "causal_scores"
    place = list(model.graph.node).index(softmax)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(place + offset, node)
    for name, number in (("two", 2), ("three", 3), ("one", 1)):
        model.graph.initializer.append(
            helper.make_tensor(f"causal_{name}", TensorProto.INT64, [], [number])
        )
    return model


def last_token_only(model, keep_axis):
    """The logits of the last token alone, [B, 1, V] or [B, V], as GenAI's builder gives them."""
    head = next(node for node in model.graph.node if "logits" in node.output)
    model.graph.node.remove(head)
    last, hidden = "last_place", head.input[0]
    shape = [1] if keep_axis else []
    model.graph.initializer.append(helper.make_tensor(last, TensorProto.INT64, shape, [-1]))
    model.graph.node.append(helper.make_node("Gather", [hidden, last], ["last_hidden"], axis=1))
    head.input[0] = "last_hidden"
    model.graph.node.append(head)
    logits = next(output for output in model.graph.output if output.name == "logits")
    model.graph.output.remove(logits)
    dims = ["batch", 1, VOCABULARY] if keep_axis else ["batch", VOCABULARY]
    model.graph.output.insert(0, value("logits", dims))
    return model


def convolution_decoder(hidden=64, taps=4, seed=12):
    """input_ids -> logits, by a convolution over the last tokens whose states are past_conv.0
    [batch, hidden, taps - 1], as in LFM2: the size is fixed but for the batch."""
    b = Builder(seed=seed)
    table = b.weight((VOCABULARY, hidden), "model.embed_tokens.weight", 1.0)
    x = b.node("Gather", [table, "input_ids"])
    h = b.linear(x, hidden, hidden, "model.layers.0.conv.in_proj")
    columns = b.node("Transpose", [h], perm=(0, 2, 1))
    b.constant(np.array([-taps + 1], np.int64), "kept")
    b.constant(np.array([np.iinfo(np.int64).max], np.int64), "end")
    b.constant(np.array([2], np.int64), "time_axis")
    known = b.node("Concat", ["past_conv.0", columns], axis=2)
    b.nodes.append(
        helper.make_node("Slice", [known, "kept", "end", "time_axis"], ["present_conv.0"])
    )
    filters = b.rng.standard_normal((hidden, 1, taps)).astype(np.float32)
    mixed = b.node("Conv", [known, b.constant(filters, "conv.weight")], group=hidden)
    y = b.node("Transpose", [mixed], perm=(0, 2, 1))
    y = b.node("Add", [x, b.linear(y, hidden, hidden, "model.layers.0.conv.out_proj")])
    weight = b.weight((hidden, VOCABULARY), "lm_head.weight")
    b.nodes.append(helper.make_node("MatMul", [y, weight], ["logits"], name="/lm_head/MatMul"))
    state = ["batch", hidden, taps - 1]
    return b.model(
        [value("input_ids", ["batch", "length"], TensorProto.INT64), value("past_conv.0", state)],
        [value("logits", ["batch", "length", VOCABULARY]), value("present_conv.0", state)],
    )
