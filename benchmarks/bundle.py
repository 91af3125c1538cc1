#!/usr/bin/env python3
"""What switching between two forms of a model costs: time, memory, size.

  bundle.py QUANTIZE [--megabytes 200] [--pair fp16,int4] [--as graph] [--switch linear]
  bundle.py QUANTIZE --models A B [--feeds FEEDS.npz] ...

QUANTIZE is the program. Without --models a chain of products over a table of embeddings is made, of
so many MB as FP32, and quantized to the two forms of --pair (fp32, fp16, int8, int4). Prints
  * the bundle's size beside that of the larger model and of the tensors that the other has alone;
  * anonymous memory of a process that has loaded the bundle and run both forms, beside processes
    that have loaded and run one of them each: peak while loading, and afterwards;
  * for each form the time of a run, and of the model alone; and what a run behind one of the other
    form takes more than one behind its own: median and 99th percentile of --switches. "Cold": the
    processor's caches are filled with other data in front of every run, so that this is what the
    switch itself costs. "Warm": they are not, and hold the weights of the form that ran before.
With --as files both models are sessions of one process. Times are processor time of the one thread
that a session has, which other work on the machine disturbs less than it does the clock. Needs
onnxruntime, numpy, and onnx without --models.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

FORMS = {
    "fp16": ["--rule", "*: form=fp16", "--float", "fp16", "--lm-head", "fp16"],
    "int8": ["--bits", "8", "--group-size", "32", "--lm-head", "int8", "--float", "fp16"],
    "int4": ["--bits", "4", "--group-size", "32", "--lm-head", "int4", "--float", "fp16"],
}


def synthetic(path, megabytes, width=1024, inner=4096):
    """input_ids [batch, length] -> logits: a table, and products of the given sizes in turns."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    nodes, initializers = [], []

    def weight(name, shape):
        values = (rng.standard_normal(shape, np.float32) / np.sqrt(shape[0])).astype(np.float32)
        initializers.append(numpy_helper.from_array(values, name))
        return name

    rows = int(megabytes * 0.2e6 / (4 * width))
    nodes.append(helper.make_node("Gather", [weight("table", (rows, width)), "input_ids"], ["h"]))
    h = "h"
    for i in range(max(1, round(megabytes * 0.8e6 / (8 * width * inner)))):
        names = [f"{part}{i}" for part in ("up", "act", "down", "sum")]
        up, act, down, total = names
        w = weight(f"{up}.weight", (width, inner))
        nodes.append(helper.make_node("MatMul", [h, w], [up], name=up))
        nodes.append(helper.make_node("Tanh", [up], [act], name=act))
        w = weight(f"{down}.weight", (inner, width))
        nodes.append(helper.make_node("MatMul", [act, w], [down], name=down))
        nodes.append(helper.make_node("Add", [h, down], [total], name=total))
        h = total
    nodes.append(helper.make_node("Identity", [h], ["states"], name="last"))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    states = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", "length", width])
    graph = helper.make_graph(nodes, "chain", [ids], [states], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.mkdir()
    onnx.save(model, path / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    return {"input_ids": np.array([[1]], np.int64)}


def quantize(program, *arguments):
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip())
    return done.stdout


def model_file(path):
    path = pathlib.Path(path)
    return path / "model.onnx" if path.is_dir() else path


def session(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Switch:
    """The forms of a model as functions of the feeds: one session with an input, or several."""

    def __init__(self, files, feeds, choice):
        self.sessions = [session(file) for file in files]
        self.feeds = feeds
        self.choice = choice

    def run(self, form):
        if not self.choice:
            return self.sessions[form % len(self.sessions)].run(None, self.feeds)
        feeds = {**self.feeds, self.choice: np.array(form, np.int64)}
        return self.sessions[0].run(None, feeds)

    def time(self, form):
        start = time.thread_time_ns()
        self.run(form)
        return (time.thread_time_ns() - start) / 1e3


def anonymous_mb():
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1e3
    return float("nan")


def child(job):
    """Measures one set of sessions in a process of its own; prints JSON."""
    with np.load(job["feeds"]) as arrays:
        feeds = {name: arrays[name] for name in arrays.files}
    import onnxruntime  # noqa: F401  (its own memory does not count)

    before = anonymous_mb()
    switch = Switch(job["files"], feeds, job["choice"])
    forms = range(job["forms"])
    for form in forms:
        for _ in range(3):
            switch.run(form)
    found = {"anonymous_mb": anonymous_mb() - before}
    evicting = np.ones(1 << 25)  # 256 MiB
    for kind, evict in (("warm", lambda: None), ("cold", evicting.sum)):
        own, behind = [[] for _ in forms], [[] for _ in forms]
        for _ in range(job["switches"]):
            for form in forms:
                for before, times in ((form, own), ((form + 1) % len(forms), behind)):
                    switch.run(form)
                    switch.run(before)
                    evict()
                    times[form].append(switch.time(form))
        found[kind] = [
            {
                "run": float(np.median(a)),
                "switch": float(np.median(b) - np.median(a)),
                "p99": float(np.percentile(b, 99) - np.median(a)),
                "own_p99": float(np.percentile(a, 99) - np.median(a)),
            }
            for a, b in zip(own, behind)
        ]
    print(json.dumps(found))


def measure(files, feeds, choice, forms, switches):
    job = {"files": [str(f) for f in files], "feeds": str(feeds), "choice": choice,
           "forms": forms, "switches": switches}  # fmt: skip
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip())
    return json.loads(done.stdout)


def report(names, alone, bundle, made):
    larger = max(v["source_bytes"] for v in made["variants"])
    smaller = min(made["variants"], key=lambda v: v["source_bytes"])
    bound = larger + smaller["own_bytes"]
    print(f"size     {made['bytes'] / 1e6:.1f} MB; the larger {larger / 1e6:.1f} MB + the other's own "
          f"tensors {smaller['own_bytes'] / 1e6:.1f} MB = {bound / 1e6:.1f} MB")  # fmt: skip
    total = sum(a["anonymous_mb"] for a in alone)
    print(f"memory   {bundle['anonymous_mb']:.0f} MB anonymous; alone "
          + " + ".join(f"{a['anonymous_mb']:.0f}" for a in alone)
          + f" = {total:.0f} MB")  # fmt: skip
    for kind in ("cold", "warm"):
        for i, name in enumerate(names):
            times = bundle[kind][i]
            print(f"{kind} {name:5} run {times['run']:.0f} us, alone {alone[i][kind][0]['run']:.0f} us; "
                  f"behind a switch {times['switch']:+.0f} us (median), {times['p99']:+.0f} us (99th "
                  f"percentile; without a switch {times['own_p99']:+.0f} us)")  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--pair", default="fp16,int4")
    parser.add_argument("--models", nargs=2, type=pathlib.Path)
    parser.add_argument("--feeds", type=pathlib.Path)
    parser.add_argument("--as", dest="form", choices=["graph", "files"], default="graph")
    parser.add_argument("--switch", choices=["linear", "whole"], default="linear")
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--folder", type=pathlib.Path, help="where to work; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        folder = pathlib.Path(folder)
        names, models, feeds = arguments.pair.split(","), arguments.models, arguments.feeds
        if models is None:
            feeds = folder / "feeds.npz"
            np.savez(feeds, **synthetic(folder / "fp32", arguments.megabytes))
            for name in names:
                if name != "fp32":
                    quantize(arguments.program, "run", folder / "fp32", folder / name,
                             "--method", "rtn", *FORMS[name])  # fmt: skip
            models = [folder / name for name in names]
        elif feeds is None:
            sys.exit("--models needs --feeds")
        out = folder / "bundle"
        made = json.loads(
            quantize(arguments.program, "bundle", *models, "--dst", out, "--as", arguments.form,
                     "--switch", arguments.switch, "--names", ",".join(names), "--json")
        )  # fmt: skip
        files = [out / f["file"] for f in made["files"] if f["file"].endswith(".onnx")]
        alone = [measure([model_file(m)], feeds, "", 1, arguments.switches) for m in models]
        bundle = measure(files, feeds, made["input"] or "", 2, arguments.switches)
        report(names, alone, bundle, made)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
    else:
        main()
