"""Train an image QGAN: the same as `qcaan train-image`.

python scripts/train_image_qgan.py --digits 3 7 9
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["train-image", *sys.argv[1:]])
