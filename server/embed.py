#!/usr/bin/python3
"""Writes a file as the inside of a C array of bytes: embed.py INPUT OUTPUT.  Called by the build."""
import sys

with open(sys.argv[1], "rb") as f:
    data = f.read()
with open(sys.argv[2], "w", encoding="ascii") as f:
    for at in range(0, len(data), 24):
        f.write(",".join(str(b) for b in data[at:at + 24]) + ",\n")
