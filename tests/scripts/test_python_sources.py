"""No Python source uses a name that it does not define, or imports what it does not use.

Tests that only some machines run (several ranks, other exports) would otherwise fail there first."""

import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RUFF = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "E9,F"]


def python_sources():
    folders = [REPOSITORY / name for name in ("benchmarks", "examples", "packaging", "tests", "tools")]
    return [str(path) for folder in folders for path in sorted(folder.rglob("*.py"))]


def check(*sources):
    return subprocess.run(
        [*RUFF, *sources], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_every_name_is_defined_and_every_import_used():
    sources = python_sources()
    assert __file__ in sources
    checked = check(*sources)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_check_finds_a_name_that_is_not_defined(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def test():\n    assert 1 < ONE_CODE\n")
    checked = check(str(wrong))
    assert checked.returncode == 1 and "F821" in checked.stdout
