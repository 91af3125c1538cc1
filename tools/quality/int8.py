#!/usr/bin/env python3
"""The table of docs/int8.md: method × model in ONNX Runtime, in Markdown.

  build/venv/bin/python tools/quality/int8.py [--only REGEX] [--work DIR] [--also PYTHON ...] [MODEL.onnx ...]

For demo, TinyStories, its variant with outliers and MiniLM (MINILM_DIR), and for model files that are
given, each row tells the size and, against the float model: KL divergence, mean and least cosine of
sentences, or for other files the relative error of the outputs on made-up inputs; the time of a run
(both in one process, in turns, the least of many), the linears that are left unfused, and which runtimes
take the file: those of this interpreter and of the others that are given (tools/runtimes.sh --install makes
build/runtimes/oldest and newest).
"""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import models
import numpy as np
import onnx
import onnxruntime

BUILD = pathlib.Path(os.environ.get("PTQ_BUILD_DIR", models.ROOT / "build" / "release"))
QUANTIZE = BUILD / "tools" / "quantize" / "quantize"
METHODS = {
    "plain": ["--scaling", "none", "--bias-correction", "none"],
    "default": [],
    "gptq": ["--grid", "search", "--rounding", "gptq"],
    "propagate": ["--propagate"],
    "int8 weights": ["--symmetric"],
    "7 bits": ["--symmetric", "--bits", "7"],
    "static": ["--activations", "static"],
    "static minmax": ["--activations", "static", "--activation-range", "minmax"],
    "static percentile": ["--activations", "static", "--activation-range", "percentile"],
    "static entropy": ["--activations", "static", "--activation-range", "entropy"],
    "static 16 bits": ["--activations", "static", "--activation-bits", "16"],
}
SAMPLES = {"demo": "passages", "tinystories": "stories 300+128", "outliers": "stories 300+128",
           "minilm": "sentences"}  # fmt: skip
FUSED = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "QLinearMatMul")
RUNS = 40
TOKENS = 64
SEEDS = 16  # of inputs that are made up


def session(path, optimized=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds_of(running, length, seed=5):
    """Token ids below 50, masks of ones, small floats; open dimensions are a batch of one and lengths."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for item in running.get_inputs():
        past = "past" in item.name
        shape = [d if isinstance(d, int) else 0 if past and i == 2 else 1 if i == 0 else length
                 for i, d in enumerate(item.shape)]  # fmt: skip
        if "int" in item.type:
            kind = np.int32 if "32" in item.type else np.int64
            high = 2 if "mask" in item.name else 1 if "type" in item.name else 50
            low = 1 if "mask" in item.name else 0
            feeds[item.name] = rng.integers(low, high, shape).astype(kind)
            if "position" in item.name:
                feeds[item.name] = np.broadcast_to(np.arange(shape[-1]), shape).astype(kind)
        elif "bool" in item.type:
            feeds[item.name] = np.zeros(shape, bool)
        else:
            kind = np.float16 if "float16" in item.type else np.float32
            feeds[item.name] = rng.standard_normal(shape).astype(kind)
    return feeds


def relative_time(source, result):
    """Of the quantized model to that of the float one."""
    pair = [session(source), session(result)]
    feeds = feeds_of(pair[0], TOKENS)
    least = [np.inf, np.inf]
    for _ in range(RUNS):
        for i, running in enumerate(pair):
            start = time.perf_counter()
            running.run(None, feeds)
            least[i] = min(least[i], time.perf_counter() - start)
    return least[1] / least[0]


def nodes_of(graph):
    """Those of branches and bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_of(attribute.g)


def unfused(result, folder):
    """Products whose weights are codes still, or made floats again at each run, and the others."""
    session(result, folder / "optimized.onnx")
    left = onnx.load(folder / "optimized.onnx", load_external_data=False)
    nodes = list(nodes_of(left.graph))
    found = collections.Counter(node.op_type for node in nodes)
    matrices = {t.name for t in left.graph.initializer if len(t.dims) == 2}
    floats = {o for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] in matrices
              for o in n.output}  # fmt: skip
    expanded = sum(1 for n in nodes if "Gemm" in n.op_type or "MatMul" in n.op_type
                   if floats.intersection(n.input))  # fmt: skip
    return found["MatMulInteger"] + expanded, sum(found[kind] for kind in FUSED)


