"""A second collection reads only what is new or changed, and writes what a full reading would write."""

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.collect import CollectConfig, collect
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Artifact, Resources
from tasks.text import draft_cache, draft_reader, drafting, drafts, items
from tasks.text.draft_cache import drop_remembered_texts
from tasks.text.drafts import Drafted, DraftTask
from tasks.text.sources import Source
from tests.unit.tasks.specimens import every_format


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(items, "PART_BYTES", 3000)  # several parts
    return tmp_path / "home"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as they are."""
    names: list[str] = []
    write_drafts = drafting.write_drafts

    def watched(task: DraftTask) -> list[Drafted]:
        names.extend(item.uri.rpartition("/")[2] for item in task.part.items)
        return write_drafts(task)

    monkeypatch.setattr(drafting, "write_drafts", watched)
    return names


def collected(folder: Path, **config) -> Artifact:
    seen = snapshot(config=SnapshotConfig(sources=(Source(kind="files", path=str(folder)),), evaluation_share=0.3))
    return collect(snapshot=seen, config=CollectConfig(document_chars=400, **config), resources=Resources(workers=1))


def write_all(folder: Path, copies: int = 3) -> None:
    for number in range(copies):
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
        for name, content in every_format().items():
            (folder / str(number) / name).write_bytes(content)


def test_only_what_is_new_or_changed_is_read(tmp_path: Path, read: list[str]) -> None:
    folder = tmp_path / "in"
    write_all(folder, 1)
    (folder / "z.txt").write_text("the last of them")
    collected(folder)
    assert sorted(read) == sorted([*every_format(), "z.txt"])
    read.clear()
    (folder / "z.txt").write_text("the last of them, changed")
    (folder / "0" / "aa.txt").write_text("a new one")
    (folder / "0" / "f.md").unlink()
    collected(folder)
    assert sorted(read) == ["aa.txt", "z.txt"]


def test_a_limit_or_a_setting_of_the_source_that_shapes_documents_reads_again(tmp_path: Path, read: list[str]) -> None:
    folder = tmp_path / "in"
    write_all(folder, 1)
    collected(folder)
    read.clear()
    collected(folder, max_documents=5)
    assert read == []
    collected(folder, max_document_bytes=5000)
    assert len(read) == len(every_format())


def test_other_code_or_libraries_read_again(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    write_all(folder, 1)
    collected(folder)
    monkeypatch.setattr(draft_cache, "_reader", lambda: "another")
    read.clear()
    collected(folder, max_documents=5)
    assert len(read) == len(every_format())


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_changes_the_output_is_that_of_a_full_reading(tmp_path_factory, seed: int) -> None:
    chance, base = random.Random(seed), tmp_path_factory.mktemp("any")
    folder = base / "in"
    write_all(folder, 2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PEDIGREE_HOME", str(base / "home"))
        patched.setattr(drafts, "_HELD_ROWS", chance.randint(1, 9))  # many row groups
        patched.setattr(draft_reader, "BATCH_ROWS", chance.randint(2, 9))  # that tables reach over
        patched.setattr(draft_reader, "BATCH_BYTES", chance.randint(300, 3000))
        for _ in range(chance.randint(1, 3)):
            collected(folder)
            for path in sorted(folder.rglob("*.*")):
                match chance.randrange(8):
                    case 0:
                        path.unlink()
                    case 1:
                        path.write_bytes(path.read_bytes()[: chance.randrange(200)] + b" changed")
                    case 2:
                        shutil.copy(path, path.with_name(f"{chance.randrange(9)}{path.name}"))
            (folder / "always.txt").write_text(f"there is always a text, {chance.random()}")
        again = collected(folder)
        patched.setenv("PEDIGREE_HOME", str(base / "empty"))
        assert collected(folder).digest == again.digest


def test_damaged_or_missing_memory_costs_time_only(tmp_path: Path, home: Path, read: list[str]) -> None:
    folder = tmp_path / "in"
    write_all(folder, 1)
    whole = collected(folder).digest
    cache = home / "cache" / "drafts"
    for damage in ("a head", "a table", "the last byte", "the end", "a file", "the index", "all"):
        for path in sorted(cache.glob("*.drafts")):
            data = bytearray(path.read_bytes())
            if place := {"a head": 20, "a table": 200, "the last byte": len(data) - 1}.get(damage):
                data[place] ^= 0xFF
                path.write_bytes(data)
            elif damage == "the end":
                os.truncate(path, len(data) - 1)
            elif damage == "a file":
                path.unlink()
        if damage == "the index":
            (cache / "items.sqlite").write_bytes(b"no database" * 1000)
        if damage == "all":
            drop_remembered_texts()
            assert not cache.exists()
        shutil.rmtree(home / "records")
        read.clear()
        assert collected(folder).digest == whole
        assert len(read) >= len(every_format()), damage
