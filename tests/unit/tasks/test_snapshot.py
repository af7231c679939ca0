"""Looking at the outside world: what is seen, that it is cheap, and what is said when there is nothing."""

import json
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.lineage.errors import ConfigError
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.items import Snapshot
from tasks.text.sources import Source


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("b.txt", "a.md", "deep/c.jsonl.gz", ".hidden/d.txt", "e.csv"):
        (folder / name).write_text(f"content of {name}")
    return folder


def take(*sources, root=None, **settings):
    config = SnapshotConfig(sources=sources, **settings)
    artifact = snapshot(config=config, resources=Resources(root=root))
    return Snapshot.read(artifact.path), artifact


def files(path, **more):
    return Source(kind="files", path=str(path), **more)


def names(seen):
    return [Path(item.uri).name for item in seen.items]


def test_a_folder_a_glob_and_a_file(folder):
    assert names(take(files(folder))[0]) == ["a.md", "b.txt", "c.jsonl.gz"]
    assert names(take(files(folder / "*.txt"))[0]) == ["b.txt"]
    assert names(take(files(folder / "**" / "*.gz"))[0]) == ["c.jsonl.gz"]
    assert names(take(files("texts/b.txt"), root=folder.parent)[0]) == ["b.txt"]


def test_items_hold_uri_size_digest_origin_and_licence(folder):
    seen, _ = take(files(folder / "b.txt", license="MIT"))
    [item] = seen.items
    assert item.uri == (folder / "b.txt").as_uri() == item.origin
    assert (item.size, item.license, item.kind, item.source) == (16, "MIT", "text", 0)
    assert len(item.sha256) == 64


def test_the_same_world_gives_the_same_artifact_and_any_change_another(folder):
    _, first = take(files(folder))
    _, again = take(files(folder))
    assert first.digest == again.digest
    (folder / "b.txt").write_text("content of b,txt")
    _, changed = take(files(folder))
    assert changed.digest != first.digest
    (folder / "new.txt").write_text("new")
    assert take(files(folder))[1].digest != changed.digest


def test_nothing_found_says_what_to_do(folder, tmp_path):
    with pytest.raises(ConfigError, match="does not exist: check 'path'"):
        take(files(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"should end in \.jsonl"):
        take(files(folder / "e.csv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="names no file to read"):
        take(files(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="no installed package is chosen"):
        take(Source(include=("no-such-package",)))


def test_an_unreadable_file_is_quarantined_and_an_unreadable_source_an_error(folder, monkeypatch):
    opened = open

    def refuse(path, *rest, **more):
        if str(path).endswith("b.txt"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr("builtins.open", refuse)
    seen, artifact = take(files(folder))
    assert names(seen) == ["a.md", "c.jsonl.gz"]
    entry, unknown = map(json.loads, (artifact.path / "quarantine.jsonl").read_text().splitlines())
    assert entry["uri"].endswith("b.txt") and entry["reason"] == "Permission denied"
    assert unknown["uri"].endswith("e.csv") and unknown["reason"].startswith("unknown format")
    with pytest.raises(ConfigError, match="Permission denied"):
        take(files(folder / "b.txt"))


def test_packages_are_split_by_family_and_the_split_is_in_the_items():
    include = ("mlflow*", "numpy", "pyarrow", "pydantic*", "attrs", "click", "httpx", "rich")
    seen, _ = take(Source(include=include, license=None), evaluation_share=0.5)
    sides = {item.origin: item.split for item in seen.items}
    assert set(sides.values()) == {"train", "evaluation"}
    assert sides["pydantic"] == sides["pydantic-core"]
    assert all(sides[item.origin] == item.split for item in seen.items)
    assert all(item.uri.startswith("pypi://") for item in seen.items)


def test_a_single_package_is_split_by_file():
    seen, _ = take(Source(include=("numpy",)), evaluation_share=0.3)
    assert {item.split for item in seen.items} == {"train", "evaluation"}


def test_a_single_file_is_left_to_be_split_by_document(folder):
    assert take(files(folder / "b.txt"))[0].items[0].split is None
    assert {item.split for item in take(files(folder), evaluation_share=0.0)[0].items} == {"train"}


def test_looking_again_at_the_whole_environment_opens_no_file_of_a_package_but_its_description():
    take(Source())
    opened, looking = set(), True

    def note(event, arguments):  # an audit hook stays for as long as the process lives
        if looking and event == "open" and "site-packages" in str(arguments[0]):
            opened.add(Path(arguments[0]))

    sys.addaudithook(note)
    take(Source())
    looking = False
    assert len([path for path in opened if path.name == "RECORD"]) > 20
    assert [path for path in opened if ".dist-info" not in str(path) and path.suffix == ".py"] == []


def test_sources_refuse_fields_of_other_kinds():
    with pytest.raises(ValidationError, match="needs 'path'"):
        Source(kind="files")
    with pytest.raises(ValidationError, match="takes no 'path'"):
        Source(kind="packages", path="x")
    with pytest.raises(ValidationError, match="takes no 'exclude', 'max_bytes'"):
        Source(kind="files", path="x", max_bytes=1, exclude=("a",))
    with pytest.raises(ValidationError, match="at least 1"):
        SnapshotConfig(sources=())


def test_every_field_of_the_form_has_a_title_and_a_description():
    schema = SnapshotConfig.model_json_schema()
    for model in (schema, schema["$defs"]["Source"]):
        assert all(field.get("title") and field.get("description") for field in model["properties"].values())
    json.dumps(schema)
