"""Tells what the program in the wheel needs: Linux's C library of the version that it was linked with, no Python of any kind."""

import pathlib
import re
import subprocess

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def platform_tag(program):
    """The manylinux tag by the program's own headers: its processor and the newest GLIBC_2.x it names."""
    header = program.read_bytes()[:20]
    machine = {62: "x86_64", 183: "aarch64"}[int.from_bytes(header[18:20], "little")]
    symbols = subprocess.run(
        ["objdump", "-T", program], capture_output=True, text=True, check=True
    ).stdout
    newest = max(int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", symbols))
    return f"manylinux_2_{newest}_{machine}"


class ProgramHook(BuildHookInterface):
    def initialize(self, version, build_data):
        program = pathlib.Path(self.root, "src", "quantize_onnx", "bin", "quantize")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(program)}"
