"""`python -m study.grid configs/grid.yaml`: the command `study run`, under the name that a study is run by."""

import sys

from study.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
