"""The line at the bottom of the terminal that says who is at work, and for how long; only while nobody speaks."""

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_NEXT = {
    "": "analysis",
    "analysis": "routing",
    "routing": "execution",
    "execution": "progress",
    "progress": "quality",
    "quality": "",
}
"""The phase that comes after the one that was told: phases are told when they end."""


class Standing:
    """`shown`: on a terminal. Elsewhere nothing of it is seen."""

    def __init__(self, console: Console, *, shown: bool) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        self._bar = Progress(*columns, console=console, transient=True) if shown else None
        self._line = self._bar.add_task("") if self._bar else None
        self._phase = ""
        self._agents: list[str] = []
        self._working = False

    def begin(self) -> None:
        """A life of the run."""
        self._working = True
        self._phase = "analysis"
        self._agents.clear()
        if self._bar and self._line is not None:
            self._bar.reset(self._line)

    def think(self, phase: str) -> None:
        self._phase = _NEXT.get(phase, self._phase)

    def join(self, agent: str) -> None:
        if agent not in self._agents:
            self._agents.append(agent)

    def leave(self, agent: str) -> None:
        if agent in self._agents:
            self._agents.remove(agent)

    def end(self) -> None:
        """The run has ended."""
        self._working = False
        self.hide()

    def show(self) -> None:
        if self._bar and self._line is not None and self._working:
            self._bar.update(self._line, description=self.words)
            self._bar.start()

    def hide(self) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def words(self) -> str:
        return ": ".join(filter(None, (self._phase, ", ".join(self._agents))))
