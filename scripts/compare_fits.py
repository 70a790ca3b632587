"""Fit the bits of a run with every optimiser and model: the same as `qcaan compare fits`.

python scripts/compare_fits.py runs/379
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["compare", "fits", *sys.argv[1:]])
