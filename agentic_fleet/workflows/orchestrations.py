"""The modes in which agents talk to each other: the handoff and the discussion.

Both are orchestrations of Agent Framework, carried out as inner workflows within the execution phase. What agents say
goes to the run as they say it; the supervisor composes the answer, never a builder.
"""

from collections.abc import Mapping, Sequence

from agentic_fleet.workflows.discussion import Chair, Discussion
from agentic_fleet.workflows.framework import owned_events
from agentic_fleet.workflows.handoff import Handoff
from agentic_fleet.workflows.history import minutes
from agentic_fleet.workflows.modes import Answer, Shift, speak
from agentic_fleet.workflows.plans import Plan, Said
from agentic_fleet.workflows.told import Failure


async def discussion(shift: Shift, plan: Plan, chair: Chair) -> Answer:
    """The plan's agents speak as the chair decides, `discussion_rounds` times at most; the synthesis agent answers.

    An agent that fails ends the discussion. Raises its failure when nobody had spoken, and Paused.
    """
    talk = Discussion(shift, plan, chair)
    async with owned_events(talk.workflow(), shift.turn.ask.message) as events:
        async for _ in events:
            pass  # everybody speaks to the run directly
    return await _composed(shift, talk.said, talk.failed)


async def handoff(shift: Shift, plan: Plan) -> Answer:
    """The first agent works on the task or hands it over, and so on, for `handoff_turns` at most.

    Whoever does not hand over has answered: its text, which was streamed as `agent.delta` because nobody could know,
    is told once more as the answer. When there is no such text, the synthesis agent answers from what was said.
    """
    relay = Handoff(shift, plan)
    await relay.run()
    if relay.answered:
        return await relay.answer()
    return await _composed(shift, relay.said, relay.failed)


async def _composed(shift: Shift, said: Sequence[Said], failed: Mapping[str, Failure]) -> Answer:
    """One answer out of what was said; an agent that has failed says nothing."""
    if not said and failed:
        raise next(iter(failed.values()))
    blocks = [shift.turn.ask.message]
    if said:
        blocks += ["What your colleagues said, in turn:", minutes(said, shift.bounds.handover_characters)]
    blocks.append("Give the complete answer to the task. Do not tell who said what.")
    agent = shift.bounds.synthesis_agent
    prompt = "\n\n".join(blocks)
    spoken = await speak(shift, agent, prompt, about="Make one answer of what was said.", answering=True)
    return Answer(
        text=spoken.text,
        agent=agent,
        agents=tuple(dict.fromkeys(name for name, _ in said)),
        cut=spoken.cut,
        failed={name: str(error) for name, error in failed.items()},
    )
