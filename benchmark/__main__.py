"""`python -m benchmark <stage> …`: every rule of the workflow calls this."""

import sys

from benchmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
