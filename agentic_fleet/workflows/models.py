"""Which model answers: the user's own weights, an OpenAI-compatible endpoint, Azure OpenAI, or the embedded default.

There is always one, and the process always starts: weights are loaded beside it, and what is wrong with a model is
said by `Model.check` and by the runs that need it. Endpoints are not called until a run needs them.
"""

import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import anyio
import dspy

from agentic_fleet.about import Check
from agentic_fleet.errors import BadSetting, ModelFailed
from agentic_fleet.settings import Settings
from agentic_fleet.workflows.azure import SignedIn, Tokens, default_credential, deployment_url
from agentic_fleet.workflows.chat import CompletionsChatClient
from agentic_fleet.workflows.completions import Chunk, Completions
from agentic_fleet.workflows.embedded import Embedded, open_embedded
from agentic_fleet.workflows.endpoint import Endpoint, Tell, open_session
from agentic_fleet.workflows.journal import Journaled
from agentic_fleet.workflows.lm import build_lm
from agentic_fleet.workflows.outlook import Outlook
from agentic_fleet.workflows.weights import PACKAGED_NAME, Weights, is_small, own_weights, packaged_weights

logger = logging.getLogger(__name__)

OPENAI = "https://api.openai.com/v1"  # when only a key is given
LOADING_TIMEOUT = 60.0  # seconds a request waits for weights that are still being loaded

