"""Score models of bits on standard targets: the same as `qcaan benchmark bits`.

python scripts/benchmark_bits.py
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["benchmark", "bits", *sys.argv[1:]])
