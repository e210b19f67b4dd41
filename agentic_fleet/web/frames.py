"""What clients say on the chat socket: one JSON object per frame, told apart by `type`.

Like the rest of the chat protocol it ignores keys it does not know; an unknown `type` is refused.
"""

from msgspec import Struct

from agentic_fleet import jsontext
from agentic_fleet.web.wire import AnswerWords, AskWords, Id


class Task(AskWords, frozen=True, kw_only=True, tag="task"):
    conversation_id: Id | None = None


class WatchRun(Struct, frozen=True, kw_only=True, tag="watch"):
    run_id: Id
    after: int | str = 0


class Respond(AnswerWords, frozen=True, kw_only=True, tag="response"):
    workflow_id: Id | None = None


class WorkflowRespond(Respond, frozen=True, kw_only=True, tag="workflow.response"):
    """The original's word for the same."""


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel"):
    workflow_id: Id | None = None


class Resume(Struct, frozen=True, kw_only=True, tag="workflow.resume"):
    """`run_id` says which run, else it is the conversation's newest, else this socket's."""

    run_id: Id | None = None
    conversation_id: Id | None = None
    checkpoint_id: Id | None = None


class Ping(Struct, frozen=True, tag="ping"):
    pass


Frame = Task | WatchRun | Respond | WorkflowRespond | Cancel | Resume | Ping


class _AnyFrame(Struct):
    type: object = None


def parse(text: bytes) -> Frame:
    """One frame; without `type` it is a task (the original's form). Raises Invalid."""
    if jsontext.decode(text, _AnyFrame).type is None:
        return jsontext.decode(text, Task)
    # msgspec takes a union of tagged structs, which `type[T]` cannot say.
    return jsontext.decode(text, Frame)  # type: ignore[arg-type]
