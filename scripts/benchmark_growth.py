"""Measure how time and memory grow with the work: the same as `qcaan benchmark growth`.

python scripts/benchmark_growth.py
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["benchmark", "growth", *sys.argv[1:]])
