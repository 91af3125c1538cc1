"""The program `quantize` from Python: `run(["inspect", "model-int4"])` gives what it prints with --json."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
from typing import Any, Iterable, Optional, Union

__all__ = ["QuantizeError", "program", "run"]

Word = Union[str, "os.PathLike[str]", int, float]


class QuantizeError(Exception):
    """A call that did not end well.

    status: the exit status (docs/cli.md lists them), negative for a signal as in `subprocess`.
    message: what is wrong, where, and what to do, in one line.
    error: the object `error` of the output, with `kind`, `what`, `where` and `hint`; {} if there is none.
    """

    def __init__(self, status: int, message: str, error: Optional[dict[str, Any]] = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.error = error or {}


def program() -> str:
    """The program: that of the variable QUANTIZE_PROGRAM, else the one that came with this package."""
    return os.environ.get("QUANTIZE_PROGRAM") or str(
        pathlib.Path(__file__).with_name("bin") / "quantize"
    )


def run(arguments: Iterable[Word], *, cwd: Optional[Word] = None, show: bool = False) -> dict[str, Any]:
    """Runs `quantize ARGUMENTS --json` and returns the object it prints (docs/json-output.md).

    arguments: the command and its options; paths and numbers may be what they are.
    cwd: the directory that relative paths start from.
    show: whether messages and progress go to this process's standard error.
    Raises QuantizeError where the exit status is not 0. An exception while it runs (Ctrl-C) ends the
    program as Ctrl-C would: the same call goes on from there.
    """
    if isinstance(arguments, (str, bytes)):
        raise TypeError("arguments are a list of words, not one string")
    words = [str(word) for word in arguments]
    with subprocess.Popen(
        [program(), *words, "--json"],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            output, messages = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    try:
        result = json.loads(output)
    except ValueError:
        result = {}
    if process.returncode != 0:
        raise _failure(process.returncode, result.get("error"), messages or "")
    return result


def _failure(status: int, error: Optional[dict[str, Any]], messages: str) -> QuantizeError:
    if error:
        parts = (error.get("what"), error.get("hint"))
        return QuantizeError(status, "; ".join(part for part in parts if part), error)
    last = messages.strip().splitlines()[-1:] or [""]
    if status < 0:
        return QuantizeError(status, f"ended by {signal.Signals(-status).name}")
    return QuantizeError(status, last[0] or f"ended with status {status}")
