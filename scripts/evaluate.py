"""Score the images of a run: the same as `qcaan evaluate`.

python scripts/evaluate.py runs/379
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
