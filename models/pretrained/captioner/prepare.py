#!/usr/bin/python3
"""Makes the data of `captioner`: small pictures of emoji by three hands, and what Unicode calls them.

    npm install --ignore-scripts --prefix NPM emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 @iconify-json/fluent-emoji-flat@1.2.6
    models/pretrained/captioner/prepare.py --npm NPM/node_modules --out DATA

A caption is Unicode's short name in lower case, without colons, commas, brackets and quotation marks: "waving hand dark skin tone".
The split is by hashes: of a hundred subjects (an emoji in all its skin tones, by all hands) four are kept back whole, part `subjects`;
of the pictures that are left, five of a hundred each are parts `val` and `test`.
apt-get install unicode-data python3-pil librsvg2-bin
"""
import argparse
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
from PIL import Image

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import features  # noqa: E402
import fit  # noqa: E402

ENTRY = re.compile(r"^([0-9A-F ]+?) *; fully-qualified +# \S+ E[0-9.]+ (.+)$")
TONES = re.compile(r"-1f3f[b-f]")
HANDS = ("google", "twitter", "fluent")
RENDERED = 64  # pixels of a side, before features.py makes them small
SUBJECTS = 4   # of a hundred


def caption_of(name):
    return re.sub(r"[:,()“”]", "", name.lower()).replace("’", "'")


def emoji():
    """-> code points ("1f44b-1f3fb") and captions, in Unicode's order"""
    with open(fit.file_of("unicode-data", "emoji/emoji-test.txt"), encoding="utf-8") as f:
        entries = [ENTRY.match(line) for line in f]
    return [(entry[1].lower().replace(" ", "-"), caption_of(entry[2])) for entry in entries if entry]


class Sheet:
    """The pictures of an npm package emoji-datasource-HAND, a file each."""

    def __init__(self, npm, hand):
        self.folder = os.path.join(npm, "emoji-datasource-" + hand, "img", hand, "64")

    def picture(self, points):
        for name in (points, points.replace("-fe0f", "")):
            path = os.path.join(self.folder, name + ".png")
            if os.path.exists(path):
                return Image.open(path)
        return None


class Drawings:
    """The pictures of npm package @iconify-json/fluent-emoji-flat, drawn by rsvg-convert."""

    def __init__(self, npm):
        def read(name):
            with open(os.path.join(npm, "@iconify-json", "fluent-emoji-flat", name), encoding="utf-8") as f:
                return json.load(f)
        self.icons, self.names = read("icons.json"), read("chars.json")

    def picture(self, points):
        name = self.names.get(points, self.names.get(points.replace("-fe0f", "")))
        if name not in self.icons["icons"]:
            return None
        svg = ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 32 32">%s</svg>'
               % self.icons["icons"][name]["body"])
        png = subprocess.run(["rsvg-convert", "-w", str(RENDERED), "-h", str(RENDERED)], input=svg.encode(), stdout=subprocess.PIPE, check=True)
        return Image.open(io.BytesIO(png.stdout))


def part_of(hand, points):
    subject = TONES.sub("", points)
    if fit.number_of("subject " + subject) % 100 < SUBJECTS:
        return "subjects"
    return fit.split_of(hand + " " + points)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", required=True, help="a node_modules folder")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    hands = {"google": Sheet(args.npm, "google"), "twitter": Sheet(args.npm, "twitter"), "fluent": Drawings(args.npm)}
    parts = {part: ([], []) for part in ("train", "val", "test", "subjects")}
    for points, caption in emoji():
        for hand in HANDS:
            picture = hands[hand].picture(points)
            if picture is not None:
                pixels, rows = parts[part_of(hand, points)]
                pixels.append(features.pixels_of(picture))
                rows.append((caption, hand, points))
    for part, (pixels, rows) in parts.items():
        np.save(os.path.join(args.out, "captioner.%s.npy" % part), np.stack(pixels))
        fit.write_rows(os.path.join(args.out, "captioner.%s.tsv" % part), rows)


if __name__ == "__main__":
    main()
