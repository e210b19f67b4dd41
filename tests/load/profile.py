"""py-spy on the service while it streams: `python -m tests.load.profile [sse|websocket] [SECONDS]` (scripts/profile).

64 streams at a token every 20 ms, as readers of a real model make them. Only what holds the interpreter is counted, so
the picture shows what CPU time goes into and not who waits.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.load.cells import FAST, FULL, PACE
from tests.load.child import ROOT
from tests.load.crowd import Crowd
from tests.load.subjects import FLEET, TRANSPORTS, Wish, stage

PY_SPY = Path(sys.executable).with_name("py-spy")
PICTURE = ROOT / ".var/profile.svg"


def main(transport: str = "sse", seconds: str = "10") -> None:
    if transport not in TRANSPORTS:
        sys.exit(f"over {' or '.join(TRANSPORTS)}, not {transport}")
    tokens = int((float(seconds) + 3 * FULL.ramp) * 1000 / PACE)
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="profile-") as home, stage(Path(home), (FLEET,)) as running:
        child = running.children[FLEET]
        asks = running.asks(FLEET, transport, FAST, FULL.busy, Wish(tokens, PACE))
        crowd = Crowd(child.url, asks, child, ramp=FULL.ramp)
        crowd.read(until=lambda crowd: crowd.speaking)
        options = ["--pid", str(child.pid), "--gil", "--duration", seconds, "--output", str(PICTURE)]
        spy = subprocess.Popen([PY_SPY, "record", "--rate", "500", *options])
        crowd.read(until=lambda crowd: spy.poll() is not None)
        crowd.close()
    if spy.wait():
        sys.exit("py-spy failed: it may have to be root")
    print(f"{PICTURE} shows where the time went")


if __name__ == "__main__":
    main(*sys.argv[1:])
