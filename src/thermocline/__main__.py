"""`python -m thermocline` is the command line."""

import sys

from thermocline.interfaces.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
