#!/usr/bin/env python3
"""Which runtimes of this interpreter run a model: PYTHON tools/quality/accepts.py MODEL.onnx FEEDS.npz

Prints a line for each runtime that is installed: its name and release, and "yes" or why not.
"""

import sys

import numpy as np


def onnxruntime_runs(model, feeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    running = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return f"onnxruntime {onnxruntime.__version__}", running.run(None, feeds)


def openvino_runs(model, feeds):
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU")
    return f"openvino {openvino.__version__.split('-')[0]}", list(compiled(feeds).values())


def main():
    model, made = sys.argv[1:]
    feeds = dict(np.load(made))
    for name, run in (("onnxruntime", onnxruntime_runs), ("openvino", openvino_runs)):
        try:
            name, outputs = run(model, feeds)
            finite = all(np.isfinite(array).all() for array in outputs if array.dtype.kind == "f")
            answer = "yes" if finite else "gives numbers that are not finite"
        except ImportError:
            continue
        except Exception as error:  # whatever a runtime throws is what the table tells
            answer = " ".join(str(error).split())[:120]
        print(f"{name}: {answer}")


if __name__ == "__main__":
    main()
