"""The words of a task that give away what it calls for: plans by rules, and features for the classifier.

Rules come before every model: a greeting or a short plain question needs no plan, and costs no call.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.plans import ALONE, Plan, Work

IN_TURN = re.compile(
    r"\b(and then|then|afterwards?|after (that|which)|next|finally|lastly|based on|from that|(out )?of it"
    r"|turn (that|it|this|the|them)|use (the|it) (outcome|result|to)|with that|once|danach|anschließend|daraus|dann"
    r"|puis|ensuite|luego|después|daarna)\b",
    re.IGNORECASE,
)
"""Words that say that one piece of work waits for another."""

SIDE_BY_SIDE = re.compile(
    r"\b(separate(ly)?|independent(ly)?|(in )?parallel|at the same time|(all )?at once|side by side|on its own"
    r"|meanwhile|plus|sides|angles|(two|three) (things|tasks|jobs)|views|on the side|unrelated|unabhängig|getrennt"
    r"|einmal|gleichzeitig|d'un côté|de l'autre|en parallèle|por separado)\b",
    re.IGNORECASE,
)
"""Words that say that pieces of work do not need each other."""

_TOOLS: Mapping[str, re.Pattern[str]] = {
    "calculate": re.compile(
        r"\d\s*[-+*/×÷^%]\s*\d|\d\s*%|\b(calculat|comput|percent|how (many|much)\b|berechn|wie viel|combien|cuánto)",
        re.IGNORECASE,
    ),
    "current_time": re.compile(
        r"\b(today|tonight|tomorrow|yesterday|(current|what) (date|time)|(this|next) (week|month|year)|heute|morgen"
        r"|aujourd'hui|demain|hoy|mañana)\b",
        re.IGNORECASE,
    ),
    "fetch_url": re.compile(r"\bhttps?://\S", re.IGNORECASE),
    "web_search": re.compile(
        r"\b(latest|newest|news|recent(ly)?|search|nowadays|up to date|on the web|aktuell)\b", re.IGNORECASE
    ),
    "ask_user": re.compile(r"\b(ask me|let me (choose|decide)|check with me|frag mich)\b", re.IGNORECASE),
}
"""Words that call for a built-in tool. Another tool is called for by a word of its name."""
_NAME_WORD = 4  # letters; shorter words of a tool's name ("get", "my") say nothing

_QUOTED = re.compile(r'"[^"]*"|„[^“”"]*[“”"]|“[^”]*”|«[^»]*»')
_GREETING = re.compile(
    r"(hi|hello|hey|good (morning|afternoon|evening|night)|thanks?|thank you|hallo|guten (morgen|tag|abend)|danke|moin"
    r"|bonjour|bonsoir|salut|merci|hola|gracias|buenos días|ciao|grazie|ok(ay)?|bye|goodbye|how are you|who are you)\b",
    re.IGNORECASE,
)
_GREETING_WORDS = 6  # a longer message that starts with "hi" goes on to say something
_QUESTION_WORDS = 8  # of the labelled questions up to this length without a cue, nearly all want one or two sentences


def own_words(task: str) -> str:
    """The task without what it quotes: the quoted text is worked on and says nothing about the work."""
    return _QUOTED.sub(" ", task)


def first_places(task: str, roster: Roster) -> dict[str, int]:
    """Where the first cue of each member stands in `own_words`, the earliest first; without a cue, no entry."""
    words = own_words(task)
    found = {name: match.start() for name, member in roster.items() if (match := member.pattern.search(words))}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def simple_plan(task: str, roster: Roster) -> Plan | None:
    """The plan for a greeting or a short question, unless the cues call for somebody; else None."""
    words = len(task.split())
    greeting = words <= _GREETING_WORDS and _GREETING.match(task.strip())
    question = words <= _QUESTION_WORDS and task.rstrip().endswith("?")
    if _claimed(task, roster) or not (greeting or question):
        return None
    reason = "A greeting needs no plan." if greeting else "A short question needs no plan."
    return fast_plan(roster, reason)


def fast_plan(roster: Roster, reason: str) -> Plan:
    return Plan(complexity="simple", mode="fast", agents=(roster.bounds.fast_agent,), reason=reason, decided_by="rule")


def cue_plan(task: str, roster: Roster) -> Plan:
    """A sound plan from cues alone: who works, in the order of the cues; how, from the words between them."""
    agents = tuple(first_places(task, roster))[: roster.bounds.max_agents] or (roster.bounds.fast_agent,)
    mode: Work = "delegated"
    if len(agents) > 1 and SIDE_BY_SIDE.search(own_words(task)):
        mode = "parallel"
    elif len(agents) > 1 and IN_TURN.search(own_words(task)):
        mode = "sequential"
    alone = mode in ALONE
    return Plan(
        complexity="simple" if alone else "complex",
        mode=mode,
        agents=agents[:1] if alone else agents,
        reason=f"The task's words call for {spoken(roster.skills(agents[:1] if alone else agents))}.",
        decided_by="rule",
    )


def expected_tools(task: str, tools: Iterable[str]) -> tuple[str, ...]:
    """Those of `tools` that the task's own words call for."""
    words = own_words(task)
    return tuple(tool for tool in dict.fromkeys(tools) if _tool_pattern(tool).search(words))


def spoken(words: Sequence[str]) -> str:
    """A list as one says it: "research, writing and review"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "nothing"


def _claimed(task: str, roster: Roster) -> bool:
    """Whether a member other than the fast agent, who answers short questions anyway, is called for."""
    return any(name != roster.bounds.fast_agent for name in first_places(task, roster))


def _tool_pattern(tool: str) -> re.Pattern[str]:
    if tool in _TOOLS:
        return _TOOLS[tool]
    telling = [re.escape(word) for word in re.split(r"[_-]", tool) if len(word) >= _NAME_WORD]
    return re.compile(rf"\b({'|'.join(telling)})" if telling else r"(?!)", re.IGNORECASE)
