"""For integration tests: a model that plays a script, and the service as a process of its own."""

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
    "collect",
    "decision",
    "relay",
    "running_fleet",
    "watch",
]
