"""Makes the demo model's text: the King James Bible as passages, whole books of it held out.

  text.py OUT_DIR        writes train.txt, valid.txt and heldout.txt

The text comes from the Debian packages bible-kjv and bible-kjv-text, through their `bible` command. Verse numbers are
dropped and every chapter is cut at verse ends into passages of about equal length. A passage is one line; passages are
separated by blank lines. Books are held out whole, and none of those chosen retells another book.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

HELD_OUT_BOOKS = ("Ruth", "Est", "Eccl", "Amos", "Jonah", "Phil", "Jas")
VALIDATION_BOOKS = ("Mic", "1Pet")  # watched during the training, so not part of the held-out text
PASSAGE_CHARACTERS = 1400  # fits the context of 512 tokens


def read_chapters():
    """Returns [(book, chapter, [verse, ...])] in the order of the Bible."""
    if shutil.which("bible") is None:
        sys.exit("text.py: the command 'bible' is missing; install it with: apt-get install bible-kjv")
    lines = subprocess.run(
        ["bible", "-f", "-l100000", "Gen1:1-Rev22:21"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, encoding="ascii",
    ).stdout.splitlines()
    chapters = []
    for line in lines:
        match = re.fullmatch(r"(\w+?)(\d+):\d+ (.*)", line.strip())
        if match is None:
            sys.exit(f"text.py: not a verse: {line!r}")
        book, chapter, verse = match.groups()
        if not chapters or chapters[-1][:2] != (book, chapter):
            chapters.append((book, chapter, []))
        chapters[-1][2].append(" ".join(verse.split()))
    return chapters


def cut_into_passages(verses):
    """Joins the verses of a chapter to the fewest passages within the limit, all of about the same length."""
    total = sum(len(verse) + 1 for verse in verses)
    pieces = -(-total // PASSAGE_CHARACTERS)
    passages, done = [[]], 0
    for verse in verses:
        middle = done + len(verse) / 2
        if middle > total * len(passages) / pieces and len(passages) < pieces:
            passages.append([])
        passages[-1].append(verse)
        done += len(verse) + 1
    return [" ".join(passage) for passage in passages if passage]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=pathlib.Path)
    out_dir = parser.parse_args().out_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    parts = {"train": [], "valid": [], "heldout": []}
    for book, _, verses in read_chapters():
        part = "heldout" if book in HELD_OUT_BOOKS else "valid" if book in VALIDATION_BOOKS else "train"
        parts[part] += cut_into_passages(verses)
    for part, passages in parts.items():
        (out_dir / f"{part}.txt").write_text("\n\n".join(passages) + "\n", encoding="ascii")
        print(f"{part}: {len(passages)} passages, {sum(map(len, passages))} characters, "
              f"longest {max(map(len, passages))}")


if __name__ == "__main__":
    main()
