"""What is on the exclusion list stays out of documents and pairs, wherever they come from; nothing else is touched."""

import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from tasks.collect import CollectConfig, collect
from tasks.forget.exclusions import ExcludeConfig, current, exclude, prints_of, put_in_force
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError, StoreError
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store
from tasks.pair import PairConfig, pair
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.sources import Source
from tests.unit.tasks.text.test_forgotten import changed, text

SECRET = text(1)
NEAR = changed(SECRET, 1)
RESOURCES = Resources(workers=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    yield
    remove_tree(tmp_path / "home")


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = [{"id": "secret", "text": SECRET}, {"id": "near", "text": NEAR}]
    return write(tmp_path / "texts.jsonl", [*rows, *({"text": text(n)} for n in range(2, 30))])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    asked = [{"prompt": f"Question {n}?", "response": text(100 + n, 12)} for n in range(40)]
    asked += [{"prompt": "What is the secret?", "response": SECRET}, {"prompt": NEAR, "response": "Yes."}]
    return write(tmp_path / "pairs.jsonl", asked)


def seen(texts: Path, pairs: Path) -> Artifact:
    sources = (Source(kind="files", path=str(texts)), Source(kind="files", path=str(pairs), role="pairs"))
    return snapshot(config=SnapshotConfig(sources=sources))


def gathered(outside: Artifact, listed: Artifact | None) -> tuple[Artifact, Artifact]:
    documents = collect(snapshot=outside, exclusions=listed, config=CollectConfig(), resources=RESOURCES)
    asked = pair(snapshot=outside, exclusions=listed, config=PairConfig(ask_packages=False), resources=RESOURCES)
    return documents, asked


def rows(artifact: Artifact, name: str = "ledger.parquet") -> list[dict]:
    return [row for path in sorted(artifact.path.glob(name)) for row in pq.read_table(path).to_pylist()]


def dropped(artifact: Artifact, reason: str = "forgotten") -> set[str]:
    return {row["doc_id"] for row in rows(artifact) if row["reason"] == reason}


def name_of(artifact: Artifact, text_: str) -> str:
    return next(row["doc_id"] for row in rows(artifact, "documents-*.parquet") if row["text"] == text_)


def test_without_a_list_a_stage_has_the_key_that_it_had_before_there_were_lists(texts: Path, pairs: Path) -> None:
    outside = seen(texts, pairs)
    documents, asked = gathered(outside, None)
    assert collect(snapshot=outside, config=CollectConfig(), resources=RESOURCES) == documents
    for made in (documents, asked):
        record = Store().record(made.key)
        assert record is not None and set(record.inputs) == {"snapshot"}


def test_a_forgotten_document_and_its_near_copy_are_dropped_with_that_reason(texts: Path, pairs: Path) -> None:
    outside = seen(texts, pairs)
    documents, _ = gathered(outside, None)
    secret = name_of(documents, SECRET)
    listed = exclude(config=ExcludeConfig(docs=(secret,)), resources=RESOURCES)
    after, asked_after = gathered(outside, listed)
    assert dropped(after) == {secret, name_of(documents, NEAR)}
    assert len(rows(after)) == len(rows(documents)) == 30
    kept = {row["text"] for row in rows(after, "documents-*.parquet")}
    assert kept == {text(n) for n in range(2, 30)}
    record = Store().record(after.key)
    assert record.metrics["dropped/forgotten"] == 2 and record.inputs["exclusions"] == listed
    said = {row["response"] for row in rows(asked_after, "pairs.parquet")} | {
        row["prompt"] for row in rows(asked_after, "pairs.parquet")
    }
    assert not {SECRET, NEAR} & said
    assert len(dropped(asked_after)) == 2
    assert not any(SECRET.encode()[:40] in path.read_bytes() for path in listed.path.iterdir())


def test_exact_leaves_the_near_copy(texts: Path, pairs: Path) -> None:
    outside = seen(texts, pairs)
    documents, _ = gathered(outside, None)
    listed = exclude(config=ExcludeConfig(docs=(name_of(documents, SECRET),), exact=True), resources=RESOURCES)
    after, asked = gathered(outside, listed)
    assert dropped(after) == {name_of(documents, SECRET)}
    assert len(dropped(asked)) == 1


def test_what_only_stands_in_pairs_leaves_the_corpus_as_it_was(texts: Path, pairs: Path) -> None:
    """Early cut-off: the corpus is collected again and comes out the same, so nothing is trained again on it."""
    outside = seen(texts, pairs)
    documents, asked = gathered(outside, None)
    victim = next(row for row in rows(asked, "pairs.parquet") if row["prompt"] == "Question 3?")
    listed = exclude(config=ExcludeConfig(docs=(victim["pair_id"],)), resources=RESOURCES)
    after, asked_after = gathered(outside, listed)
    assert after.key != documents.key and after.digest == documents.digest
    assert dropped(asked_after) == {victim["pair_id"]}
    before = {(row["pair_id"], row["split"]) for row in rows(asked, "pairs.parquet")}
    now = {(row["pair_id"], row["split"]) for row in rows(asked_after, "pairs.parquet")}
    assert before - now == {(victim["pair_id"], victim["split"])} and not now - before


def test_a_text_is_kept_out_though_the_store_never_held_it(texts: Path, pairs: Path, tmp_path: Path) -> None:
    """By its print alone; in another format, from another place, at a later time; and of a saved data set too."""
    config = ExcludeConfig(texts=prints_of([SECRET], 0.8, exact=False))
    assert SECRET[:20] not in config.model_dump_json()
    listed = exclude(config=config, resources=RESOURCES)
    folder = tmp_path / "saved"
    datasets.Dataset.from_list([{"text": text(50)}, {"text": SECRET.upper()}]).save_to_disk(str(folder))
    page = tmp_path / "page.html"
    page.write_text(f"<html><body><p>{NEAR}</p></body></html>")
    sources = (Source(kind="huggingface", path=str(folder)), Source(kind="files", path=str(page)),
               Source(kind="files", path=str(texts)))  # fmt: skip
    after = collect(
        snapshot=snapshot(config=SnapshotConfig(sources=sources)), exclusions=listed, config=CollectConfig(),
        resources=RESOURCES,
    )  # fmt: skip
    assert len(dropped(after)) == 4
    kept = {row["text"] for row in rows(after, "documents-*.parquet")}
    assert kept == {text(50), *(text(n) for n in range(2, 30))}


def test_a_forgotten_reject_leaves_the_quarantine_too(tmp_path: Path, pairs: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(json.dumps({"text": text(n)}) + "\n" for n in range(20)) + "a secret that is no JSON\n")
    outside = seen(broken, pairs)
    documents, _ = gathered(outside, None)
    assert "a secret" in (documents.path / "quarantine.jsonl").read_text()
    (reject,) = dropped(documents, "quarantined")
    listed = exclude(config=ExcludeConfig(docs=(reject,)), resources=RESOURCES)
    after, _ = gathered(outside, listed)
    assert dropped(after) == {reject}
    assert (after.path / "quarantine.jsonl").read_text() == ""


def test_pairs_made_from_a_forgotten_object_s_documentation_go_with_it(tmp_path: Path) -> None:
    """Of an installed package: the question's answer is the docstring's summary, and has the docstring's address."""
    source = Source(include=("iniconfig", "pluggy"))
    outside = snapshot(config=SnapshotConfig(sources=(source,), evaluation_share=0))
    documents = collect(snapshot=outside, config=CollectConfig(), resources=RESOURCES)
    config = PairConfig(min_answer_chars=1, min_overlap=0)
    asked = pair(snapshot=outside, config=config, resources=RESOURCES)
    addresses = {row["source"]: row["doc_id"] for row in rows(documents, "documents-*.parquet")}
    victim = next(row for row in rows(asked, "pairs.parquet") if row["source"] in addresses)
    listed = exclude(config=ExcludeConfig(docs=(addresses[victim["source"]],)), resources=RESOURCES)
    after = pair(snapshot=outside, exclusions=listed, config=config, resources=RESOURCES)
    assert victim["pair_id"] in dropped(after)


def test_lists_grow_and_the_one_in_force_is_found(texts: Path, pairs: Path) -> None:
    assert current() is None
    documents, _ = gathered(seen(texts, pairs), None)
    first = exclude(config=ExcludeConfig(docs=(name_of(documents, SECRET),)), resources=RESOURCES)
    put_in_force(first)
    second = exclude(config=ExcludeConfig(docs=(name_of(documents, text(5)),)), resources=RESOURCES, earlier=first)
    put_in_force(second)
    assert current() == second
    assert {row["id"] for row in rows(first, "exclusions.parquet")} < {
        row["id"] for row in rows(second, "exclusions.parquet")
    }
    again = exclude(config=ExcludeConfig(docs=(name_of(documents, text(5)),)), resources=RESOURCES, earlier=second)
    assert again.digest == second.digest


def test_a_lost_list_stops_every_collection(texts: Path, pairs: Path) -> None:
    documents, _ = gathered(seen(texts, pairs), None)
    listed = exclude(config=ExcludeConfig(docs=(name_of(documents, SECRET),)), resources=RESOURCES)
    put_in_force(listed)
    remove_tree(listed.path)
    with pytest.raises(StoreError, match="forgotten text would come back"):
        current()


def test_nothing_to_forget_is_said() -> None:
    with pytest.raises(DataError, match="nothing in the store answers"):
        exclude(config=ExcludeConfig(), resources=RESOURCES)
