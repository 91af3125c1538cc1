"""Makes the helpers beside the tests importable from every folder of tests, whatever the order."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def pytest_terminal_summary(terminalreporter):
    """Prints the lines that tests gathered with quantize_cli.summarize, one a model."""
    import quantize_cli

    for title, lines in quantize_cli.SUMMARY.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
