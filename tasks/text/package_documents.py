"""Documents of installed packages: their docstrings, guides and READMEs."""

from collections.abc import Iterator
from dataclasses import replace
from email import message_from_string
from urllib.parse import quote

from tasks.text.decoding import NotText, decode
from tasks.text.docstrings import render
from tasks.text.documented import ParsedFile, documented, module_of
from tasks.text.documents import EMPTY, TRIVIAL, Draft, Limits, rejected_draft
from tasks.text.items import Item, Part, read_item
from tasks.text.readers import Rejected

_README_KINDS = {"text/markdown": "markdown", "text/plain": "text"}  # PyPI takes the rest for reStructuredText


def package_documents(part: Part, limits: Limits) -> Iterator[Iterator[Draft]]:
    """Of each item of a part, in order, what it holds. Raises DataError if one has changed since the snapshot."""
    modules = [item for item in part.items if item.kind == "docstring"]
    parsed = dict(zip((item.uri for item in modules), documented(modules), strict=True)) if modules else {}
    for item in part.items:
        blank = Draft("", item.uri, item.origin, item.license, item.kind, item.split)
        if item.kind == "docstring":
            yield _docstrings(item, parsed[item.uri], blank, limits)
        else:
            draft = _text(item, blank, limits)
            empty = draft.reason is None and not draft.text.strip()
            yield iter([replace(draft, reason=EMPTY) if empty else draft])


def _docstrings(item: Item, parsed: ParsedFile, blank: Draft, limits: Limits) -> Iterator[Draft]:
    if parsed.failure is not None:
        yield rejected_draft(blank, Rejected(None, parsed.failure, size=item.size))
    module = module_of(item)
    for found in parsed.objects:
        source = f"{item.uri}#{quote(found.qualname)}" if found.qualname else item.uri
        reason = TRIVIAL if len(found.docstring) < limits.min_docstring_chars else None
        yield replace(blank, text=render(found, module), source=source, reason=reason)


def _text(item: Item, blank: Draft, limits: Limits) -> Draft:
    data = read_item(item)
    if len(data) > limits.max_document_bytes:
        reason = f"longer than max_document_bytes ({limits.max_document_bytes:,})"
        return rejected_draft(blank, Rejected(None, reason, size=len(data)))
    try:
        text = decode(data).replace("\r\n", "\n").replace("\r", "\n")
    except NotText as error:
        return rejected_draft(blank, Rejected(None, str(error), size=len(data)))
    if item.kind != "metadata":
        return replace(blank, text=text)
    message = message_from_string(text)
    content_type = str(message.get("Description-Content-Type", "")).split(";")[0].strip().lower()
    body = message.get_payload() or str(message.get("Description", ""))
    return replace(blank, text=str(body), kind=_README_KINDS.get(content_type, "rst"))
