"""Azure OpenAI: where a deployment is, and how this process may ask it: with a key, or as the identity it runs under.

Identities (a managed identity, a signed-in developer, a workload's federation) are what azure-identity is for; it is
asked for bearer tokens only when there is no key.
"""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol
from urllib.parse import quote

import anyio

from agentic_fleet.errors import BadSetting, ModelFailed
from agentic_fleet.settings import Settings
from agentic_fleet.workflows.completions import Chunk, Completions

logger = logging.getLogger(__name__)

SCOPE = "https://cognitiveservices.azure.com/.default"  # what a token is good for; the same for every resource
EARLY = 300.0  # seconds before its end at which a token is replaced: longer than any clock is wrong
TOKEN_TIMEOUT = 30.0  # seconds to get a token; the credential tries several sources, some of them over the network


def deployment_url(settings: Settings, deployment: str) -> str:
    """Azure names the deployment in the path."""
    resource = (settings.azure_endpoint or "").rstrip("/")
    version = quote(settings.azure_api_version)
    return f"{resource}/openai/deployments/{quote(deployment, safe='')}/chat/completions?api-version={version}"


class Token(Protocol):
    """azure.core.credentials.AccessToken."""

    @property
    def token(self) -> str: ...

    @property
    def expires_on(self) -> int:
        """Unix time in seconds."""
        ...


class Credential(Protocol):
    """azure.core.credentials.TokenCredential. Blocks; called in a worker thread."""

    def get_token(self, *scopes: str) -> Token: ...


def default_credential() -> Credential:
    """Raises BadSetting when azure-identity is not installed."""
    try:  # imported here because it is an extra: only those who use it have it
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise BadSetting(
            "AZURE_OPENAI_ENDPOINT needs AZURE_OPENAI_API_KEY, or the package azure-identity to do without"
        ) from None
    credential: Credential = DefaultAzureCredential()
    return credential


class Tokens:
    """Bearer tokens of one credential. Whoever comes while one is being fetched waits for it."""

    def __init__(self, credential: Credential, now: Callable[[], float] = time.time) -> None:
        self._credential = credential
        self._now = now
        self._token: Token | None = None
        self._fetching = anyio.Lock()

    async def bearer(self) -> str:
        """One that is good for the next minutes. Raises ModelFailed."""
        async with self._fetching:
            if self._token is None or self._token.expires_on - EARLY < self._now():
                self._token = await self._fetch()
            return self._token.token

    async def _fetch(self) -> Token:
        with anyio.move_on_after(TOKEN_TIMEOUT):
            try:
                return await anyio.to_thread.run_sync(self._credential.get_token, SCOPE, abandon_on_cancel=True)
            except Exception as error:  # the boundary to whatever source the credential tries; its text names accounts
                logger.warning("no Azure token: %s", type(error).__name__)
                raise ModelFailed("The service could not sign in to the model.") from error
        logger.warning("no Azure token within %g s", TOKEN_TIMEOUT)
        raise ModelFailed("The service could not sign in to the model in time.")


class SignedIn:
    """A `Completions` that signs in before it asks: `endpoint` makes one for the headers it is given.

    A new one is made when the token is replaced, once an hour or so; answers under way keep theirs.
    """

    def __init__(self, tokens: Tokens, endpoint: Callable[[Mapping[str, str]], Completions]) -> None:
        self._tokens = tokens
        self._make = endpoint
        self._bearer = ""
        self._endpoint = endpoint({})
        self.name = self._endpoint.name

    @property
    def constrained(self) -> bool:
        return self._endpoint.constrained

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See `Completions`."""
        bearer = await self._tokens.bearer()
        if bearer != self._bearer:
            self._bearer, self._endpoint = bearer, self._make({"Authorization": f"Bearer {bearer}"})
        async with aclosing(self._endpoint.stream(body)) as chunks:
            async for chunk in chunks:
                yield chunk
