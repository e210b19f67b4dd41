"""Everything that can go wrong and has a name.

::

    FleetError                  the text is safe to show to a client
     ├─ NotFound                no such conversation, run or agent (or not yours)
     ├─ Invalid                 the request is understood and refused; `errors` names the fields
     │   └─ BadCursor           a resume position that cannot exist in this log
     ├─ Conflict                not now: the state of the thing forbids it
     │   ├─ KeyReused           an idempotency key came back with another body
     │   └─ CheckpointUnreadable  damaged, or made by another version: the run cannot go on from it
     ├─ Unauthenticated         no key, or none of ours
     ├─ Forbidden               a key of ours, but this is for others
     ├─ Busy                    try again in `retry_after` seconds
     │   ├─ TooManyRuns
     │   ├─ Draining
     │   └─ TooFast             this caller has had its share for now; others have not
     ├─ StoreFailed             the store did not keep it
     │   └─ StoreUnavailable    nor would it keep anything else now (disk full, locked, closed)
     ├─ ModelFailed             the model could not be reached, refused, or broke off
     │   └─ ModelBusy           its queue is full
     ├─ Unfinished              how a run's life ended without an answer (turns.py); told to middleware, not raised
     ├─ TimedOut                a phase, an agent or the run took longer than allowed
     └─ BadSetting              a setting is not allowed; raised at start only

`web` maps each to a status code in one table (web/problems.py); nothing else does.
"""

from collections.abc import Sequence


class FleetError(Exception):
    """Root of the family. `str(error)` may be shown to a client: it says what failed, never how we are built."""


class NotFound(FleetError):
    pass


class Invalid(FleetError):
    """`errors` are (field, problem) pairs; `field` is a JSON path or a parameter's name."""

    def __init__(self, message: str, errors: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class BadCursor(Invalid):
    pass


class Conflict(FleetError):
    pass


class KeyReused(Conflict):
    pass


class CheckpointUnreadable(Conflict):
    pass


class Unauthenticated(FleetError):
    pass


class Forbidden(FleetError):
    pass


class Busy(FleetError):
    def __init__(self, message: str, *, retry_after: int = 5) -> None:  # seconds
        super().__init__(message)
        self.retry_after = retry_after


class TooManyRuns(Busy):
    pass


class Draining(Busy):
    pass


class TooFast(Busy):
    pass


class StoreFailed(FleetError):
    pass


class StoreUnavailable(StoreFailed):
    pass


class ModelFailed(FleetError):
    pass


class ModelBusy(ModelFailed):
    pass


class TimedOut(FleetError):
    pass


class BadSetting(FleetError):
    pass


def innermost(error: Exception) -> Exception:
    """The first cause inside the exception groups that task groups wrap around it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
