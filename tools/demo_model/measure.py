"""Measures models made from the demo model in ONNX Runtime.

  measure.py MODEL_DIR [MODEL.onnx ...] [--rtn 32 128]

Prints the held-out perplexity of MODEL_DIR/model.onnx and of every other model given, and, for those, the mean
KL(demo model || other) per token and how often both hold the same token for the likeliest. --rtn also measures the model
with its linears but the last rounded to 4 bits in groups of that size, computed here with NumPy: symmetric, the value of
the largest magnitude in a group becomes -8, which is what round-to-nearest for MatMulNBits does.
"""

import argparse
import math
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from tokenizers import Tokenizer

CONTEXT = 512


def session(model):
    """A session on the CPU for a path or for serialized bytes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def encode(model_dir, path, length):
    """Token ids of every document of a file (documents are separated by blank lines), each cut to the length."""
    tokenizer = Tokenizer.from_file(str(pathlib.Path(model_dir) / "tokenizer.json"))
    texts = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [encoding.ids[:length] for encoding in tokenizer.encode_batch(texts)]


def log_probabilities(run, document):
    """Log probabilities [tokens - 1, vocabulary] for what follows each token but the last, document by document."""
    ids = np.array([document], dtype=np.int64)
    logits = run(ids, np.ones_like(ids), np.arange(ids.shape[1], dtype=np.int64)[None])[0, :-1].astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def perplexity(run, documents):
    """Per token over all documents; the BOS token is given, not predicted."""
    loss, count = 0.0, 0
    for document in documents:
        scores = log_probabilities(run, document)
        loss -= scores[np.arange(len(scores)), document[1:]].sum()
        count += len(scores)
    return math.exp(loss / count)


def runner(model):
    runtime = session(model)
    return lambda ids, mask, positions: runtime.run(
        ["logits"], {"input_ids": ids, "attention_mask": mask, "position_ids": positions})[0]


def compare(reference, other, documents):
    """Returns (perplexity of other, mean KL(reference || other) per token, top-1 agreement)."""
    loss = divergence = agreement = count = 0
    for document in documents:
        p, q = log_probabilities(reference, document), log_probabilities(other, document)
        loss -= q[np.arange(len(q)), document[1:]].sum()
        divergence += (np.exp(p) * (p - q)).sum()
        agreement += (p.argmax(-1) == q.argmax(-1)).sum()
        count += len(q)
    return math.exp(loss / count), divergence / count, agreement / count


def round_to_nearest(weight, group):
    """Rounds W [K, N] to 4 bits along K in groups, signed amax/8 with the scale in FP16; returns it dequantized."""
    columns, rows = weight.T.astype(np.float32), []
    for start in range(0, columns.shape[1], group):
        part = columns[:, start : start + group]
        peak = np.take_along_axis(part, np.abs(part).argmax(1, keepdims=True), axis=1)
        scale = (peak / -8).astype(np.float16).astype(np.float32)
        codes = np.clip(np.round(part / np.where(scale == 0, 1, scale)), -8, 7)
        rows.append(codes * scale)
    return np.concatenate(rows, axis=1).T.astype(weight.dtype)


def rounded_model(path, group):
    """The model of the path, serialized, with the weights of all its linears but the last rounded."""
    model = onnx.load(path)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in initializers and "lm_head" not in node.name:
            tensor = initializers[node.input[1]]
            rounded = round_to_nearest(numpy_helper.to_array(tensor), group)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return model.SerializeToString()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=pathlib.Path)
    parser.add_argument("others", type=pathlib.Path, nargs="*")
    parser.add_argument("--rtn", type=int, nargs="*", default=[], metavar="GROUP_SIZE")
    args = parser.parse_args()
    source = str(args.model_dir / "model.onnx")
    documents = encode(args.model_dir, args.model_dir / "heldout.txt", CONTEXT)
    reference = runner(source)
    base = perplexity(reference, documents)
    tokens = sum(len(document) - 1 for document in documents)
    print(f"{len(documents)} documents, {tokens} tokens predicted")
    print(f"{'model':<40} {'perplexity':>10} {'change':>8} {'KL':>8} {'top-1':>7}")
    print(f"{source:<40} {base:>10.4f}")
    others = [(str(path), str(path)) for path in args.others]
    others += [(f"round-to-nearest, 4 bits, group {group}", rounded_model(source, group)) for group in args.rtn]
    for name, model in others:
        value, divergence, agreement = compare(reference, runner(model), documents)
        print(f"{name:<40} {value:>10.4f} {value / base - 1:>+8.2%} {divergence:>8.5f} {agreement:>7.2%}")


if __name__ == "__main__":
    main()
