"""`python -m aurolog`: the same command line as `aurolog`."""

import sys

from aurolog.cli import main

if __name__ == "__main__":
    sys.exit(main())
