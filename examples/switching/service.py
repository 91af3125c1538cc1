#!/usr/bin/env python3
"""A service over a bundle that chooses the precision by request.

  service.py BUNDLE [--port 8080] [--busy 4]

BUNDLE is a directory written by `quantize bundle` (a graph with the input that chooses). One session
holds both forms. `GET /` tells their names. `POST /run` takes JSON:

  {"inputs": {"input_ids": [[1, 2, 3]]}, "precision": "int4"}

`precision` is one of the names, or absent: then the service takes the default, and the other form
while more than `--busy` requests are waiting. Inputs that are not given are made where that is
obvious (masks of ones, positions). The answer holds the outputs and the precision that was taken.
Needs onnxruntime and numpy.
"""
import argparse
import http.server
import json
import pathlib
import threading

import numpy as np
import onnxruntime

TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}


class SwitchingModel:
    """A bundle's session, and what its metadata says about the input that chooses."""

    def __init__(self, directory):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        path = pathlib.Path(directory) / "model.onnx"
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        told = self.session.get_modelmeta().custom_metadata_map.get("quantization.bundle")
        if told is None:
            raise SystemExit(f"'{path}' is no bundle with an input that chooses")
        bundle = json.loads(told)
        self.input = bundle["input"]
        self.names = bundle["values"]
        self.default = self.names[bundle["default"]]

    def feeds(self, inputs):
        """Arrays for the model's inputs."""
        given = {
            item.name: np.array(inputs[item.name], TYPES[item.type])
            for item in self.session.get_inputs()
            if item.name in inputs
        }
        shape = given["input_ids"].shape if "input_ids" in given else None
        for item in self.session.get_inputs():
            if item.name in given or shape is None:
                continue
            if item.name == "attention_mask":
                given[item.name] = np.ones(shape, TYPES[item.type])
            elif item.name == "position_ids":
                row = np.arange(shape[1], dtype=TYPES[item.type])
                given[item.name] = np.broadcast_to(row, shape)
        return given

    def run(self, inputs, precision):
        """Outputs by name. The form is one more input of the same session."""
        feeds = self.feeds(inputs)
        feeds[self.input] = np.array(self.names.index(precision), np.int64)
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds)))


class Service:
    """Answers requests; several threads may call it."""

    def __init__(self, model, busy):
        self.model = model
        self.busy = busy
        self.waiting = 0
        self.lock = threading.Lock()

    def choose(self, wanted):
        """The precision of a request, while `self.waiting` requests are in the house."""
        if wanted is not None:
            if wanted not in self.model.names:
                raise ValueError(f"precision '{wanted}' is none of {self.model.names}")
            return wanted
        names = [name for name in self.model.names if name != self.model.default]
        return names[0] if self.waiting > self.busy else self.model.default

    def answer(self, request):
        with self.lock:
            self.waiting += 1
        try:
            precision = self.choose(request.get("precision"))
            outputs = self.model.run(request["inputs"], precision)
            return {
                "precision": precision,
                "outputs": {name: array.tolist() for name, array in outputs.items()},
            }
        finally:
            with self.lock:
                self.waiting -= 1


def make_handler(service):
    class Handler(http.server.BaseHTTPRequestHandler):
        def send(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.send(200, {"precisions": service.model.names, "default": service.model.default})

        def do_POST(self):
            try:
                length = int(self.headers.get("Content-Length", 0))
                self.send(200, service.answer(json.loads(self.rfile.read(length))))
            except Exception as error:  # whatever is wrong with a request is the caller's to read
                self.send(400, {"error": str(error)})

        def log_message(self, *arguments):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free")
    parser.add_argument("--busy", type=int, default=4)
    arguments = parser.parse_args()
    service = Service(SwitchingModel(arguments.bundle), arguments.busy)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), make_handler(service))
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
