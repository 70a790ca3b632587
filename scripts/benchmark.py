"""Time the parts that must be fast, as ratios: the same as `qcaan benchmark`.

python scripts/benchmark.py --json benchmark.json
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])
