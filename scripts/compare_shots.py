"""Fit bits from shots by every optimiser on several samplers: the same as `qcaan compare shots`.

python scripts/compare_shots.py runs/379
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["compare", "shots", *sys.argv[1:]])
