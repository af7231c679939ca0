"""Documents of real small inputs in every format, and of every kind of bad input."""

import gzip
import json
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.collect import CollectConfig, collect
from tasks.lineage.errors import DataError
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Artifact, Resources
from tasks.text import file_documents, packages
from tasks.text.sources import Source

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def run(*sources: Source, workers: int = 1, seed: int = 0, share: float = 0.1, **config) -> Artifact:
    seen = snapshot(config=SnapshotConfig(sources=sources, seed=seed, evaluation_share=share))
    return collect(snapshot=seen, config=CollectConfig(**config), resources=Resources(workers=workers))


def files(path: Path, **more) -> Source:
    return Source(kind="files", path=str(path), **more)


def documents(corpus: Artifact) -> list[dict]:
    return [row for path in sorted(corpus.path.glob("documents-*")) for row in pq.read_table(path).to_pylist()]


def texts(corpus: Artifact) -> list[str]:
    return [row["text"] for row in documents(corpus)]


def ledger(corpus: Artifact) -> list[dict]:
    return pq.read_table(corpus.path / "ledger.parquet").to_pylist()


def quarantine(corpus: Artifact) -> list[dict]:
    return [json.loads(line) for line in (corpus.path / "quarantine.jsonl").read_text().splitlines()]


def write_jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_format_gives_its_documents(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    line = json.dumps({"text": "from json lines"}).encode() + b"\n"
    (folder / "a.jsonl").write_bytes(line)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(line.replace(b"json", b"gzip")))
    (folder / "c.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(line.replace(b"json", b"zstd")))
    pq.write_table(pa.table({"text": ["from parquet"]}), folder / "d.parquet")
    (folder / "e.txt").write_text("from text\n")
    (folder / "f.md").write_text("# from markdown\n")
    (folder / "g.rst").write_text("from rst\n")
    (folder / "h.html").write_text("<p>from html</p>")
    (folder / "i.txt.gz").write_bytes(gzip.compress(b"from compressed text\n"))
    found = {(row["text"].strip(), row["kind"]) for row in documents(run(files(folder)))}
    assert found == {
        ("from json lines", "text"), ("from gzip lines", "text"), ("from zstd lines", "text"), ("from parquet", "text"),
        ("from text", "text"), ("# from markdown", "markdown"), ("from rst", "rst"), ("<p>from html</p>", "html"),
        ("from compressed text", "text"),
    }  # fmt: skip


def test_a_document_carries_where_it_is_from(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": 7, "body": "one", "from": "me"}, {"body": "two", "from": ""}])
    source = files(path, text_field="body", origin_field="from", license="CC0-1.0", text_kind="markdown")
    one, two = sorted(documents(run(source)), key=lambda row: row["text"])
    assert one["source"] == f"{path.as_uri()}#7" and two["source"] == path.as_uri()
    assert (one["origin"], two["origin"]) == ("me", path.as_uri())
    assert (one["license"], one["kind"], one["collector"], one["language"]) == ("CC0-1.0", "markdown", "files", None)
    assert len(one["doc_id"]) == 32


def test_a_hugging_face_folder_is_read_through_datasets(tmp_path):
    data = datasets.DatasetDict({
        "train": datasets.Dataset.from_dict({"text": ["one", "two"], "n": [1, 2]}),
        "test": datasets.Dataset.from_dict({"text": ["three"], "n": [3]}),
    })  # fmt: skip
    data.save_to_disk(str(tmp_path / "saved"))
    source = Source(kind="huggingface", path=str(tmp_path / "saved"))
    assert sorted(texts(run(source))) == ["one", "three", "two"]
    assert texts(run(source.model_copy(update={"split": "test"}))) == ["three"]
    data["test"].save_to_disk(str(tmp_path / "single"))
    [document] = documents(run(Source(kind="huggingface", path=str(tmp_path / "single"))))
    assert document["origin"] == (tmp_path / "single").as_uri()


def test_a_data_set_changed_after_the_snapshot_is_an_error(tmp_path):
    datasets.Dataset.from_dict({"text": ["one"]}).save_to_disk(str(tmp_path / "saved"))
    source = Source(kind="huggingface", path=str(tmp_path / "saved"))
    seen = snapshot(config=SnapshotConfig(sources=(source,)))
    datasets.Dataset.from_dict({"text": ["two"]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match="changed since the snapshot"):
        collect(snapshot=seen, config=CollectConfig())


def test_malformed_rows_are_quarantined_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    good = [json.dumps({"text": f"row {number}"}) for number in range(20)]
    bad = ["{broken", "[1]", json.dumps({"body": "x"}), json.dumps({"text": 5})]
    path.write_text("\n".join(good + bad) + "\n")
    corpus = run(files(path))
    assert len(documents(corpus)) == 20
    assert [(entry["line"], entry["reason"][:22]) for entry in quarantine(corpus)] == [
        (21, "not valid JSON: Expect"), (22, "not an object but list"), (23, "has no field 'text' (i"),
        (24, "has a int as field 'te"),
    ]  # fmt: skip
    assert all(entry["uri"] == path.as_uri() and entry["excerpt"] for entry in quarantine(corpus))
    rows = ledger(corpus)
    assert len(rows) == 24 == sum(row["decision"] == "kept" for row in rows) + 4
    assert {row["reason"] for row in rows if row["decision"] == "dropped"} == {"quarantined"}


def test_too_many_malformed_rows_are_an_error_that_names_the_first(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + "{broken\n[1]\n" * 10)
    with pytest.raises(DataError, match=r"20 of 21 rows .*collect\.max_bad_share \(20%\)") as caught:
        run(files(path))
    assert f"{path.as_uri()} line 2: not valid JSON" in str(caught.value)
    assert texts(run(files(path), max_bad_share=0.96)) == ["fine"]


def test_a_few_malformed_rows_and_whole_files_that_cannot_be_read_are_no_error(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "fine"}\n' + "{broken\n" * 19)
    for number in range(30):
        (folder / f"{number}.txt").write_bytes(bytes(range(32)) * 9)
    corpus = run(files(folder))
    assert texts(corpus) == ["fine"] and len(quarantine(corpus)) == 49


@pytest.mark.parametrize(
    "rows",
    [[], [{"text": ""}], [{"text": " \n\t"}, {"text": ""}]],
)
def test_an_empty_corpus_is_an_error_that_says_what_to_do(tmp_path, rows):
    with pytest.raises(DataError, match=r"hold no document.*Check the sources"):
        run(files(write_jsonl(tmp_path / "a.jsonl", rows)))


def test_empty_and_repeated_documents_are_dropped_by_reason(tmp_path):
    corpus = run(files(write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}, {"text": " "}, {"text": "a"}, {"text": "b"}])))
    assert sorted(texts(corpus)) == ["a", "b"]
    assert [(row["decision"] == "kept", row["reason"]) for row in ledger(corpus)] == [
        (True, None), (False, "empty"), (False, "repeated"), (True, None),
    ]  # fmt: skip
    repeated = ledger(corpus)[2]
    assert repeated["duplicate_of"] == repeated["doc_id"] == ledger(corpus)[0]["doc_id"]


