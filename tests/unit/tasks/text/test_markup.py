"""What a reader sees stays, markup goes, code is left alone."""

import pyarrow as pa
import pytest

from tasks.text.markup import strip_markup


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
            "<p>We use cookies to improve this page.</p></main></body></html>")  # fmt: skip
    text = strip(page, "html")
    assert "A river is a natural stream of water & mud." in text
    assert not any(part in text for part in ("alert", "Home", "<", "cookies", "p{}"))


@pytest.mark.parametrize("kind", ["text", "code", "unheard-of"])
def test_other_kinds_are_left_alone(kind):
    assert strip("# **x** [a](b) <p>", kind) == "# **x** [a](b) <p>"
