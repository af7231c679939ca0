"""Files that fsspec reaches: found, known again, read; and what is said when they cannot be."""

import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from tasks.collect import CollectConfig, collect
from tasks.lineage.errors import ConfigError
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Artifact, Resources
from tasks.text.items import Snapshot
from tasks.text.remote import copied, remote_files
from tasks.text.sources import Source
from tests.unit.tasks.corpora import read


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "web"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def collected(path: str, **more) -> tuple[Snapshot, Artifact]:
    seen = snapshot(config=SnapshotConfig(sources=(Source(kind="files", path=path, **more),)))
    corpus = collect(snapshot=seen, config=CollectConfig(), resources=Resources(workers=1))
    return Snapshot.read(seen.path), corpus


def test_a_folder_in_memory(memory) -> None:
    for name, text in (("a.txt", "one"), ("deep/b.txt", "two"), (".hidden/c.txt", "no"), ("d.bin", "no")):
        memory.pipe(f"/texts/{name}", text.encode())
    seen, corpus = collected("memory://texts", license="MIT")
    assert {row["source"]: row["text"] for row in read(corpus)} == {
        "memory:///texts/a.txt": "one", "memory:///texts/deep/b.txt": "two",
    }  # fmt: skip
    assert {item.license for item in seen.items} == {"MIT"}
    assert [file.name for file in remote_files("memory://texts/*.txt")[0]] == ["/texts/a.txt"]


def test_a_remote_file_that_changed_is_known_and_read_anew(memory) -> None:
    memory.pipe("/texts/a.txt", b"one")
    seen, _ = collected("memory://texts")
    [item] = seen.items
    memory.pipe("/texts/a.txt", b"two")
    with copied(item.uri, item.sha256) as path:
        assert path is None
    memory.rm("/texts/a.txt")
    with copied(item.uri, item.sha256) as path:
        assert path is None
    memory.pipe("/texts/a.txt", b"two")
    assert [row["text"] for row in read(collected("memory://texts")[1])] == ["two"]


def test_a_member_of_an_archive_keeps_its_address_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/one.txt", "one")
        archive.writestr("in/two.jsonl", '{"text": "two"}\n')
        archive.writestr("../../evil.txt", "evil")
    _, corpus = collected(f"zip://::{(tmp_path / 'a.zip').as_uri()}")
    found = {row["source"]: row["text"] for row in read(corpus)}
    assert found[f"zip://in/one.txt::{(tmp_path / 'a.zip').as_uri()}"] == "one"
    assert "two" in found.values()
    assert not list(tmp_path.parent.glob("evil.txt")) and not (tmp_path / "evil.txt").exists()


def test_a_file_on_the_web(web: tuple[str, Path]) -> None:
    address, folder = web
    (folder / "a.txt").write_text("from the web")
    _, corpus = collected(f"{address}/a.txt")
    assert [(row["source"], row["text"]) for row in read(corpus)] == [(f"{address}/a.txt", "from the web")]
    (folder / "a.txt").write_text("from the web, changed")
    assert [row["text"] for row in read(collected(f"{address}/a.txt")[1])] == ["from the web, changed"]


def test_a_file_uri_is_a_path_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("here")
    [row] = read(collected((tmp_path / "a b.txt").as_uri())[1])
    assert row["source"] == (tmp_path / "a b.txt").as_uri()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/a.txt", "(?i)install s3fs"), ("gs://bucket/a.txt", "(?i)install gcsfs"),
        ("nonsense://a.txt", "nonsense"), ("https://me:secret@example.org/a.txt", "holds a password"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_what_to_do(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        remote_files(url)
    assert "secret" not in str(caught.value)


def test_nothing_there_is_an_error_of_the_source() -> None:
    with pytest.raises(ConfigError, match="names no file to read"):
        collected("memory://nothing/here.txt")
