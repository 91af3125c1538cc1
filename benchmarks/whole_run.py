#!/usr/bin/env python3
"""A whole quantization against what the machine can do at best, measured in the same run.

  whole_run.py BUILD_DIR MODEL [--samples 128] [--length 128] [--repeat 1]
               [--forward MODEL] [--peer] [-- OPTIONS OF quantize run]

BUILD_DIR is a build with -DPTQ_BENCHMARKS=ON. Token ids are random. Prints the wall time, its
phases and the peak resident memory of `quantize run`, and as ratios to it
  * the matrix products of the quantized linears alone, by cblas_sgemm on all threads (with
    calibration), or reading the file at the speed of widening FP16 (--method rtn);
  * one forward pass of ONNX Runtime over the same tokens, for --forward (needs onnxruntime): the
    model itself, or the same one as FP32;
  * with --peer, ONNX Runtime's own quantizer (round to nearest, 4 bits, symmetric, with the group
    size of the options), a process that loads, quantizes and saves the same model.
The least of the repetitions counts, taken in turns.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def model_file(path):
    path = pathlib.Path(path)
    return path / "model.onnx" if path.is_dir() else path


def model_bytes(path):
    """The model file and the data files next to it."""
    file = model_file(path)
    return sum(f.stat().st_size for f in file.parent.glob("*.onnx*"))


def feed(session, ids):
    """The inputs of a batch of samples: ids, a mask of ones, positions, token types 0."""
    values = {}
    for item in session.get_inputs():
        dtype = TYPES[item.type]
        if "input_ids" in item.name:
            values[item.name] = ids.astype(dtype)
        elif "mask" in item.name:
            values[item.name] = np.ones(ids.shape, dtype)
        elif "position" in item.name:
            values[item.name] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).astype(dtype)
        else:
            values[item.name] = np.zeros(ids.shape, dtype)
    return values


class Forward:
    """One forward pass of ONNX Runtime over all samples."""

    def __init__(self, model, ids, batch, threads):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            str(model_file(model)), options, providers=["CPUExecutionProvider"]
        )
        self.ids, self.batch = ids, batch
        self.session.run(None, feed(self.session, ids[:batch]))  # warm-up

    def seconds(self):
        begin = time.perf_counter()
        for i in range(0, len(self.ids), self.batch):
            self.session.run(None, feed(self.session, self.ids[i : i + self.batch]))
        return time.perf_counter() - begin


def run(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {result.returncode}\n{result.stderr}")
    return result.stdout


def quantize(command):
    """Wall seconds of the process, and its summary."""
    begin = time.perf_counter()
    summary = json.loads(run(command))
    return time.perf_counter() - begin, summary


PEER = """
import sys
import onnx
from onnxruntime.quantization import matmul_nbits_quantizer as nbits
source, target, block = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = nbits.DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True, bits=4)
quantizer = nbits.MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
quantizer.process()
quantizer.model.save_model_to_file(target, use_external_data_format=True)
"""


def peer(model, folder, options):
    """Wall seconds of ONNX Runtime's quantizer, and its peak resident bytes."""
    block = options[options.index("--group-size") + 1] if "--group-size" in options else "128"
    target = pathlib.Path(folder) / "peer"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", PEER, str(model_file(model)),
                                str(target / "model.onnx"), block],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status != 0:
        sys.exit("the peer failed: is onnxruntime installed?")
    return seconds, usage.ru_maxrss * 1024


def yardstick(program, plan, tokens, threads):
    """Products of what is quantized: the head, which calibration does not run, is not among it."""
    linears = [entry for entry in plan["linears"] if entry["decision"] == "quantize"]
    lines = {}
    for entry in linears:
        lines[entry["n"], entry["k"]] = lines.get((entry["n"], entry["k"]), 0) + 1
    text = "".join(f"gemm {n} {k} {count}\n" for (n, k), count in lines.items())
    command = [program, str(tokens), str(threads)]
    return json.loads(subprocess.run(command, input=text, capture_output=True, text=True,
                                     check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=30000, help="ids are drawn below this")
    parser.add_argument("--forward", help="a model that ONNX Runtime runs over the same tokens")
    parser.add_argument("--peer", action="store_true",
                        help="also time ONNX Runtime's own quantizer (for --method rtn)")
    parser.add_argument("--batch", type=int, default=4, help="samples in one call of ONNX Runtime")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=1)
    own, _, further = "\0".join(sys.argv[1:]).partition("\0--\0")
    args = parser.parse_args(own.split("\0"))
    options = further.split("\0") if further else []
    rtn = "rtn" in options

    ids = np.random.default_rng(13).integers(0, args.vocabulary, (args.samples, args.length))
    forward = Forward(args.forward, ids, args.batch, args.threads) if args.forward else None
    with tempfile.TemporaryDirectory() as folder:
        calibration = os.path.join(folder, "ids.npy")
        np.save(calibration, ids.astype(np.int64))
        command = [str(args.build / "tools" / "quantize" / "quantize"), "run", "--json",
                   "--src", args.model, "--dst", os.path.join(folder, "out"), "--overwrite",
                   "--threads", str(args.threads), *options]
        if not rtn:
            command += ["--calib", calibration, "--calib-samples", str(args.samples),
                        "--seq-len", str(args.length)]
        plan = json.loads(run([*command, "--dry-run"]))
        tokens = ids.size
        at_best = yardstick(args.build / "benchmarks" / "yardstick", plan, tokens, args.threads)
        walls, forwards, peers = [], [], []
        for _ in range(args.repeat):
            shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
            if forward:
                forwards.append(forward.seconds())
            if args.peer:
                peers.append(peer(args.model, folder, options))
            walls.append(quantize(command))
    wall, summary = min(walls, key=lambda item: item[0])
    peak = summary["peak_resident_bytes"]
    size = model_bytes(args.model)

    forced = ", forced by OPENBLAS_CORETYPE" if os.environ.get("OPENBLAS_CORETYPE") else ""
    print(f"model             {size / 2**20:.0f} MiB, {args.threads} threads, "
          f"OpenBLAS kernels {at_best['kernels']}{forced}")
    print(f"quantize run      {wall:.2f} s, the whole process"
          + ("" if rtn else f", {tokens} tokens"))
    for phase, seconds in summary["seconds"].items():
        if seconds > 0 and phase != "total":
            print(f"  {phase:16}{seconds:.2f} s")
    if rtn:
        rate = size / wall
        best = at_best["widen_bytes_per_second"]
        print(f"bytes read        {rate / 1e9:.2f} GB/s = {rate / best:.2f} x the bandwidth of "
              f"widening FP16 ({best / 1e9:.2f} GB/s)")
    else:
        gemm = at_best["gemm_seconds"]
        print(f"matrix products   {gemm:.2f} s at {at_best['gemm_gflops']:.0f} GFLOP/s; "
              f"ratio {wall / gemm:.2f}")
    if forward:
        print(f"ONNX Runtime      {min(forwards):.2f} s for one forward pass; "
              f"ratio {wall / min(forwards):.2f}")
    if peers:
        seconds, resident = min(peers)
        print(f"ONNX Runtime RTN  {seconds:.2f} s, {resident / 2**20:.0f} MiB; "
              f"{seconds / wall:.1f} x as long")
    print(f"peak memory       {peak / 2**20:.0f} MiB = {peak / size:.2f} x the model "
          f"({summary['predicted_peak_bytes'] / 2**20:.0f} MiB predicted)")


if __name__ == "__main__":
    main()
