"""Train a QC-AAN on images: the same as `qcaan train`.

python scripts/train_mnist.py --digits 3 7 9
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
