#!/usr/bin/python3
"""Makes the data of `tagger`: the words of the World English Bible, and how each is written in its place.

    models/pretrained/tagger/prepare.py --out DATA

A word's label is "A" if it begins with a capital letter and "a" if not, with the mark that follows it, one of , . ; : ? ! where there is
one.  Quotation marks and brackets are left out, a dash counts as a comma; a hyphen is a word of its own.  A line is a stretch of one to
about seventy words that begins and ends with a sentence: a tab between words and labels.  Parts are whole chapters, by a hash of
their name.
apt-get install sword-text-web diatheke
"""
import argparse
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import fit  # noqa: E402

MODULE = "engWEB2015eb"
VERSE = re.compile(r"^ *((?:[IV]+ )?[A-Z][A-Za-z ]*? \d+):\d+: +(.*)$")
BETWEEN = re.compile(r"</w>(?=<w\b)|</?(?:l|lg|q|div|lb|list|item|chapter)\b[^>]*>")  # tags that part words
WORD = re.compile(r"([\w']+|-)[^\w,.;:?!'-]*([,.;:?!]?)")
ENDS, LONGEST, LAST_START = ".?!", 70, 40


def verses():
    """-> chapter, text of each verse"""
    text = subprocess.run(["diatheke", "-b", MODULE, "-f", "internal", "-k", "Gen-Rev"], stdout=subprocess.PIPE, check=True).stdout
    text = re.sub(r"<title\b[^>]*>.*?</title>", " ", text.decode("utf-8", "replace"), flags=re.S)
    text = re.sub(r"<[^>]*>", "", BETWEEN.sub(" ", text))
    for line in text.split("\n"):
        verse = VERSE.match(line)
        if verse:
            yield verse[1], verse[2]


def chapters():
    """-> chapter -> [(word, label)]"""
    texts = {}
    for chapter, verse in verses():
        texts.setdefault(chapter, []).append(verse)
    for chapter, some in texts.items():
        text = re.sub(r" *—+ *", ", ", " ".join(some).replace("’", "'"))
        words = [(word.strip("'"), mark) for word, mark in WORD.findall(text)]
        yield chapter, [(word.lower(), ("A" if word[0].isupper() else "a") + mark) for word, mark in words if word]


def stretches(chapter, words):
    """Closed at the first end of a sentence behind a length that a hash chooses, or when it grows too long."""
    stretch, wanted = [], 0
    for place, pair in enumerate(words):
        if not stretch:
            wanted = 1 + fit.number_of("%s %d" % (chapter, place)) % LAST_START
        stretch.append(pair)
        if len(stretch) >= wanted and pair[1][-1] in ENDS:
            yield stretch
            stretch = []
        elif len(stretch) == LONGEST:
            stretch = []  # a sentence without end: left out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    parts = {"train": [], "val": [], "test": []}
    for chapter, words in chapters():
        for stretch in stretches(chapter, words):
            parts[fit.split_of(chapter)].append(tuple(" ".join(column) for column in zip(*stretch)))
    for part, rows in parts.items():
        rows.sort(key=lambda row: fit.number_of("order " + row[0]))
        fit.write_rows(os.path.join(args.out, "tagger.%s.tsv" % part), rows)
        print("  %d words" % sum(len(words.split()) for words, _ in rows))


if __name__ == "__main__":
    main()
