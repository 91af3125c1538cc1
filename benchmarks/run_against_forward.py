#!/usr/bin/env python3
"""A whole quantization against one forward pass of ONNX Runtime over the same tokens, in one run.

  run_against_forward.py QUANTIZE MODEL_DIRECTORY [--samples 128] [--length 128] [--repeat 3] [-- OPTIONS OF quantize run]

Prints the wall time of both (least of the repetitions, taken in turns) and their ratio, and the peak
resident memory of the quantization against the size of the model file. Needs onnxruntime and numpy.
"""
import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def feed(session, ids):
    """The inputs of one sample: ids, a mask of ones, positions, token types 0."""
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


def forward_seconds(session, ids, batch):
    begin = time.perf_counter()
    for i in range(0, len(ids), batch):
        session.run(None, feed(session, ids[i:i + batch]))
    return time.perf_counter() - begin


def run_seconds(command):
    begin = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {result.returncode}\n{result.stderr}")
    return time.perf_counter() - begin, result.stdout


def blas_kernels(quantize):
    """Which kernels OpenBLAS takes, and whether the environment made it take them."""
    version = subprocess.run([quantize, "--version"], capture_output=True, text=True, check=True)
    blas = next(line.split() for line in version.stdout.splitlines() if line.strip().startswith("BLAS"))
    forced = os.environ.get("OPENBLAS_CORETYPE")
    return f"{blas[-2]}" + (", forced by OPENBLAS_CORETYPE" if forced else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("quantize")
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=30000, help="ids are drawn below this")
    parser.add_argument("--batch", type=int, default=4, help="samples in one call of ONNX Runtime")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=3)
    own, _, further = " ".join(sys.argv[1:]).partition(" -- ")
    args = parser.parse_args(own.split())
    args.options = further.split()

    model = os.path.join(args.model, "model.onnx") if os.path.isdir(args.model) else args.model
    ids = np.random.default_rng(13).integers(0, args.vocabulary, (args.samples, args.length))
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    forward_seconds(session, ids[:args.batch], args.batch)  # warm-up
    with tempfile.TemporaryDirectory() as folder:
        calibration = os.path.join(folder, "ids.npy")
        np.save(calibration, ids.astype(np.int64))
        out = os.path.join(folder, "out")
        command = [args.quantize, "run", "--src", args.model, "--dst", out, "--calib", calibration,
                   "--calib-samples", str(args.samples), "--seq-len", str(args.length),
                   "--threads", str(args.threads), "--overwrite", *args.options]
        forward, run = [], []
        for _ in range(args.repeat):
            forward.append(forward_seconds(session, ids, args.batch))
            seconds, text = run_seconds(command)
            run.append(seconds)
        shutil.rmtree(out, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    size = os.path.getsize(model)
    print(text, end="")
    print(f"OpenBLAS kernels    {blas_kernels(args.quantize)}")
    print(f"tokens              {ids.size}")
    print(f"ONNX Runtime        {min(forward):.2f} s for one forward pass, {args.threads} threads")
    print(f"quantize run        {min(run):.2f} s, the whole process")
    print(f"ratio               {min(run) / min(forward):.2f}")
    print(f"peak memory         {peak / 2**20:.0f} MiB = {peak / size:.2f} x the model file")


if __name__ == "__main__":
    main()
