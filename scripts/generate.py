"""Draw images from a run: the same as `qcaan generate`.

python scripts/generate.py runs/379 --n 64
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
