"""The deletion certificate as one HTML page that needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem .3rem 0 }
th { border-bottom: 1px solid #888 } td { border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
code { font-size: .9em } .good { color: #0a6b2d } .bad { color: #a40000 } .verdict { font-size: 1.1rem }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e4e4e4 }
  td { border-color: #333 } .good { color: #6fd08c } .bad { color: #ff8a80 } }
"""
SHOWN = 500  # rows of a table; the JSON has all


def page(certificate: dict[str, Any]) -> str:
    """The page. Every value is escaped: addresses of documents come from outside."""
    check = certificate["check"]
    clean = check["clean"]
    texts = (
        "None of the forgotten texts is"
        if certificate["request"]["exact"]
        else ("Neither the forgotten texts nor near-duplicates of them are")
    )
    verdict = (
        f"{texts} left in the data that the new models learn from."
        if clean
        else f"{len(check['found'])} places still hold forgotten text."
    )
    purge = certificate.get("purged")
    parts = [
        f"<h1>Deletion certificate <code>{escape(certificate['id'])}</code></h1>",
        f"<p class='verdict {'good' if clean else 'bad'}'>{escape(verdict)}</p>",
        f"<p>{escape(certificate['created'])} · exclusion list "
        f"<code>{_short(certificate['exclusions']['after'])}</code> of "
        f"{certificate['exclusions']['wordings']:,} wordings"
        f"{', near-duplicates included' if not certificate['request']['exact'] else ''}</p>",
        "<h2>Removed</h2>",
        _table(
            ["document", "kind", "source", "licence", "similarity", "why"],
            [
                [
                    _code(d["doc_id"]), d["kind"], d["source"], d["license"] or "unknown", f"{d['similarity']:.2f}",
                    d["why"],
                ]
                for d in certificate["removed"]
            ],
        ),
        _texts(certificate["request"]["texts"]),
        "<h2>Models that had learnt from them</h2>",
        _table(
            ["model", "version", "aliases", "how", "content", "tagged in MLflow", "replaced by"],
            [
                [
                    m["name"], m["version"] or "–", ", ".join(m["aliases"]), m["relation"], _code(m["digest"][:12]),
                    "yes" if m["tagged"] else "no", m["replaced_by"] or "–",
                ]
                for m in certificate["models"]
            ],
        ),
        f"<p>The registry was {escape(certificate['registry'])}.</p>",
        *_classifiers(certificate.get("classifiers", [])),
        "<h2>Stages</h2>",
        _table(
            ["stage", "before", "now", ""],
            [[s["stage"], _code(_short(s["before"])), _code(_short(s["after"])), s["state"]]
             for s in certificate["stages"]],
        ),
        "<h2>Search of the new data</h2>",
        _table(
            ["output of", "content", "ledger rows", "texts", "documents decoded from token shards"],
            [
                [s["stage"], _code(s["digest"][:12]), *(f"{s[n]:,}" for n in ("ledger_rows", "texts", "decoded"))]
                for s in check["searched"]
            ],
        ),
        _table(
            ["still there", "in", "where", "similarity"],
            [[_code(f["doc_id"]), f["stage"], f["where"], "by id" if f["similarity"] is None else str(f["similarity"])]
             for f in check["found"]],
        ) if check["found"] else "",
        "<h2>Older outputs</h2>",
        "<p>Not deleted: <code>pedigree forget --purge</code> deletes what still holds the text or learnt from it.</p>"
        if purge is None
        else f"<p>{len(purge['objects'])} outputs, {len(purge['work'])} work folders and "
        f"{len(purge['mlflow']['versions'])} registered versions were deleted on {escape(purge['at'])}.</p>",
        _table(
            ["output of", "kind", "content", "how", "stored at the time"],
            [[t["stage"], t["kind"], _code(t["digest"][:12]), t["relation"], "yes" if t["stored"] else "no"]
             for t in certificate["tainted"]],
        ),
    ]  # fmt: skip
    body = "\n".join(part for part in parts if part)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Deletion certificate {escape(certificate['id'])}</title><style>{STYLE}</style></head>"
        f"<body>\n{body}\n</body></html>\n"
    )


class _Markup(str):
    """Text that is HTML already."""


def _code(value: str) -> _Markup:
    return _Markup(f"<code>{escape(value)}</code>")


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "–"


def _classifiers(used: Sequence[dict[str, Any]]) -> list[str]:
    """The classifiers that the data are cleaned with, if any."""
    if not used:
        return []
    return [
        "<h2>Classifiers that the data are cleaned with</h2>",
        _table(
            ["setting", "before", "how", "now", ""],
            [[c["setting"], _code(_short(c["before"])), c["relation"] or "not concerned", _code(_short(c["after"])),
              c["state"]] for c in used],
        ),
    ]  # fmt: skip


def _texts(digests: Sequence[str]) -> str:
    if not digests:
        return ""
    return f"<p>and texts that were given by hand, known by their digests: {', '.join(map(_code, digests))}</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return "<p>None.</p>"

    def cells(tag: str, row: Sequence[Any]) -> str:
        values = (value if isinstance(value, _Markup) else escape("" if value is None else str(value)) for value in row)
        return "<tr>" + "".join(f"<{tag}>{value}</{tag}>" for value in values) + "</tr>"

    more = f"<p>and {len(rows) - SHOWN:,} more; the JSON names all.</p>" if len(rows) > SHOWN else ""
    return f"<table>{cells('th', head)}{''.join(cells('td', row) for row in rows[:SHOWN])}</table>{more}"
