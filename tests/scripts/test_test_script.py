"""What tools/test.sh runs, and what it says when a part fails; cmake, ctest and pytest are stand-ins."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Each notes its arguments; its status is that of the variable, and pytest's differs by part.
STAND_INS = {
    "bin/cmake": 'echo "cmake $*" >>calls; exit ${CMAKE_STATUS:-0}',
    "bin/ctest": 'echo "ctest $*" >>calls; echo "99% tests passed, 1 tests failed out of 70"; '
    "exit ${CTEST_STATUS:-0}",
    "build/venv/bin/python": """echo "pytest $*" >>calls
case "$*" in
  *"not slow"*) echo "6 passed in 1.2s"; exit ${FAST_STATUS:-0} ;;
  *) echo "9 passed in 3.4s"; exit ${SLOW_STATUS:-0} ;;
esac""",
}


@pytest.fixture
def copy(tmp_path):
    """The two scripts with what they need around them."""
    for name, text in STAND_INS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    (tmp_path / "tools").mkdir()
    for script in ("setup.sh", "test.sh"):
        shutil.copy(REPOSITORY / "tools" / script, tmp_path / "tools")
    for name in ("tests/interop/requirements.txt", "build/venv/requirements.installed"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("onnxruntime==1\n")
    return tmp_path


def run(copy, *arguments, **statuses):
    """(status, output, the calls of the stand-ins, what became of each part)."""
    path = f"{copy / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "PTQ_NO_INSTALL": "1", **{n: str(s) for n, s in statuses.items()}}
    command = ["bash", copy / "tools" / "test.sh", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    summary = done.stdout.split("Summary\n")[1]
    parts = re.findall(r"^ *\d+ s  (\w+) +(.*)$", summary, re.MULTILINE)
    calls = (copy / "calls").read_text().splitlines()
    return done.returncode, done.stdout, calls, {name: word for word, name in parts}


PARTS = [
    "Packages", "Build", "C++ tests", "Python packages (build/venv)", "Python tests, fast",
    "Python tests, slow",
]  # fmt: skip


def test_everything_is_run_and_each_part_has_its_time(copy):
    status, output, calls, parts = run(copy)
    assert status == 0 and parts == dict.fromkeys(PARTS, "ok")
    assert "-LE slow" not in calls[2]
    assert [call.split(" -m ")[-1] for call in calls[3:]] == ["not slow", "slow"]
    assert "C++:    99% tests passed, 1 tests failed out of 70\n" in output
    assert "Python: 6 passed in 1.2s [fast]\nPython: 9 passed in 3.4s [slow]\n" in output


def test_fast_leaves_out_what_is_slow(copy):
    status, output, calls, parts = run(copy, "--fast")
    assert status == 0 and list(parts) == PARTS[:-1]
    assert "-LE slow" in calls[2]
    (call,) = calls[3:]
    assert call.endswith(" -m not slow") and "[slow]" not in output


def test_arguments_are_passed_on_to_both_parts(copy):
    calls = run(copy, "-k", "resume", "--maxfail=1")[2]
    assert all(" -k resume --maxfail=1 -m " in call for call in calls[3:])
    assert len(calls[3:]) == 2


@pytest.mark.parametrize("failing,part", [("CTEST_STATUS", "C++ tests"),
                                          ("FAST_STATUS", "Python tests, fast"),
                                          ("SLOW_STATUS", "Python tests, slow")])  # fmt: skip
def test_a_failure_does_not_hide_the_other_parts(copy, failing, part):
    status, output, calls, parts = run(copy, **{failing: 1})
    assert status == 1 and "Some tests failed." in output
    assert parts == {name: "FAILED" if name == part else "ok" for name in PARTS}
    assert len(calls) == 5


def test_what_is_not_built_is_not_tested(copy):
    status, _, calls, parts = run(copy, CMAKE_STATUS=1)
    assert status == 1 and parts == {"Packages": "ok", "Build": "FAILED"}
    assert len(calls) == 1


def test_arguments_may_name_tests_of_one_part_but_not_of_none(copy):
    assert run(copy, "-k", "resume", FAST_STATUS=5)[0] == 0
    status, output, _, _ = run(copy, "-k", "misspelled", FAST_STATUS=5, SLOW_STATUS=5)
    assert status == 1 and "select no Python test" in output
    assert run(copy, FAST_STATUS=5)[0] == 1


def test_parts_of_an_inner_script_stand_below_its_own_line(tmp_path):
    """As .ci/run shows those of tools/test.sh."""
    inner = tmp_path / "parts"
    inner.write_text("   12 s  ok      Build\n    3 s  FAILED  C++ tests\n")
    script = (
        f'. {REPOSITORY}/tools/setup.sh; ptq_part "all" false; ptq_inner_parts {inner}; '
        'ptq_part "more" true; echo "--"; ptq_summary'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.sub(r" +\d+ s", "N s", done.stdout.split("--\n")[1]) == (
        "N s  FAILED  all\nN s  ok        Build\nN s  FAILED    C++ tests\nN s  ok      more\n"
    )
