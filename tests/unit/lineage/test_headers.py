import hashlib
import os
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.lineage.artifact import Artifact
from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Output, Record, StoredFile, sealed
from tasks.lineage.sides import Identity, Sides
from tasks.lineage.store import Store


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record(name: str, content: str | None = None, **inputs: Artifact) -> Record:
    digest = sha(content or name)
    return Record(
        key=sha(f"key {name}"), stage=name, inputs=inputs, config={"lr": 0.1}, code={"tasks.it:it": sha("code")},
        code_digest=sha("code"), versions={}, output=Output(
            kind="corpus", digest=digest, files=[StoredFile(path="a", size=1, sha256=digest)]
        ), wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={}, flow_run_id="flow", mlflow_run_id=None,
        created="2026-01-01T00:00:00.000+00:00",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def let_settle(store: Store) -> None:
    """As if the records had been written a minute ago: what is younger is not indexed yet."""
    before = time.time_ns() - 60_000_000_000
    for path in (store.root / "records").glob("**/*.json"):
        os.utime(path, ns=(before, before))


def index(store: Store) -> Path:
    return store.root / "index" / "headers.jsonl"


def by_hand(store: Store) -> list[Header]:
    """What the records themselves say."""
    found = []
    for path in sorted((store.root / "records").glob("**/*.json"), key=lambda path: str(path)):
        read = Record.model_validate_json(path.read_bytes())
        output = read.output
        found.append(Header(read.key, read.stage, output.kind, output.digest, read.inputs, read.created,
                            read.flow_run_id, read.mlflow_run_id, path.parent.name == "superseded",
                            Sides.of_record(read).identity))  # fmt: skip
    return found


def chain(store: Store, *names: str) -> list[Record]:
    made: list[Record] = []
    for name in names:
        made.append(record(name, **({"source": made[-1].artifact} if made else {})))
        store.write_record(made[-1])
    return made


def test_headers_say_what_the_records_say_with_and_without_the_index(store: Store) -> None:
    assert headers(store) == []
    first, _ = chain(store, "collect", "clean")
    store.write_record(record("collect", "other bytes"))  # supersedes the first
    let_settle(store)
    cold = headers(store)
    assert index(store).is_file()
    assert sorted(cold) == sorted(by_hand(store)) == sorted(headers(store))
    assert [header.stage for header in cold if header.superseded] == ["collect"]
    assert len({header.id for header in cold}) == 3
    assert [header.digest for header in cold if header.superseded] == [first.output.digest]


def test_what_the_index_knows_is_not_read_again_and_what_changed_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(store, "collect", "clean", "tokenize")
    let_settle(store)
    headers(store)
    read: list[str] = []
    read_record = Store.read_record
    monkeypatch.setattr(Store, "read_record", lambda self, path: (read.append(path.name), read_record(self, path))[1])
    headers(store)
    assert read == []
    again = record("clean").model_copy(update={"created": "2027"})
    store.write_record(again)
    read.clear()
    assert [header.created for header in headers(store) if header.key == again.key] == ["2027"]
    assert read == [f"{again.key}.json"]
    store.record_path(again.key).unlink()
    assert sorted(header.stage for header in headers(store)) == ["collect", "tokenize"]


def test_a_record_replaced_within_the_same_tick_is_seen(store: Store) -> None:
    """Same size, same modification time: only that so young a file is not indexed tells them apart."""
    store.write_record(record("collect", "a"))
    path = store.record_path(record("collect").key)
    young = time.time_ns() + 1_000_000_000  # however slow this machine is
    os.utime(path, ns=(young, young))
    headers(store)
    path.write_bytes(sealed(record("collect", "b")))
    os.utime(path, ns=(young, young))
    assert [header.digest for header in headers(store)] == [sha("b")]


@pytest.mark.parametrize("harm", ["lost", "torn", "flipped", "nonsense", "of another version"])
def test_a_harmed_index_changes_no_answer(store: Store, harm: str) -> None:
    chain(store, "collect", "clean", "tokenize")
    let_settle(store)
    expected = headers(store)
    whole = index(store).read_bytes()
    harmed = {
        "lost": b"",
        "torn": whole[:-40],
        "flipped": whole.replace(expected[0].digest.encode(), sha("forged").encode()),
        "nonsense": b"\xff\x00{}\n" + whole[7:],
        "of another version": b'00000000 ["x"]\n8b1a9953 []\n',
    }[harm]
    index(store).write_bytes(harmed)
    assert headers(store) == expected
    headers(store)  # the first line after a torn one may be lost with it
    assert headers(store) == expected
    assert index(store).read_bytes().count(expected[0].digest.encode()) >= 1


def test_an_index_that_cannot_be_written_costs_time_only(store: Store) -> None:
    chain(store, "collect", "clean")
    let_settle(store)
    index(store).parent.write_text("a file where the folder should be")
    assert [header.stage for header in headers(store)] == [header.stage for header in by_hand(store)]


def test_the_index_does_not_grow_for_ever(store: Store) -> None:
    chain(store, "collect", "clean")
    for turn in range(300):
        path = store.record_path(record("clean").key)
        os.utime(path, ns=(turn, turn))
        headers(store)
    assert index(store).read_bytes().count(b"\n") < 120
    assert len(headers(store)) == 2


def _ask(root: str, names: list[str]) -> int:
    store = Store(Path(root))
    for name in names:
        store.write_record(record(name))
    return len(headers(store))


def test_processes_that_write_it_at_once_harm_nothing(store: Store) -> None:
    with get_context("spawn").Pool(3) as pool:
        pool.starmap(_ask, [(str(store.root), [f"{worker}-{n}" for n in range(30)]) for worker in range(3)])
    let_settle(store)
    with get_context("spawn").Pool(3) as pool:
        assert pool.starmap(_ask, [(str(store.root), [])] * 3) == [90, 90, 90]
    assert sorted(headers(store)) == sorted(by_hand(store))


def test_an_unreadable_record_counts_as_none(store: Store) -> None:
    chain(store, "collect", "clean")
    store.record_path(record("clean").key).write_text("{")
    assert [header.stage for header in headers(store)] == ["collect"]


# -- graph -----------------------------------------------------------------------------------------------------


def header(name: int, parents: list[int], digest: str | None = None) -> Header:
    inputs = {f"from{p}": Artifact(kind="x", digest=sha(f"d{p}"), key=sha(f"k{p}")) for p in parents}
    return Header(sha(f"k{name}"), f"s{name}", "x", digest or sha(f"d{name}"), inputs, "", None, None, False,
                  Identity("", "", ""))  # fmt: skip


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=25))
def test_ancestors_and_descendants_are_each_other_turned_round(shape: list[list[int]]) -> None:
    nodes = [header(n, [p for p in parents if p < n]) for n, parents in enumerate(shape)]
    graph = Graph(nodes)
    above = {n: {p for p in parents if p < n} for n, parents in enumerate(shape)}
    for n in range(len(nodes)):  # parents come before their children, so one pass closes the relation
        above[n] |= {far for near in list(above[n]) for far in above[near]}
    for n, node in enumerate(nodes):
        assert {found.stage for found in graph.ancestors(node)} == {f"s{p}" for p in above[n]}
        assert {found.stage for found in graph.descendants(node)} == {f"s{c}" for c in above if n in above[c]}


