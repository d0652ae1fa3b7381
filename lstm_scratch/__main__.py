"""`python -m lstm_scratch` is the command line too."""

import sys

from lstm_scratch.cli import main

if __name__ == "__main__":
    sys.exit(main())
