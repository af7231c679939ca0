"""Whatever is changed in the store, `verify` says where; what was deleted on purpose is not missed."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.lineage.files import remove_tree
from tasks.lineage.gc import delete_object
from tasks.lineage.record import Record, sealed, unsealed
from tasks.lineage.store import Store
from tasks.stage import Artifact, StageConfig, StageRun, stage


@stage(output="dough")
def mix(run: StageRun, config: StageConfig) -> None:
    (run.output / "dough.txt").write_text("flour and water")
    (run.output / "inner").mkdir()
    (run.output / "inner" / "yeast.bin").write_bytes(bytes(range(64)))
    run.log_metrics({"loss": 0.1 + 0.2}, step=1)
    run.log_metrics({"grams": 812.4000000000001})


@stage(output="bread")
def bake(run: StageRun, dough: Artifact, config: StageConfig) -> None:
    (run.output / "bread.txt").write_text((dough.path / "dough.txt").read_text().upper())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(home))
        bake(dough=mix())
        yield Store(home)
    remove_tree(home)


def sound(store: Store) -> None:
    assert store.verify(deep=True) == {"objects": 2, "damaged": [], "missing": [], "foreign": []}


def findings(store: Store, deep: bool = True) -> list[str]:
    found = store.verify(deep)
    return [text for entry in (*found["damaged"], *found["missing"]) for text in entry["problems"]] + [
        entry["path"] for entry in found["foreign"]
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_in_any_file_is_found(kept: Store, data: st.DataObject) -> None:
    places = sorted(
        path for folder in ("objects", "records", "metrics") for path in (kept.root / folder).rglob("*")
        if path.is_file()
    )  # fmt: skip
    assert len(places) == 7
    path = data.draw(st.sampled_from(places))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, 8 * len(whole) - 1)) if whole else 0
    spoiled = bytearray(whole or b"x")
    spoiled[place // 8] ^= 1 << place % 8
    path.chmod(0o644)
    try:
        path.write_bytes(spoiled)
        found = findings(kept)
        assert len(found) >= 1, (path, place)
        if path.parent.name != "metrics":
            assert findings(kept, deep=False), "so too without --deep"
    finally:
        path.write_bytes(whole)
        sound(kept)


@pytest.mark.parametrize("place", [
    "objects/notes.txt", "objects/" + "ab" * 31, "records/readme.md", "records/superseded/other.json",
    "metrics/curve.csv", "tombstones/x.json", "work/notes",
])  # fmt: skip
def test_a_foreign_file_is_found(kept: Store, place: str) -> None:
    path = kept.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("hello")
    assert place in findings(kept)
    path.unlink()
    sound(kept)


def test_foreign_files_inside_an_output_are_damage(kept: Store) -> None:
    folder = next((kept.root / "objects").iterdir())
    folder.chmod(0o755)
    (folder / "more.txt").write_text("hello")
    assert findings(kept) == ["more.txt: not part of the output"]
    (folder / "more.txt").unlink()
    sound(kept)


def test_a_record_under_another_name_is_not_trusted(kept: Store) -> None:
    record = next(kept.records())
    path = kept.record_path("0" * 64)
    path.write_bytes(sealed(record))
    assert f"it is the record of {record.key}" in findings(kept)[0]
    path.unlink()


def test_a_changed_record_is_set_aside_and_the_work_done_again(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    made = mix()
    path = Store().record_path(made.key)
    path.write_bytes(path.read_bytes().replace(b"812.4", b"912.4"))
    assert Store().record(made.key) is None
    assert "its content differs from its checksum" in caplog.text
    assert mix() == made
    assert findings(Store()) == []
    remove_tree(tmp_path / "home")


def test_records_without_a_checksum_are_still_read(kept: Store) -> None:
    record = next(kept.records())
    earlier = json.loads(record.model_dump_json())
    for name in ("checksum", "metrics_digest"):
        del earlier[name]
    read = unsealed(json.dumps(earlier).encode())
    assert read.model_copy(update={"metrics_digest": record.metrics_digest}) == record
    assert isinstance(read, Record)


def test_what_was_deleted_on_purpose_is_not_missing_and_is_said_to_be_deleted(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    dough, store = mix(), Store()
    bake(dough=dough)
    assert delete_object(store, dough.digest, [dough.key])
    assert not dough.path.exists()
    assert findings(store) == []
    record, problems = store.find(dough.key)
    assert record is not None and "deleted by `pedigree gc`" in problems[0]
    assert mix() == dough, "it can be made again"
    assert not (store.root / "tombstones" / f"{dough.digest}.json").exists()
    assert findings(store) == []
    remove_tree(dough.path)
    assert findings(store) == ["missing"], "this one nobody meant to delete"
    remove_tree(tmp_path / "home")
