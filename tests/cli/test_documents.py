"""What is generated from the program, or reads its help, fits the program."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from quantize_cli import QUANTIZE

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = ["cli.md", "recipe.md", "supported-operators.md", "man/quantize.1"]

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)


def test_generated_documents_are_of_this_program(tmp_path):
    subprocess.run([ROOT / "tools" / "generate_docs.sh", QUANTIZE, tmp_path], check=True)
    for name in GENERATED:
        written = (tmp_path / name).read_text()
        assert len(written) > 500, name
        assert written == (ROOT / "docs" / name).read_text(), f"run tools/generate_docs.sh: {name}"


PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(page, language):
    """The fenced or, for "", the indented pieces of code of a page."""
    text = page.read_text()
    if language:
        return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)


def commands_in(page):
    """The command lines of `quantize` that a page shows, joined where a backslash continues them; not
    one that is shown to be refused."""
    code = "".join(blocks(page, "sh") + blocks(page, "") + blocks(page, r"\w*"))
    code = code.replace("\\\n", " ")
    code = re.sub(r"^\$ quantize .*\nquantize: there is no option .*$", "", code, flags=re.MULTILINE)
    for line in re.findall(r"^(?: {4})?(?:\$ )?quantize +([a-z]+ .*)$", code, re.MULTILINE):
        words = shlex.split(line.split(" && ")[0], comments=True)
        two = words[0] == "calib" and len(words) > 1 and words[1].isalpha()
        yield [" ".join(words[:2]), *words[2:]] if two else words


@pytest.fixture(scope="module")
def options_of():
    """The options of a command, by its own help."""
    known = {}

    def options(command):
        if command not in known:
            done = subprocess.run(
                [QUANTIZE, *command.split(), "--help"], capture_output=True, text=True, check=False
            )
            known[command] = set(re.findall(r"--?[A-Za-z][A-Za-z0-9-]*", done.stdout))
        return known[command]

    return options


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_documents_have_options_that_exist(page, options_of):
    for command, *words in commands_in(page):
        unknown = {
            word.split("=")[0]
            for word in words
            if word.startswith("-") and word != "-" and word.split("=")[0] not in options_of(command)
        }
        assert not unknown, f"{page.name}: quantize {command} has no {', '.join(sorted(unknown))}"


def test_documents_show_commands():
    assert sum(len(list(commands_in(page))) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_documents_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def shown_runs(page):
    """The commands of a page's console blocks, each with the output that stands below it."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, output = part.split("\n", 1)
            yield command, output


# Their commands take long.
SLOW_PAGES = ["drift.md", "gates.md", "sweep.md"]
CONSOLE_PAGES = [
    pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW_PAGES else [])
    for page in PAGES
    if any(shown_runs(page))
]
DURATION = re.compile(r"\d[\d.]* (?:ms|s|min)\b(?: \d+ s)?")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
# What is said of work that takes longer than here.
PROGRESS = re.compile(r"^[a-z].*: (?:\d+ of \d+ \(\d+ %\)|\d[\d.]* (?:ms|s|min)).*$")
# Processors differ in the last bits of sums, and so do scales that are nearly as good.
TOLERANCE = 0.1


def agree(printed, shown):
    """Whether a line is as a page shows it, but for blanks, times, memory and small differences."""
    printed, shown = (" ".join(DURATION.sub("TIME", line).split()) for line in (printed, shown))
    if printed == shown or shown.startswith("time ") and printed.startswith("time "):
        return True
    if shown.startswith("peak memory"):
        return printed.startswith("peak memory")
    if NUMBER.sub("N", printed) != NUMBER.sub("N", shown):
        return False
    if shown.startswith("verification "):  # the largest of many tiny differences
        return True
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE * abs(float(b)) for a, b in pairs)


def same_output(printed, shown):
    """Line by line; "..." stands for any number of lines."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(same_output(printed[at:], shown[1:]) for at in range(len(printed) + 1))
    return bool(printed) and agree(printed[0], shown[0]) and same_output(printed[1:], shown[1:])


@pytest.mark.parametrize("page", CONSOLE_PAGES, ids=lambda page: page.name)
def test_output_in_documents_is_what_the_program_prints(page, tmp_path):
    """Commands run one after the other in one folder that holds the repository's data."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    environment = {"PATH": f"{QUANTIZE.parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    for command, output in shown_runs(page):
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        environment["STATUS"] = str(done.returncode)  # for the page's next command
        printed = [line.rstrip() for line in done.stdout.splitlines()]
        printed = [line for line in printed if not PROGRESS.match(line)]
        assert same_output(printed, output.splitlines()), f"{command}\n{done.stdout}"


