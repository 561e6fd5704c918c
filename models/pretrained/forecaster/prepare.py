#!/usr/bin/python3
"""Makes the electricity demand that `forecaster` is trained and tested on, from Debian's r-cran-forecast.

    models/pretrained/forecaster/prepare.py --out DATA

Writes DATA/train.csv (ten weeks) and DATA/test.csv (the two after them, behind the last week of the ten, which a forecaster has to have
read): the series `taylor`, the demand of England and Wales in MW, half-hour by half-hour, from Monday 5 June to Sunday 27 August 2000
(Taylor 2003, "Short-term electricity demand forecasting using double seasonal exponential smoothing").  A line is a half-hour: when it
begins, and the demand.  Needs Debian's r-base-core, and r-cran-forecast installed or unpacked (dpkg -x) into the folder --root.
"""
import argparse
import csv
import datetime
import os
import subprocess
import sys

START, HALF_HOURS = datetime.datetime(2000, 6, 5), 4032
A_WEEK, TRAIN_WEEKS = 336, 10
SCRIPT = 'e <- new.env(); lazyLoad("%s/usr/lib/R/site-library/forecast/data/Rdata", e); write(as.numeric(e$taylor), "", 1)'


def demand(root):
    try:
        printed = subprocess.run(["Rscript", "-e", SCRIPT % root], stdout=subprocess.PIPE, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        sys.exit("R did not print the series: apt-get install r-base-core r-cran-forecast")
    values = [int(word) for word in printed.split() if word.isdigit()]
    if len(values) != HALF_HOURS:
        sys.exit("the series has %d values, not %d" % (len(values), HALF_HOURS))
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="", help="where r-cran-forecast was unpacked (default: installed)")
    parser.add_argument("--out", required=True, help="folder for the two tables")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    values = demand(args.root)
    cut = TRAIN_WEEKS * A_WEEK
    for part, places in (("train", range(cut)), ("test", range(cut - A_WEEK, HALF_HOURS))):
        with open(os.path.join(args.out, part + ".csv"), "w", newline="", encoding="utf-8") as f:
            table = csv.writer(f, lineterminator="\n")
            table.writerow(("begins", "demand"))
            table.writerows([(START + at * datetime.timedelta(minutes=30)).strftime("%Y-%m-%d %H:%M"), values[at]] for at in places)
        print("%s: %d half-hours" % (part, len(places)))


if __name__ == "__main__":
    main()
