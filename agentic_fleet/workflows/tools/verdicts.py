"""What a human's answer to "may this tool run?" means."""

from typing import Any

YES = frozenset({"yes", "y", "yes please", "approve", "approved", "ok", "okay", "true", "allow", "accept", "go ahead"})
_WORDS = ("comment", "reason", "message", "feedback", "text")  # where clients put what the human said besides


def read_verdict(answer: Any) -> tuple[bool, str]:
    """Whether it approves, and the human's own words if there are any. What is not a clear yes is a no."""
    match answer:
        case bool():
            return answer, ""
        case str():
            words = answer.strip()
            return words.rstrip(".!").casefold() in YES, words
        case {"approved": bool() | str() as said, **rest}:
            approved, words = read_verdict(said)
            return approved, next((text for key in _WORDS if isinstance(text := rest.get(key), str)), words)
    return False, ""
