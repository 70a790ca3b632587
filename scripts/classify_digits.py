"""Classify digits with and without a circuit before the network: the same as `qcaan classify`.

python scripts/classify_digits.py
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["classify", *sys.argv[1:]])
