"""Small questions about a text: which intent, which entities. A model answers that can, rules beside a small one.

Whatever a model says is checked: an intent is one of those that were given, an entity stands in the text word for word.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import anyio
import dspy
from pydantic import create_model

from agentic_fleet.errors import Busy, ModelFailed, TimedOut
from agentic_fleet.workflows.programs import ShortForm
from agentic_fleet.workflows.spotting import Entity, Intent, kind_of, spot_entities, spot_intent

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Questions under way at the same time; one more is refused."""
MOST = 50
"""Entities in one answer."""
_REASON = 500  # characters of a model's reasons
_BY_WORD = 0.5  # confidence in an answer that comes without one


@dataclass(frozen=True, slots=True, kw_only=True)
class Entities:
    entities: tuple[Entity, ...]
    reasoning: str


class Language:
    """`lm` is None where no model is to be asked. `timeout` is in seconds."""

    def __init__(self, lm: Any, *, timeout: float) -> None:
        self._lm = lm
        self._timeout = timeout
        self._under_way = 0

    async def intent(self, text: str, intents: Sequence[str]) -> Intent:
        """One of `intents`. Raises Busy, TimedOut, ModelFailed."""
        if self._lm is None:
            return spot_intent(text, intents)
        said = await self._ask(_intent_program(tuple(intents)), {"text": text})
        if said is None or said.intent not in intents:
            return spot_intent(text, intents)
        confidence = _confidence(said.confidence)
        return Intent(intent=said.intent, confidence=confidence, reasoning=str(said.reasoning or "")[:_REASON])

    async def entities(self, text: str, types: Sequence[str]) -> Entities:
        """Those of `types`, in the order of the text. Raises Busy, TimedOut, ModelFailed."""
        if self._lm is not None:
            said = await self._ask(_entity_program(tuple(types)), {"text": text})
            if said is not None and isinstance(said.entities, list):
                found = _grounded(said.entities, text, types)
                return Entities(entities=found, reasoning=str(said.reasoning or "")[:_REASON])
        unknown = [type for type in types if kind_of(type) is None]
        reasoning = "By rules, from patterns of the words."
        if unknown:
            reasoning += f" Rules know nothing of: {', '.join(unknown)}."
        return Entities(entities=tuple(spot_entities(text, types, MOST)), reasoning=reasoning)

    async def _ask(self, program: Any, inputs: dict[str, str]) -> Any:
        """What the program says; None when that makes no sense."""
        if self._under_way >= AT_ONCE:
            raise Busy(f"{AT_ONCE} texts are being read already.")
        self._under_way += 1
        try:
            with anyio.fail_after(self._timeout), dspy.context(lm=self._lm, adapter=ShortForm()):
                return await program.acall(**inputs)
        except TimeoutError:
            raise TimedOut(f"The model took longer than {self._timeout:g} s.") from None
        except Exception as error:  # the boundary to whatever a model may answer; the error may quote the text
            if isinstance(cause := error.__cause__ or error, ModelFailed):
                raise cause from None
            logger.warning("no usable reading of a text from the model, rules read it: %s", type(error).__name__)
            return None
        finally:
            self._under_way -= 1


@lru_cache(maxsize=64)
def _intent_program(intents: tuple[str, ...]) -> Any:
    """In: text. Out: intent, confidence, reasoning. Kept, because DSPy takes milliseconds to build one."""
    fields: dict[str, Any] = {
        "text": (str, dspy.InputField()),
        "reasoning": (str, dspy.OutputField(desc="why, one sentence")),
        "intent": (_closed(*intents), dspy.OutputField(desc=" or ".join(intents))),
        "confidence": (_closed(*range(11)), dspy.OutputField(desc="0 (a guess) to 10 (certain)")),
    }
    return dspy.Predict(dspy.Signature(fields, "Say which intent the text has."))


@lru_cache(maxsize=64)
def _entity_program(types: tuple[str, ...]) -> Any:
    """In: text. Out: entities (objects with text, type and confidence), reasoning."""
    entity = create_model("Entity", text=(str, ...), type=(_closed(*types), ...), confidence=(_closed(*range(11)), ...))
    told = (
        f"a list of objects: text (copied from the text word for word), type ({' or '.join(types)}), confidence "
        "(0, a guess, to 10, certain); [] when there are none"
    )
    fields: dict[str, Any] = {
        "text": (str, dspy.InputField()),
        "reasoning": (str, dspy.OutputField(desc="why, one sentence")),
        "entities": (list.__class_getitem__(entity), dspy.OutputField(desc=told)),
    }
    return dspy.Predict(dspy.Signature(fields, "Find the entities of the given types in the text."))


def _grounded(said: list[Any], text: str, types: Sequence[str]) -> tuple[Entity, ...]:
    """What the text does not have was invented. Each mention once, in the order of the text."""
    found: dict[tuple[int, str], Entity] = {}
    after: dict[str, int] = {}
    for each in said:
        if not isinstance(each, dict):
            continue
        words, type = each.get("text"), each.get("type")
        if not isinstance(words, str) or not words.strip() or not isinstance(type, str) or type not in types:
            continue
        at = text.find(words, after.get(words, 0))
        if at >= 0:
            after[words] = at + len(words)
            found[at, type] = Entity(text=words, type=type, confidence=_confidence(each.get("confidence")))
    return tuple(entity for _, entity in sorted(found.items(), key=lambda it: it[0]))[:MOST]


def _confidence(said: Any) -> float:
    """Of ten, as a model says it, to 0..1."""
    try:
        return round(min(10.0, max(0.0, float(said))) / 10, 2)
    except (TypeError, ValueError):
        return _BY_WORD


def _closed(*values: object) -> Any:
    return Literal.__getitem__(values)
