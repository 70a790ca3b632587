"""Measure the QGAN on its standard cases: the same as `qcaan compare qgan`.

python scripts/measure_qgan.py --out runs/measure_qgan
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["compare", "qgan", *sys.argv[1:]])
