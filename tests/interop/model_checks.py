"""What is checked of every exported model, and the line that is printed about it.

A model is a folder with model.onnx and one or more io*.npz: inputs in.NAME and ONNX Runtime's outputs
out.NAME, made with its graph optimisations off.
"""

import collections
import functools
import pathlib

import numpy as np
import onnx
import pytest
from quantize_cli import (
    check_metadata,
    cosine,
    forward,
    quantize,
    quantized,
    relative_error,
    run_session,
    session,
    signature,
    summarize,
)

RUNS = [(bits, form) for bits in (4, 8) for form in ("matmulnbits", "qdq")]
# Of a sweep over every export, these are fast: a decoder, an encoder, branches, a graph of FP16.
FAST_EXPORTS = {"llama-ts14", "bert-ts11", "t5-optimum-merged-decoder", "qwen2-dynamo18-fp16"}


def models_below(folder):
    """The names of the models of a folder."""
    folder = pathlib.Path(folder)
    return sorted(str(p.parent.relative_to(folder)) for p in folder.rglob("model.onnx"))


def sweep(names):
    """Parameters of a test that runs over many exports: all but a few are slow."""
    return [
        pytest.param(name, marks=() if name in FAST_EXPORTS else pytest.mark.slow) for name in names
    ]


def arrays_of(folder, file="io.npz"):
    """The inputs and the expected outputs."""
    with np.load(folder / file) as arrays:
        inputs = {n[3:]: arrays[n] for n in arrays.files if n.startswith("in.")}
        outputs = {n[4:]: arrays[n] for n in arrays.files if n.startswith("out.")}
    return inputs, outputs


def main_output(outputs):
    """The logits, or the first output that holds fractions."""
    fractions = [n for n, a in outputs.items() if a.dtype.kind == "f"]
    return "logits" if "logits" in outputs else next(iter(fractions or outputs))


def nodes_below(nodes):
    """The nodes, and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_below(attribute.g.node)


def nodes_of(model):
    """Every node, those of subgraphs and functions included."""
    yield from nodes_below(model.graph.node)
    for function in model.functions:
        yield from nodes_below(function.node)


@functools.lru_cache(maxsize=None)
def is_half(path):
    """Whether a model computes in 16 bits: every operator rounds, in an order the runtime chooses."""
    model = onnx.load(path, load_external_data=False)
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    types = {v.type.tensor_type.elem_type for v in model.graph.input}
    stored = {t.name: t.data_type for t in model.graph.initializer}
    for node in nodes_of(model):
        if node.op_type != "Cast":  # weights may be stored in 16 bits and widened
            types.update(stored[name] for name in node.input if name in stored)
        for a in node.attribute:
            if a.name == "to" and node.op_type == "Cast":
                types.add(a.i)
    return bool(halves & types)


def parity(folder, file="io.npz"):
    """The largest relative difference of our executor's outputs from the stored ones."""
    done = quantize("forward", "--src", folder, "--inputs", folder / file, "--against")
    assert done.returncode == 0, f"{file}: {done.stderr.strip()}"
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert rows
    return max(float(row[-2]) for row in rows)


def same_signature(written, source):
    """The same names and types; a dimension may be known that the runtime did not see before."""
    return len(written) == len(source) and all(
        [v[:2] for v in a] == [v[:2] for v in b]
        and all(len(x[2]) == len(y[2]) or not y[2] for x, y in zip(a, b))
        and all(d == e or not isinstance(e, int) for x, y in zip(a, b) for d, e in zip(x[2], y[2]))
        for a, b in zip(written, source)
    )


def compare_with_own_executor(folder, destination, scratch, limit):
    """Checks the written model in ONNX Runtime; returns the cosine of its output with the float's:
    the smallest, where arrays for the other branch of an If are stored."""
    written = session(destination / "model.onnx")
    assert same_signature(signature(written), signature(session(folder / "model.onnx")))
    similarities = []
    for file in ("io.npz", "io_nocache.npz"):
        if not (folder / file).exists():
            continue
        feeds, stored = arrays_of(folder, file)
        got = run_session(written, feeds)
        for output, expected in forward(destination, feeds, scratch).items():
            error = relative_error(got[output], expected)
            assert error <= limit, f"{file}, {output}: relative difference {error:.2e}"
        main = main_output(stored)
        similarities.append(cosine(got[main], stored[main]))
    return min(similarities)


