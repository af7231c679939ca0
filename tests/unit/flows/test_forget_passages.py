"""A text file that `collect` cut into passages is found by its whole text, however it was cut; and where nothing is
found, or nothing was asked for, nothing is certified and nothing is run."""

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows import cli
from flows.forget import forget
from flows.forget_request import request
from tasks.collect import CollectConfig, collect
from tasks.impact.selector import Selector, select
from tasks.lineage import journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import ConfigError, NotFound
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.sources import Source

END = "Yours, Anna"


def paragraphs(seed: int, count: int) -> str:
    draw = random.Random(seed)
    words = ["".join(draw.choices("aeioulnrstdm", k=draw.randint(2, 9))) for _ in range(800)]
    return "\n\n".join(" ".join(draw.choices(words, k=70)) for _ in range(count))


LETTER = f"{paragraphs(1, 60)}\n\n{END}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("passages")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Iterator[Artifact]:
    """letter.txt and diary.txt, which ends with the same words, in passages of another size than the default."""
    (folder / "letter.txt").write_text(LETTER)
    (folder / "diary.txt").write_text(f"{paragraphs(2, 20)}\n\n{END}\n")
    (folder / "note.txt").write_text(paragraphs(3, 1))
    config = SnapshotConfig(sources=(Source(kind="files", path=str(folder / "*.txt")),), evaluation_share=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(folder / "home"))
        outside = snapshot(config=config)
        yield collect(snapshot=outside, config=CollectConfig(document_chars=2500), resources=Resources(workers=1))
    remove_tree(folder / "home")


@pytest.fixture
def collected(corpus: Artifact, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    monkeypatch.setenv("PEDIGREE_HOME", str(folder / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return corpus


def sources(documents: Artifact) -> dict[str, str]:
    """doc_id → file name of its source, with the lines."""
    tables = [pq.read_table(path, columns=["doc_id", "source"]) for path in documents.path.glob("documents-*.parquet")]
    return {row["doc_id"]: row["source"].rpartition("/")[2] for table in tables for row in table.to_pylist()}


def found(documents: Artifact, text: str) -> dict[str, float]:
    known = sources(documents)
    meant = select(Store(), Selector(texts=(text,)), near="none").documents
    return {known[document.doc_id]: document.similarity for document in meant}


def test_every_passage_of_a_file_is_found_by_its_text_and_no_other_s(collected: Artifact) -> None:
    letters = {name for name in sources(collected).values() if name.startswith("letter.txt#line=")}
    assert len(letters) > 10 and "note.txt" in sources(collected).values()
    assert found(collected, LETTER) == dict.fromkeys(letters, 1.0)
    assert found(collected, paragraphs(3, 1)) == {"note.txt": 1.0}, "a file that was collected whole"


def test_passages_are_found_though_the_file_was_edited_and_would_be_cut_elsewhere(collected: Artifact) -> None:
    letters = {name for name in sources(collected).values() if name.startswith("letter.txt#line=")}
    own = LETTER.split("\n\n")
    edited = "\n\n".join([paragraphs(4, 1), *own[:30], paragraphs(5, 2), *own[30:]]).upper()
    assert set(found(collected, edited)) == letters


def test_a_request_means_all_passages_and_exactly_those_that_stand_in_the_text(collected: Artifact) -> None:
    first, *others = LETTER.split("\n\n")
    edited = "\n\n".join([first.replace(first.split()[5], "another"), *others])
    letters = {name for name, source in sources(collected).items() if source.startswith("letter.txt")}
    assert set(request(Store(), Selector(texts=(edited,)), exact=False).config.docs) == letters
    assert len(request(Store(), Selector(texts=(edited,)), exact=True).config.docs) == len(letters) - 1


def test_what_nothing_stored_answers_to_is_an_error(
    collected: Artifact, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, unknown = folder / "letter.txt", tmp_path / "unknown.txt"
    unknown.write_text(paragraphs(9, 60))
    for files in ([unknown], [known, unknown]):
        options = [option for file in files for option in ("--text", str(file))]
        assert cli.main(["forget", *options, "--dry-run"]) == 1
        assert "No stored document says what the text" in capsys.readouterr().err
        assert cli.main(["forget", *options]) == 1
    assert cli.main(["impact", "--text", str(unknown)]) == 1
    capsys.readouterr()
    assert cli.main(["impact", "--text", str(unknown), "--text", str(known)]) == 0
    assert "nothing stored says what text 1 says" in capsys.readouterr().out
    with pytest.raises(NotFound, match="nothing was forgotten"):
        request(Store(), Selector(sources=("file:///nowhere/*",)), exact=False)
    assert not (folder / "home" / "certificates").exists()


def test_a_file_in_another_encoding_is_read_as_collect_reads_it(
    collected: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(LETTER.replace("\n", "\r\n").encode("utf-16"))
    assert cli.main(["impact", "--text", str(copy), "--no-near"]) == 0
    letters = [name for name in sources(collected).values() if name.startswith("letter.txt")]
    assert f"{len(letters)} documents" in capsys.readouterr().out


def test_the_flow_without_anything_to_forget_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="name documents"):
        forget.fn()
    assert cli.main(["run", "forget", "--preset", "test"]) != 0
    assert "name documents" in capsys.readouterr().err
    assert journal.flows() == {} and list(tmp_path.iterdir()) == []
