"""What every store promises about conversations and their messages."""

from dataclasses import replace

import pytest

from agentic_fleet.conversations import Opening
from agentic_fleet.errors import Conflict, NotFound
from agentic_fleet.store import IdempotencyKey, Store
from agentic_fleet.turns import LIVE, RunStatus
from tests.store.samples import answer, conversation, question, records, run, start


async def test_a_conversation_is_kept(store: Store) -> None:
    await store.add_conversation(conversation("chat"))
    assert await store.conversation("chat", owner="local") == conversation("chat")


async def test_a_conversation_cannot_be_added_twice(store: Store) -> None:
    await store.add_conversation(conversation("chat"))
    with pytest.raises(Conflict):
        await store.add_conversation(replace(conversation("chat"), title="Another"))
    assert (await store.conversation("chat", owner="local")).title == "About chat"


async def test_an_unknown_conversation_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.conversation("nowhere", owner="local")
    with pytest.raises(NotFound):
        await store.drop_conversation("nowhere", owner="local")
    assert await store.messages("nowhere", limit=10) == []


async def test_conversations_come_newest_first_and_the_later_one_of_equals_first(store: Store) -> None:
    for id, at in [("b", 2000), ("a", 1000), ("c", 3000), ("b2", 2000)]:
        await store.add_conversation(conversation(id, at=at))
    assert [chat.id for chat in await store.conversations(owner="local", limit=10, offset=0)] == ["c", "b2", "b", "a"]
    assert [chat.id for chat in await store.conversations(owner="local", limit=2, offset=1)] == ["b2", "b"]
    assert await store.conversations(owner="local", limit=10, offset=4) == []


async def test_a_renamed_conversation_keeps_its_place_and_its_messages(store: Store) -> None:
    await start(store)
    await store.add_conversation(conversation("new", at=3000))
    await store.rename_conversation("chat", "Another \u2028 \U0001f600", owner="local")
    renamed = await store.conversation("chat", owner="local")
    assert (renamed.title, renamed.messages) == ("Another \u2028 \U0001f600", (question("q-run"),))
    assert [chat.id for chat in await store.conversations(owner="local", limit=2, offset=0)] == ["new", "chat"]
    for id, owner in (("chat", "bob"), ("nowhere", "local")):
        with pytest.raises(NotFound):
            await store.rename_conversation(id, "Mine", owner=owner)
    assert (await store.conversation("chat", owner="local")).title == renamed.title


async def test_a_question_and_an_answer_each_bring_their_conversation_to_the_front(store: Store) -> None:
    await store.add_conversation(conversation("old", at=1000))
    await store.add_conversation(conversation("new", at=1500))
    await start(store, of="old", at=2000)
    assert [chat.id for chat in await store.conversations(owner="local", limit=1, offset=0)] == ["old"]
    await start(store, "other", of="new", at=2500)
    await store.append("run", [], state=run(of="old"), answer=answer("a", of="old", at=3000))
    newest, _ = await store.conversations(owner="local", limit=2, offset=0)
    assert (newest.id, newest.updated_at, newest.created_at, newest.messages) == ("old", 3000, 1000, ())


async def test_events_alone_leave_the_conversation_where_it_is(store: Store) -> None:
    await start(store, at=2000)
    await store.append("run", records(1, 2), state=run(last_seq=2))
    assert (await store.conversation("chat", owner="local")).updated_at == 2000


async def test_messages_are_kept_whole_and_in_order(store: Store) -> None:
    await start(store)
    await store.append("run", [], state=run(status=RunStatus.COMPLETED), answer=answer("a"))
    asked = question("q-run")
    assert await store.messages("chat", limit=10) == [asked, answer("a")]
    assert (await store.conversation("chat", owner="local")).messages == (asked, answer("a"))


async def test_the_newest_messages_are_returned_oldest_first(store: Store) -> None:
    await start(store)
    for number in range(5):
        await store.append("run", [], state=run(), answer=answer(f"a{number}"))
    assert [message.id for message in await store.messages("chat", limit=2)] == ["a3", "a4"]
    assert await store.messages("chat", limit=0) == []


@pytest.mark.parametrize("status", sorted(LIVE))
async def test_a_conversation_has_one_live_run(store: Store, status: RunStatus) -> None:
    await start(store, status=status)
    with pytest.raises(Conflict, match=r"^This conversation already has a live run\.$"):
        await store.add_run(run("second"), question("q2", at=9000))
    assert [kept.run_id for kept in await store.runs(limit=10)] == ["run"]
    chat = await store.conversation("chat", owner="local")
    assert (len(chat.messages), chat.updated_at) == (1, 2000)


async def test_a_dropped_conversation_takes_everything_along(store: Store) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    await store.add_run(run(), question("q"), key=key, create=True)
    await store.append("run", records(1, 2), state=run(status=RunStatus.COMPLETED, last_seq=2), answer=answer("a"))
    await start(store, "other", of="kept")
    await store.drop_conversation("chat", owner="local")
    with pytest.raises(NotFound):
        await store.conversation("chat", owner="local")
    with pytest.raises(NotFound):
        await store.run("run")
    with pytest.raises(NotFound):
        await store.append("run", records(3, 3), state=run(last_seq=3))
    assert await store.messages("chat", limit=10) == []
    assert await store.events("run", after=0, limit=10) == []
    assert [kept.run_id for kept in await store.runs(limit=10)] == ["other"]
    again = run("again", of="chat")
    assert await store.add_run(again, question("q"), key=key, create=True) == again


async def test_a_conversation_with_a_live_run_stays(store: Store) -> None:
    await start(store)
    with pytest.raises(Conflict):
        await store.drop_conversation("chat", owner="local")
    assert (await store.run("run")).conversation_id == "chat"


async def test_a_run_brings_its_conversation_along(store: Store) -> None:
    said = (question("a"), answer("b"))
    opening = Opening(messages=said, title="Tides", listed=False)
    await store.add_run(run(), question("c"), create=True, opening=opening)
    kept = await store.conversation("chat", owner="local")
    assert (kept.title, kept.listed) == ("Tides", False)
    assert kept.messages == (*said, question("c"))


async def test_what_is_not_listed_is_there_all_the_same(store: Store) -> None:
    ended = run(status=RunStatus.COMPLETED)
    await store.add_run(ended, question("q"), create=True, opening=Opening(listed=False))
    await store.add_conversation(conversation("other", at=1000))
    assert [chat.id for chat in await store.conversations(owner="local", limit=9, offset=0)] == ["other"]
    assert await store.conversations(owner="local", limit=9, offset=1) == []
    await store.drop_conversation("chat", owner="local")
    assert await store.messages("chat", limit=9) == []


async def test_a_conversation_that_exists_keeps_its_title_and_gets_the_messages(store: Store) -> None:
    await store.add_conversation(conversation("chat"))
    opening = Opening(messages=(question("a"),), title="Another", listed=False)
    await store.add_run(run(), question("b"), create=True, opening=opening)
    kept = await store.conversation("chat", owner="local")
    assert (kept.title, kept.listed) == ("About chat", True)
    assert [message.id for message in kept.messages] == ["a", "b"]


async def test_a_run_that_is_refused_leaves_nothing_of_what_it_brought_along(store: Store) -> None:
    await start(store)
    with pytest.raises(Conflict):
        await store.add_run(run("other"), question("b"), opening=Opening(messages=(question("a"),)))
    assert [message.id for message in await store.messages("chat", limit=9)] == ["q-run"]
