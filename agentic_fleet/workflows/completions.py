"""What answers a prompt: the one seam between the team and whatever model stands behind it.

Agents (chat.py) and DSPy programs (lm.py) both speak to it, so there is one queue, one limit and one way to cancel.
`endpoint.py` implements it over HTTP, `embedded.py` in this process.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

Chunk = dict[str, Any]
"""One `chat.completion.chunk` object of OpenAI's chat-completions API."""


class Completions(Protocol):
    name: str
    """The model's name, as clients see it."""

    @property
    def constrained(self) -> bool:
        """Whether `response_format` of type `json_schema` is obeyed to the letter, as far as is known by now."""
        ...

    def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """Answer one request (OpenAI's body without `model`, `stream` and `stream_options`), chunk by chunk.

        The last chunk carries `usage` when the model reports it. Closing or cancelling the generator ends the
        generation and frees its connection within 250 ms. Raises ModelFailed (with a text that is safe to show).
        """
        ...
