"""The built-in tool `web_search`: Tavily's search API (docs.tavily.com), as a short list of texts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from agentic_fleet import jsontext
from agentic_fleet.errors import Invalid
from agentic_fleet.workflows.tools.spec import ToolFailed

KEY = "TAVILY_API_KEY"  # the environment variable
ADDRESS = "https://api.tavily.com/search"
RESULTS = 5
MAX_SNIPPET = 600  # characters of one result
MAX_ANSWER = 1_048_576  # bytes of Tavily's answer
TIME_LIMIT = 15.0  # seconds


class _Hit(msgspec.Struct):
    title: str = ""
    url: str = ""
    content: str = ""


class _Answer(msgspec.Struct):
    results: list[_Hit] = []


class Search:
    """Stateless between calls. `session` stays its owner's; `key` is sent to `address` and nowhere else."""

    def __init__(self, session: aiohttp.ClientSession, *, key: str, address: str) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._address = address

    async def web_search(self, query: str) -> str:
        """Search the web. Gives titles, addresses and excerpts of the best pages."""
        body = jsontext.encode({"query": query, "max_results": RESULTS})
        try:
            async with self._session.post(
                self._address, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise ToolFailed(f"The search engine answered with status {response.status}.")
                raw = await response.content.read(MAX_ANSWER)
                while not response.content.at_eof() and len(raw) < MAX_ANSWER:
                    raw += await response.content.read(MAX_ANSWER - len(raw))
            found = jsontext.decode(raw, _Answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ToolFailed(f"The search engine could not be reached ({type(error).__name__}).") from None
        except Invalid:
            raise ToolFailed("The search engine gave an answer that could not be read.") from None
        hits = [f"{number}. {hit.title}\n{hit.url}\n{hit.content[:MAX_SNIPPET]}" for number, hit in _numbered(found)]
        return "\n\n".join(hits) or "Nothing was found."


def _numbered(answer: _Answer) -> enumerate[_Hit]:
    return enumerate(answer.results[:RESULTS], start=1)


@asynccontextmanager
async def open_search(key: str, *, address: str = ADDRESS) -> AsyncIterator[Search]:
    """Search for the block. `address` is another one in tests."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=TIME_LIMIT)
    ) as session:
        yield Search(session, key=key, address=address)
