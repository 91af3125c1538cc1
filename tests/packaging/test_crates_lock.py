"""src/text/ffi/crates.lock pins every crate, names no registry, and becomes cargo's own file."""

import re
import subprocess

from quantize_cli import REPOSITORY

CRATE = REPOSITORY / "src" / "text" / "ffi"
LOCK = (CRATE / "crates.lock").read_text()
SCRIPT = REPOSITORY / "cmake" / "CratesLock.cmake"


def locked():
    """{(name, version): checksum or None}"""
    found = {}
    for entry in LOCK.split("[[package]]\n")[1:]:
        fields = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', entry, re.MULTILINE))
        found[fields["name"], fields["version"]] = fields.get("checksum")
    return found


def test_every_crate_has_a_checksum_and_none_says_where_it_is():
    without = [name for (name, _), checksum in locked().items() if checksum is None]
    assert without == ["ptq_text_ffi"]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in locked().values() if value)
    assert "://" not in LOCK and "source =" not in LOCK


def test_direct_dependencies_have_the_pinned_versions():
    dependencies = (CRATE / "Cargo.toml").read_text().split("[dependencies]")[1].split("\n[")[0]
    pins = re.findall(r'^(\S+) = \{ version = "(.*?)"', dependencies, re.MULTILINE)
    assert len(pins) > 5
    for name, version in pins:
        assert version.startswith("=") and (name, version[1:]) in locked(), name


def compose(tmp_path, lock):
    """Runs the script with a cargo that writes a file of one crate and notes that it was called."""
    cargo = tmp_path / "cargo"
    cargo.write_text(
        "#!/bin/bash\n"
        f"echo called >>{tmp_path}/calls\n"
        'printf \'[[package]]\\nname = "x"\\nversion = "9"\\nsource = "a+b://c"\\n'
        "checksum = \"00\"\\n' >" + f"{tmp_path}/crate/Cargo.lock\n"
    )
    cargo.chmod(0o755)
    (tmp_path / "crate").mkdir(exist_ok=True)
    (tmp_path / "crates.lock").write_text(lock)
    subprocess.run(
        ["cmake", "-D", f"CARGO={cargo}", "-D", f"LOCK={tmp_path / 'crates.lock'}",
         "-D", f"CRATE={tmp_path / 'crate'}", "-P", SCRIPT],
        check=True,
    )  # fmt: skip
    return (tmp_path / "crate" / "Cargo.lock").read_text()


def calls(tmp_path):
    return len((tmp_path / "calls").read_text().splitlines())


def test_the_build_adds_where_crates_come_from_and_nothing_else(tmp_path):
    composed = compose(tmp_path, LOCK)
    sources = re.findall("^source = .*$", composed, re.MULTILINE)
    assert set(sources) == {'source = "a+b://c"'} and len(sources) == len(locked()) - 1
    assert re.sub("\nsource = .*", "", composed) == LOCK
    assert re.search('\nversion = ".*"\nsource = "a[+]b://c"\nchecksum = ', composed)


def test_cargo_is_asked_again_only_after_a_change(tmp_path):
    first = compose(tmp_path, LOCK)
    assert compose(tmp_path, LOCK) == first and calls(tmp_path) == 1
    changed = compose(tmp_path, LOCK.replace('name = "zstd"', 'name = "zstd2"'))
    assert 'name = "zstd2"' in changed and calls(tmp_path) == 2
