"""Compares every operator with ONNX Runtime, on the models of kernel_cases/*.py.

Each case is a model of one node (or a few) with seeded inputs. ONNX Runtime runs it, `quantize
forward` runs it, and the outputs must agree: integers and booleans exactly, floats within 1e-4 of
the largest expected value. Needs the program `quantize` of the build directory PTQ_BUILD_DIR.

ONNX Runtime saturates sums of uint8 x int8 products on x86-64 processors without VNNI unless it is asked
for precision, as it is here, and even then where the weight is no constant: such cases have activations of
7 bits, which do not saturate. With that, its integers are the exact ones on every processor. Tried on AVX-512
with VNNI (Sapphire Rapids) and on AVX2 without (EPYC).

Run as a script it prints a table: `python test_kernels.py [group …] [--only TEXT]`. With
`--write-counts` it only writes how many cases each operator has to kernel_counts.tsv, which
tools/generate_docs.sh reads.
"""

import argparse
import collections
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("PTQ_BUILD_DIR", HERE.parents[1] / "build" / "release"))
QUANTIZE = BUILD / "tools" / "quantize" / "quantize"
COUNTS = HERE / "kernel_counts.tsv"
TOLERANCE = 1e-4
MADE_HERE = "made for this processor"

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def load_cases(group):
    """(name, ModelProto, feeds) of kernel_cases/<group>.py; names are made unique."""
    path = HERE / "kernel_cases" / f"{group}.py"
    spec = importlib.util.spec_from_file_location(f"kernel_cases_{group}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
        cases = list(module.cases())
    finally:
        sys.path.remove(str(path.parent))
    seen = collections.Counter()
    for name, model, feeds in cases:
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        yield unique, model, feeds


GROUPS = sorted(path.stem for path in (HERE / "kernel_cases").glob("*.py"))


def session_of(model, precise):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1" if precise else "0")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_reference(model, feeds):
    try:
        session = session_of(model, precise=True)
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        # It makes a convolution of int8 by int8 one that it has no kernel for; these do not saturate.
        session = session_of(model, precise=False)
    names = [output.name for output in session.get_outputs()]
    pairs = {p.key: p.value for p in model.metadata_props}.get("in_place")
    if not pairs:
        return dict(zip(names, session.run(names, feeds)))
    # Outputs in the memory of inputs, as the operator demands.
    binding, shared = session.io_binding(), dict(p.split("=") for p in pairs.split())
    values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(x) for n, x in feeds.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
        if name in shared:
            binding.bind_ortvalue_output(shared[name], value)
    bound = [shared[name] for name in values if name in shared]
    for name in names:
        if name not in bound:
            binding.bind_output(name)
            bound.append(name)
    session.run_with_iobinding(binding)
    return dict(zip(bound, binding.copy_outputs_to_cpu()))


def run_ours(model, feeds, folder):
    folder = pathlib.Path(folder)
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "in.npz", **{f"in.{name}": array for name, array in feeds.items()})
    command = [QUANTIZE, "forward", "--src", "model.onnx", "--inputs", "in.npz", "--out", "out.npz"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if run.returncode != 0:
        raise AssertionError(f"exit status {run.returncode}: {run.stderr.strip()}")
    with np.load(folder / "out.npz") as arrays:
        return {name.removeprefix("out."): arrays[name] for name in arrays.files}


def deviation(got, expected):
    """Largest difference, relative to the largest expected value; infinity for another shape, for a
    non-finite value in another place and for any difference between integers."""
    if got.shape != expected.shape:
        return np.inf
    if expected.dtype.kind not in "fV" and expected.dtype.name != "bfloat16":
        return 0.0 if got.dtype == expected.dtype and np.array_equal(got, expected) else np.inf
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    difference = np.abs(got[finite] - expected[finite]).max()
    if not np.isfinite(difference):
        return np.inf
    # Results near zero (the tails of Sigmoid and its kin) are compared as if the largest were 1e-6.
    return difference / max(np.abs(expected[finite]).max(), 1e-6) if difference > 0 else 0.0


def compare(model, feeds, folder):
    """The largest deviation over the outputs."""
    expected = run_reference(model, feeds)
    got = run_ours(model, feeds, folder)
    assert set(expected) <= set(got), f"outputs {sorted(got)} instead of {sorted(expected)}"
    return max(deviation(got[name], value) for name, value in expected.items())


def operators_of(model):
    return {(node.domain or "ai.onnx", node.op_type) for node in model.graph.node}


def all_cases():
    """The first case with a node of an operator is fast, the others are slow."""
    seen = set()
    for group in GROUPS:
        for name, model, feeds in load_cases(group):
            marks = pytest.mark.slow if operators_of(model) <= seen else ()
            seen |= operators_of(model)
            yield pytest.param(model, feeds, id=f"{group}:{name}", marks=marks)


def pytest_generate_tests(metafunc):
    if "feeds" in metafunc.fixturenames:
        metafunc.parametrize(("model", "feeds"), list(all_cases()) if QUANTIZE.exists() else [])


def test_agrees_with_onnx_runtime(model, feeds, tmp_path):
    assert compare(model, feeds, tmp_path) <= TOLERANCE


def counts():
    """The text of kernel_counts.tsv: domain, operator, cases with a node of it. Models that ONNX Runtime
    has made for the processor at hand hold other nodes on another one: they do not count."""
    count = collections.Counter()
    for group in GROUPS:
        for _, model, _ in load_cases(group):
            if model.producer_name == MADE_HERE:
                continue
            count.update(operators_of(model))
    return "".join(f"{domain}\t{op}\t{n}\n" for (domain, op), n in sorted(count.items()))


def test_counts_of_cases_are_current():
    assert COUNTS.read_text() == counts(), "run test_kernels.py --write-counts"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", default=GROUPS)
    parser.add_argument("--only", default="", help="run the cases whose names contain this")
    parser.add_argument("--write-counts", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_counts:
        COUNTS.write_text(counts())
        return 0
    count, worst, failures = collections.Counter(), collections.defaultdict(float), []
    for group in arguments.groups:
        for name, model, feeds in load_cases(group):
            if arguments.only not in name:
                continue
            operator = name.split("/")[0]
            count[operator] += 1
            with tempfile.TemporaryDirectory() as folder:
                try:
                    error = compare(model, feeds, folder)
                except Exception as problem:  # every case must be tried, whatever fails
                    failures.append(f"{group}:{name}: {str(problem).splitlines()[0][:300]}")
                    print("FAILED", failures[-1], file=sys.stderr, flush=True)
                    continue
            worst[operator] = max(worst[operator], error)
            if not error <= TOLERANCE:
                failures.append(f"{group}:{name}: deviation {error:.3g}")
                print("FAILED", failures[-1], file=sys.stderr, flush=True)
    for operator in sorted(count):
        print(f"{operator:32} {count[operator]:5} cases  largest deviation {worst[operator]:.2e}")
    print(f"{sum(count.values())} cases of {len(count)} operators, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