@pytest.mark.parametrize(
    "printed,shown,same",
    [
        ("kl 0.0123  in 5.1 s", "kl 0.0125 in 123 ms", True),
        ("kl 0.0123", "kl 0.0223", False),
        ("4 of 5 linears", "4 of 6 linears", False),
        ("time 5 s: read 1 s", "time 2 ms", True),
        ("written out", "written ou", False),
        ("size 1.5 MiB", "size 1.5 KiB", False),
    ],
)
def test_outputs_agree_up_to_times_and_small_differences(printed, shown, same):
    assert agree(printed, shown) is same


def test_the_plan_of_a_table_is_as_shown(tmp_path):
    """docs/tables.md: the command, and the line that it prints for the table."""
    (example,) = blocks(ROOT / "docs/tables.md", "")
    command, line = [part.strip() for part in example.strip().split("\n")]
    words = shlex.split(command)[2:]
    done = subprocess.run(
        [QUANTIZE, *[str(tmp_path / "out") if word == "out" else word for word in words]],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert line in [shown.strip() for shown in done.stdout.splitlines()]


def test_files_in_documents_exist():
    """Source files that a page names: by their path, by its end, or after `ptq/`."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=False
    ).stdout
    if not listed:
        pytest.skip("the sources are no git checkout")
    ends = {line[at:] for line in listed.split() for at in starts_of_names(line)}
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:cc|h|inc|py|sh|cmake))`", text)
        missing = [name for name in named if name not in ends]
        assert not missing, f"{page.name}: {missing}"
    assert len(re.findall(r"`src/[\w/]+\.cc`", (ROOT / "docs/architecture.md").read_text())) > 40


def starts_of_names(path):
    return [0] + [i + 1 for i, character in enumerate(path) if character == "/"]


def test_python_example_loads_a_result(tmp_path):
    pytest.importorskip("onnxruntime")
    done = subprocess.run(
        [QUANTIZE, "run", ROOT / "data/demo", tmp_path / "smollm-int4", "--method", "rtn", "-q"],
        check=False,
    )
    assert done.returncode == 0
    (example,) = blocks(ROOT / "docs/getting-started.md", "python")
    code = example.replace('"smollm-int4/', f'"{tmp_path}/smollm-int4/')
    assert code != example
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "input_ids" in done.stdout


def test_questions_to_the_metadata_have_answers(tmp_path):
    """docs/metadata-schema.md: what jq prints of a result of the demo model."""
    if shutil.which("jq") is None:
        pytest.skip("jq is absent: run tools/setup.sh tests")
    subprocess.run(
        [QUANTIZE, "run", ROOT / "data/demo", tmp_path / "out", "--calib", ROOT / "data/demo/calibration.txt",
         "--calib-samples", "8", "-q"],
        check=True,
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "quantization_metadata.json").read_text())
    linears = [x for x in found["linears"] if x["quantized"]]
    loss = {x["name"]: x["quantized"]["relative_loss"] for x in linears}
    answers = []
    for command in blocks(ROOT / "docs/metadata-schema.md", "sh"):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert not done.stderr, done.stderr
        answers.append([line.split("\t") for line in done.stdout.splitlines()])
    worst, outliers, salient, alphas, tokens = answers
    assert [row[1] for row in worst] == sorted(loss, key=loss.get, reverse=True)[:3]
    assert all(len(row) == 6 and float(row[3]) > 0 for row in worst)
    medians = {x["name"]: x["quantized"]["standing"]["median_of_kind"] for x in linears}
    assert [row[0] for row in outliers] == [name for name in loss if loss[name] > 2 * medians[name]]
    assert [float(row[0]) for row in salient] == sorted(
        (site["salience"]["largest_over_median"] for site in found["sites"]), reverse=True
    )[:3]
    assert [row[0] for row in alphas[:2]] == ["none", "awq"] and len(alphas) > 20
    assert len(tokens) == 3 and all(int(row[0]) > 0 for row in tokens)