Provider = Literal["openai", "azure", "embedded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The one model of the process, for agents (`chat`) and decisions (`lm`); both stand on `completions`.

    `name` is for clients. `small`: its plans are guesses and its answers drafts. `check` costs nothing. `another`
    reaches a model of another name at the same place, if there can be one.
    """

    name: str
    provider: Provider
    small: bool
    completions: Completions
    chat: CompletionsChatClient
    lm: dspy.LM
    check: Callable[[], Check]
    another: Callable[[str], Completions] | None = None

    def over(self, completions: Completions) -> "Model":
        """The same with other completions, in front of its own or in their place."""
        return replace(self, completions=completions, chat=CompletionsChatClient(completions), lm=build_lm(completions))

    def named(self, name: str) -> CompletionsChatClient:
        """A client for the model of that name at the same endpoint, over the same session. BadSetting: there is none.

        Whether the endpoint knows the name shows when it is asked.
        """
        if name == self.completions.name:
            return self.chat
        if self.another is None:
            raise BadSetting(f"there is no model {name!r} beside the embedded one")
        return CompletionsChatClient(self.another(name))


@asynccontextmanager
async def open_model(settings: Settings) -> AsyncIterator[Model]:
    """The model that `settings` choose. Returns at once; leaving the block ends every answer under way."""
    if settings.gguf is None and (settings.model or settings.azure_endpoint):
        async with open_session() as session:
            provider: Provider = "openai" if settings.model else "azure"
            name = settings.model or settings.azure_deployment or ""
            said = f"{name} at {urlsplit(_address(settings)).hostname}"
            outlook = Outlook(said, settings)
            at = (_openai if settings.model else _azure)(settings, session, outlook.tell)
            logger.info("model: %s", said)
            yield _model(at(name), provider, small=False, check=outlook.check, another=at)
    else:
        if (settings.openai_api_key or settings.openai_base_url) and not settings.model:
            logger.info("an OpenAI endpoint is set, but FLEET_MODEL names no model there: the embedded one answers")
        loading = Loading(settings)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loading.run)
            try:
                yield _model(loading, "embedded", small=loading.small, check=loading.check)
            finally:
                tasks.cancel_scope.cancel()


def small_model(settings: Settings) -> bool:
    """Whether the model that `settings` choose is one whose plans are guesses: see `Model.small`."""
    if settings.gguf:
        return is_small(settings.gguf)
    return not (settings.model or settings.azure_endpoint)


class Loading:
    """A `Completions` that answers once its weights are loaded; `run` loads them and keeps them until cancelled."""

    constrained = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = settings.gguf
        self.small = small_model(settings)
        self._label = self._path.stem if self._path else PACKAGED_NAME
        self.name = f"{self._label} (embedded, small)" if self.small else f"{self._label} (embedded)"
        self._embedded: Embedded | None = None
        self._failure: str | None = None
        self._settled = anyio.Event()

    async def run(self) -> None:
        try:
            async with self._open(await self._weights()) as self._embedded:
                logger.info("model: %s", self.check().detail)
                self._settled.set()
                await anyio.sleep_forever()
        except ModelFailed as failure:
            self._failure = str(failure)
            logger.error("model: %s", failure)
            self._settled.set()

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See `Completions`. Waits LOADING_TIMEOUT for the weights; raises the ModelFailed of a load that failed."""
        embedded = await self._loaded()
        async with aclosing(embedded.stream(body)) as chunks:
            async for chunk in chunks:
                yield chunk

    def check(self) -> Check:
        if self._failure:
            return Check(status="failed", detail=self._failure)
        if self._embedded is None:
            return Check(status="starting", detail=f"{self._label} is being loaded")
        kind = "embedded and small: expect drafts, not knowledge" if self.small else "embedded"
        return Check(status="ok", detail=f"{self._embedded.name} answers, {kind}")

    async def _weights(self) -> Weights:
        return await own_weights(self._path) if self._path else await packaged_weights()

    def _open(self, weights: Weights) -> AbstractAsyncContextManager[Embedded]:
        return open_embedded(
            weights,
            threads=self._settings.model_threads or _cores(),
            slots=self._settings.model_slots,
            context=self._settings.model_context,
            queue=self._settings.model_queue,
        )

    async def _loaded(self) -> Embedded:
        with anyio.move_on_after(LOADING_TIMEOUT):
            await self._settled.wait()
        if self._embedded is None:
            raise ModelFailed(self._failure or f"{self._label} is still being loaded: try again later.")
        return self._embedded


def _address(settings: Settings) -> str:
    return (settings.openai_base_url or OPENAI) if settings.model else settings.azure_endpoint or ""


def _openai(settings: Settings, session: aiohttp.ClientSession, tell: Tell) -> Callable[[str], Completions]:
    """Makes the endpoint of a model from its name."""
    url = f"{_address(settings).rstrip('/')}/chat/completions"
    key = settings.openai_api_key
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def endpoint(name: str) -> Completions:
        timeout = settings.model_timeout
        return Endpoint(session, url=url, headers=headers, model=name, name=name, timeout=timeout, tell=tell)

    return endpoint


def _azure(settings: Settings, session: aiohttp.ClientSession, tell: Tell) -> Callable[[str], Completions]:
    """The same for a deployment. Azure takes its key in a header of its own, a token in the usual one."""
    tokens = None if settings.azure_api_key else Tokens(default_credential())

    def endpoint(name: str, headers: Mapping[str, str]) -> Completions:
        url = deployment_url(settings, name)
        timeout = settings.model_timeout
        return Endpoint(session, url=url, headers=headers, model=name, name=name, timeout=timeout, tell=tell)

    def signed_in(name: str) -> Completions:
        if tokens:
            return SignedIn(tokens, partial(endpoint, name))
        return endpoint(name, {"api-key": settings.azure_api_key or ""})

    return signed_in


def _model(
    completions: Completions,
    provider: Provider,
    *,
    small: bool,
    check: Callable[[], Check],
    another: Callable[[str], Completions] | None = None,
) -> Model:
    """Agents and decisions stand on the journal, whichever model they ask."""
    journaled = Journaled(completions)
    return Model(
        name=completions.name,
        provider=provider,
        small=small,
        completions=journaled,
        chat=CompletionsChatClient(journaled),
        lm=build_lm(journaled),
        check=check,
        another=(lambda name: Journaled(another(name))) if another else None,
    )


def _cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
