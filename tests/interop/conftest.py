"""Makes the helpers beside the tests importable from every folder of tests, whatever the order."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def pytest_sessionfinish(session):
    """One of several processes (pytest-xdist) hands its lines to the one that prints them."""
    import quantize_cli

    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["summary"] = quantize_cli.SUMMARY


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    import quantize_cli

    for title, lines in getattr(node, "workeroutput", {}).get("summary", {}).items():
        quantize_cli.SUMMARY.setdefault(title, []).extend(lines)


def pytest_terminal_summary(terminalreporter):
    """Prints the lines that tests gathered with quantize_cli.summarize, one a model."""
    import quantize_cli

    for title, lines in quantize_cli.SUMMARY.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
