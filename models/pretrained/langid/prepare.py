#!/usr/bin/python3
"""Makes the data of `langid`: word and language, from the word lists and spelling dictionaries of Debian packages.

    models/pretrained/langid/prepare.py --out DATA

Lower case, letters only, 4 to 20 of them; a list's capitalised words are left out (names) but for German; words on the lists of two
languages are left out; of the rest KEEP a language, chosen by a hash of the word, as is the split.
apt-get install wamerican wfrench wngerman wspanish witalian wdutch wportuguese wpolish wswedish wdanish wbulgarian wukrainian
aspell aspell-cs aspell-el aspell-hu aspell-ro hunspell-tr
"""
import argparse
import collections
import os
import subprocess
import sys
import unicodedata

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import fit  # noqa: E402

KEEP = 18000
LISTS = {"en": ("wamerican", "american-english"), "fr": ("wfrench", "dict/french"), "de": ("wngerman", "dict/ngerman"),
         "es": ("wspanish", "dict/spanish"), "it": ("witalian", "dict/italian"), "nl": ("wdutch", "dict/dutch"),
         "pt": ("wportuguese", "dict/portuguese"), "pl": ("wpolish", "dict/polish"), "sv": ("wswedish", "dict/swedish"),
         "da": ("wdanish", "dict/danish"), "bg": ("wbulgarian", "dict/bulgarian"), "uk": ("wukrainian", "dict/ukrainian"),
         "tr": ("hunspell-tr", "tr_TR.dic")}
ASPELL = ("cs", "el", "hu", "ro")
ENCODING = {"sv": "latin-1"}
SCRIPT = {"bg": "CYRILLIC", "uk": "CYRILLIC", "el": "GREEK"}
LANGUAGES = [*LISTS, *ASPELL]


def lines_of(language):
    if language in ASPELL:
        return subprocess.run(["aspell", "-l", language, "dump", "master"], stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n")
    with open(fit.file_of(*LISTS[language]), encoding=ENCODING.get(language, "utf-8")) as f:
        return f.read().split("\n")


def is_word(word, language):
    script = SCRIPT.get(language, "LATIN")
    return 4 <= len(word) <= 20 and word.isalpha() and all(unicodedata.name(c, "").startswith(script) for c in word)


def words_of(language):
    """Marks of inflection stand behind a slash; they are cut off."""
    words = set()
    for line in lines_of(language):
        word = unicodedata.normalize("NFC", line.strip().split("/")[0])
        if language == "de" or word == word.lower():
            word = word.replace("İ", "i").lower()
            if is_word(word, language):
                words.add(word)
    return words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    words = {language: words_of(language) for language in LANGUAGES}
    lists = collections.Counter(word for some in words.values() for word in some)
    parts = {"train": [], "val": [], "test": []}
    for language, some in words.items():
        alone = sorted((word for word in some if lists[word] == 1), key=lambda word: fit.number_of("keep " + word))[:KEEP]
        print("%s: %d words, %d on no other list, %d kept"
              % (language, len(some), sum(lists[word] == 1 for word in some), len(alone)))
        for word in alone:
            parts[fit.split_of(word)].append((language, word))
    for part, rows in parts.items():
        rows.sort(key=lambda row: fit.number_of("order " + row[1]))
        fit.write_rows(os.path.join(args.out, "langid.%s.tsv" % part), rows)


if __name__ == "__main__":
    main()
