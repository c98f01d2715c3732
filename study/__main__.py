"""`python -m study COMMAND`: the same as `study COMMAND`."""

import sys

from study.commands import main

if __name__ == "__main__":
    sys.exit(main())
