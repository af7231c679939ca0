import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.lineage.artifact import Artifact
from tasks.lineage.past import Past
from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.sides import Sides, differences
from tasks.lineage.store import Store


def sha(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def sides(inputs: list[int | None], config: dict[str, Any], code: list[int], versions: list[int]) -> Sides:
    return Sides(
        {f"in{n}": None if value is None else sha(value) for n, value in enumerate(inputs)},
        config,
        {f"tasks.it:part{n}": sha(value) for n, value in enumerate(code)},
        {f"library{n}": str(value) for n, value in enumerate(versions)},
    )


def written(store: Store, made: Sides, number: int) -> Record:
    digest = sha(f"output {number}")
    inputs = {name: Artifact(kind="x", digest=value, key=sha("made")) for name, value in made.inputs.items() if value}
    record = Record(
        key=sha(f"key {number}"), stage="it", inputs=inputs, config=dict(made.config), code=dict(made.code),
        code_digest=sha(made.code), versions=dict(made.versions),
        output=Output(kind="x", digest=digest, files=[StoredFile(path="a", size=1, sha256=digest)]),
        wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={},
        created=f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000+00:00",
    )  # fmt: skip
    store.record_path(record.key).parent.mkdir(parents=True, exist_ok=True)
    store.write_record(record)
    return record


small = st.integers(0, 2)
config_values = st.one_of(small, st.lists(small, max_size=2), st.dictionaries(st.sampled_from("xy"), small))
worlds = st.builds(
    sides,
    st.lists(small, min_size=2, max_size=2),
    st.dictionaries(st.sampled_from("abc"), config_values, max_size=3),
    st.lists(small, min_size=1, max_size=3),
    st.lists(small, min_size=1, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(worlds, max_size=12), worlds, st.booleans())
def test_no_record_is_nearer_than_the_nearest(past: list[Sides], now: Sides, unmade: bool) -> None:
    if unmade:
        now = Sides({**now.inputs, "in0": None}, now.config, now.code, now.versions)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        records = [written(store, made, number) for number, made in enumerate(past)]
        found = Past(store).nearest("it", now)
        counts = [len(differences(Sides.of_record(record), now)) for record in records]
        if found is None:
            assert not records
        else:
            assert len(differences(Sides.of_record(found), now)) == min(counts)


def test_of_equals_the_newest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = [written(store, sides([1, 1], {"seed": 1}, [1], [1]), number) for number in range(5)]
    found = Past(store).nearest("it", sides([1, 1], {"seed": 2}, [1], [1]))
    assert found is not None and found.key == made[-1].key


def test_only_what_may_be_nearer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 records with settings and inputs of their own, and the same code, one tells how far all are away."""
    store = Store(tmp_path)
    for number in range(200):
        written(store, sides([number, 7], {"seed": number}, [1, 2, 3], [1]), number)
    past = Past(store)
    now = sides([None, 7], {"seed": 1000}, [4, 5, 6], [1])
    assert past.nearest("it", now) is not None  # headers are read
    read: list[str] = []
    record = Store.record

    def counted(self: Store, key: str) -> Record | None:
        read.append(key)
        return record(self, key)

    monkeypatch.setattr(Store, "record", counted)
    assert past.nearest("it", now) is not None
    assert len(read) == 1


def test_among_some(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = written(store, sides([1, 1], {"seed": 1}, [1], [1]), 0)
    written(store, sides([1, 1], {"seed": 2}, [1], [1]), 1)
    found = Past(store).nearest("it", sides([1, 1], {"seed": 2}, [1], [1]), lambda header: header.key == old.key)
    assert found is not None and found.key == old.key


def test_a_record_that_is_gone_since_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = written(store, sides([1, 1], {"seed": 1}, [1], [1]), 0)
    gone = written(store, sides([1, 1], {"seed": 2}, [1], [1]), 1)
    past = Past(store)
    now = sides([1, 1], {"seed": 2}, [1], [1])
    assert past.nearest("it", now) == gone
    store.record_path(gone.key).unlink()
    assert past.nearest("it", now) == kept
