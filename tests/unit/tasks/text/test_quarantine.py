"""Too many malformed rows are told by their commonest reasons, and the page explains the ledger's."""

from pathlib import Path

import pytest

from tasks.lineage.errors import DataError
from tasks.text.admission import ABOVE_MAX, LICENCE, REPEATED
from tasks.text.documents import EMPTY, QUARANTINED, TEX, TRIVIAL
from tasks.text.forgotten import FORGOTTEN
from tasks.text.quarantine import SourceCount, check, metrics
from tasks.text.webarchive import NOT_A_PAGE
from tasks.tokenize import HELD_OUT

PAGE = (Path(__file__).parents[4] / "docs" / "collect.md").read_text(encoding="utf-8")


def test_the_commonest_reasons_are_named_however_late_they_come() -> None:
    count = SourceCount("texts", rows=100)
    for number in range(7):
        count.reject("file:///a.jsonl", number, f"a line of {number + 10_000:,} bytes is too long")
    for number in range(60):
        count.reject("file:///n.parquet", number, "has no field 'text'")
    count.reject("file:///cut.md", None, "damaged")
    with pytest.raises(DataError) as caught:
        check([count], 0.2, "collect.max_bad_share")
    assert str(caught.value).splitlines()[1:] == [
        "  60 such as file:///n.parquet line 0: has no field 'text'",
        "  7 such as file:///a.jsonl line 0: a line of 10,000 bytes is too long",
    ]
    assert metrics([count]) == {"quarantined_rows": 67, "quarantined_files": 1} and not metrics([SourceCount("a", 9)])
    assert count.first == "file:///a.jsonl line 0: a line of 10,000 bytes is too long"


def test_reasons_that_all_differ_are_counted_in_bounded_memory() -> None:
    count = SourceCount("texts", rows=3000)
    for number in range(3000):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        count.reject("file:///a.jsonl", number, f"not {word}")
    assert count.commonest()[0].startswith("2,000 such as file:///a.jsonl line 1000: ")


@pytest.mark.parametrize(
    "reason", [ABOVE_MAX, EMPTY, FORGOTTEN, HELD_OUT, LICENCE, NOT_A_PAGE, QUARANTINED, REPEATED, TEX, TRIVIAL]
)
def test_each_reason_in_the_ledger_is_explained(reason: str) -> None:
    assert f"\n| `{reason}` |" in PAGE
