"""The document ledger: the invariant, the file it leaves, its refusals."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.lineage.errors import LedgerError
from tasks.lineage.ledger import SCHEMA, Ledger

REASONS = st.sampled_from([None, "duplicate", "too_short", "not_text"])


def table(reasons: list[str | None], first: int = 0) -> pa.Table:
    """One row per reason; None is a document that was kept."""
    numbers = range(first, first + len(reasons))
    return pa.table(
        {
            "doc_id": [f"{number:032x}" for number in numbers],
            "source": [f"file://{number}" for number in numbers],
            "license": pa.array(["MIT"] * len(reasons), pa.string()),
            "language": pa.nulls(len(reasons), pa.string()),
            "reason": pa.array(reasons, pa.string()),
            "duplicate_of": pa.nulls(len(reasons), pa.string()),
            "bytes_in": pa.array([10] * len(reasons), pa.int64()),
            "bytes_out": pa.array([10 if reason is None else 0 for reason in reasons], pa.int64()),
        }
    )


def write(path: Path, *parts: list[str | None], documents_in: int | None = None) -> dict[str, float]:
    ledger = Ledger(path, documents_in)
    for number, part in enumerate(parts):
        ledger.add_table(table(part, 1000 * number))
    return ledger.close().metrics()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.lists(REASONS, max_size=8), max_size=4), lost=st.integers(0, 2))
def test_documents_in_are_kept_or_dropped_for_a_reason(
    tmp_path: Path, parts: list[list[str | None]], lost: int
) -> None:
    rows = [reason for part in parts for reason in part]
    if lost:
        with pytest.raises(LedgerError, match="exactly once"):
            write(tmp_path / "lost", *parts, documents_in=len(rows) + lost)
        return
    metrics = write(tmp_path / "ledger", *parts, documents_in=len(rows))
    assert metrics["documents_in"] == metrics["documents_kept"] + metrics["documents_dropped"] == len(rows)
    assert sum(value for name, value in metrics.items() if name.startswith("dropped/")) == metrics["documents_dropped"]


def test_reasons_are_counted() -> None:
    metrics = write(Path("/dev/null"), [None, "duplicate", "duplicate"], ["too_short"])
    assert metrics == {
        "documents_in": 4, "documents_kept": 1, "documents_dropped": 3, "dropped/duplicate": 2, "dropped/too_short": 1,
    }  # fmt: skip


def test_the_same_rows_give_the_same_bytes_and_can_be_read_back(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, [None, "duplicate"], [None])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = pq.read_table(tmp_path / "a")
    assert read.schema.equals(SCHEMA)
    assert read["reason"].to_pylist() == [None, "duplicate", None]
    assert read["decision"].to_pylist() == ["kept", "dropped", "kept"]
    assert read["license"].to_pylist() == ["MIT"] * 3


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger, pytest.raises(LedgerError, match="bytes_out"):
        ledger.add_table(table([None]).drop_columns(["bytes_out"]))
