"""HTML as text."""

import time

import pytest

from agentic_fleet.workflows.tools.readable import readable

PAGE = """<!DOCTYPE html><html><head><title>Tides &amp;
 Moons</title><style>p { color: red }</style><script>if (a < b) { alert("x") }</script></head>
<body><!-- <p>hidden</p> --><h1>High  tide</h1><p>Twice a <b>day</b>,
as <a href="/x">they</a> say.<br>Really.</p><noscript>Turn it on</noscript>
<table><tr><td>a</td><td>1</td></tr><tr><td>b</td><td>2</td></tr></table><ul><li>one<li>two</ul>3 < 4</body></html>"""


def test_a_page_is_its_title_and_a_line_per_block() -> None:
    assert readable(PAGE).split("\n") == [
        "Tides & Moons",
        "",
        "High tide",
        "Twice a day, as they say.",
        "Really.",
        "a 1",
        "b 2",
        "one",
        "two",
        "3 < 4",
    ]


@pytest.mark.parametrize("html", ["", "<", "<p", "a<!--b", "a<script>b", "<![x", "</", "a<?b", "<title>", "<svg><p>x"])
def test_broken_markup_is_read_as_far_as_it_goes(html: str) -> None:
    assert readable(html) in ("", "a", "<")


@pytest.mark.parametrize(
    "piece",
    [
        "<!",
        "<!--",
        "<a ",
        '<a b="',
        "</",
        "</a ",
        "<?",
        "<![",
        "&",
        "&#",
        "<script>",
        "<title>",
        "<title ",
        "<a<",
        "<p>",
        " ",
    ],
)
def test_markup_made_to_hurt_costs_no_more_than_its_length(piece: str) -> None:
    """Ten times the text takes about ten times as long; where time grows with the square it is a hundred."""

    def cost(length: int) -> float:
        html = (piece * length)[:length]
        began = time.process_time()
        readable(html)
        return time.process_time() - began

    assert cost(1_000_000) < 40 * max(cost(100_000), 0.005)
