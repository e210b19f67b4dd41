"""A DSPy language model for threads: what calls it waits, while the event loop answers.

DSPy's optimisers are synchronous and use threads of their own; our models live in the event loop of the process. Only
for a process that does nothing else: every call holds a thread.
"""

import threading
from typing import Any

import dspy
from anyio.from_thread import BlockingPortal

from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.lm import build_lm

IN_A_ROW = 5
"""Failed calls after which the model counts as gone, and is not asked any more."""


class Bridge:
    """Makes `lm`. Once `gone` is set, every further call fails at once with it, so that an optimiser comes to its end.

    Its user looks at `gone` then: optimisers take a failed call for a bad answer.
    """

    def __init__(self, completions: Completions, portal: BlockingPortal) -> None:
        self.gone: ModelFailed | None = None
        self.calls = 0
        self._in_a_row = 0
        self._portal = portal
        self._counting = threading.Lock()
        self.lm = build_lm(completions, waiting=self._wait)

    def context(self, adapter: Any) -> Any:
        """The DSPy settings under which programs ask this model, for the block."""
        return dspy.context(lm=self.lm, adapter=adapter)

    def _wait(self, complete: Any, request: Any) -> Any:
        """Called in any thread but the event loop's."""
        if self.gone:
            raise self.gone
        try:
            answer = self._portal.call(complete, request)
        except ModelFailed as failure:
            with self._counting:
                self._in_a_row += 1
                if self._in_a_row >= IN_A_ROW:
                    self.gone = failure
            raise
        with self._counting:
            self._in_a_row = 0
            self.calls += 1
        return answer
