#!/usr/bin/env python3
"""Measures what docs/quality.md shows, and writes it.

  build/venv/bin/python tools/quality/run.py [--only REGEX] [--list | --write] [--again]

A run goes on where the last one stopped: results are kept, one cell at a time, in
build/quality/results.json. --only takes cells whose "SECTION KEY" matches, as --list prints them
('^main demo', '^(ablation|budget)', 'w4 g32 sym best'). Every run ends by writing the page from all
results that are there; --write does only that. The program is taken from build/release
(PTQ_BUILD_DIR); models.py tells where the models come from.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import cells
import models
import page

BUILD = pathlib.Path(os.environ.get("PTQ_BUILD_DIR", models.ROOT / "build" / "release"))
QUANTIZE = BUILD / "tools" / "quantize" / "quantize"


class Results:
    """Key to measurement, in a file that is complete at any time."""

    def __init__(self, path):
        self.path = path
        self.cells = json.loads(path.read_text()) if path.exists() else {}

    def add(self, key, measured):
        self.cells[key] = measured
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.cells, indent=1))
        os.replace(part, self.path)


class Bench:
    """Loads each model once and measures cells of it."""

    def __init__(self, work, results):
        self.work, self.results, self.loaded = work, results, {}
        self.program = hashlib.sha256(QUANTIZE.read_bytes()).hexdigest()[:16]

    def model(self, name):
        """Raises Unavailable, for every cell of a model that is not here."""
        if name not in self.loaded:
            try:
                self.loaded[name] = models.LOADERS[name](self.work)
            except models.Unavailable as reason:
                self.loaded[name] = reason
            else:
                self.add(f"{name} float", self.loaded[name].quality(self.loaded[name].source))
        if isinstance(self.loaded[name], models.Unavailable):
            raise self.loaded[name]
        return self.loaded[name]

    def add(self, key, measured):
        runtime = models.onnxruntime.__version__
        self.results.add(key, {**measured, "program": self.program, "onnxruntime": runtime})

    def measure(self, cell):
        model = self.model(cell.model)
        texts, count = models.calibration(cell.calibration, self.work)
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            out = pathlib.Path(folder) / "out"
            command = [QUANTIZE, "run", "--src", model.source, "--dst", out, "--json"]
            command += ["--tokenizer", model.tokenizer, *cell.options()]
            command += ["--calib", texts, "--calib-samples", count]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip())
            metadata = json.loads((out / "quantization_metadata.json").read_text())
            quality = model.quality(out / "model.onnx")
        report = json.loads(done.stdout)
        self.add(
            cell.key,
            {
                **quality,
                "bits": metadata["totals"]["bits_per_quantized_weight"],
                "seconds": {name: round(value, 4) for name, value in report["seconds"].items()},
            },
        )
        return quality


def measure_all(bench, wanted, again):
    """Returns the number of cells that failed."""
    done = bench.results.cells
    kept = [c for c in wanted if c.key in done]
    old = [c for c in kept if done[c.key]["program"] != bench.program]
    if old and not again:
        print(f"{len(old)} cells are of another build of the program; --again measures them anew")
    todo = [c for c in wanted if c.key not in done or (again and c in old)]
    print(f"{len(wanted)} cells, {len(todo)} to measure", flush=True)
    failed, left_out = 0, {}
    for number, cell in enumerate(todo, 1):
        start = time.monotonic()
        try:
            quality = bench.measure(cell)
        except models.Unavailable as reason:
            left_out.setdefault(f"{cell.model}: {reason}", []).append(cell)
            continue
        except Exception as error:  # whatever it was, the others are worth measuring
            failed += 1
            print(f"[{number}/{len(todo)}] {cell.key}: {error}", flush=True)
            continue
        values = ", ".join(f"{name} {value:g}" for name, value in quality.items())
        seconds = time.monotonic() - start
        print(f"[{number}/{len(todo)}] {cell.key}: {values} ({seconds:.1f} s)", flush=True)
    for reason, cells_of_it in left_out.items():
        print(f"left out, {len(cells_of_it)} cells of {reason}")
    return failed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="REGEX", default="", help="cells whose name matches")
    parser.add_argument("--list", action="store_true", help="print the cells; * is measured")
    parser.add_argument("--write", action="store_true", help="only write the page")
    parser.add_argument("--again", action="store_true", help="redo cells of another build")
    parser.add_argument("--work", type=pathlib.Path, default=models.ROOT / "build" / "quality")
    parser.add_argument("--page", type=pathlib.Path, default=models.ROOT / "docs" / "quality.md")
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    results = Results(options.work / "results.json")
    named = [(f"{name} {c.key}", c) for name, part in cells.sections().items() for c in part]
    named = [(name, c) for name, c in named if re.search(options.only, name)]
    if options.list:
        for name, c in named:
            print("*" if c.key in results.cells else " ", name)
        return 0
    failed = 0
    if not options.write:
        wanted = list(dict.fromkeys(c for _, c in named))
        failed = measure_all(Bench(options.work, results), wanted, options.again)
    options.page.write_text(page.page(results.cells), encoding="utf-8")
    print(f"wrote {options.page}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
