"""`python -m study.grid configs/grid.yaml`: the same as `study run configs/grid.yaml`."""

import sys

from study.commands import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
