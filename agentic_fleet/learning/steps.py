"""How far a long piece of work has got, told as it goes on."""

from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""A sentence on what is being done, how much of it is done, and of how much. May be called in any thread."""


class Progress:
    """Counts what is done towards what is to be done."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._saying = ""
        self._done = self._all = 0

    def begin(self, saying: str, todo: int = 0) -> None:
        """`todo` more steps than what was expected so far."""
        self._saying = saying
        self._all = max(self._all, self._done) + todo
        self._tell(saying, self._done, self._all)

    def tick(self) -> None:
        self._done += 1
        self._tell(self._saying, min(self._done, self._all), self._all)