def test_the_nearest_come_first_and_a_long_chain_needs_no_recursion() -> None:
    graph = Graph([header(n, [n - 1] if n else []) for n in range(5000)])
    assert [found.stage for found in graph.descendants(graph.headers[0])] == [f"s{n}" for n in range(1, 5000)]
    assert [found.stage for found in graph.ancestors(graph.headers[3])] == ["s2", "s1", "s0"]


def test_an_output_that_was_replaced_keeps_its_consumers() -> None:
    old, new, consumer = header(0, []), header(0, [], digest=sha("new")), header(1, [0])
    graph = Graph([old._replace(superseded=True), new, consumer])
    assert graph.children(new) == []
    assert graph.children(old) == [consumer]
    assert [found.digest for found in graph.parents(consumer)] == [old.digest]
    assert graph.made_by(sha("new")) == [new]


def test_inputs_whose_record_is_gone_are_named() -> None:
    consumer = header(1, [0])
    graph = Graph([consumer])
    assert graph.parents(consumer) == graph.ancestors(consumer) == []
    assert [artifact.digest for artifact in graph.orphaned(consumer)] == [sha("d0")]
    assert graph.takers(sha("d0")) == [consumer]


def test_equal_content_made_twice_has_both_makers_and_separate_consumers() -> None:
    twin = header(7, [], digest=sha("d0"))
    graph = Graph([header(0, []), twin, header(1, [0])])
    assert len(graph.made_by(sha("d0"))) == 2
    assert graph.children(twin) == []
    assert len(graph.takers(sha("d0"))) == 1
