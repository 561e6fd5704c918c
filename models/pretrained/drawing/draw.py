#!/usr/bin/python3
"""Turns frames of `drawing` into a picture: JSON on standard input, SVG on standard output.

    curl -s localhost:8080/generate -d '{"model":"drawing","input":[[0,0,0,0,1]],"max_frames":100,"temperature":0.4,"seed":6,"n":16}' |
        models/pretrained/drawing/draw.py >drawings.svg

Reads the answer of /generate, each choice a drawing, or lines of test.jsonl, or bare lists of frames.  A frame is [dx, dy, down, up, end]:
the way from the last point in thousandths of the square, then what the pen does after it.  The way starts at the square's centre.
Several drawings stand side by side, eight in a row.  Needs nothing but Python.
"""
import json
import sys

SIDE, PER_ROW, START, WIDTH = 1000, 8, 500, 34


def drawings_of(text):
    """-> lists of frames, of one JSON value after another"""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        if isinstance(value, list):
            value = {"frames": value}
        found += [one["frames"] for one in value.get("choices", [value]) if "frames" in one]
    return found


def strokes_of(frames):
    """-> lists of points; frames before the first point and after the last, which end a drawing, draw nothing"""
    x = y = START
    strokes, stroke = [], []
    for dx, dy, down, up, end in frames:
        if end and not stroke and dx == dy == 0:
            continue
        x, y = x + dx, y + dy
        stroke.append((x, y))
        if max(down, up, end) != down:
            strokes.append(stroke)
            stroke = []
        if end > max(down, up):
            break
    return strokes + [stroke] * bool(stroke)


def path_of(strokes, left, top):
    moves = ("M" + "L".join("%.0f,%.0f" % (left + x, top + y) for x, y in stroke) for stroke in strokes)
    return '<path d="%s"/>' % "".join(moves)


def svg_of(drawings):
    rows = -(-len(drawings) // PER_ROW)
    size = min(len(drawings), PER_ROW) * SIDE, rows * SIDE
    paths = [path_of(strokes_of(frames), SIDE * (at % PER_ROW), SIDE * (at // PER_ROW)) for at, frames in enumerate(drawings)]
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d">\n'
            '<rect width="100%%" height="100%%" fill="white"/>\n'
            '<g fill="none" stroke="black" stroke-width="%d" stroke-linecap="round" stroke-linejoin="round">\n%s\n</g>\n</svg>'
            % (*size, size[0] // 8, size[1] // 8, WIDTH, "\n".join(paths)))


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    drawings = drawings_of(sys.stdin.read())
    if not drawings:
        sys.exit("no frames: want the answer of /generate, lines of test.jsonl, or lists of frames")
    print(svg_of(drawings))


if __name__ == "__main__":
    main()
