"""Writes docs/faults.md: the text in front of the table, and the table from what the tests noted.

    tests/faults/page.py FOLDER PAGE     FOLDER: one file for each line, of conftest.py
"""

import json
import pathlib
import sys

GROUPS = {
    "changes": "Writing",
    "places": "Destinations, two runs, clocks",
    "reads": "Reading",
    "memory": "Memory and threads",
    "streams": "Standard streams",
}
HEAD = ("| fault | command | status | message | at the destination | the same command again |\n"
        "|---|---|---|---|---|---|\n")  # fmt: skip


def main():
    folder, page = map(pathlib.Path, sys.argv[1:3])
    lines = {group: set() for group in GROUPS}
    for note in folder.glob("*.json"):
        group, line = json.loads(note.read_text())
        lines[group].add(line)
    missing = [group for group in GROUPS if not lines[group]]
    if missing:
        sys.exit(f"page.py: the tests noted nothing of: {', '.join(missing)}")
    front = page.read_text().split("\n## Writing\n")[0]
    tables = "".join(
        f"\n## {title}\n\n{HEAD}" + "".join(f"{line}\n" for line in sorted(lines[group]))
        for group, title in GROUPS.items()
    )
    page.write_text(front + tables)


if __name__ == "__main__":
    main()
