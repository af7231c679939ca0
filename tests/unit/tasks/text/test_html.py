"""HTML to text."""

from tasks.text.html import html_to_text

PAGE = """<html><head><title>T</title><style>p {color: red}</style><script>alert("no")</script></head><body>
<nav><a href="/">Home</a></nav>
<main><h1>Heading</h1><p>First paragraph with a <a href="https://example.org">link</a> &amp; an entity.</p>
<p>Second paragraph, which is long enough to be taken for content of the page.</p></main></body></html>"""


def test_text_stays_and_markup_goes():
    text = html_to_text(PAGE)
    assert "First paragraph with a link & an entity." in text and "Second paragraph" in text
    assert not any(unwanted in text for unwanted in ("<", "alert", "color", "example.org"))


def test_nothing_gives_nothing():
    assert html_to_text("") == ""
