"""Write a page to play with a trained circuit: the same as `qcaan page`.

python scripts/page.py runs/379 --out page
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["page", *sys.argv[1:]])
