"""What both of OpenAI's dialects say alike: parts of a message, who spoke, how hard to think.

What the fleet cannot do is refused by its name; what it does not need (temperature, seed, user and so on) is not even
read. Programs send it with every request and would not work otherwise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from agentic_fleet.conversations import Message, Opening, new_id
from agentic_fleet.events import now
from agentic_fleet.turns import Ask, Mode, ReasoningEffort
from agentic_fleet.web.door.refusals import Refusal, unsupported

QUESTION = 10_000
"""Characters of a question, as everywhere in the service."""
TITLE = 60
"""Characters of a conversation's title: the beginning of the question."""
KEPT = 50
"""Earlier messages that are kept with a question: a run is given no more, and clients send all of them every time."""

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

_TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})
_EFFORTS: Mapping[str, ReasoningEffort] = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "minimal",
    "medium": "medium",
    "high": "maximal",
    "xhigh": "maximal",
    "max": "maximal",
}


class Part(Struct):
    """A piece of a message's content."""

    type: str
    text: str = ""
    refusal: str = ""


Content = str | list[Part] | None


@dataclass(frozen=True, slots=True)
class Said:
    """One message as it was sent. `where` is its place in the request, for errors."""

    role: Role
    text: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a request comes to: one question, what was said before it, and the caller's instructions."""

    text: str
    earlier: tuple[Said, ...] = ()
    instructions: str | None = None

    def ask(self, mode: Mode, effort: ReasoningEffort | None, *, streamed: bool) -> Ask:
        """A stream cannot take back what it has sent, so nothing is refined that is streamed."""
        return Ask(
            message=self.text,
            mode=mode,
            reasoning_effort=effort,
            instructions=self.instructions,
            refine=not streamed,
        )

    def opening(self, conversation_id: str, before: Sequence[Message] = ()) -> Opening:
        """A conversation with the messages `before` it elsewhere, and those that the request brings along."""
        at = now()
        messages = [
            Message(
                id=new_id(),
                conversation_id=conversation_id,
                role="user" if said.role == "user" else "assistant",
                content=said.text,
                created_at=at,
            )
            for said in self.earlier
        ]
        title = " ".join(self.text.split())
        title = title if len(title) <= TITLE else f"{title[: TITLE - 1]}…"
        return Opening(messages=(*before, *messages)[-KEPT:], title=title, listed=False)


def question(said: Iterable[Said], param: str, instructions: str | None = None) -> Question:
    """The last message is the question. What tools have told the model is not part of the conversation.

    Raises Refusal, naming the place.
    """
    talk, wishes = list[Said](), [instructions or ""]
    for each in said:
        if each.role in ("system", "developer"):
            wishes.append(each.text)
        else:
            talk.append(each)
    if not talk:
        raise Refusal("There must be a message of the user.", param=param)
    *earlier, last = talk
    if last.role != "user":
        raise Refusal(f"The last message must be the user's, not of the role {last.role!r}.", param=last.where)
    if not last.text.strip():
        raise Refusal("The question is empty.", param=last.where)
    if len(last.text) > QUESTION:
        message = f"The question has {len(last.text)} characters, and may have {QUESTION}."
        raise Refusal(message, param=last.where, code="string_above_max_length")
    spoken = tuple(each for each in earlier if each.role in ("user", "assistant") and each.text.strip())
    return Question(text=last.text, earlier=spoken[-KEPT:], instructions="\n\n".join(filter(str.strip, wishes)) or None)


def text_of(content: Content, where: str) -> str:
    """Raises Refusal for anything that is not text."""
    if content is None or isinstance(content, str):
        return content or ""
    for place, part in enumerate(content):
        if part.type not in _TEXTS:
            message = f"The fleet reads text only, not content of type {part.type[:50]!r}."
            raise Refusal(message, param=f"{where}[{place}].type", code="unsupported_value")
    return "\n".join(part.text or part.refusal for part in content)


def effort_of(word: str | None, param: str) -> ReasoningEffort | None:
    """Raises Refusal for an unknown word."""
    if word is None:
        return None
    if word not in _EFFORTS:
        message = f"{word[:50]!r} is no reasoning effort. There are: {', '.join(_EFFORTS)}."
        raise Refusal(message, param=param, code="invalid_value")
    return _EFFORTS[word]


def refuse_tools(**given: Any) -> None:
    """Raises Refusal when the client brings tools: it would have to run them."""
    for param, value in given.items():
        if value:
            raise unsupported(param, "The fleet has tools of its own and cannot call the client's.")


def refuse_format(wanted: Any, param: str) -> None:
    """Raises Refusal for anything but plain text: several agents make the answer, and none of them is constrained."""
    kind = wanted.get("type") if isinstance(wanted, Mapping) else wanted
    if kind not in (None, "text"):
        raise unsupported(param, "The fleet answers in plain text and cannot promise a format.")
