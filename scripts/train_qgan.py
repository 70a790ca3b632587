"""Train a QGAN that loads a distribution into a circuit: the same as `qcaan train-qgan`.

python scripts/train_qgan.py --data lognormal
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["train-qgan", *sys.argv[1:]])
