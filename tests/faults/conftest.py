"""The table of faults: what a test found is a line of docs/faults.md, or the test fails."""

import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))

from injection import SHIM  # noqa: E402
from quantize_cli import QUANTIZE, REPOSITORY  # noqa: E402

PAGE = REPOSITORY / "docs" / "faults.md"
COLLECT = os.environ.get("PTQ_FAULTS_TABLE")  # a folder: tools/faults.sh makes the page of it


def pytest_collection_modifyitems(items):
    if QUANTIZE.exists() and SHIM.exists():
        return
    missing = SHIM if QUANTIZE.exists() else QUANTIZE
    for item in items:
        if "faults" in pathlib.Path(item.fspath).parent.parts:
            item.add_marker(pytest.mark.skip(reason=f"{missing} is absent: build it"))


def cells(*texts):
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


@pytest.fixture
def row(request):
    """Notes a line of the table: fault, command, status, message, what stands there, what the next
    run does."""

    def note(group, fault, command, status, message, there, after):
        line = cells(fault, command, status, message, there, after)
        if COLLECT:
            name = request.node.nodeid.replace("/", "_").replace(":", "_") + f"_{abs(hash(line))}"
            pathlib.Path(COLLECT, name[:200] + ".json").write_text(json.dumps([group, line]))
        else:
            assert line in PAGE.read_text().splitlines(), (
                f"docs/faults.md does not have the line\n{line}\ntools/faults.sh writes the page"
            )

    return note
