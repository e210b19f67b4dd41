"""The official client at our door, and what it hears."""

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from tests.web.site import Site


def guest(it: Site) -> AsyncOpenAI:
    """Without retries: a test wants the first answer. Its connections are the site's, which closes them."""
    return AsyncOpenAI(api_key="x", base_url=f"{it.url}/v1", http_client=it.http, max_retries=0)


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def content(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
