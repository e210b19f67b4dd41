"""Who may call: the keys of `FLEET_API_KEYS`, and the sessions of pages that were shown one of them.

A session is a signed note, kept by the browser alone: who, until when, and an HMAC (RFC 2104) under that caller's own
key. It outlives a restart, and ends with the key it was made from.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence

from agentic_fleet.errors import BadSetting
from agentic_fleet.events import now

SESSION = 7 * 24 * 3600
"""Seconds for which a page stays signed in."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What RFC 9110 calls a token, because a WebSocket carries its key as a subprotocol. 16 characters: not to be guessed.
_KEY = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{16,256}")
_SESSION = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64})\.(?P<until>[0-9]{1,15})\.(?P<proof>[0-9a-f]{64})")


class Keys:
    """The keys of all callers. A caller may have several, so that one can be changed without a pause.

    `pairs` are `name:key`; raises BadSetting, which never quotes a key. `clock` is Unix time in milliseconds.
    """

    def __init__(self, pairs: Sequence[str], clock: Callable[[], int] = now) -> None:
        self._clock = clock
        self._keys: list[tuple[str, bytes]] = []  # name, digest: all of one length, which comparing must not tell
        self._secrets: list[tuple[str, bytes]] = []
        for place, pair in enumerate(pairs, 1):
            name, colon, key = pair.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise BadSetting(f"FLEET_API_KEYS: entry {place} must be name:key, the name of A-Z a-z 0-9 _ -")
            if not _KEY.fullmatch(key):
                raise BadSetting(
                    f"FLEET_API_KEYS: the key of {name} must be 16 to 256 letters, digits or -._~!#$%&'*+^`|"
                )
            if any(digest == _digest(key) for _, digest in self._keys):
                raise BadSetting(f"FLEET_API_KEYS: the key of {name} is there twice")
            self._keys.append((name, _digest(key)))
            self._secrets.append((name, key.encode()))

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def names(self) -> frozenset[str]:
        """Of all callers who have a key."""
        return frozenset(name for name, _ in self._keys)

    def caller(self, key: str) -> str | None:
        """Whose key it is. Takes as long for a wrong one as for any other."""
        given, found = _digest(key), None
        for name, digest in self._keys:
            if hmac.compare_digest(given, digest):
                found = name
        return found

    def session(self, key: str) -> str | None:
        """A session for the owner of `key`; None when it is nobody's."""
        if (name := self.caller(key)) is None:
            return None
        claim = f"{name}.{self._clock() // 1000 + SESSION}"
        return f"{claim}.{_proof(key.encode(), claim)}"

    def caller_of_session(self, session: str) -> str | None:
        """Whose session it is; None when it is over, forged, or its key is gone."""
        if not (found := _SESSION.fullmatch(session)) or int(found["until"]) * 1000 <= self._clock():
            return None
        claim = f"{found['name']}.{found['until']}"
        proofs = [_proof(secret, claim) for name, secret in self._secrets if name == found["name"]]
        return found["name"] if any([hmac.compare_digest(proof, found["proof"]) for proof in proofs]) else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _proof(secret: bytes, claim: str) -> str:
    return hmac.new(secret, claim.encode(), hashlib.sha256).hexdigest()
