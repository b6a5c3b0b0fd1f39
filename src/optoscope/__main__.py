"""`python -m optoscope` is `optoscope`."""

import sys

from optoscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