def accepted(source, result, interpreters, folder):
    """The runtimes that run it, and what the others say."""
    np.savez(folder / "feeds.npz", **feeds_of(session(source), 16))
    script = pathlib.Path(__file__).with_name("accepts.py")
    answers = []
    for interpreter in interpreters:
        done = subprocess.run([interpreter, script, result, folder / "feeds.npz"], capture_output=True,
                              text=True, check=False)  # fmt: skip
        answers += done.stdout.split("\n")[:-1] or [f"{interpreter}: {done.stderr.strip()[-80:]}"]
    return ", ".join(dict.fromkeys(line.removesuffix(": yes") for line in answers))


def size_of(path):
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


def quality(name, model, source, result):
    if model is None:
        pair = [session(source), session(result)]
        feeds = feeds_of(pair[0], 16)
        wanted, got = (running.run(None, feeds)[0].astype(np.float64) for running in pair)
        return f"error {np.linalg.norm(got - wanted) / np.linalg.norm(wanted):.4f}"
    if isinstance(model, models.Encoder):
        cosines = (model.reference * model.vectors(result)).sum(1)
        return f"cosine {cosines.mean():.5f}, least {cosines.min():.4f}"
    return f"KL {model.quality(result)['kl']:.5f}"


def quantize(source, target, options):
    command = [QUANTIZE, "run", "--src", source, "--dst", target, "--method", "int8", "--overwrite",
               "--quiet", "--progress", "none", *options]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return done.stderr.strip().split("\n")[-1] if done.returncode else ""


def rows(name, model, source, options, work, interpreters):
    for method, own in METHODS.items():
        target = work / f"{name}-{method.replace(' ', '-')}"
        failure = quantize(source, target, [*options, *own])
        if failure:
            yield f"| {name} | {method} | {failure} | | | | |"
            continue
        (result,) = target.rglob("*.onnx")
        left, fused = unfused(result, work)
        yield (f"| {name} | {method} | {size_of(result) / size_of(source):.3f} | "
               f"{quality(name, model, source, result)} | {relative_time(source, result):.2f} | "
               f"{left} of {left + fused} | {accepted(source, result, interpreters, work)} |")  # fmt: skip


def sources(arguments, work):
    for name, load in models.LOADERS.items():
        try:
            model = load(work)
        except models.Unavailable as reason:
            print(f"<!-- {name}: {reason} -->")
            continue
        samples, count = models.calibration(SAMPLES[name], work)
        options = ["--calib", samples, "--calib-samples", count, "--tokenizer", model.tokenizer]
        yield name, model, model.source, options
    for path in arguments.files:
        made = [feeds_of(session(path), 32, seed) for seed in range(SEEDS)]
        np.savez(work / "made.npz", **{name: np.concatenate([feeds[name] for feeds in made])
                                       for name in made[0] if made[0][name].size})  # fmt: skip
        yield path.resolve().parent.name, None, path, ["--calib", work / "made.npz"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", help="regular expression over names of models")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--also", nargs="*", default=[], help="interpreters with other runtimes")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        print("| model | method | size | against float | time | unfused | runs in |")
        print("|---|---|---|---|---|---|---|")
        for name, model, source, options in sources(arguments, work):
            if re.search(arguments.only, name):
                interpreters = [sys.executable, *arguments.also]
                for row in rows(name, model, source, options, work, interpreters):
                    print(row, flush=True)


if __name__ == "__main__":
    main()
