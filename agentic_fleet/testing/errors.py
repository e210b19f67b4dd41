"""What can go wrong in a test besides the test's own asserts.

::

    KitError
     ├─ DidNotStart    the service ended, or was not ready in time; the text holds what it printed
     ├─ Refused        the service answered with a problem (RFC 9457) instead of what was asked for
     ├─ CutOff         a stream broke, and could not be resumed within the tries it had
     └─ ScriptUsedUp   the model was called more often than its script has replies
"""

from typing import Any


class KitError(Exception):
    """Root of the family."""


class DidNotStart(KitError):
    pass


class Refused(KitError):
    """`problem` is the whole answer: type, title, status, detail, request_id, and `errors` where fields are wrong."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.title = str(problem.get("title") or "")
        self.detail = str(problem.get("detail") or "")
        self.problem = problem
        super().__init__(f"{status} {self.title}: {self.detail}")


class CutOff(KitError):
    pass


class ScriptUsedUp(KitError):
    pass
