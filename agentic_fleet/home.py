"""The service's folder: made at start, used by one process at a time.

Two processes on one database would each take the other's live runs for leftovers of a dead one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentic_fleet.errors import BadSetting

try:
    import fcntl
except ImportError:  # Windows: no lock, one process is the user's care there
    fcntl = None  # type: ignore[assignment]  # the module does not exist on this platform


@contextmanager
def open_home(home: Path) -> Iterator[None]:
    """Make the folder and hold its lock. BadSetting when it cannot be written or another process holds it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise BadSetting(f"FLEET_HOME: {home} cannot be written: {error.strerror}") from None
    with lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadSetting(
                    f"FLEET_HOME: another AgenticFleet process is using {home}: stop it, or name another folder"
                ) from None
        yield
