"""For integration tests: a model that plays a script, and the service as a process of its own."""

from agentic_fleet.testing.model import Call, ScriptedModel
from agentic_fleet.testing.reply import Body, Reply, answer

__all__ = ["Body", "Call", "Reply", "ScriptedModel", "answer"]
