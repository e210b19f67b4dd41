"""The page's Markdown: what becomes of texts, in one piece and as they grow, and of those that mean harm."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.stage import Stage, playing

CASES = {
    "a *b* **c** `e*f*`": "<p>a <em>b</em> <strong>c</strong> <code>e*f*</code></p>",
    "***d***": "<p><em><strong>d</strong></em></p>",
    "_a_ snake_case_name __b__ ~~c~~": "<p><em>a</em> snake_case_name <strong>b</strong> <del>c</del></p>",
    "2 * 3 * 4 and * a": "<p>2 * 3 * 4 and * a</p>",
    "**open and `open": "<p>**open and `open</p>",
    "*a **b* c**": "<p><em>a <em><em>b</em> c</em></em></p>",
    "``a ` b`` \\*no\\*": "<p><code>a ` b</code> *no*</p>",
    "one\ntwo  \nthree": "<p>one<br>two<br>three</p>",
    "# A #\n### B\n#C": "<h3>A</h3><h5>B</h5><p>#C</p>",
    "a\n\n---\nb\n***": "<p>a</p><hr><p>b</p><hr>",
    "> a\nb\n>\n> > c": "<blockquote><p>a<br>b</p><blockquote><p>c</p></blockquote></blockquote>",
    "- a\n- b\n  - c\n  - d\n- e": "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>",
    "3. a\n4. b\n\n   c": '<ol start="3"><li><p>a</p></li><li><p>b</p><p>c</p></li></ol>',
    "1. a\n   - b\n2. c": "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>",
    "- a\n\n- b\n* c": "<ul><li><p>a</p></li><li><p>b</p></li></ul><ul><li>c</li></ul>",
    "- [ ] a\n- [x] b": '<ul><li class="task">☐ a</li><li class="task">☑ b</li></ul>',
    "born in\n1990. and": "<p>born in<br>1990. and</p>",
    "text\n- a": "<p>text</p><ul><li>a</li></ul>",
    "a | b\n- | :-:\n1 | `x\\|y` \n\nz": (
        '<div class="table"><table><thead><tr><th scope="col">a</th><th class="center" scope="col">b</th></tr></thead>'
        '<tbody><tr><td>1</td><td class="center"><code>x|y</code></td></tr></tbody></table></div><p>z</p>'
    ),
    "a | b": "<p>a | b</p>",
    "[a](https://x.example/b_(c)) [d](/e) [f](mailto:g@h.example)": (
        '<p><a href="https://x.example/b_(c)">a</a> [d](/e) <a href="mailto:g@h.example">f</a></p>'
    ),
    "see https://x.example/a_b_c. (http://y.example/) <https://z.example>": (
        '<p>see <a href="https://x.example/a_b_c">https://x.example/a_b_c</a>. (<a href="http://y.example/">'
        'http://y.example/</a>) <a href="https://z.example/">https://z.example</a></p>'
    ),
    "[*a* [b]](https://x.example)": '<p><a href="https://x.example/"><em>a</em> [b]</a></p>',
    "![a](https://x.example/b.png)": '<p><a href="https://x.example/b.png">a</a></p>',
    "[a](javascript:alert(1)) [b](data:text/html,x) [c](vbscript:x)": (
        "<p>[a](javascript:alert(1)) [b](data:text/html,x) [c](vbscript:x)</p>"
    ),
    "[a]( JaVaScRiPt:alert(1)) [b](java\tscript:x)": "<p>[a]( JaVaScRiPt:alert(1)) [b](java\tscript:x)</p>",
    "<b>a</b> &lt; <!-- c -->": "<p>&lt;b&gt;a&lt;/b&gt; &amp;lt; &lt;!-- c --&gt;</p>",
    "~~~\n<i>\n~~~\nb": "<pre>text|&lt;i&gt;</pre><p>b</p>",
    "```js title\nif (a) {\n\n  b`\n```": "<pre>js|if (a) {\n\n  b`</pre>",
    "````\n```\n````": "<pre>text|```</pre>",
    "```\nopen": "<pre>text|open</pre>",
}
HARMFUL = {
    "brackets": "[" * 40_000,
    "links without an end": "[a](b" * 8_000,
    "stars": "*a " * 14_000,
    "stars and lines": "*a_ " * 10_000,
    "closed and open": "a** **a" * 6_000,
    "ticks of every length": " ".join("`" * n for n in range(1, 280)),
    "quotes inside each other": ">" * 20_000 + "a",
    "lists inside each other": "\n".join(" " * n + "- a" for n in range(400)),
    "pipes": "|" * 20_000 + "\n" + "|-" * 10_000,
    "dashes": "- " * 20_000,
    "addresses": "https://" * 5_000,
    "escapes": "\\" * 40_000,
    "spaces": "a" + " " * 40_000 + "b",
}


@pytest.fixture
async def markdown(tab: Page, stage: Stage) -> Any:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await tab.evaluate(
            """async () => {
                const main = document.querySelector("script[src]").src
                window.markdown = await import(new URL("markdown.js", main))
                window.shown = (node) => {
                    const copy = node.cloneNode(true)
                    for (const each of copy.querySelectorAll("figure")) {
                        const [language, code] = ["span", "code"].map((name) => each.querySelector(name).textContent)
                        const text = `${language}|${code}`
                        each.replaceWith(Object.assign(document.createElement("pre"), {textContent: text}))
                    }
                    for (const name of ["rel", "target", "tabindex", "role", "aria-label"])
                        for (const each of copy.querySelectorAll("*")) each.removeAttribute(name)
                    return copy.innerHTML
                }
            }"""
        )
        yield tab


WHOLE = """text => {
    const node = document.createElement("div")
    node.append(...markdown.render(text))
    return shown(node)
}"""
GROWING = """text => {
    const node = document.createElement("div")
    const growing = new markdown.Markdown(node)
    for (const letter of text) { growing.append(letter); growing.draw() }
    return shown(node)
}"""


async def test_texts_become_what_commonmark_and_common_sense_say(markdown: Page) -> None:
    for text, html in CASES.items():
        assert (await markdown.evaluate(WHOLE, text)) == html, text


async def test_a_text_that_grows_ends_up_the_same(markdown: Page) -> None:
    for text, html in CASES.items():
        assert (await markdown.evaluate(GROWING, text)) == html, text
    together = "\n\n".join(CASES)
    assert await markdown.evaluate(GROWING, together) == await markdown.evaluate(WHOLE, together)


async def test_no_text_makes_the_page_stand_still(markdown: Page) -> None:
    """Each is some 40,000 characters; what takes much more than linear time outlasts the test's patience."""
    for name, text in HARMFUL.items():
        assert isinstance(await markdown.evaluate(WHOLE, text), str), name