def check_report(report, described):
    """The report and the metadata count alike, and say why a linear is kept."""
    kept = [linear for linear in described["linears"] if linear["decision"] == "keep"]
    assert all(linear["reason"] for linear in kept)
    assert report["totals"]["linears_kept"] == len(kept)


def counts_of(report, described):
    linears, counts = described["linears"], report["totals"]
    text = (
        f"{len(linears)} linears: {counts['linears_quantized']} quantized, "
        f"{counts['linears_fp16']} fp16, {counts['linears_kept']} kept"
    )
    reasons = collections.Counter(x["reason"] for x in linears if x["decision"] == "keep")
    return text + "".join(f" ({n} × {reason})" for reason, n in reasons.most_common())


def check_operators(destination, form, linears):
    """The linears really are in the form asked for."""
    model = onnx.load(destination / "model.onnx", load_external_data=False)
    types = [node.op_type for node in nodes_of(model)]
    operators = {"matmulnbits": ("MatMulNBits", "GatherBlockQuantized"), "qdq": ("DequantizeLinear",)}
    assert sum(types.count(operator) for operator in operators[form]) == linears
    if form == "qdq" and linears:
        assert "MatMulNBits" not in types
        assert max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) >= 21


def quantize_and_run(folder, bits, form, scratch, limit):
    """Quantizes without calibration; returns the report, the metadata and the cosine."""
    destination = scratch / "out"
    arguments = ["--method", "rtn", "--bits", bits, "--group-size", 32, "--format", form]
    report = quantized(folder, destination, *arguments, "--accuracy-level", 0)
    described = check_metadata(destination)
    check_report(report, described)
    check_operators(destination, form, report["totals"]["linears_quantized"])
    return report, described, compare_with_own_executor(folder, destination, scratch, limit)


def calibrate_and_run(folder, scratch, limit, samples=16, length=48, vocabulary=300):
    """Quantizes with AWQ on token ids; returns the report, the metadata and the cosine.

    A model of fixed shape reads them joined and cut, so their number may be another.
    """
    ids = np.random.default_rng(3).integers(3, vocabulary, size=(samples, length), dtype=np.int64)
    np.save(scratch / "ids.npy", ids)
    destination = scratch / "out"
    arguments = ["--method", "awq", "--bits", 4, "--group-size", 32, "--accuracy-level", 0]
    report = quantized(folder, destination, *arguments, "--calib", scratch / "ids.npy")
    described = check_metadata(destination)
    check_report(report, described)
    if report["totals"]["linears_quantized"] == 0:
        return report, described, compare_with_own_executor(folder, destination, scratch, limit)
    calibration = described["calibration"]
    assert calibration["samples"] == samples or calibration["notes"]
    assert 0 < calibration["tokens"] <= samples * length
    found = [x["quantized"] for x in described["linears"] if x["decision"] == "quantize"]
    assert any(f["calibration_tokens"] > 0 for f in found)  # an expert may have seen none
    for f in found:
        if f["calibration_tokens"] > 0:
            assert f["loss_after"] <= f["loss_before"] * (1 + 1e-9)
    return report, described, compare_with_own_executor(folder, destination, scratch, limit)


def print_results(title, results):
    """One line a model, and the totals. results[name] has parity, counts, calibrated, (bits, form)."""
    keys = [*RUNS, "calibrated"]
    for name, r in results.items():
        if not r:
            continue
        labels = {k: k if isinstance(k, str) else f"{k[0]} bits {k[1]}" for k in keys}
        runs = "  ".join(f"{labels[k]}: {r[k]}" for k in keys if k in r)
        found = f"parity {r['parity']:.1e}" if "parity" in r else "not run"
        counts = r.get("counts", "linears not counted")
        summarize(title, f"{name:44}{found:16}{counts}  {runs}")
    seen = [r for r in results.values() if r]
    if seen:
        done = [sum("parity" in r for r in seen)] + [sum(k in r for r in seen) for k in RUNS]
        summarize(
            title,
            f"{len(seen)} models: {done[0]} agree with ONNX Runtime; run in it: "
            + ", ".join(f"{n} at {b} bits in {f}" for n, (b, f) in zip(done[1:], RUNS)),
        )
