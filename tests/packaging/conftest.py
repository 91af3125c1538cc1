"""What the tests of packages have in common."""

import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(REPOSITORY / "tests" / "interop"), str(REPOSITORY / "tools")]
