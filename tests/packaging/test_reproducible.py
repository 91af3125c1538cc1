"""tools/reproducible.sh builds twice and tells which files differ; tools/package.sh is a stand-in."""

import os
import shutil
import subprocess

import pytest
from quantize_cli import REPOSITORY

FILES = "build/package/tools/quantize/quantize build/static/lib/libz.a build/packages/q.deb"
FILES += " build/text_ffi/target/release/libptq_text_ffi.a"


@pytest.fixture
def copy(tmp_path):
    """A repository with the script and a package.sh that writes what DEB_TEXT says into q.deb."""
    tools = tmp_path / "repository" / "tools"
    tools.mkdir(parents=True)
    for name in ("setup.sh", "reproducible.sh"):
        shutil.copy(REPOSITORY / "tools" / name, tools)
    (tools / "package.sh").write_text(
        "#!/bin/bash\nset -e\n"
        f"for file in {FILES}; do mkdir -p ${{file%/*}}; echo same >$file; done\n"
        'eval "echo same $DEB_TEXT" >build/packages/q.deb\n'
        "echo $CCACHE_DISABLE $SOURCE_DATE_EPOCH >>../variables\n"
    )
    (tools / "package.sh").chmod(0o755)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tools.parent, check=True)
    return tools.parent


def run(copy, deb_text):
    return subprocess.run(
        [copy / "tools" / "reproducible.sh", copy.parent / "work"],
        env={**os.environ, "DEB_TEXT": deb_text, "SOURCE_DATE_EPOCH": "12"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_same_bytes_are_said_to_be_the_same(copy):
    said = run(copy, "")
    assert said.returncode == 0 and "Both builds have the same bytes.\n" in said.stdout
    assert said.stdout.count("  build/") == 4
    assert (copy.parent / "work" / "variables").read_text() == "1 12\n1 12\n"


def test_a_file_that_has_its_directory_inside_is_named(copy):
    said = run(copy, "$PWD")
    assert said.returncode == 1
    work = copy.parent / "work"
    place = len(f"same {work}/") + 1
    assert said.stdout.endswith(f"These differ:\n  build/packages/q.deb, from byte {place}\n")


def test_a_build_that_fails_ends_it(copy):
    said = run(copy, "; false")
    assert said.returncode == 1 and "Comparison" not in said.stdout
