#!/usr/bin/env python3
"""Fails when a file, a function or a folder of the library has grown too large to be read at once.

Checked are src/ and include/:
  1. a source file has at most MAX_FILE_LINES lines (.inc files are tables and may have more);
  2. a function has at most MAX_FUNCTION_LINES, from the first line of its definition to its closing
     brace; what is defined inside it, lambdas and local classes' functions, counts with it;
  3. a folder has at most MAX_FILES files of its own (CMakeLists.txt is not counted).
KNOWN lists violations that stand for now; one that is no longer needed is a violation itself.
Standard library only.
"""

import argparse
import pathlib
import re
import sys

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_FILES = 30
SUFFIXES = {".h", ".hpp", ".cc", ".cpp"}

# What may violate the rules until it is mended: "path" of a file or folder, "path:function".
KNOWN = set()

# Comments, literals and lines of the preprocessor; a prefix R"x( ends with )x".
NO_CODE = re.compile(
    r"""//[^\n]*
      | /\*.*?\*/
      | (?<!\w)(?:u8|u|U|L)?R"(?P<mark>[^(\s\\]*)\(.*?\)(?P=mark)"
      | "(?:\\.|[^"\\\n])*"
      | (?<![\w'])'(?:\\.|[^'\\\n])+'
      | ^[ \t]*\#(?:\\\n|[^\n])*""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
# What stands in front of a brace that is no function's: a namespace, a type, an initializer.
SCOPE = re.compile(r'^\s*(?:(?:inline\s+)?namespace\b|extern\s*""$)')
TYPE = re.compile(r"^\s*(?:typedef\s+)?(?:class|struct|union|enum)\b")
IN_ANGLES = re.compile(r"<[^<>]*>|\balignas\s*\([^()]*\)")
TEMPLATE = re.compile(r"^\s*template\s*<")
OUTSIDE = re.compile(r"\(.*\)|\boperator\s*[^\w\s(]+", re.DOTALL)
WORD = r"(?:operator\s*(?:\(\s*\)|[^\s\w(]+|\w+)|~?\w+)"
NAME = re.compile(rf"({WORD}(?:\s*<[^<>()]*>)?(?:::{WORD})*)\s*\(")


def blanked(text):
    """The text with comments, literals and preprocessor lines blank; lines and columns stay."""
    def blank(match):
        found = match.group()
        return '""' + " " * (len(found) - 2) if found[0] == '"' else re.sub(r"[^\n]", " ", found)

    return NO_CODE.sub(blank, text)


def without_template(head):
    """A definition's head behind its `template <...>`."""
    while TEMPLATE.match(head):
        at, depth = head.index("<"), 0
        for i in range(at, len(head)):
            depth += {"<": 1, ">": -1}.get(head[i], 0)
            if depth == 0:
                head = head[i + 1 :]
                break
        else:
            return head
    return head


def function_name(head):
    """The name of the function whose body follows `head`; None when none does."""
    head = without_template(head)
    if "(" not in head or SCOPE.match(head):
        return None
    if "=" in OUTSIDE.sub("", head):
        return None  # an initializer
    if TYPE.match(head) and "(" not in IN_ANGLES.sub("", IN_ANGLES.sub("", head)):
        return None
    match = NAME.search(head)
    return re.sub(r"\s+", "", match.group(1)) if match else None


def functions(text):
    """Yields (name, first line, last line) of every function's definition, outermost ones only."""
    code = blanked(text)
    stack = []  # of open braces: None, or (name, first line) of a function
    inside = 0  # functions around
    start = 0  # of what stands in front of the next brace
    depth = 0  # of parentheses
    for match in re.finditer(r"[{}();]|\b(?:public|private|protected)\s*:", code):
        token, at = match.group(), match.start()
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
        elif token == "{":
            opened = None
            if not inside and depth == 0:
                head = code[start:at]
                name = function_name(head)
                if name is not None:
                    first = start + len(head) - len(head.lstrip())
                    opened = (name, code.count("\n", 0, first) + 1)
            stack.append((opened, depth))
            inside += opened is not None
            if not inside:
                start = at + 1 if depth == 0 else start
            depth = 0 if inside else depth
        elif token == "}":
            opened, depth = stack.pop() if stack else (None, 0)
            if opened is not None:
                inside -= 1
                if code[at + 1 :].lstrip()[:1] in {",", "{"}:
                    continue  # of a constructor's initializer: its body is still to come
                yield opened[0], opened[1], code.count("\n", 0, at) + 1
            if not inside and depth == 0:
                start = at + 1
        elif not inside and depth == 0:
            start = match.end()


def check(root, known):
    """Returns (number of files, violations) of the tree at `root`."""
    count, found = 0, {}
    for top in (root / "src", root / "include"):
        for path in sorted(top.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_dir():
                files = [p for p in path.iterdir() if p.is_file() and p.name != "CMakeLists.txt"]
                if len(files) > MAX_FILES:
                    found[name] = f"{name}: {len(files)} files, more than {MAX_FILES}"
            elif path.suffix in SUFFIXES:
                count += 1
                text = path.read_text(encoding="utf-8")
                lines = len(text.splitlines())
                if lines > MAX_FILE_LINES:
                    found[name] = f"{name}: {lines} lines, more than {MAX_FILE_LINES}"
                for function, first, last in functions(text):
                    if last - first + 1 > MAX_FUNCTION_LINES:
                        found[f"{name}:{function}"] = (
                            f"{name}:{first}: {function} has {last - first + 1} lines, more than "
                            f"{MAX_FUNCTION_LINES}"
                        )
    problems = [text for name, text in found.items() if name not in known]
    problems += [f"{name}: known, but violates nothing" for name in sorted(known - set(found))]
    return count, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the repository")
    options = parser.parse_args()
    count, problems = check(options.root.resolve(), KNOWN)
    for problem in problems:
        print(problem)
    print(f"{count} files checked, {len(problems)} violations")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
