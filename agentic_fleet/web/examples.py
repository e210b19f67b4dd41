"""`GET /api/v1/dspy/examples`: what the caller's runs teach, or why they do not."""

from typing import TypedDict

from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import context, events
from agentic_fleet.learning.material import Lesson
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of


class ExampleView(TypedDict):
    """`agents` and `mode` are what is learned when the run is (`learned`), else what was planned. `why` says where that
    comes from, or what is missing."""

    workflow_id: str
    at: str
    task: str
    agents: list[str]
    mode: str | None
    quality_score: float | None
    corrected: bool  # the score is a person's
    learned: bool
    why: str


async def list_examples(request: Request) -> Response:
    page = wire.query(request, wire.PageQuery)
    found = await parts_of(request).tuning.material.lessons(context.caller.get())
    return views.reply([_example(each) for each in found[page.offset : page.offset + page.limit]])


def _example(lesson: Lesson) -> ExampleView:
    example, shown = lesson.example, lesson.task or lesson.example
    return {
        "workflow_id": example.workflow_id,
        "at": events.rfc3339(example.at),
        "task": example.task,
        "agents": list(shown.agents),
        "mode": shown.mode,
        "quality_score": example.quality_score,
        "corrected": example.corrected,
        "learned": lesson.task is not None,
        "why": lesson.why,
    }
