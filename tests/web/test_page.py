"""The console page and its files as they are served."""

import re
from pathlib import Path

import pytest

from tests.web.site import site

FOLDER = Path("agentic_fleet/web/console")
FILES = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
SCRIPTS = sorted(FOLDER.glob("*.js"))
IN_ALL = 60_000  # bytes that a visitor's browser loads, once


def linked(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"#]+)"', page)


async def test_the_page_and_all_its_files_are_there_without_a_key_and_small() -> None:
    async with site(api_keys=("alice:alice-0123456789",)) as it:
        page = await it.http.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        loaded = len(page.content)
        links = linked(page.text)
        assert len(links) == len(set(links)) + 1, "main.js is preloaded, too"
        assert {link.rsplit("/")[-1] for link in links} == FILES.keys() - {"page.html"}
        for link in set(links):
            file = await it.http.get(link)
            assert (file.status_code, file.headers["content-encoding"]) == (200, "gzip"), link
            assert file.content == FILES[link.rsplit("/")[-1]]
            loaded += int(file.headers["content-length"])
            plain = await it.http.get(link, headers={"Accept-Encoding": "identity"})
            assert plain.content == file.content and "content-encoding" not in plain.headers
        assert loaded < IN_ALL


async def test_what_is_loaded_may_do_nothing_but_talk_to_the_service() -> None:
    async with site() as it:
        page = await it.http.get("/")
        for answer in (page, await it.http.get(linked(page.text)[0])):
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
            assert "base-uri 'none'; form-action 'none'; frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page.text)


async def test_a_page_that_has_not_changed_is_not_sent_again_and_its_files_are_never_asked_for_again() -> None:
    async with site() as it:
        page = await it.http.get("/")
        assert page.headers["cache-control"] == "no-cache"
        again = await it.http.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == page.headers["etag"]
        assert (await it.http.get("/", headers={"If-None-Match": '"other"'})).status_code == 200
        file = await it.http.get(linked(page.text)[0])
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_programs_get_the_way_on_and_browsers_the_page() -> None:
    async with site() as it:
        index = await it.http.get("/", headers={"Accept": "application/json"})
        assert index.json()["service"] == "AgenticFleet"
        for link in index.json()["links"]:
            assert (await it.http.get(link)).status_code in (200, 426)
        browsers = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        for accept in (browsers, "*/*", "text/html, application/json"):
            page = await it.http.get("/", headers={"Accept": accept})
            assert page.headers["content-type"].startswith("text/html")
            assert page.headers["vary"] == "Accept"


async def test_heads_other_methods_and_unknown_files_are_answered_as_elsewhere() -> None:
    async with site() as it:
        page = await it.http.get("/")
        file = linked(page.text)[0]
        for path in ("/", file):
            head = await it.http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            refused = await it.http.post(path)
            assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
            assert refused.headers["content-type"] == "application/problem+json"
        version = file.split("/")[1]
        for path in ("console", f"console/{version}", "console/old/main.js", f"console/{version}/..%2Fpage.py"):
            missing = await it.http.get(path)
            assert missing.status_code == 404, path
            assert missing.headers["content-type"] == "application/problem+json"
        assert (await it.http.get(f"console/{version}/page.html")).status_code == 404, "it is at /, with its links"


async def test_under_a_path_of_a_proxy_the_page_links_to_that_path() -> None:
    async with site() as it:
        assert all(link.startswith("console/") for link in linked((await it.http.get("/")).text))
    async with site(root_path="/a/fleet") as it:
        for path in ("/a/fleet/", "/a/fleet", "/"):
            page = await it.http.get(path)
            assert all(link.startswith("/a/fleet/console/") for link in linked(page.text))
        for link in linked(page.text):
            assert (await it.http.get(link)).status_code == 200


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_of_the_page_makes_markup_or_code_of_text_or_names_another_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert way not in text
    for address in re.findall(r"[a-z]+://[^\s\"'`)]+", text):
        assert address == "http://www.w3.org/2000/svg", "a name, not a place"
    assert text.startswith("// "), "it says what it is"
    assert text.count("\n") <= 320, "has it grown a second noun?"