def test_rows_with_the_same_id_and_other_text_are_both_kept(tmp_path):
    corpus = run(files(write_jsonl(tmp_path / "a.jsonl", [{"id": "x", "text": "a"}, {"id": "x", "text": "b"}])))
    first, second = documents(corpus)
    assert first["source"] == second["source"] and first["doc_id"] != second["doc_id"]


def test_nul_bytes_surrogates_and_odd_encodings_come_through(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "nul \\u0000 inside"}\n{"text": "half \\ud800 pair"}\n{"text": "caf\xe9"}\n')
    assert texts(run(files(path))) == ["nul \x00 inside", "half \ufffd pair", "café"]


def test_a_file_changed_or_gone_after_the_snapshot_is_quarantined_and_the_output_not_taken_for_the_whole(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    _, two, three = (write_jsonl(folder / f"{name}.jsonl", [{"text": name}]) for name in ("one", "two", "three"))
    seen = snapshot(config=SnapshotConfig(sources=(files(folder),)))
    write_jsonl(two, [{"text": "TWO"}])
    three.unlink()
    corpus = collect(snapshot=seen, config=CollectConfig())
    assert texts(corpus) == ["one"]
    reasons = {entry["uri"]: entry["reason"] for entry in quarantine(corpus)}
    assert reasons[two.as_uri()] == "has changed since the snapshot was taken"
    assert reasons[three.as_uri()].startswith("can no longer be read")
    write_jsonl(two, [{"text": "two"}])
    write_jsonl(three, [{"text": "three"}])
    assert sorted(texts(collect(snapshot=seen, config=CollectConfig()))) == ["one", "three", "two"]


def test_a_file_changed_while_it_is_read_gives_nothing(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": f"row {number}"} for number in range(10)])
    other = write_jsonl(tmp_path / "b.jsonl", [{"text": "other"}])
    read_rows = file_documents.read_rows_in_blocks

    def growing(place, *rest):
        for block in read_rows(place, *rest):
            if place == path:
                with path.open("a") as file:
                    file.write('{"text": "more"}\n')
            yield block

    monkeypatch.setattr(file_documents, "read_rows_in_blocks", growing)
    corpus = run(files(tmp_path / "*.jsonl"))
    assert texts(corpus) == ["other"] and other.exists()
    [entry] = quarantine(corpus)
    assert (entry["uri"], entry["reason"]) == (path.as_uri(), "has changed while it was read")
    assert sum(row["decision"] == "dropped" for row in ledger(corpus)) == 1


def test_a_long_text_file_becomes_several_documents_that_know_their_lines(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(f"Paragraph {number}. " + "word " * 50 for number in range(100)))
    corpus = run(files(path), document_chars=1000, share=0.3)
    rows = documents(corpus)
    assert len(rows) > 20
    assert rows[0]["source"] == f"{path.as_uri()}#line=0,3"
    assert {row["split"] for row in rows} == {"train", "evaluation"}
    assert "".join(row["text"] for row in rows).split() == path.read_text().split()


def test_files_are_split_whole_and_rows_by_their_origin_field(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        write_jsonl(
            folder / f"{number}.jsonl", [{"text": f"{number} {row}", "from": f"o{row % 6}"} for row in range(12)]
        )
    by_file: dict[str, set[str]] = {}
    for row in documents(run(files(folder), share=0.4)):
        by_file.setdefault(row["origin"], set()).add(row["split"])
    assert len(by_file) == 12 and all(len(found) == 1 for found in by_file.values())
    by_field: dict[str, set[str]] = {}
    for row in documents(run(files(folder, origin_field="from"), share=0.4)):
        by_field.setdefault(row["origin"], set()).add(row["split"])
    assert set(by_field) == {f"o{number}" for number in range(6)}
    assert all(len(found) == 1 for found in by_field.values())
    assert set().union(*by_field.values()) == {"train", "evaluation"}


def test_max_documents_keeps_the_smallest_hashes(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": f"row {number}"} for number in range(50)])
    everything = sorted(row["doc_id"] for row in documents(run(files(path))))
    capped = run(files(path), max_documents=10)
    assert sorted(row["doc_id"] for row in documents(capped)) == everything[:10]
    assert sum(row["reason"] == "above_max_documents" for row in ledger(capped)) == 40


def test_sources_of_pairs_are_no_documents(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a text"}])
    pairs = write_jsonl(tmp_path / "b.jsonl", [{"prompt": "p", "response": "r", "text": "not this"}])
    assert texts(run(files(path), files(pairs, role="pairs"))) == ["a text"]


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "zoo-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "zoo").mkdir()
    (site / "zoo" / "__init__.py").write_text(
        '"""A zoo, for testing how documentation is collected from packages."""\n'
    )
    (site / "zoo" / "animals.py").write_text(
        'def feed(animal, food="hay"):\n    """Give an animal its food and note when it was fed."""\n\n'
        'def short(x):\n    """Too short."""\n'
    )
    (site / "zoo" / "broken.py").write_text("def feed(:\n    'text'\n")
    (site / "zoo" / "guide.md").write_text("# Guide\r\n\r\nHow to run a zoo.\r\n")
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\nLicense: MIT\n"
        "Description-Content-Type: text/markdown\n\n# Zoo\n"
    )
    paths = [str(path.relative_to(site)) for path in sorted(site.rglob("*")) if path.is_file()]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in paths))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    packages._root.cache_clear()
    yield site
    packages._root.cache_clear()


def test_packages_give_docstrings_guides_and_readme(zoo):
    corpus = run(Source(include=("zoo",)))
    found = {row["source"]: row for row in documents(corpus)}
    assert {source: row["kind"] for source, row in found.items()} == {
        "pypi://zoo/1.0/zoo/__init__.py": "docstring",
        "pypi://zoo/1.0/zoo/animals.py#feed": "docstring",
        "pypi://zoo/1.0/zoo/guide.md": "markdown",
        "pypi://zoo/1.0/zoo-1.0.dist-info/METADATA": "markdown",
    }
    feed = found["pypi://zoo/1.0/zoo/animals.py#feed"]
    assert feed["text"] == (
        "zoo.animals.feed(animal, food='hay')\n\nGive an animal its food and note when it was fed.\n"
    )
    assert (feed["origin"], feed["license"], feed["collector"]) == ("zoo", "MIT", "packages")
    assert found["pypi://zoo/1.0/zoo-1.0.dist-info/METADATA"]["text"] == "# Zoo\n"
    assert found["pypi://zoo/1.0/zoo/guide.md"]["text"] == "# Guide\n\nHow to run a zoo.\n"
    assert {row["reason"] for row in ledger(corpus) if row["decision"] == "dropped"} == {
        "trivial_docstring",
        "quarantined",
    }
    [entry] = quarantine(corpus)
    assert entry["uri"].endswith("broken.py") and "not valid Python" in entry["reason"]


def test_parsed_files_are_remembered_and_a_damaged_memory_is_parsed_anew(zoo, tmp_path, monkeypatch):
    first = run(Source(include=("zoo",)))
    [remembered] = (tmp_path / "home" / "cache" / "documented").glob("*.parquet")
    with monkeypatch.context() as patched:
        patched.setattr("tasks.text.docstrings.ast.parse", lambda source: pytest.fail("parsed again"))
        again = run(Source(include=("zoo",)), min_docstring_chars=39)
    assert texts(again) == texts(first)
    remembered.write_bytes(b"damaged")
    assert texts(run(Source(include=("zoo",)), min_docstring_chars=38)) == texts(first)


def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch):
    sources = (Source(include=("click", "attrs", "rich", "pygments")),)
    monkeypatch.setattr("tasks.text.items.PART_BYTES", 300_000)
    digests = set()
    for workers in (1, 2):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / f"home{workers}"))
        digests.add(run(*sources, workers=workers).digest)
    assert len(digests) == 1


