"""Destinations that are small, read-only, elsewhere, or go away; two runs; a clock that is set."""

import os
import shutil
import signal
import subprocess

import pytest
from injection import SHIM, inject, leftovers, plain, tree
from jobs import JOBS
from quantize_cli import QUANTIZE, quantize


@pytest.fixture
def job(tmp_path):
    """A calibrated run, its arguments, and what it makes."""
    root = tmp_path / "work"
    arguments = JOBS["run, nothing there"](root)
    done = quantize(*arguments)
    assert done.returncode == 0, done.stderr
    complete = tree(root / "place")
    shutil.rmtree(root / "place" / "out")
    return root, arguments, complete


def paused(arguments, root):
    """The process, stopped before its third change: behind the staged directory and its lock."""
    stop = {"PTQ_FAULT": "change:3:stop", "PTQ_FAULT_ROOT": str(root / "place")}
    process = subprocess.Popen(
        [str(word) for word in [QUANTIZE, "--threads", 1, *arguments]],
        env={**os.environ, "LD_PRELOAD": str(SHIM), **stop}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    assert (root / "place" / ".out.part" / "lock").exists()
    return process


def goes_on(process):
    process.send_signal(signal.SIGCONT)
    stderr = process.communicate(timeout=120)[1]
    return process.returncode, stderr


def again(root, arguments, complete):
    done = quantize(*arguments)
    assert done.returncode == 0, done.stderr
    assert tree(root / "place") == complete and not leftovers(root / "place")


def test_two_runs_into_one_destination(job, row):
    root, arguments, complete = job
    first = paused(arguments, root)
    second = inject(arguments)
    assert second.status == 5, second.stderr
    assert goes_on(first)[0] == 0
    assert tree(root / "place") == complete
    row("places", "another run works there", "run", "5", plain(second.line, root),
        "as before; the other run completes it", "done")  # fmt: skip


def test_a_staged_directory_that_is_removed_during_the_run(job, row):
    root, arguments, complete = job
    process = paused(arguments, root)
    shutil.rmtree(root / "place" / ".out.part")
    status, stderr = goes_on(process)
    assert status == 5 and stderr.count("quantize: ") == 1, stderr
    assert tree(root / "place") == {}
    again(root, arguments, complete)
    row("places", "`.out.part` is removed during the run", "run", "5", "", "nothing", "done")


def test_a_parent_that_is_removed_during_the_run(job, row):
    root, arguments, complete = job
    process = paused(arguments, root)
    shutil.rmtree(root / "place")
    status, stderr = goes_on(process)
    assert status == 5 and stderr.count("quantize: ") == 1, stderr
    assert not (root / "place").exists()
    again(root, arguments, complete)
    row("places", "the folder above is removed during the run", "run", "5", "", "nothing", "done")


def test_something_that_appears_during_the_run_stays(job, row):
    root, arguments, complete = job
    process = paused(arguments, root)
    (root / "place" / "out").mkdir()
    (root / "place" / "out" / "thesis.txt").write_text("precious\n")
    status, stderr = goes_on(process)
    assert status == 5, stderr
    assert (root / "place" / "out" / "thesis.txt").read_text() == "precious\n"
    shutil.rmtree(root / "place" / "out")
    found = tree(root / "place")
    renamed = {name.replace("out.new", "out", 1): content for name, content in found.items()}
    assert renamed == complete
    row("places", "files of somebody appear at the destination during the run", "run", "5",
        plain(next(line for line in stderr.splitlines() if line.startswith("quantize: ")), root),
        "those files; the result is `out.new`", "refused (5) while they are there")  # fmt: skip


@pytest.mark.parametrize("error", ["EROFS", "EXDEV"])
def test_a_file_system_that_cannot_rename_or_write(job, error, row):
    root, arguments, complete = job
    operation = {"EROFS": "change", "EXDEV": "rename"}[error]
    done = inject(arguments, fault=f"{operation}:1+:{error}", root=root / "place")
    assert done.status == 5, done.stderr
    assert tree(root / "place") == {}
    again(root, arguments, complete)
    words = {"EROFS": "a read-only file system", "EXDEV": "renames lead to another file system"}
    row("places", words[error], "run", "5", plain(done.line, root), "nothing", "done")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(job):
    root, arguments, complete = job
    (root / "place").chmod(0o555)
    done = inject(arguments)
    (root / "place").chmod(0o755)
    assert done.status == 5, done.stderr
    again(root, arguments, complete)


@pytest.mark.parametrize("seconds", [-400 * 86400, 400 * 86400])
def test_a_clock_that_is_set_changes_nothing(job, seconds, row):
    root, arguments, complete = job
    done = inject(arguments, PTQ_FAULT_CLOCK=seconds)
    assert done.status == 0, done.stderr
    assert tree(root / "place") == complete
    words = "back" if seconds < 0 else "forward"
    row("places", f"the clock jumps {words} by a year, again and again", "run", "0", "",
        "the same bytes", "up to date")  # fmt: skip
