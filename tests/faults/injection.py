"""Runs the program with the k-th system call failing (shim.cc), and looks at what it leaves."""

import dataclasses
import os
import re
import shutil
import subprocess

from quantize_cli import BUILD, QUANTIZE

SHIM = BUILD / "tests" / "faults" / "faults.so"
CHANGES = {"create", "write", "truncate", "sync", "rename", "mkdir", "remove"}
ERRNO = {"EIO": 5, "EAGAIN": 11, "ENOMEM": 12, "EXDEV": 18, "ENOSPC": 28, "EROFS": 30, "EDQUOT": 122}


@dataclasses.dataclass
class Ended:
    status: int
    stderr: str
    stdout: str

    @property
    def line(self):
        """The one line that says what went wrong."""
        starts = ("quantize: ", "error: ")  # of a batch, one line for each model
        lines = [line for line in self.stderr.splitlines() if line.startswith(starts)]
        assert len(lines) == 1 or lines[0].startswith("error: "), self.stderr
        return lines[0]


def inject(arguments, fault=None, root=None, log=None, threads=1, timeout=300, **environment):
    """Runs `quantize ARGUMENTS`; `fault` is OPERATIONS:K[+]:ACTION, which concerns files below root."""
    more = {key: str(value) for key, value in environment.items()}
    if fault:
        operations, first, action = fault.split(":")
        more["PTQ_FAULT"] = f"{operations}:{first}:{ERRNO.get(action, action)}"
    if root:
        more["PTQ_FAULT_ROOT"] = str(root)
    if log:
        more["PTQ_FAULT_LOG"] = str(log)
    done = subprocess.run(
        [str(word) for word in [QUANTIZE, "--threads", threads, *arguments]],
        # OpenBLAS's idle threads are started before main, as many as there are processors.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "LD_PRELOAD": str(SHIM), **more},
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stderr, done.stdout)


def calls(arguments, root, log):
    """The calls below `root` of a run without a fault: (operation, path, path that it becomes)."""
    done = inject(arguments, root=root, log=log)
    assert done.status == 0, done.stderr
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    return [tuple(line) for line in lines if line[0] not in ("thread", "memory")]


def tree(folder):
    """Contents by name, but for what runs work in."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        own = any(
            part.startswith(".") and part.endswith((".part", ".part.old", ".result"))
            for part in name.split("/")
        )
        if own or name.endswith(".part"):
            continue
        found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith((".part", ".old", ".result"))]


def renew(prepared, root):
    """The state before the run."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(prepared, root)


def made_ready(folder, job):
    """What stands before a job (a function of jobs.py), where it works, and its arguments."""
    root = folder / "work"
    arguments = job(root)
    root.rename(folder / "before")
    renew(folder / "before", root)
    return folder / "before", root, arguments


def each(count, most):
    """All numbers to count, or some that are spread over them, with the first and the last."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / (most - 1)) for i in range(most)})


def plain(line, root):
    """A message as the table shows it: without what differs from run to run."""
    text = line.removeprefix("quantize: ").removeprefix("error: ").replace(str(root), "…")
    text = re.sub(r"\d+ of \d+ segments", "N of M segments", text)
    text = re.sub(r"after \d+ of", "after N of", text)
    return re.sub(r"about [\d.]+ \w+ more", "about N MiB more", text)


