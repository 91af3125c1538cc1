"""Ctrl-C ends every command soon, says so at once, and leaves nothing half-written."""

import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_cli import QUANTIZE
from small_models import VOCABULARY, calibration_ids, save, word_tokenizer

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

STOPPING = "stopping after the piece of work at hand; Ctrl-C again to quit now"
# Far beyond what a busy machine needs, and far below what the endless model would take.
PATIENCE = 20


def endless(body_has_steps):
    """input_ids -> logits through two Loops, one in the other, that run practically for ever (each may
    have 2^18 rounds), then a product."""
    x = helper.make_tensor_value_info
    add = helper.make_node("Add", ["state", "state"], ["next"])
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep_going"], ["goes_on"])] + [add] * body_has_steps,
        "body",
        [x("i", TensorProto.INT64, []), x("keep_going", TensorProto.BOOL, []),
         x("state", TensorProto.FLOAT, None)],
        [x("goes_on", TensorProto.BOOL, []),
         x("next" if body_has_steps else "state", TensorProto.FLOAT, None)],
    )  # fmt: skip
    outer = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["goes_on_too"]),
         helper.make_node("Loop", ["trips", "yes", "before"], ["behind"], body=body)],
        "outer",
        [x("j", TensorProto.INT64, []), x("more", TensorProto.BOOL, []),
         x("before", TensorProto.FLOAT, None)],
        [x("goes_on_too", TensorProto.BOOL, []), x("behind", TensorProto.FLOAT, None)],
    )  # fmt: skip
    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in [("table", (VOCABULARY, 64)), ("w", (64, 64)), ("head", (64, 96))]
    ]
    constants = [
        numpy_helper.from_array(np.array(2**18, np.int64), "trips"),
        numpy_helper.from_array(np.array(True), "yes"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Loop", ["trips", "yes", "embedded"], ["looped"], body=outer),
        helper.make_node("MatMul", ["looped", "w"], ["hidden"], name="/w/MatMul"),
        helper.make_node("MatMul", ["hidden", "head"], ["logits"], name="/head/MatMul"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [x("input_ids", TensorProto.INT64, ["batch", "length"])],
        [x("logits", TensorProto.FLOAT, ["batch", "length", 96])],
        weights + constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module", params=[True, False], ids=["steps", "no-steps"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endless")
    save(endless(request.param), folder / "model")
    word_tokenizer(folder / "model" / "tokenizer.json")
    calibration_ids(folder / "ids.npy", 4, 12)
    np.savez(folder / "in.npz", input_ids=np.ones((1, 4), np.int64))
    return folder


def heed_hangups():
    """Whoever runs the tests may have told them to ignore these (nohup)."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(arguments, **options):
    options.setdefault("preexec_fn", heed_hangups)
    return subprocess.Popen(
        [str(word) for word in [QUANTIZE, "--threads", "2", *arguments]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_until_it_works(process):
    """Until it has used some processor time: it is in the loop then."""
    ticks = 0
    while ticks < 40 and process.poll() is None:
        time.sleep(0.02)
        with open(f"/proc/{process.pid}/stat") as stat:
            ticks = int(stat.read().rsplit(")", 1)[1].split()[11])
    assert process.poll() is None, process.communicate()


def commands(folder):
    model, ids = folder / "model", folder / "ids.npy"
    return {
        "forward": ["forward", model, "--inputs", folder / "in.npz", "--out", folder / "out.npz"],
        "eval": ["eval", model, "--task", "lm", "--text", ids],
        "stats": ["stats", model, "--calib", ids, "--out", folder / "out.stats"],
        "run": ["run", model, folder / "out", "--calib", ids],
        "run-rtn": ["run", model, folder / "out", "--method", "rtn"],
    }


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["forward", "eval", "stats", "run", "run-rtn"])
def test_a_signal_stops_it_between_pieces_of_work(folder, command, how):
    if how != signal.SIGINT and command != "run":
        pytest.skip("once is enough")
    before = sorted(path.name for path in folder.iterdir())
    process = start(commands(folder)[command])
    wait_until_it_works(process)
    process.send_signal(how)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    lines = [line for line in errors.splitlines() if not line.startswith(("warning", "info"))]
    assert lines[0] == STOPPING, errors
    assert len(lines) == 2 and lines[1].startswith("quantize: interrupted"), errors
    assert sorted(path.name for path in folder.iterdir()) == before


def test_it_says_so_before_the_piece_of_work_is_done(folder):
    process = start(commands(folder)["forward"])
    wait_until_it_works(process)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().strip() == STOPPING
    process.communicate(timeout=PATIENCE)


def test_waiting_for_standard_input_ends_too(folder):
    command = ["run", folder / "model", folder / "out", "--calib", "-"]
    process = start(command, stdin=subprocess.PIPE)
    process.stdin.write("a line\n")
    process.stdin.flush()
    while process.poll() is None and not (folder / ".out.part").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE)  # its input is still open
    assert process.returncode == 130
    process.communicate()


def test_a_process_that_ignores_hangups_goes_on_ignoring_them(folder):
    process = start(commands(folder)["forward"],
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # fmt: skip
    wait_until_it_works(process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_the_endless_model_is_one_that_a_checker_accepts(folder):
    onnx.checker.check_model(str(folder / "model" / "model.onnx"))