def test_a_killed_run_goes_on_with_the_parts_it_had_finished(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(f"text {number}")
    monkeypatch.setattr("tasks.text.items.PART_BYTES", 1)
    from tasks.text import drafts

    read = []
    file_documents = drafts.file_documents

    def counted(item, *rest):
        read.append(item.uri[-5:])
        if len(read) == 3:
            raise KeyboardInterrupt
        return file_documents(item, *rest)

    monkeypatch.setattr(drafts, "file_documents", counted)
    with pytest.raises(KeyboardInterrupt):
        run(files(folder))
    assert texts(run(files(folder))) == [f"text {number}" for number in range(4)]
    assert read == ["0.txt", "1.txt", "2.txt", "2.txt", "3.txt"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_give_documents_or_a_clear_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.jsonl").write_bytes(data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PEDIGREE_HOME", str(folder / "home"))
        try:
            corpus = run(files(folder / "a.jsonl"), max_bad_share=1.0)
        except DataError as error:
            assert "hold no document" in str(error)
        else:
            assert documents(corpus)


def test_shakespeare_becomes_a_corpus():
    path = DATA / "shakespeare" / "input.txt"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rows = documents(run(files(path)))
    assert 250 < len(rows) < 600
    assert "".join(row["text"] for row in rows).split() == path.read_text().split()
    assert {row["split"] for row in rows} == {"train", "evaluation"}
