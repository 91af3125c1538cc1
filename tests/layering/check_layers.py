#!/usr/bin/env python3
"""Fails when a folder of the library includes one that comes after it on the road.

The order is cmake/Folders.cmake's PTQ_FOLDERS. Checked are include/ptq/<folder> and src/<folder>:
  1. "ptq/<other>/x.h" may be included only if <other> is the folder itself or comes before it;
  2. a quoted include without "ptq/" is private and must lie in the includer's own folder;
  3. ONNX's and protobuf's headers are included, and their types (onnx::…Proto, google::protobuf)
     named, only in the folders of PROTOBUF_FOLDERS and the files of PROTOBUF_FILES, so that the
     rest of the library does not depend on the file format;
  4. a public header includes no private one, and every folder is one of the order.
Standard library only.
"""

import argparse
import pathlib
import re
import sys

PROTOBUF_FOLDERS = {"model", "transform", "emit"}
# Files elsewhere that may include ONNX's or protobuf's headers and name their types, each with its
# reason.
PROTOBUF_FILES = {
    "src/cli/version.cc": "prints the versions of the libraries",
    "src/cli/command_line.cc": "silences protobuf's own log, so that an error is reported once",
}

WHO_MAY = (
    f"only {', '.join(sorted(PROTOBUF_FOLDERS))} and the files listed in "
    f"{pathlib.Path(__file__).name} may"
)

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
COMMENT = re.compile(r"//.*")
PROTOBUF_TYPE = re.compile(r"\b(?:onnx::\w*Proto\b|google::protobuf\b)")
SUFFIXES = {".h", ".hpp", ".cc", ".cpp", ".inc"}


def sources(root):
    """Yields (name right under include/ptq or src, path) of every source file."""
    for top in (root / "include" / "ptq", root / "src"):
        for path in sorted(top.rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES:
                yield path.relative_to(top).parts[0], path


def check_file(root, order, folder, path):
    """Returns the violations of one file as messages."""
    name = path.relative_to(root).as_posix()
    if folder not in order:
        return [f"{name}: folder '{folder}' is not in PTQ_FOLDERS"]
    public = name.startswith("include/")
    problems = []
    text = path.read_text(encoding="utf-8")
    may_name_protobuf = folder in PROTOBUF_FOLDERS or name in PROTOBUF_FILES
    named = set() if may_name_protobuf else set(PROTOBUF_TYPE.findall(COMMENT.sub("", text)))
    for kind in sorted(named):
        problems.append(f"{name}: names {kind}; {WHO_MAY}")
    for match in INCLUDE.finditer(text):
        quoted, angled = match.groups()
        target = quoted or angled
        if target.startswith("ptq/"):
            other = target.split("/")[1]
            if other not in order:
                problems.append(f"{name}: includes '{target}' of an unknown folder")
            elif order.index(other) > order.index(folder):
                problems.append(f"{name}: '{folder}' comes before '{other}' but includes '{target}'")
            elif not (root / "include" / target).is_file():
                problems.append(f"{name}: includes '{target}', which does not exist")
        elif re.match(r"(onnx/|google/protobuf/)", target):
            if not may_name_protobuf:
                problems.append(f"{name}: includes '{target}'; {WHO_MAY}")
        elif quoted:
            home = (root / "src" / folder).resolve()
            candidates = [path.parent / quoted, home / quoted]
            # src/text/ffi is on the include path of the folder `text` only.
            candidates += [child / quoted for child in home.glob("*/") if child.is_dir()]
            found = [c.resolve() for c in candidates if c.is_file()]
            if public:
                problems.append(f"{name}: a public header includes the private '{quoted}'")
            elif not any(home in c.parents for c in found):
                problems.append(f"{name}: includes '{quoted}', which is not in src/{folder}")
    return problems


def check(root, order):
    """Returns (number of files, violations) of the tree at `root`."""
    count, problems = 0, []
    for folder, path in sources(root):
        if path.parent in (root / "src", root / "include" / "ptq"):
            problems.append(f"{path.relative_to(root)}: lies in no folder")
            continue
        count += 1
        problems += check_file(root, order, folder, path)
    for name in PROTOBUF_FILES:
        if not (root / name).is_file():
            problems.append(f"{name}: allowed to name protobuf types, but does not exist")
    return count, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the repository")
    parser.add_argument("--order", required=True, help="the folders in order, ';' between them")
    options = parser.parse_args()
    count, problems = check(options.root.resolve(), options.order.split(";"))
    for problem in problems:
        print(problem)
    print(f"{count} files checked, {len(problems)} violations")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
