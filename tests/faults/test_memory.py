"""The system refuses memory, threads, or address space: status 6 and one line, or the same bytes."""

import resource
import shutil
import subprocess

import pytest
from injection import each, inject, leftovers, made_ready, renew, tree
from jobs import JOBS
from quantize_cli import QUANTIZE

LEAST = 16384  # bytes of a request that may be refused: libraries ask for less before main begins
FAST = 12


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    before, root, arguments = made_ready(folder, JOBS["run, nothing there"])
    log = folder / "log"
    done = inject(arguments, log=log, PTQ_FAULT_LEAST=LEAST)
    assert done.status == 0, done.stderr
    kinds = [line.split("\t")[0] for line in log.read_text().splitlines()]
    return before, root, arguments, kinds, tree(root / "place")


WORDS = {
    ("memory", ""): "memory is refused once",
    ("memory", "+"): "memory is refused from then on",
    ("thread", ""): "a thread is refused once",
    ("thread", "+"): "threads are refused from then on",
}
MESSAGES = {
    "memory": "out of memory; lower --seq-len or --calib-samples, or free memory",
    "thread": "the system gives no more threads or memory; lower --threads, or raise the limits on this "
    "process (ulimit -u, -v)",
}


def meet(prepared, operation, sticky, most, row):
    before, root, arguments, kinds, complete = prepared
    refused = 0
    words = set()
    count = kinds.count(operation)
    assert count > 0
    for k in each(count, most):
        renew(before, root)
        done = inject(arguments, fault=f"{operation}:{k}{sticky}:ENOMEM", PTQ_FAULT_LEAST=LEAST,
                      threads=2 if operation == "thread" else 1)  # fmt: skip
        what = f"{operation} {k}{sticky} of {count}: status {done.status}: {done.stderr}"
        if done.status == 0:
            assert tree(root / "place") == complete, what
            continue
        refused += 1
        if done.status == 5:  # there was none to list the finished result's files for their move
            assert "Cannot allocate memory; the finished result is in" in done.line, what
            shutil.rmtree(root / "place" / "out.new")
        else:
            assert done.status == 6, what
            assert "memory" in done.line or "thread" in done.line, what
            words.add(done.line.removeprefix("quantize: "))
        assert tree(root / "place") == {}, what
        again = inject(arguments)
        assert again.status == 0 and tree(root / "place") == complete, f"{what}\n{again.stderr}"
        assert not leftovers(root / "place")
    assert refused and MESSAGES[operation] in words, words
    row("memory", WORDS[operation, sticky], "run", "6", MESSAGES[operation], "nothing",
        "the same bytes")  # fmt: skip


@pytest.mark.parametrize("sticky", ["", "+"])
@pytest.mark.parametrize("operation", ["memory", "thread"])
def test_what_is_refused_ends_it_with_one_line(prepared, operation, sticky, row):
    meet(prepared, operation, sticky, FAST, row)


@pytest.mark.slow
@pytest.mark.parametrize("sticky", ["", "+"])
@pytest.mark.parametrize("operation", ["memory", "thread"])
def test_each_refusal_ends_it_with_one_line(prepared, operation, sticky, row):
    meet(prepared, operation, sticky, 150, row)


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_small_address_space_ends_it_with_one_line(prepared, limit, row):
    before, root, arguments, _, complete = prepared
    ends = set()
    for mebibytes in (2000, 600, 400, 300, 200, 150, 100, 80, 60):
        renew(before, root)

        def limited(most=mebibytes << 20):
            resource.setrlimit(getattr(resource, limit), (most, most))

        done = subprocess.run(
            [str(word) for word in [QUANTIZE, "--threads", 1, *arguments]],
            preexec_fn=limited, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        what = f"{limit} {mebibytes} MiB: status {done.returncode}: {done.stderr}"
        if done.returncode < 0 or done.returncode == 127:  # not even the libraries had room
            assert mebibytes <= 300 or "OpenBLAS" in done.stderr, what
            assert not done.stderr.startswith("quantize:"), what
            continue
        ends.add(done.returncode)
        if done.returncode == 6:
            room = "leaves no room for the 129 MiB of addresses that --threads 1 needs; lower that, or"
            assert room in done.stderr or "lower --threads, or raise the limit" in done.stderr, what
        assert done.returncode in (0, 6), what
        assert tree(root / "place") == (complete if done.returncode == 0 else {}), what
    assert ends == {0, 6}
    row("memory", f"`{limit}` of 2,000 down to 60 MiB", "run", "0 or 6",
        "a limit on this process (ulimit -v or -d) leaves no room for the 129 MiB of addresses that "
        "--threads 1 needs; lower that, or raise the limit", "the whole result, or nothing", "")  # fmt: skip
