"""Help: by all names, in groups, within the terminal's width; the manual page."""

import os
import re
import shutil
import subprocess

import pytest
from quantize_cli import QUANTIZE, open_terminal, quantize

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)
COMMANDS = ["run", "stats", "eval", "inspect", "forward", "operators", "recipes", "version", "help"]


def succeeded(*arguments):
    done = quantize(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_all_ways_to_ask():
    text = succeeded("help")
    assert succeeded("--help") == succeeded("-h") == text
    for command in COMMANDS:
        assert f"\n  {command} " in text
        help_ = succeeded("help", command)
        assert succeeded(command, "--help") == succeeded(command, "-h") == help_
        assert succeeded("--help", command) == help_
        assert f"Usage: quantize {command}" in help_


def test_help_wins_over_what_is_wrong():
    assert succeeded("run", "--nonsense", "5", "--help") == succeeded("help", "run")


def test_no_command():
    done = quantize()
    assert done.returncode == 2
    assert done.stdout == succeeded("help")
    (line,) = done.stderr.splitlines()
    assert line.startswith("quantize: no command is given; name one")


@pytest.mark.parametrize("flag", ["-V", "--version", "version"])
def test_version(flag):
    assert re.match(r"quantize \d+\.\d+\.\d+\n  onnx IR ", succeeded(flag))


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_lines_fit_and_hold_no_notation_of_the_library(command):
    text = succeeded("help", *([command] if command else []))
    for line in text.splitlines():
        assert len(line) <= 80 or line.strip().count(" ") == 0, line
        assert line == line.rstrip()
    for noise in ("{false}", "INT", "TEXT", "FLOAT", "UINT", "Excludes", "REQUIRED", " in ["):
        assert noise not in text


def test_groups_of_run():
    text = succeeded("help", "run")
    groups = re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE)
    expected = ["Input", "Output", "Method", "Calibration", "Run control", "General", "Examples"]
    assert [group for group in groups if group in expected] == expected
    assert text.index("Examples:") > text.index("--help")


def on_terminal(width, *arguments):
    """What the program writes to a terminal of so many columns."""
    leader, follower = open_terminal(width)
    with subprocess.Popen([QUANTIZE, *arguments], stdout=follower, stderr=follower) as process:
        os.close(follower)
        written = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
        assert process.wait() == 0
    os.close(leader)
    return written.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("width,most", [(50, 50), (72, 72), (100, 100), (300, 100)])
def test_width_of_the_terminal(width, most):
    lines = on_terminal(width, "help", "run")
    # A line that cannot be broken, as a long default, may be longer; examples are shown as they are.
    examples = lines.index("Examples:")
    long = [line for line in lines[:examples] if len(line) > most]
    assert all(len(line.split()) == 1 for line in long), long
    assert max(map(len, lines[:examples])) > most - 15


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("man") / "quantize.1"
    path.write_text(succeeded("help", "--format", "man"))
    return path


def test_manual_page_has_its_sections(page):
    sections = re.findall(r"^\.SH (.*)$", page.read_text(), re.MULTILINE)
    for name in ("NAME", "SYNOPSIS", "COMMANDS", "EXAMPLES", "FILES", "EXIT STATUS", "ENVIRONMENT"):
        assert name in sections
    for word in (r"\-\-group\-size", "quantization_metadata", "130", "NO_COLOR"):
        assert word in page.read_text()


def test_manual_page_is_well_formed(page):
    if shutil.which("groff") is None:
        pytest.skip("no groff")
    command = ["groff", "-man", "-Tutf8", "-wall", page]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "quantize run" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)


def test_recipe_page_has_every_option_of_run():
    text = succeeded("help", "--format", "recipe")
    options = set(re.findall(r"--([a-z][a-z0-9-]+)", succeeded("help", "run")))
    keys = set(re.findall(r"^\| `([a-z0-9_]+)`", text, re.MULTILINE))
    missing = {option.replace("-", "_") for option in options} - keys
    general = {"help", "version", "threads", "verbose", "quiet", "config", "progress"}
    assert missing <= general, missing
