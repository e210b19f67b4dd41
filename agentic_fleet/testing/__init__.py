"""For integration tests, ours and yours: a model that plays a script, the real service for the length of a block, and
readers of its streams. Needs the extra `testing`; README.md has an example.

The model:

- `ScriptedModel`: an OpenAI-compatible HTTP server on loopback. It plays a text, a list or a function, and records
  each `Call`: its `prompt`, its body, how far its answer came, and whether the client hung up.
- `Reply`: one answer: words at a pace, tool calls, refusals, broken connections, silence until
  ``ScriptedModel.release``. `decision` and `answer` make the default replies to a request's `Body`.

The service:

- `running_fleet`: it, as a process of its own, with its own folder; gives a `Fleet`, which can be stopped, killed and
  restarted, and is a `Client`: start a `Run`, answer its `Request`, cancel and resume it, read its log.

The streams:

- `collect`: start a run and get all its `Events`. `watch`: each `Event` as it comes, from any place in the log. Both
  over SSE or WebSocket, and resumed by themselves.
- `relay`: a `Relay` is a wire to the service that a test can cut, reset, stall and slow down.

In fixtures of any scope, and in tests without an event loop, use ``with``, and `blocking` for what is asynchronous:
``blocking(collect, fleet, "Hello")``. A test that has an event loop may use ``async with``: then the model runs in
that loop, where replies can be held by events.

Errors are of the family `KitError`: `DidNotStart`, `Refused`, `CutOff`, `ScriptUsedUp`.
"""

from agentic_fleet.testing.blocking import blocking
from agentic_fleet.testing.client import Client, Request, Run
from agentic_fleet.testing.errors import CutOff, DidNotStart, KitError, Refused, ScriptUsedUp
from agentic_fleet.testing.event import Event, Events
from agentic_fleet.testing.fleet import Fleet, running_fleet
from agentic_fleet.testing.model import Call, ScriptedModel
from agentic_fleet.testing.relay import Relay, relay
from agentic_fleet.testing.reply import Body, Reply, answer, decision
from agentic_fleet.testing.stream import collect, watch

__all__ = [
    "Body",
    "Call",
    "Client",
    "CutOff",
    "DidNotStart",
    "Event",
    "Events",
    "Fleet",
    "KitError",
    "Refused",
    "Relay",
    "Reply",
    "Request",
    "Run",
    "ScriptUsedUp",
    "ScriptedModel",
    "answer",
    "blocking",
    "collect",
    "decision",
    "relay",
    "running_fleet",
    "watch",
]
