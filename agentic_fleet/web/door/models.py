"""The fleet as a list of models: `fleet`, which chooses how to work, and one `fleet/<mode>` for each mode."""

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet.turns import Mode
from agentic_fleet.web import views
from agentic_fleet.web.door.refusals import Refusal
from agentic_fleet.web.door.shapes import ModelsView, ModelView

NAME = "fleet"
MADE = 1_764_028_800
"""Clients insist on a time at which a model was made: Unix seconds of the day on which the door was."""

_MODES: dict[str, Mode] = {NAME: "auto", **{f"{NAME}/{mode}": mode for mode in get_args(Mode)}}


def mode_of(model: str) -> Mode:
    """Raises the refusal that OpenAI's clients know for a model that does not exist."""
    if model not in _MODES:
        message = f"The model {model[:100]!r} does not exist. There are: {', '.join(_MODES)}."
        raise Refusal(message, status=404, param="model", code="model_not_found")
    return _MODES[model]


async def list_models(request: Request) -> Response:
    models: ModelsView = {"object": "list", "data": [_model(name) for name in _MODES]}
    return views.reply(models)


async def show_model(request: Request) -> Response:
    return _shown(request.path_params["model"])


async def show_mode(request: Request) -> Response:
    """Clients escape the slash in a model's name; the path has it unescaped."""
    return _shown(f"{request.path_params['model']}/{request.path_params['mode']}")


def _shown(name: str) -> Response:
    mode_of(name)
    return views.reply(_model(name))


def _model(name: str) -> ModelView:
    return {"id": name, "object": "model", "created": MADE, "owned_by": "agentic-fleet"}
