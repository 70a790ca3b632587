"""Train and score every prior with the same networks: the same as `qcaan compare priors`.

python scripts/compare_priors.py --data mnist
"""

import sys

from qcaan.commands.main import main

if __name__ == "__main__":
    main(["compare", "priors", *sys.argv[1:]])
