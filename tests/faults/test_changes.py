"""The k-th change of a file fails, or ends the process, for every k: what stood at the destination
stands there, or the whole result does, and the same command then gives the undisturbed bytes."""

import json
import signal

import pytest
from injection import CHANGES, calls, each, inject, leftovers, made_ready, plain, renew, tree
from jobs import JOBS

TAKES_SPACE = "create,write,truncate,sync,mkdir"

# What happens at the k-th change: how it is injected, the statuses, and words for the table.
FAULTS = {
    "disk full": (f"{TAKES_SPACE}:{{}}+:ENOSPC", {5}),
    "quota exceeded": (f"{TAKES_SPACE}:{{}}+:EDQUOT", {5}),
    "input/output error": ("change:{}:EIO", {5}),
    "SIGTERM": ("change:{}:term", {130}),
    "SIGKILL": ("change:{}:kill", {-signal.SIGKILL}),
}
FAST = 5  # changes of each kind that the fast part of the tests takes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What stands before each job, its changes without a fault, and what it then leaves."""
    made = {}

    def prepare(job):
        if job not in made:
            made[job] = prepare_anew(job)
        return made[job]

    def prepare_anew(job):
        folder = tmp_path_factory.mktemp("job")
        before, root, arguments = made_ready(folder, JOBS[job])
        found = calls(arguments, root / "place", folder / "log")
        changes = [call for call in found if call[0] in CHANGES]
        return before, root, arguments, len(changes), settled(root / "place")

    return prepare


def settled(place):
    """What is compared: a registry holds times, a log says how it went."""
    found = {name: content for name, content in tree(place).items() if "/logs" not in name}
    for name in found:
        if name.endswith("registry.json"):
            found[name] = sorted(json.loads(found[name])["models"])
    return found


def is_before_or_after(now, before, after):
    """Batches finish one result after another; folders may have been made."""
    if now in (before, after):
        return True
    return {k: v for k, v in now.items() if v != "folder"} in (
        {k: v for k, v in state.items() if v != "folder"} for state in (before, after)
    )


def meet(prepared, job, fault, most, row):
    before, root, arguments, changes, complete = prepared(job)
    injected, statuses = FAULTS[fault]
    if job == "batch":  # each process counts; that of a model hands its status on, or 1 for a signal's
        statuses = statuses | {1, 5}
    untouched = settled(before / "place")
    lines, ended = {}, set()
    for k in each(changes, most):
        renew(before, root)
        done = inject(arguments, fault=injected.format(k), root=root / "place")
        now = settled(root / "place")
        what = f"{fault} at change {k} of {changes}: status {done.status}: {done.stderr}"
        # What is only tidied up, and what is done when a signal comes, ends well.
        assert done.status in statuses | {0}, what
        ended.add(done.status)
        if done.status == 0:
            assert now == complete, what
        elif job == "batch":
            assert {name for name in now if ".new" not in name} <= set(complete) | set(untouched), what
        else:
            kept = {name: now[name] for name in now if ".new" not in name}
            moving = done.status == -signal.SIGKILL and "other files" in job or "to a file" in job
            assert is_before_or_after(kept, untouched, complete) or moving, what
        if done.status in (5, 130):
            lines.setdefault(plain(done.line, root), k)
        again = inject(again_of(arguments), root=root / "place")
        assert again.status == 0, f"{what}\nagain: {again.stderr}"
        now = settled(root / "place")
        now = {name: now[name] for name in now if ".new" not in name}
        assert now == complete, what
        assert not leftovers(root / "place"), what
    assert ended & statuses, f"nothing met the fault: {ended}"
    status = ", ".join(str(code) for code in sorted(FAULTS[fault][1]) if code > 0)
    row("changes", f"{fault}, at each change of a file", job, status or "by the signal",
        next(iter(lines), ""), "as before, or the whole result" if job != "batch" else
        "whole results only", "goes on or starts again: the same bytes")  # fmt: skip
    print(f"{changes} changes, {fault}: {ended}, {list(lines)}")


def again_of(arguments):
    """A bundle that got its name, or gets it now, is only written again when that is asked for."""
    return [*arguments, "--overwrite"] if arguments[0] == "bundle" else arguments


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", JOBS)
def test_a_change_that_fails_loses_nothing(prepared, job, fault, row):
    meet(prepared, job, fault, FAST, row)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", JOBS)
def test_no_change_that_fails_loses_anything(prepared, job, fault, row):
    meet(prepared, job, fault, 10**6, row)
