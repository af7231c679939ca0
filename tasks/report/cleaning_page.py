"""`cleaning.html`: what each rule of `clean` dropped, with examples and measurements, on one page that needs no network
and runs no script. What documents say is shown as text, never as HTML."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tasks.report.report_page import Picture, as_image

LANGUAGES_SHOWN = 30
NAMES = {
    "email": "e-mail addresses",
    "ip_address": "public IP addresses",
    "card_number": "card numbers",
    "iban": "bank accounts (IBAN)",
    "secret": "keys and tokens",
    "phone": "telephone numbers",
}


def render(
    measures: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, float],
    pictures: Sequence[Picture],
) -> str:
    """The page. measures, samples: the content of measures.json and samples.jsonl. Equal arguments give equal text."""
    page = (Path(__file__).parent / "cleaning_page.html").read_text(encoding="utf-8")
    parts = {
        "LEDE": _lede(metrics),
        "RULES": _rules(measures),
        "PERSONAL_DATA": _personal_data(measures["personal_data"], metrics),
        "LANGUAGES": _languages(measures),
        "EXAMPLES": _examples(samples),
        "PICTURES": "".join(as_image(picture) for picture in pictures),
    }
    return re.sub("@@([A-Z_]+)@@", lambda found: parts[found[1]], page)


def _lede(metrics: Mapping[str, float]) -> str:
    lede = (
        f"{metrics['documents_kept']:,.0f} of {metrics['documents_in']:,.0f} documents were kept and "
        f"{metrics['documents_dropped']:,.0f} dropped, each for the first rule that it broke. "
        f"{metrics['bytes_in'] / 1e6:,.1f} MB of text became {metrics['bytes_out'] / 1e6:,.1f} MB; "
        f"{metrics['mended_encodings']:,.0f} texts had been decoded wrongly and were mended."
    )
    for name, count in sorted(metrics.items()):
        if name.startswith("lines_dropped/") and count:
            rule = name.removeprefix("lines_dropped/").replace("_", " ")
            lede += f" {count:,.0f} single lines were taken out by the rule {escape(rule)}."
    return lede


def _rules(measures: Mapping[str, Any]) -> str:
    kinds = list(measures["documents"])
    dropped = measures["dropped"]
    totals: dict[str, int] = {}
    for by_reason in dropped.values():
        for reason, count in by_reason.items():
            totals[reason] = totals.get(reason, 0) + count
    heads = "".join(f"<th>{escape(kind)}</th>" for kind in kinds)
    rows = [_row("documents", [measures["documents"][kind] for kind in kinds])]
    for reason in sorted(totals, key=lambda reason: (-totals[reason], reason)):
        rows.append(_row(reason, [dropped.get(kind, {}).get(reason, 0) for kind in kinds]))
    return f"<thead><tr><th></th><th>all</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"


def _row(name: str, counts: Sequence[int]) -> str:
    cells = "".join(f"<td>{count:,}</td>" for count in (sum(counts), *counts))
    return f"<tr><th>{escape(name.replace('_', ' '))}</th>{cells}</tr>"


def _personal_data(found: Mapping[str, int], metrics: Mapping[str, float]) -> str:
    if not found:
        return "<p>Nothing was looked for: <code>clean.mask</code> is empty.</p>"
    rows = "".join(
        f"<tr><th>{escape(NAMES.get(kind, kind))}</th><td>{count:,}</td></tr>" for kind, count in found.items()
    )
    return (
        f"<p>In {metrics['masked_documents']:,.0f} documents; <code>personal_data.parquet</code> says how many in "
        f"which.</p><table><tbody>{rows}</tbody></table>"
    )


def _languages(measures: Mapping[str, Any]) -> str:
    shown = list(measures["languages"].items())
    rows = "".join(f"<tr><th>{escape(code)}</th><td>{count:,}</td></tr>" for code, count in shown[:LANGUAGES_SHOWN])
    rest = sum(count for _, count in shown[LANGUAGES_SHOWN:])
    rows += f"<tr><th>{len(shown) - LANGUAGES_SHOWN} others</th><td>{rest:,}</td></tr>" if rest else ""
    return f"<thead><tr><th>code (und: cannot be told)</th><th>documents</th></tr></thead><tbody>{rows}</tbody>"


def _examples(samples: Sequence[Mapping[str, Any]]) -> str:
    if not samples:
        return "<p>None.</p>"
    parts, reason = [], None
    for sample in samples:
        if sample["reason"] != reason:
            reason = sample["reason"]
            parts.append(f"<h3>{escape(str(reason).replace('_', ' '))}</h3>")
        measured = ""
        if sample.get("measured") is not None and sample.get("limit") is not None:
            measured = f" · measured {sample['measured']:g}, limit {sample['limit']:g}"
        about = f"{sample['kind']} · {sample['source']}"
        parts.append(
            f"<article><p>{escape(about)}{escape(measured)}</p><pre>{escape(str(sample['excerpt'])) or '<i>empty</i>'}"
            "</pre></article>"
        )
    return "".join(parts)
