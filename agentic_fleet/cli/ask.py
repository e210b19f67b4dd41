"""`scripts/ask "question"`: watch the team at work in a terminal.

Starts a run and follows its event stream, reconnecting by cursor. When no service answers, it runs one of its own for
this question. What the run asks a human can be answered there and then. Ctrl-C cancels the run.
"""

import sys
from functools import partial
from typing import Any, get_args

from agentic_fleet import jsontext
from agentic_fleet.cli.client import Client
from agentic_fleet.cli.session import arguments, carry_out
from agentic_fleet.cli.watching import watched
from agentic_fleet.turns import Mode, ReasoningEffort


async def ask(question: str, options: dict[str, Any], conversation: str | None, as_json: bool, client: Client) -> int:
    """One question, to the exit code."""

    async def begin() -> tuple[str, None]:
        talk = conversation
        if talk is None:
            talk = (await client.post("/api/v1/conversations", {"title": " ".join(question.split())[:60]}))["id"]
        run = await client.post(f"/api/v1/conversations/{talk}/runs", {"message": question, **options})
        return run["run_id"], None

    return await watched(client, begin, as_json=as_json)


def main() -> int:
    parser = arguments("ask", __doc__ or "")
    parser.add_argument("question", help="what to ask; - reads it from standard input")
    parser.add_argument("--mode", choices=get_args(Mode), default="auto", help="how the team works (default: auto)")
    parser.add_argument("--effort", choices=get_args(ReasoningEffort), help="how hard the model thinks, if it can")
    parser.add_argument(
        "--approve-plan", action="store_true", help="ask before the work begins whether the plan is good"
    )
    parser.add_argument("--conversation", help="go on with this conversation; without, each question is a new one")
    given = parser.parse_args()
    question = jsontext.scrub(_piped() if given.question == "-" else given.question)
    if not question.strip():
        parser.error("the question is empty")
    options = {"mode": given.mode, "reasoning_effort": given.effort, "require_plan_approval": given.approve_plan}
    return carry_out(given.url, partial(ask, question, options, given.conversation, given.json))


def _piped() -> str:
    return sys.stdin.read() if sys.stdin else ""  # None where it was closed
