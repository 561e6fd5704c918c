#!/bin/sh
# Makes the larger cases in a folder of its own and replays them.  Usage: large.sh TEST_GOLDEN
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
/usr/bin/python3 "$(dirname "$0")/make_large.py" "$folder"
"$1" "$folder"
