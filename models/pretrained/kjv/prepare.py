#!/usr/bin/python3
"""Makes the texts that `kjv` is trained, validated and tested on, from Debian's bible-kjv and bible-kjv-text.

    models/pretrained/kjv/prepare.py --out DATA

Writes DATA/train.txt, val.txt and test.txt: one verse a line, an empty line between chapters.  Whole chapters go to one
part, so that no part has seen a neighbouring verse of another: of each twenty chapters the 8th validates, the 18th tests.
"""
import argparse
import os
import re
import subprocess
import sys

N_VERSES = 31102
EVERY, VALIDATES, TESTS = 20, 7, 17
VERSE = re.compile(r"^([1-3]?[A-Z][A-Za-z]*)(\d+):(\d+) (.*)$")


def verses():
    """-> list of [book, chapter, text], in the order of the book"""
    try:
        printed = subprocess.run(["bible", "-f", "-l", "200", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, check=True).stdout.decode("ascii")
    except FileNotFoundError:
        sys.exit("the command 'bible' is missing: apt-get install bible-kjv bible-kjv-text")
    found = []
    for line in printed.splitlines():
        start = VERSE.match(line)
        if start:
            found.append([start[1], int(start[2]), start[4].strip()])
        elif line.strip() and found:  # a long verse goes on
            found[-1][2] += " " + line.strip()
    if len(found) != N_VERSES:
        sys.exit("bible printed %d verses, not %d" % (len(found), N_VERSES))
    return found


def part_of(chapter_number):
    return {VALIDATES: "val", TESTS: "test"}.get(chapter_number % EVERY, "train")


def split():
    """-> part -> lines"""
    parts = {"train": [], "val": [], "test": []}
    chapter, n_chapters = None, 0
    for book, number, text in verses():
        if (book, number) != chapter:
            chapter, part = (book, number), parts[part_of(n_chapters)]
            n_chapters += 1
            if part:
                part.append("")
        part.append(text)
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the three texts")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    for part, lines in split().items():
        text = "\n".join(lines) + "\n"
        with open(os.path.join(args.out, part + ".txt"), "w", encoding="utf-8") as f:
            f.write(text)
        print("%s.txt: %d lines, %d characters" % (part, len(lines), len(text)))


if __name__ == "__main__":
    main()
