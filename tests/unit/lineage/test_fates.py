"""What became of a document in each output, found by an index that may be lost, damaged or late."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.lineage import fates as module
from tasks.lineage.document_rows import documents_in
from tasks.lineage.fates import Fate, Fates, fates_of, index_path
from tasks.lineage.ledger import Ledger
from tasks.lineage.sorted_ids import prefix_range, short_id, short_ids
from tasks.lineage.store import Store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    yield tmp_path
    for folder in (tmp_path / "objects").glob("*"):
        folder.chmod(0o755)


def doc(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()[:32]


def ids(*numbers: int) -> np.ndarray:
    return np.array([short_id(doc(number)) for number in numbers], np.uint64)


def output(ledger: list[dict[str, object]] | None = None, **tables: dict[str, list[object]]) -> str:
    store = Store()
    folder = store.root / "making"
    folder.mkdir(parents=True)
    if ledger is not None:
        with Ledger(folder / "ledger.parquet") as writer:
            blank = {"source": "s", "license": None, "language": None, "reason": None, "duplicate_of": None}
            blank |= {"bytes_in": 1, "bytes_out": 1}
            rows = [{**blank, **row} for row in ledger]
            writer.add_table(pa.Table.from_pylist(rows))
            writer.close()
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=3)
    return store.commit(folder, "corpus").digest


def said(fates: Fates | None, *numbers: int) -> list[Fate | None]:
    assert fates is not None
    return [None if code < 0 else fates.labels[code] for code in fates.codes(ids(*numbers)).tolist()]


@settings(deadline=None)
@given(st.lists(st.text("0123456789abcdef", min_size=32, max_size=32) | st.text(max_size=40), max_size=20))
def test_a_column_of_ids_is_shortened_as_each_of_them(found: list[str]) -> None:
    assert short_ids(pa.chunked_array([found[:3], found[3:]], pa.string())).tolist() == [short_id(one) for one in found]
    assert short_ids(pa.array(["x", *found], pa.string()).slice(1)).tolist() == [short_id(one) for one in found]


@settings(deadline=None)
@given(st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(4, 31))
def test_the_beginning_of_an_id_spans_it(found: str, digits: int) -> None:
    low, high = prefix_range(found[:digits])
    assert low <= short_id(found) <= high


def test_a_ledger_says_what_was_kept_and_why_the_rest_was_not() -> None:
    rows = [{"doc_id": doc(n)} for n in range(5)]
    rows[3] |= {"reason": "too_short"}
    rows[4] |= {"reason": "near_duplicate", "duplicate_of": doc(1)}
    fates = fates_of(Store(), output(rows))
    assert said(fates, 0, 3, 4, 9) == [
        Fate(True), Fate(False, reason="too_short"), Fate(False, reason="near_duplicate"), None,
    ]  # fmt: skip
    assert fates is not None
    assert fates.dropped_for(ids(1, 2)) == [(short_id(doc(1)), short_id(doc(4)))]
    assert fates.kept_over(ids(4)) == [(short_id(doc(4)), short_id(doc(1)))]
    assert fates.ledger_rows(ids(4, 0)).tolist() == [0, 4]


def test_what_came_twice_was_kept_once_and_is_no_copy_of_itself() -> None:
    rows = [{"doc_id": doc(1), "reason": "repeated", "duplicate_of": doc(1)}, {"doc_id": doc(1)}]
    fates = fates_of(Store(), output(rows))
    assert said(fates, 1) == [Fate(True)]
    assert fates is not None and fates.dropped_for(ids(1)) == []


def test_a_table_that_holds_documents_tells_their_split() -> None:
    index = {"doc_id": [doc(1), doc(2)], "split": ["train", "validation"], "offset": [0, 7]}
    rows = [{"doc_id": doc(1)}, {"doc_id": doc(2)}, {"doc_id": doc(3), "reason": "evaluation_split"}]
    fates = fates_of(Store(), output(rows, index=index))
    assert said(fates, 1, 2, 3) == [
        Fate(True, split="train"), Fate(True, split="validation"), Fate(False, reason="evaluation_split"),
    ]  # fmt: skip
    assert fates is not None and fates.rows("index.parquet", ids(2)).tolist() == [1]


def test_an_output_without_documents_says_nothing() -> None:
    assert fates_of(Store(), output(items={"uri": ["a"], "size": [1]})) is None
    assert fates_of(Store(), output(clusters={"doc_id": [doc(1)], "documents": [2]})) is None


@pytest.mark.parametrize("damage", [b"", b"PEDIGIDX", None])
def test_a_lost_or_torn_index_is_made_again(damage: bytes | None) -> None:
    digest = output([{"doc_id": doc(n)} for n in range(3)])
    path = index_path(Store(), digest)
    fates_of(Store(), digest)
    whole = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage or whole[:-8])
    assert said(fates_of(Store(), digest), 2, 7) == [Fate(True), None]
    assert path.read_bytes() == whole


def test_documents_are_read_by_row_from_the_group_that_holds_them() -> None:
    many = {"doc_id": [doc(n) for n in range(10)], "text": [f"text {n}" for n in range(10)]}
    more = {"doc_id": [doc(n) for n in range(10, 14)], "text": [f"text {n}" for n in range(10, 14)]}
    digest = output([{"doc_id": doc(n)} for n in range(14)], **{"documents-00000": many, "documents-00001": more})
    found = list(documents_in(Store(), digest, ids(2, 9, 12, 99), ("text", "license")))
    assert [(row["id"], row["text"]) for row in found] == [(doc(n), f"text {n}") for n in (2, 9, 12)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60), st.sets(st.integers(0, 40), max_size=8))
def test_look_ups_agree_with_reading_the_ledger(tmp_path_factory, rows, asked) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    with Ledger(folder / "ledger.parquet") as writer:
        table = [
            {"doc_id": doc(n), "source": "", "license": "MIT", "language": None,
             "reason": None if kept else f"r{n % 3}", "duplicate_of": None, "bytes_in": 0, "bytes_out": 0}
            for n, kept in rows
        ]  # fmt: skip
        if table:
            writer.add_table(pa.Table.from_pylist(table))
        writer.close()
    fates = Fates("d", module._make(folder / "index", folder))
    kept = {n for n, is_kept in rows if is_kept}
    named = {n for n, _ in rows}
    for number in asked:
        expected = Fate(True) if number in kept else Fate(False, reason=f"r{number % 3}") if number in named else None
        assert said(fates, number) == [expected]
