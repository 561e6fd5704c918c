#!/usr/bin/python3
"""Makes the data of `g2p`: words and their pronunciations, from the CMU Pronouncing Dictionary.

    npm install --prefix NPM cmu-pronouncing-dictionary@3.0.0
    models/pretrained/g2p/prepare.py --npm NPM/node_modules --out DATA

Words of letters and apostrophes, 2 to 20 of them.  A line is a word and its pronunciations, the dictionary's first one first.  The split
is by a hash of the word without a final 's, so that "aaronson's" never tests what "aaronson" trained.
"""
import argparse
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import fit  # noqa: E402

ENTRY = re.compile(r'^  "?([^"(]+?)(?:\((\d)\))?"?: "([A-Z0-9 ]+)",?$')
WORD = re.compile(r"^[a-z][a-z']{1,19}$")


def words_of(path):
    """-> word -> pronunciations"""
    words = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            entry = ENTRY.match(line)
            if entry and WORD.match(entry[1]):
                words.setdefault(entry[1], []).append(entry[3])
    return words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", required=True, help="a node_modules folder")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    words = words_of(os.path.join(args.npm, "cmu-pronouncing-dictionary", "index.js"))
    parts = {"train": [], "val": [], "test": []}
    for word, sounds in words.items():
        base = re.sub(r"'s?$", "", word)
        parts[fit.split_of(base)].append((word, *sounds))
    for part, rows in parts.items():
        rows.sort(key=lambda row: fit.number_of("order " + row[0]))
        fit.write_rows(os.path.join(args.out, "g2p.%s.tsv" % part), rows)


if __name__ == "__main__":
    main()
