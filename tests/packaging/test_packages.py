"""What packages are made of: the installed program's files, the Containerfile, the scripts."""

import re
import shutil
import subprocess

import pytest
from quantize_cli import BUILD, QUANTIZE, REPOSITORY

SCRIPTS = sorted((REPOSITORY / "tools").glob("*.sh"))
CONTAINERFILE = (REPOSITORY / "Containerfile").read_text()
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", CONTAINERFILE, flags=re.M)).splitlines()
    if line
]


@pytest.mark.skipif(not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent")
def test_the_component_program_has_what_a_user_needs_and_nothing_to_build_with(tmp_path):
    subprocess.run(
        ["cmake", "--install", BUILD, "--component", "program", "--prefix", tmp_path],
        check=True, capture_output=True,
    )  # fmt: skip
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "bin/quantize",
        "share/man/man1/quantize.1",
        "share/bash-completion/completions/quantize",
        "share/zsh/site-functions/_quantize",
        "share/fish/vendor_completions.d/quantize.fish",
        "share/quantize/demo/model.onnx",
    } <= files
    names = {path.split("/")[-1] for path in files if path.startswith("share/doc/")}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "cli.md", "packages.md"} <= names
    assert not [path for path in files if path.endswith((".a", ".h", ".cmake"))]


def test_only_known_instructions_are_in_the_container_file():
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in INSTRUCTIONS} <= known and INSTRUCTIONS[0][0] == "FROM"


def test_the_last_stage_is_small_and_not_root():
    first = max(i for i, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    stage = dict(INSTRUCTIONS[first:])
    assert stage["USER"] == "1000:1000" and stage["ENTRYPOINT"] == '["quantize"]'
    copies = [rest for name, rest in INSTRUCTIONS[first:] if name == "COPY"]
    assert all(copy.startswith("--from=build ") for copy in copies)
    installs = [rest for name, rest in INSTRUCTIONS if "apt-get install" in rest]
    assert all("--no-install-recommends" in rest for rest in installs)
    assert "rm -rf" in stage["RUN"] and "/var/lib/apt/lists" in stage["RUN"]


def test_images_have_a_release_and_what_is_copied_exists():
    images = [rest.split()[0] for name, rest in INSTRUCTIONS if name == "FROM"]
    assert images and all(re.fullmatch(r"debian:[a-z]+(-slim)?", image) for image in images)
    for name, rest in INSTRUCTIONS:
        if name == "COPY" and not rest.startswith("--from"):
            assert all((REPOSITORY / path).exists() for path in rest.split()[:-1])
    for script in re.findall(r"tools/\w+\.sh", CONTAINERFILE):
        assert (REPOSITORY / script).exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is absent")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script):
    checked = subprocess.run(
        ["shellcheck", "-x", "-S", "warning", script],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_packages_are_checked_by_root_alone(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    said = subprocess.run(
        ["bash", REPOSITORY / "tools" / "check_packages.sh"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 1 and "needs root and debootstrap" in said.stderr
