#!/usr/bin/python3
"""Makes the drawings that `drawing` is trained, validated and tested on, from the npm package hanzi-writer-data.

    npm install hanzi-writer-data@2.0.1               (anywhere; it has no part in the build)
    models/pretrained/drawing/prepare.py --package node_modules/hanzi-writer-data --out DATA

Writes DATA/train.jsonl, val.jsonl and test.jsonl, a Chinese character a line: {"character", "frames"}.  A frame is [dx, dy, down, up,
end]: the way from the last point, to the right and down, in thousandths of the em square, then one of three states of the pen: it
stays down and draws on to the next point, lifts after this one, or the drawing ends here.  The first frame leads from the square's
centre to where the first stroke begins.  Strokes are the package's centre lines, in the order in which they are written, with
points left out that a straight line passes within TOLERANCE of (Ramer 1972, Douglas and Peucker 1973), and long pieces cut.
Characters of more than STROKES_MAX strokes are left out.  Of each twenty characters, in the order of Unicode, the 7th validates
and the 17th tests.  Needs python3-numpy.
"""
import argparse
import json
import os

import numpy as np

STROKES_MAX = 12
TOLERANCE, LONGEST = 14.0, 260.0  # in units of the package: 1024 are an em
EM, TOP = 1024.0, 900.0  # y grows upwards there and is 900 at the top
EVERY, VALIDATES, TESTS = 20, 6, 16
DOWN, UP, END = [1, 0, 0], [0, 1, 0], [0, 0, 1]


def simplified(points):
    """The points that matter, first and last among them"""
    if len(points) < 3:
        return points
    first, way = points[0], points[-1] - points[0]
    rest = points[1:-1] - first
    length = np.hypot(*way)
    off = np.abs(rest[:, 0] * way[1] - rest[:, 1] * way[0]) / length if length else np.hypot(*rest.T)
    worst = int(off.argmax())
    if off[worst] <= TOLERANCE:
        return points[[0, -1]]
    return np.concatenate([simplified(points[:worst + 2])[:-1], simplified(points[worst + 1:])])


def cut(points):
    """Long straight pieces in equal parts of at most LONGEST"""
    parts = [points[:1]]
    for a, b in zip(points, points[1:]):
        n = max(1, int(np.ceil(np.hypot(*(b - a)) / LONGEST)))
        parts.append(a + (b - a) * np.arange(1, n + 1)[:, None] / n)
    return np.concatenate(parts)


def frames_of(strokes):
    """strokes: lists of points of the package -> frames"""
    at, found = np.array([500, 500]), []
    for stroke in strokes:
        points = np.array(stroke, float)
        points = points[np.concatenate([[True], np.any(points[1:] != points[:-1], 1)])]
        points = cut(simplified(points))
        points = np.rint(np.stack([points[:, 0], TOP - points[:, 1]], 1) * 1000 / EM).astype(int)
        for point in points:
            found.append((point - at).tolist() + DOWN)
            at = point
        found[-1][2:] = UP
    found[-1][2:] = END
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", required=True, help="the unpacked package hanzi-writer-data")
    parser.add_argument("--out", required=True, help="folder for the three parts")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    parts = {"train": [], "val": [], "test": []}
    characters = sorted(name[:-5] for name in os.listdir(args.package) if name.endswith(".json") and len(name) == 6)
    n = 0
    for character in characters:
        with open(os.path.join(args.package, character + ".json"), encoding="utf-8") as f:
            strokes = json.load(f)["medians"]
        if len(strokes) > STROKES_MAX:
            continue
        part = {VALIDATES: "val", TESTS: "test"}.get(n % EVERY, "train")
        parts[part].append({"character": character, "frames": frames_of(strokes)})
        n += 1
    for part, drawings in parts.items():
        with open(os.path.join(args.out, part + ".jsonl"), "w", encoding="utf-8") as f:
            for drawing in drawings:
                f.write(json.dumps(drawing, ensure_ascii=False, separators=(",", ":")) + "\n")
        print("%s: %d drawings, %d frames" % (part, len(drawings), sum(len(d["frames"]) for d in drawings)))


if __name__ == "__main__":
    main()
