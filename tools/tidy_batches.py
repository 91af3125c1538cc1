#!/usr/bin/env python3
"""Writes sources that include several others, so that clang-tidy reads their headers once.

    tools/tidy_batches.py BUILD_DIRECTORY OUTPUT_DIRECTORY <LIST_OF_SOURCES

Sources that are compiled alike, which those of a folder are, share a batch; one that this build does
not compile is alone. OUTPUT_DIRECTORY gets the batches and their compile_commands.json; the batches'
names are printed. What clang-tidy cannot find in a batch, a using-declaration of which only another
of its files has a use, is found here: exits with 1. Standard library only.
"""

import json
import math
import pathlib
import re
import shlex
import sys

MAX_SOURCES = 20  # of a batch: a clang-tidy then takes less than 1 GB


def arguments(entry):
    return tuple(shlex.split(re.sub(r" -o \S+ -c \S+$", "", entry["command"])))


def groups(sources, commands):
    """Lists of sources with the directory and the arguments to compile them."""
    alike = {}
    for source in sources:
        entry = commands.get(source)
        if entry is None:
            near = [name for name in commands if name.parent == source.parent]
            entry = commands[near[0]] if near else next(iter(commands.values()))
            yield [source], entry["directory"], arguments(entry)
        else:
            alike.setdefault((entry["directory"], arguments(entry)), []).append(source)
    for (directory, words), members in alike.items():
        size = math.ceil(len(members) / math.ceil(len(members) / MAX_SOURCES))
        for first in range(0, len(members), size):
            yield members[first : first + size], directory, words


def unused_declarations(source):
    text = source.read_text()
    for name in re.findall(r"^ *using (?:::)?(?:\w+::)+(\w+);", text, re.MULTILINE):
        uses = re.findall(rf"(?<!::)\b{name}\b", text)
        if not uses:
            yield f"{source}: using-declaration of {name}, which is unused [misc-unused-using-decls]"


def main():
    root = pathlib.Path.cwd()
    build, output = (pathlib.Path(name).resolve() for name in sys.argv[1:3])
    sources = [root / line for line in sys.stdin.read().split()]
    entries = json.loads((build / "compile_commands.json").read_text())
    commands = {pathlib.Path(entry["file"]): entry for entry in entries}
    output.mkdir(parents=True, exist_ok=True)
    batches = []
    for members, directory, words in groups(sources, commands):
        batch = output / f"batch_{len(batches):03}.cc"
        batch.write_text(
            "".join(
                f'// NOLINTNEXTLINE(bugprone-suspicious-include)\n#include "{source}"\n'
                for source in members
            )
        )
        batches.append(
            {"directory": directory, "arguments": [*words, "-c", str(batch)], "file": str(batch)}
        )
    (output / "compile_commands.json").write_text(json.dumps(batches, indent=1))
    for batch in batches:
        print(batch["file"])
    findings = [finding for source in sources for finding in unused_declarations(source)]
    print(*findings, sep="\n", end="\n" if findings else "", file=sys.stderr)
    return 1 if findings else 0


sys.exit(main())
