"""Search for options that score well: the same as `qcaan sweep`.

python scripts/sweep.py --vary lr=3e-4..3e-3:log width=32,48 --epochs 4
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["sweep", *sys.argv[1:]])
