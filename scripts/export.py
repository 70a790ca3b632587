"""Make a ready-made model of a run: the same as `qcaan export`.

python scripts/export.py runs/379 --out model
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
