"""Python functions as tools, by import path: the signature says what goes in, the docstring what it is for."""

import importlib
import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from agent_framework import FunctionTool

from agentic_fleet.workflows.tools.spec import Unavailable
from agentic_fleet.workflows.tools.threads import Threads


def function_tool(name: str, function: Callable[..., Any], threads: Threads) -> FunctionTool:
    """The tool `name`. A function that is not async runs in one of the `threads`. Raises Unavailable."""
    description = inspect.getdoc(function)
    if not description:
        raise Unavailable("The function needs a docstring: it is the description that the model reads.")
    run = function if inspect.iscoroutinefunction(function) else _in_thread(function, threads)
    try:
        tool = FunctionTool(name=name, description=description, func=run)
        tool.parameters()
    except Exception as error:  # whatever its annotations make pydantic say
        raise Unavailable(f"The function's parameters cannot be described ({type(error).__name__}).") from error
    return tool


def imported(path: str) -> Callable[..., Any]:
    """The function at "package.module:name". Raises Unavailable."""
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs foreign code
        hint = "check the path; the module must be installed, beside app.py or on PYTHONPATH."
        raise Unavailable(f"{path} could not be imported ({type(error).__name__}): {hint}") from error
    if not inspect.isroutine(found):
        raise Unavailable(f"{path} is not a plain function.")
    return found


def _in_thread(function: Callable[..., Any], threads: Threads) -> Callable[..., Any]:
    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await threads.run(partial(function, *args, **kwargs))

    return run
