"""Keys and sessions: who may call."""

import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.keys import SESSION, Keys

ALICE, BOB, NEW = "alice-0123456789", "bob-0123456789ab", "alice-9876543210"


def test_a_key_is_its_owners_and_nobody_elses() -> None:
    keys = Keys([f"alice:{ALICE}", f"bob:{BOB}", f"alice:{NEW}"])
    assert [keys.caller(key) for key in (ALICE, BOB, NEW)] == ["alice", "bob", "alice"]
    for wrong in ("", ALICE[:-1], ALICE + "x", ALICE.upper(), "alice", f"alice:{ALICE}", "\udc00", "x" * 100_000):
        assert keys.caller(wrong) is None
    assert keys and not Keys([])


def test_a_key_may_hold_every_character_that_a_subprotocol_may() -> None:
    key = "aZ09!#$%&'*+-.^_`|~"
    assert Keys([f"a:{key}"]).caller(key) == "a"


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["alice"], "entry 1 must be name:key"),
        ([f"alice:{ALICE}", f"b b:{BOB}"], "entry 2 must be name:key"),
        ([f":{ALICE}"], "entry 1 must be name:key"),
        (["alice:short"], "key of alice must be 16 to 256"),
        (["alice:0123456789abcdef="], "key of alice must be 16 to 256"),
        ([f"alice:{ALICE}", f"bob:{ALICE}"], "key of bob is there twice"),
    ],
)
def test_a_bad_pair_is_named_and_its_key_is_not(pairs: list[str], words: str) -> None:
    with pytest.raises(BadSetting, match=words) as refusal:
        Keys(pairs)
    assert all(pair.partition(":")[2] not in str(refusal.value) for pair in pairs if pair.partition(":")[2])


def test_a_session_ends_with_its_time() -> None:
    at = [1_000_000]
    keys = Keys([f"alice:{ALICE}"], clock=lambda: at[0])
    session = keys.session(ALICE)
    assert session and ALICE not in session
    at[0] += SESSION * 1000 - 1
    assert keys.caller_of_session(session) == "alice"
    at[0] += 1000
    assert keys.caller_of_session(session) is None


def test_a_session_outlives_a_restart_and_ends_with_its_key() -> None:
    session = Keys([f"alice:{ALICE}"]).session(ALICE) or ""
    assert Keys([f"bob:{BOB}", f"alice:{NEW}", f"alice:{ALICE}"]).caller_of_session(session) == "alice"
    assert Keys([f"alice:{NEW}"]).caller_of_session(session) is None
    assert Keys([f"bob:{ALICE}"]).caller_of_session(session) is None


def test_a_forged_session_is_nobodys() -> None:
    keys = Keys([f"alice:{ALICE}", f"bob:{BOB}"])
    session = keys.session(ALICE) or ""
    name, until, proof = session.split(".")
    forged = ["", "a.b.c", f"bob.{until}.{proof}", f"{name}.{int(until) + 1}.{proof}", f"{name}.{until}.{'0' * 64}"]
    assert [keys.caller_of_session(each) for each in forged] == [None] * len(forged)
    assert keys.session("nobody's-key-012") is None
