"""The store's twin for tests: the same promises kept in dictionaries, and nothing outlives the object.

No method awaits anything, so each is one step; each checks everything before it changes anything.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentic_fleet.conversations import NEW_CHAT, Conversation, Message, Opening
from agentic_fleet.errors import Conflict, KeyReused, NotFound, StoreFailed
from agentic_fleet.events import Record
from agentic_fleet.executions import Execution, Quality
from agentic_fleet.store import KEY_LIFETIME, IdempotencyKey
from agentic_fleet.turns import LIVE, Checkpoint, RunState, RunStatus


class MemoryStore:
    """A `Store`. Dictionaries keep the order of insertion, which breaks ties between equal times."""

    def __init__(self) -> None:
        self._conversations: dict[str, Conversation] = {}
        self._messages: dict[str, Message] = {}
        self._runs: dict[str, RunState] = {}
        self._events: dict[str, dict[int, Record]] = {}  # run id -> seq -> record
        self._checkpoints: dict[str, dict[str, Checkpoint]] = {}  # run id -> checkpoint id -> checkpoint
        self._steps: dict[str, dict[str, bytes]] = {}  # run id -> key -> value
        self._keys: dict[tuple[str, str], tuple[str, RunState]] = {}  # owner, key -> fingerprint, the run as it started
        self._executions: dict[str, Execution] = {}

    async def add_conversation(self, conversation: Conversation) -> None:
        if conversation.id in self._conversations:
            raise Conflict("This conversation already exists.")
        self._conversations[conversation.id] = replace(conversation, messages=())

    async def conversation(self, conversation_id: str, *, owner: str) -> Conversation:
        self._check_conversation(conversation_id, owner)
        return replace(self._conversations[conversation_id], messages=tuple(self._messages_of(conversation_id)))

    async def conversations(self, *, owner: str, limit: int, offset: int) -> list[Conversation]:
        listed = [kept for kept in reversed(self._conversations.values()) if kept.listed and kept.owner == owner]
        newest = sorted(listed, key=lambda kept: kept.updated_at, reverse=True)
        return newest[offset : offset + limit]

    async def rename_conversation(self, conversation_id: str, title: str, *, owner: str) -> None:
        self._check_conversation(conversation_id, owner)
        self._conversations[conversation_id] = replace(self._conversations[conversation_id], title=title)

    async def drop_conversation(self, conversation_id: str, *, owner: str) -> None:
        self._check_conversation(conversation_id, owner)
        self._check_no_live_run(conversation_id, "This conversation has a live run.")
        del self._conversations[conversation_id]
        self._messages = {id: kept for id, kept in self._messages.items() if kept.conversation_id != conversation_id}
        self._runs = {id: kept for id, kept in self._runs.items() if kept.conversation_id != conversation_id}
        self._events = {id: kept for id, kept in self._events.items() if id in self._runs}
        self._checkpoints = {id: kept for id, kept in self._checkpoints.items() if id in self._runs}
        self._steps = {id: kept for id, kept in self._steps.items() if id in self._runs}
        self._keys = {key: kept for key, kept in self._keys.items() if kept[1].run_id in self._runs}
        self._executions = {id: e for id, e in self._executions.items() if e.conversation_id != conversation_id}

    async def messages(self, conversation_id: str, *, limit: int) -> list[Message]:
        found = self._messages_of(conversation_id)
        return found[max(0, len(found) - limit) :]

    async def add_run(
        self,
        run: RunState,
        question: Message,
        *,
        key: IdempotencyKey | None = None,
        create: bool = False,
        opening: Opening = NEW_CHAT,
    ) -> RunState:
        oldest = run.created_at - KEY_LIFETIME
        self._keys = {name: kept for name, kept in self._keys.items() if kept[1].created_at > oldest}
        if key and (run.owner, key.key) in self._keys:
            fingerprint, first = self._keys[run.owner, key.key]
            if fingerprint != key.fingerprint:
                raise KeyReused("This idempotency key was used for another request.")
            return self._runs[first.run_id]
        if not create or run.conversation_id in self._conversations:
            self._check_conversation(run.conversation_id, run.owner)
        self._check_no_live_run(run.conversation_id)
        messages = (*opening.messages, question)
        self._check_new(run.run_id in self._runs or any(message.id in self._messages for message in messages))
        at = question.created_at
        chat = Conversation(
            id=run.conversation_id,
            owner=run.owner,
            title=opening.title,
            created_at=at,
            updated_at=at,
            listed=opening.listed,
        )
        self._conversations.setdefault(chat.id, chat)
        self._runs[run.run_id] = run
        self._events[run.run_id] = {}
        for message in messages:
            self._keep_message(message)
        if key:
            self._keys[run.owner, key.key] = key.fingerprint, run
        return run

    async def append(
        self, run_id: str, records: Sequence[Record], *, state: RunState, answer: Message | None = None
    ) -> None:
        kept = await self.run(run_id)
        if state.status in LIVE and kept.status not in LIVE:
            self._check_no_live_run(kept.conversation_id)
        self._check_records(run_id, records)
        self._check_new(answer is not None and answer.id in self._messages)
        self._keep_records(run_id, records)
        done_read = state.status not in LIVE and (state.done_read or kept.done_read)
        self._runs[run_id] = replace(state, ask=kept.ask, done_read=done_read)
        if answer:
            self._keep_message(answer)
        if state.status is RunStatus.COMPLETED:
            self._checkpoints.pop(run_id, None)
            self._steps.pop(run_id, None)

    async def append_tokens(self, parts: Sequence[tuple[str, Sequence[Record]]]) -> None:
        for run_id, records in parts:
            await self.run(run_id)
            self._check_records(run_id, records)
        for run_id, records in parts:
            self._keep_records(run_id, records)
            self._runs[run_id] = replace(self._runs[run_id], last_seq=records[-1].seq)

    async def mark_done_read(self, run_id: str) -> None:
        if run_id in self._runs:
            self._runs[run_id] = replace(self._runs[run_id], done_read=True)

    async def run(self, run_id: str) -> RunState:
        if run_id not in self._runs:
            raise NotFound("There is no such run.")
        return self._runs[run_id]

    async def runs(
        self,
        *,
        owner: str | None = None,
        statuses: Collection[RunStatus] | None = None,
        conversation_id: str | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[RunState]:
        found = [
            run
            for run in reversed(self._runs.values())
            if owner in (None, run.owner)
            and (statuses is None or run.status in statuses)
            and conversation_id in (None, run.conversation_id)
        ]
        if conversation_id is None:
            found.sort(key=lambda run: run.created_at, reverse=True)
        return found[offset : offset + limit]

    async def events(self, run_id: str, *, after: int, limit: int) -> list[Record]:
        log = self._events.get(run_id, {})
        return [log[seq] for seq in sorted(log) if seq > after][:limit]

    async def keep_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        await self.run(run_id)
        kept = self._checkpoints.setdefault(run_id, {})
        kept.pop(checkpoint.checkpoint_id, None)  # the newest comes last, also when its id is not new
        kept[checkpoint.checkpoint_id] = checkpoint

    async def checkpoints(self, run_id: str) -> list[Checkpoint]:
        return list(self._checkpoints.get(run_id, {}).values())

    async def keep_step(self, run_id: str, key: str, value: bytes) -> None:
        await self.run(run_id)
        self._steps.setdefault(run_id, {})[key] = value

    async def steps(self, run_id: str) -> dict[str, bytes]:
        return dict(self._steps.get(run_id, {}))

    async def keep_execution(self, execution: Execution) -> None:
        if execution.conversation_id is not None and execution.conversation_id not in self._conversations:
            raise NotFound("There is no such conversation.")
        if kept := self._executions.get(execution.workflow_id):
            execution = replace(kept, account=execution.account, quality=execution.quality)
        self._executions[execution.workflow_id] = replace(execution, feedback=kept.feedback if kept else None)

    async def execution(self, workflow_id: str, *, owner: str) -> Execution:
        if (kept := self._executions.get(workflow_id)) is None or kept.owner != owner:
            raise NotFound("There is no such execution.")
        return kept

    async def executions(self, *, owner: str, limit: int, offset: int) -> list[Execution]:
        found = [kept for kept in reversed(self._executions.values()) if kept.owner == owner]
        return sorted(found, key=lambda kept: kept.created_at, reverse=True)[offset : offset + limit]

    async def drop_execution(self, workflow_id: str, *, owner: str) -> None:
        await self.execution(workflow_id, owner=owner)
        del self._executions[workflow_id]

    async def count_executions(self, *, owner: str) -> int:
        return sum(kept.owner == owner for kept in self._executions.values())

    async def drop_executions(self, *, owner: str) -> list[str]:
        dropped = [id for id, kept in self._executions.items() if kept.owner == owner]
        self._executions = {id: kept for id, kept in self._executions.items() if kept.owner != owner}
        return dropped

    async def score_answer(self, run_id: str, quality: Quality, *, feedback: Mapping[str, Any] | None = None) -> None:
        human = quality.by == "human"
        scored = [
            replace(kept, quality_score=quality.score, quality_flag=quality.flag, quality_pending=False)
            for kept in self._messages.values()
            if kept.workflow_id == run_id and kept.role == "assistant" and (human or kept.quality_pending)
        ]
        if not scored:
            raise NotFound("There is no such answer.")
        self._messages.update((message.id, message) for message in scored)
        self._runs[run_id] = replace(self._runs[run_id], quality_score=quality.score)
        if kept := self._executions.get(run_id):
            said = kept.feedback if feedback is None else feedback
            self._executions[run_id] = replace(kept, quality=quality, feedback=said)

    async def unscored(self, *, limit: int) -> list[str]:
        found = [kept.workflow_id for kept in self._messages.values() if kept.quality_pending and kept.workflow_id]
        return found[:limit]

    async def ping(self) -> None:
        pass

    def _messages_of(self, conversation_id: str) -> list[Message]:
        return [message for message in self._messages.values() if message.conversation_id == conversation_id]

    def _keep_message(self, message: Message) -> None:
        self._messages[message.id] = message
        chat = self._conversations[message.conversation_id]
        self._conversations[chat.id] = replace(chat, updated_at=message.created_at)

    def _check_conversation(self, conversation_id: str, owner: str) -> None:
        kept = self._conversations.get(conversation_id)
        if kept is None or kept.owner != owner:
            raise NotFound("There is no such conversation.")

    def _check_no_live_run(
        self, conversation_id: str, problem: str = "This conversation already has a live run."
    ) -> None:
        if any(run.status in LIVE and run.conversation_id == conversation_id for run in self._runs.values()):
            raise Conflict(problem)

    def _check_records(self, run_id: str, records: Sequence[Record]) -> None:
        new = {record.seq for record in records}
        self._check_new(len(new) < len(records) or not self._events[run_id].keys().isdisjoint(new))

    def _keep_records(self, run_id: str, records: Sequence[Record]) -> None:
        self._events[run_id].update({record.seq: record for record in records})

    def _check_new(self, known: bool) -> None:
        if known:
            raise StoreFailed("The database failed.")
