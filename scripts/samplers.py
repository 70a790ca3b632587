"""List the samplers: the same as `qcaan samplers`.

python scripts/samplers.py
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["samplers", *sys.argv[1:]])
