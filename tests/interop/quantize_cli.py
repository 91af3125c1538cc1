"""What the interop tests share: the program, the folders, ONNX Runtime sessions, comparisons."""

import fcntl
import functools
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import termios

import numpy as np
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("PTQ_SHARED", REPOSITORY.parent / "shared"))
BUILD = pathlib.Path(os.environ.get("PTQ_BUILD_DIR", REPOSITORY / "build" / "release"))
QUANTIZE = BUILD / "tools" / "quantize" / "quantize"
SCHEMA = REPOSITORY / "docs" / "quantization_metadata.schema.json"
OUTPUT_SCHEMA = REPOSITORY / "docs" / "quantize-output.schema.json"

# Lines for the end of the test run, by title.
SUMMARY = {}


def summarize(title, line):
    SUMMARY.setdefault(title, []).append(line)


@functools.cache
def output_validator():
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(OUTPUT_SCHEMA.read_text()))


def check_output(printed):
    """What was printed with --json is what its schema says, and nothing else. The metadata of a
    result, which `inspect` prints, have a schema of their own."""
    try:
        found = json.loads(printed)
    except json.JSONDecodeError:
        return  # the program was stopped
    if "command" in found or "error" in found:
        output_validator().validate(found)


def quantize(*arguments, threads=1, timeout=600, **options):
    """Runs the program; the result has returncode, stdout and stderr as text."""
    command = [QUANTIZE, "--threads", threads, *arguments]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
        check=False,
        **options,
    )
    if "--json" in arguments:
        check_output(done.stdout)
    return done


def open_terminal(columns=80):
    """Both ends of a pseudo-terminal; a container without /dev/pts has none, and skips."""
    try:
        leader, follower = os.openpty()
    except OSError as error:
        pytest.skip(f"this machine gives no pseudo-terminal: {error}")
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return leader, follower


def quantized(source, destination, *arguments, threads=1):
    """Quantizes, expects success, and returns the JSON report."""
    done = quantize(
        "run", "--src", source, "--dst", destination, "--json", *arguments, threads=threads
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.strip()}"
    return json.loads(done.stdout)


def forward(model, feeds, folder):
    """Our own executor's outputs by name."""
    np.savez(folder / "forward_in.npz", **{f"in.{name}": a for name, a in feeds.items()})
    out = folder / "forward_out.npz"
    done = quantize("forward", "--src", model, "--inputs", folder / "forward_in.npz", "--out", out)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.strip()}"
    with np.load(out) as arrays:
        return {name.removeprefix("out."): arrays[name] for name in arrays.files}


def session(model):
    """ONNX Runtime as users run it, but the fused form of QDQ computes in the activations' type:
    level 4 would quantize the activations to 8 bits and hide differences."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


# The first release of ONNX Runtime that multiplies by 2-bit weights, by the activations' type.
TWO_BITS_SINCE = {"float32": (1, 24), "float16": (1, 29)}


def skip_unless_runtime_has(bits, dtype="float32"):
    """2-bit weights are refused by older releases; docs/runtimes.md."""
    import onnxruntime
    import pytest

    installed = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if bits == 2 and installed < TWO_BITS_SINCE[dtype]:
        since = ".".join(map(str, TWO_BITS_SINCE[dtype]))
        pytest.skip(f"2-bit weights with {dtype} activations need ONNX Runtime {since}")


def run_session(s, feeds):
    names = [output.name for output in s.get_outputs()]
    return dict(zip(names, s.run(names, feeds)))


def relative_error(actual, expected):
    """max |actual − expected| ÷ max |expected|; infinite for another shape or a misplaced NaN."""
    if actual.shape != expected.shape:
        return np.inf
    if expected.size == 0:
        return 0.0
    a, e = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(e)
    if not np.array_equal(a[~finite], e[~finite], equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    worst = np.abs(a[finite] - e[finite]).max()
    return float(worst / max(np.abs(e[finite]).max(), 1e-30)) if worst > 0 else 0.0


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-300))


def signature(s):
    """Names, types and shapes of inputs and outputs, in order."""
    return [
        [(v.name, v.type, v.shape) for v in values] for values in (s.get_inputs(), s.get_outputs())
    ]


def metadata(directory):
    return json.loads((pathlib.Path(directory) / "quantization_metadata.json").read_text())


def check_metadata(directory):
    """Validates the metadata against the schema and returns it."""
    import jsonschema

    found = metadata(directory)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    return found


def hashes(directory):
    """sha256 of every file below a directory, by relative name."""
    directory = pathlib.Path(directory)
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
