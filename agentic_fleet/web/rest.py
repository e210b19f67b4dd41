"""The small JSON endpoints: conversations, runs, the team, and the metrics."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import context
from agentic_fleet.conversations import Conversation, new_id
from agentic_fleet.errors import NotFound
from agentic_fleet.events import now
from agentic_fleet.runs import Watch
from agentic_fleet.turns import LIVE, RunState
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import Parts, parts_of
from agentic_fleet.web.proxied import link
from agentic_fleet.web.sse import ChatSSEHandler

MOST_RUNS = 10_000
"""Runs of a dropped conversation that teach nothing any more: more than anybody asks in one."""


async def show_metrics(request: Request) -> Response:
    """Of the whole service: it names no caller and quotes nobody."""
    wire.query(request, wire.NoQuery)
    body, media_type = parts_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})


async def list_agents(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    parts = parts_of(request)
    return views.reply([views.agent(card, parts.check_tools()) for card in parts.agents])


async def add_conversation(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    body = await wire.body(request, wire.ConversationBody)
    at = now()
    conversation = Conversation(id=new_id(), owner=context.caller.get(), title=body.title, created_at=at, updated_at=at)
    await parts_of(request).store.add_conversation(conversation)
    return views.reply(views.conversation(conversation), 201)


async def list_conversations(request: Request) -> Response:
    """Without their messages: the list stays empty in each."""
    page = wire.query(request, wire.PageQuery)
    store, caller = parts_of(request).store, context.caller.get()
    found = await store.conversations(owner=caller, limit=page.limit, offset=page.offset)
    return views.reply([views.conversation(each) for each in found])


async def show_conversation(request: Request) -> Response:
    conversation_id = wire.path_id(request, "conversation_id")
    wire.query(request, wire.NoQuery)
    found = await parts_of(request).store.conversation(conversation_id, owner=context.caller.get())
    return views.reply(views.conversation(found))


async def rename_conversation(request: Request) -> Response:
    conversation_id = wire.path_id(request, "conversation_id")
    wire.query(request, wire.NoQuery)
    title = (await wire.body(request, wire.RenameBody)).title
    store, caller = parts_of(request).store, context.caller.get()
    await store.rename_conversation(conversation_id, title, owner=caller)
    return views.reply(views.conversation(await store.conversation(conversation_id, owner=caller)))


async def drop_conversation(request: Request) -> Response:
    conversation_id = wire.path_id(request, "conversation_id")
    wire.query(request, wire.NoQuery)
    parts = parts_of(request)
    runs = await parts.runs.page(conversation_id=conversation_id, limit=MOST_RUNS)
    await parts.runs.drop_conversation(conversation_id)
    await parts.learning.unlearn([run.run_id for run in runs])
    return Response(status_code=204)


async def start_run(request: Request) -> Response | ChatSSEHandler:
    """202 with the run; with `Accept: text/event-stream` its stream at once."""
    conversation_id = wire.path_id(request, "conversation_id")
    query = wire.query(request, wire.StartQuery)
    body = await wire.body(request, wire.AskBody)
    ask, key = body.ask(), wire.idempotency_key(request, conversation_id, body)
    runs = parts_of(request).runs

    async def opening() -> Watch:
        return await runs.watch((await runs.start(conversation_id, ask, key=key)).run_id)

    if wire.wants(request, "text/event-stream"):
        return ChatSSEHandler(request, query, opening)
    return _accepted(request, await runs.start(conversation_id, ask, key=key))


async def list_runs(request: Request) -> Response:
    page = wire.query(request, wire.RunsQuery)
    found = await parts_of(request).runs.page(
        status=page.status, conversation_id=page.conversation_id, limit=page.limit, offset=page.offset
    )
    return views.reply([views.run(state) for state in found])


async def show_run(request: Request) -> Response:
    run_id = wire.path_id(request, "run_id")
    wire.query(request, wire.NoQuery)
    return views.reply(views.run(await parts_of(request).runs.state(run_id)))


async def cancel_run(request: Request) -> Response:
    run_id = wire.path_id(request, "run_id")
    wire.query(request, wire.NoQuery)
    return views.reply(views.run(await parts_of(request).runs.cancel(run_id)))


async def run_events(request: Request) -> Response | ChatSSEHandler:
    """A stream; with `Accept: application/json` one page of what is there now."""
    run_id = wire.path_id(request, "run_id")
    query = wire.query(request, wire.EventsQuery)
    after = wire.position(wire.cursor(request, query.after), run_id)
    parts = parts_of(request)
    if wire.wants(request, "application/json"):
        return await _page(parts, await parts.runs.watch(run_id, after), query)
    return ChatSSEHandler(request, query, lambda: parts.runs.watch(run_id, after))


async def answer_run(request: Request) -> Response:
    """Any consumer may answer. The answer is kept when this returns; what comes of it is in the log."""
    run_id = wire.path_id(request, "run_id")
    wire.query(request, wire.NoQuery)
    body = await wire.body(request, wire.AnswerBody)
    return views.reply(views.run(await parts_of(request).runs.answer(run_id, body.request_id, body.response)))


async def list_checkpoints(request: Request) -> Response:
    """Oldest first."""
    run_id = wire.path_id(request, "run_id")
    wire.query(request, wire.NoQuery)
    return views.reply([views.checkpoint(each) for each in await parts_of(request).runs.checkpoints(run_id)])


async def resume_run(request: Request) -> Response | ChatSSEHandler:
    """202 with the run; with `Accept: text/event-stream` its stream from the resumption on."""
    run_id = wire.path_id(request, "run_id")
    query = wire.query(request, wire.StartQuery)
    checkpoint_id = (await wire.body(request, wire.ResumeBody)).checkpoint_id
    runs = parts_of(request).runs

    async def opening() -> Watch:
        return await runs.watch(run_id, (await runs.resume(run_id, checkpoint_id)).last_seq)

    if wire.wants(request, "text/event-stream"):
        return ChatSSEHandler(request, query, opening)
    return _accepted(request, await runs.resume(run_id, checkpoint_id))


async def cancel_chat(request: Request) -> Response:
    """The original's form. The status is what the run came to: a run that had ended before stays as it was."""
    run_id = await _run_of_chat(request)
    state = await parts_of(request).runs.cancel(run_id)
    return views.reply({"status": state.status, "workflow_id": run_id})


