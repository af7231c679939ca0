"""What a reader sees stays, markup goes, code is left alone."""

import re
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.markup import FENCE, strip_html, strip_markdown, strip_markup, strip_roles


def strip(text: str, kind: str) -> str:
    return strip_markup(pa.array([text], pa.large_string()), kind).to_pylist()[0]


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("# Title #\n\ntext", "Title\n\ntext"),
        (
            '[![build](https://ci/b.svg)](https://ci) See [the docs](https://d.org "t") or [here][1].\n[1]: https://h.org',
            " See the docs or here.\n",
        ),
        ("![logo](logo.png)**Strong** and __bold__, snake_case_name", "Strong and bold, snake_case_name"),
        ('<p align="center">Hi <b>you</b><!-- note --></p> a < b and List<int>', "Hi you a < b and List<int>"),
        ("```md\n# not **a** heading [x](y)\n```\n# Yes", "```md\n# not **a** heading [x](y)\n```\nYes"),
        ("Title\n=====\n\n---\nx", "Title\n\n\n\nx"),
    ],
)
def test_markdown(markdown, plain):
    assert strip(markdown, "markdown") == plain


@pytest.mark.parametrize(
    ("rst", "plain"),
    [
        (
            ":func:`~numpy.linalg.norm` of :class:`the array <ndarray>`; :py:meth:`!close`",
            "`norm` of `the array`; `close`",
        ),
        ("See `the guide <https://g.org>`_ and ``x``.", "See the guide and ``x``."),
        ("Title\n=====\n\n.. _target:\n\n.. image:: a.png\n   :alt: b\n\nText", "Title\n\n\n\n\n\nText"),
        (".. note:: Keep me.\n\n.. code-block:: python\n\n    x = 1", ".. note:: Keep me.\n\n\n\n    x = 1"),
    ],
)
def test_rst(rst, plain):
    assert strip(rst, "rst") == plain


def test_docstrings_lose_roles_and_links_only():
    rest = "\n\nParameters\n----------\nx : int\n    **Not** less."
    text = "Calls :meth:`.Session.reset`, see [docs](https://d.org/x)." + rest
    assert strip(text, "docstring") == "Calls `.Session.reset`, see docs." + rest


def test_html():
    page = ("<html><head><title>t</title><style>p{}</style></head><body><nav><a href='/'>Home</a></nav><main>"
            "<h1>Rivers</h1><p>A river is a <b>natural</b> stream of water &amp; mud.</p><script>alert(1)</script>"
            "<p>The terms of use are a contract.</p></main></body></html>")  # fmt: skip
    text = strip(page, "html")
    assert "A river is a natural stream of water & mud." in text
    assert not any(part in text for part in ("alert", "Home", "<", "p{}")) and "terms of use" in text


@pytest.mark.parametrize("kind", ["text", "code", "unheard-of"])
def test_other_kinds_are_left_alone(kind):
    assert strip("# **x** [a](b) <p>", kind) == "# **x** [a](b) <p>"


# The same rules in their plain form, which takes the square of a text's length where marks are not closed.
PLAIN = (
    (r"(?s)<!--.*?-->", ""),
    (r"(?m)^ {0,3}\[[^\]\n]+\]:[ \t]*\S+.*$", ""),
    (r"\[!\[[^\]\n]*\]\([^)\n]*\)\](?:\([^)\n]*\)|\[[^\]\n]*\])", ""),
    (r"!\[[^\]\n]*\](?:\([^)\n]*\)|\[[^\]\n]*\])", ""),
    (r"\[([^\]\n]+)\](?:\([^)\s]+(?:\s+\"[^\"\n]*\")?\)|\[[^\]\n]*\])", r"\1"),
    (r"<(https?://[^>\s]+)>", r"\1"),
    (r"(?i)</?(?:a|b|br|center|code|dd|details|div|dl|dt|em|font|h[1-6]|hr|i|img|kbd|li|ol|p|picture|pre|small|source|span|"
     r"strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul|video)\b[^>]*>", ""),
    (r"(\*\*|__)(?=\S)([^\n]*?\S)\1", r"\2"),
    (r"(?m)^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$", r"\1"),
    (r"(?m)^(?:=+|-{3,}|\*{3,}|_{3,})[ \t]*$", ""),
)  # fmt: skip


