"""`python -m qcaan`: the commands of `qcaan`."""

from qcaan.commands.main import main

if __name__ == "__main__":
    main()
