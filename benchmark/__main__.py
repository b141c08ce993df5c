"""`python -m benchmark <stage> …`: every rule of the workflow calls this."""

import sys

from benchmark.fork_server import delegate

if __name__ == "__main__":
    code = delegate(sys.argv[1:])
    if code is None:
        from benchmark.cli import main

        code = main()
    sys.exit(code)