def plainly(text: str) -> str:
    pieces, end = [], 0
    for begin, stop in [*(fence.span() for fence in FENCE.finditer(text)), (len(text), len(text))]:
        part = text[end:begin]
        for pattern, replacement in PLAIN:
            part = re.sub(pattern, replacement, part)
        pieces += [part, text[begin:stop]]
        end = stop
    return "".join(pieces)


MARKS = ["**", "__", "*", "_", "a", " ", "\n", "[", "]", "(", ")", "!", "<!--", "-->", "<a ", ">", "# ", "#", "\t", '"',
         "data:", "<https://a", "```"]  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.sampled_from(MARKS), max_size=16).map("".join))
def test_markdown_is_read_as_the_plain_rules_read_it(text):
    assert strip_markdown(text) == plainly(text)


ROLE_PIECES = [*MARKS, "`", "`_", "`__", ":", ":`", ":py:meth:`", ":a.b-c:", "::", "~", "<", ".", "9", "é", "日", "\v",
               "\f", "](http", "](https://", "](http://", "s://", "x" * 70, "\0"]  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.lists(st.sampled_from(ROLE_PIECES), max_size=24).map("".join), max_size=4))
def test_machine_code_takes_off_the_same_roles(texts):
    column = pa.array(["", *texts], pa.large_string()).slice(1)
    assert strip_roles(column, compiled=True).equals(strip_roles(column))


def test_real_markdown_is_read_as_the_plain_rules_read_it():
    pages = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[4].glob("docs/*.md")]
    picture = "![logo](data:image/png;base64," + "iVBORw0KGgo" * 2000 + ")"
    assert len(pages) > 5
    for page in [*pages, picture, f"[{picture}](https://a.org)", f"<img src='{picture}' alt='a'>"]:
        assert strip_markdown(page) == plainly(page)


def grows_with_its_length(function, piece: str, size: int, head: str = "", tail: str = "") -> bool:
    """Four times the text takes less than ten times as long, where the square would take sixteen times."""
    took = []
    for length in (size, 4 * size):
        text = head + piece * (length // len(piece)) + tail
        began = time.process_time()
        function(text)
        took.append(time.process_time() - began)
    return took[1] < 10 * max(took[0], 0.01)


@pytest.mark.parametrize(
    "piece", ["<!-- x ", "<a ", " **a", "__a ", "[", "![", "[a](", "[![a]", "<http://a", "![](data:"]
)
def test_the_time_of_markdown_grows_with_its_length(piece):
    assert grows_with_its_length(strip_markdown, piece, 10_000)


@pytest.mark.parametrize("piece", ["[a](http://b", ":a:`<", "`a <", ":a", "]a", ":a:`!"])
def test_the_time_of_roles_grows_with_its_length(piece):
    def strip(text):
        return strip_roles(pa.array([text], pa.large_string()), compiled=True)

    strip("compiled before")
    assert grows_with_its_length(strip, piece, 100_000)


@pytest.mark.parametrize("piece", ["#", " ", "# "])
def test_the_time_of_a_heading_grows_with_its_length(piece):
    assert grows_with_its_length(strip_markdown, piece, 10_000, "# ", "x")


def test_the_time_of_a_page_grows_with_its_depth_and_its_text_stays():
    assert grows_with_its_length(strip_html, "<div>", 50_000, "<html><body>", "hello world")
    assert strip_html("<html><body><nav>Home</nav>" + "<div>" * 6_000 + "hello world") == "Home\nhello world"