async def answer_chat(request: Request) -> Response:
    """The original's form."""
    run_id = await _run_of_chat(request)
    body = await wire.body(request, wire.AnswerWords)
    await parts_of(request).runs.answer(run_id, body.request_id, body.response)
    return views.reply({"status": "ok", "request_id": body.request_id})


async def socket_only(request: Request) -> Response:
    raise HTTPException(426, "This is a WebSocket.", {"Upgrade": "websocket", "Connection": "Upgrade"})


def _accepted(request: Request, state: RunState) -> Response:
    return views.reply(views.run(state), 202, {"Location": link(request, f"/api/v1/runs/{state.run_id}")})


async def _run_of_chat(request: Request) -> str:
    """The run that `workflow_id` names. NotFound when it is not of the path's conversation."""
    conversation_id = wire.path_id(request, "conversation_id")
    run_id = wire.known_id(wire.query(request, wire.RunQuery).workflow_id, "run")
    if (await parts_of(request).runs.state(run_id)).conversation_id != conversation_id:
        raise NotFound("There is no such run in this conversation.")
    return run_id


async def _page(parts: Parts, watch: Watch, query: wire.EventsQuery) -> Response:
    ended = watch.state.status not in LIVE  # asked first: what is stored afterwards can only be more
    last = watch.state.last_seq
    records = await parts.store.events(watch.run_id, after=watch.after, limit=query.limit)
    seq = records[-1].seq if records else watch.after
    items = b",".join(views.event(watch.run_id, record, lean=query.lean) for record in records)
    body = b'{"events":[%s],"last_event_id":"%s","ended":%s}' % (
        items,
        views.cursor(watch.run_id, seq).encode(),
        b"true" if ended and seq >= last else b"false",
    )
    return Response(body, media_type="application/json")
