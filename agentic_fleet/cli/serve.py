"""The service itself, as `python app.py` and `scripts/serve` start it; its settings come from the environment (README).

Exit codes: 0 stopped as asked, 1 could not start, 2 a setting is not allowed.
"""

import argparse
import os
import sys

from agentic_fleet.cli.launch import APP


def main() -> int:
    """Becomes the service: the process that was told to serve is the one that gets the signals."""
    argparse.ArgumentParser(
        prog="python -m agentic_fleet serve", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    if not APP.is_file():
        print(f"There is no {APP}: the service is started from a checkout of the project.", file=sys.stderr)
        return 1
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(APP)])
