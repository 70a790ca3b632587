"""Train a hybrid WGAN-GP QGAN on real numbers: the same as `qcaan train-wasserstein`.

python scripts/train_gaussian.py
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["train-wasserstein", *sys.argv[1:]])
