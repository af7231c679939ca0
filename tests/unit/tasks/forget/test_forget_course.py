"""A document planted in a course is forgotten with its near copy: gone from ledgers, texts and shards, and nothing
is made again that did not hold it; then what held it is purged, and the store is whole."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest

from flows.forget_request import dry_run, request
from flows.forgetting import forget_course
from flows.presets import DATA
from flows.settings import Settings
from tasks.forget import certificate as certificates
from tasks.forget import purge
from tasks.forget.exclusions import ExcludeConfig, current, prints_of
from tasks.forget.remains import search
from tasks.impact.impact import impact
from tasks.impact.selector import Selector
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import NotFound
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store
from tasks.text.forgotten import Forgotten
from tasks.text.signature_memory import PLACE as SIGNATURES
from tests.planted_course import NEAR, PLANTED, Course, planted_ids, write

SCHEMAS = Path(__file__).resolve().parents[4] / "docs" / "schemas"
PHRASES = (b"Ormsvik", b"goldfinch")


def valid(answer: dict[str, Any], schema: str) -> None:
    answer = json.loads(json.dumps(answer))
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(answer)


@pytest.fixture(scope="module")
def before(trained: Course, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """The course as it was, in a home of its own, to be spoilt."""
    home = tmp_path_factory.mktemp("forgotten") / "home"
    shutil.copytree(trained.store.root, home, copy_function=shutil.copy2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Course(trained.folder, Store(home), trained.made)
    remove_tree(home)


@pytest.fixture(scope="module")
def plan(before: Course) -> dict[str, Any]:
    asked = request(before.store, Selector(docs=(planted_ids(before.folder)[0],)), exact=False)
    return dry_run(before.store, asked)


@pytest.fixture(scope="module")
def forgotten(before: Course, plan: dict[str, Any]) -> dict[str, Any]:
    """The certificate."""
    asked = request(before.store, Selector(docs=(planted_ids(before.folder)[0],)), exact=False)
    return forget_course(Settings(**write(before.folder), exclude=asked.config), "first", None)


def ledger(digest: str, store: Store) -> dict[str, dict[str, Any]]:
    table = pq.read_table(store.object_path(digest) / "ledger.parquet")
    return {row["doc_id"]: row for row in table.to_pylist()}


def after(certificate: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["after"] for stage in certificate["stages"]}


def outputs(certificate: dict[str, Any], when: str) -> dict[str, Artifact]:
    """The data before or after, as the search takes it."""
    return {
        stage["stage"]: Artifact(kind="data", digest=stage[when], key="0" * 64)
        for stage in certificate["stages"] if stage["stage"] in DATA and stage["stage"] != "snapshot"
    }  # fmt: skip


def test_a_dry_run_says_what_will_happen_and_writes_nothing(plan: dict[str, Any], forgotten: dict[str, Any]) -> None:
    valid(plan, "forget-plan")
    assert plan["exclusions"] is None
    assert [len(plan[name]) for name in ("documents", "near_duplicates", "models")] == [1, 1, 4]
    foreseen = {stage["stage"]: stage["changes"] for stage in plan["stages"]}
    assert foreseen.pop("snapshot") is False
    assert foreseen == {stage["stage"]: stage["state"] == "made anew" for stage in forgotten["stages"]}
    assert not foreseen["pair"]


def test_neither_text_is_in_ledgers_texts_or_shards(before: Course, forgotten: dict[str, Any]) -> None:
    both = set(planted_ids(before.folder))
    fates = ledger(after(forgotten)["collect"], before.store)
    assert {name for name, row in fates.items() if row["reason"] == "forgotten"} == both
    for stage in ("clean", "deduplicate", "decontaminate", "tokenize"):
        assert not both & set(ledger(after(forgotten)[stage], before.store))
    check = forgotten["check"]
    assert check["clean"] and check["found"] == []
    counts = {entry["stage"]: entry for entry in check["searched"]}
    assert counts["tokenize"]["decoded"] > 500 and counts["collect"]["texts"] > 500


def test_the_search_finds_them_where_nothing_was_forgotten(before: Course, forgotten: dict[str, Any]) -> None:
    """Else the certificate would be worth nothing."""
    listed = current()
    assert listed is not None
    _, remains = search(before.store, outputs(forgotten, "before"), Forgotten.read(listed.path))
    planted, near = planted_ids(before.folder)
    assert {(entry.stage, entry.where) for entry in remains if entry.doc_id == near} == {
        ("collect", "ledger"), ("collect", "text"), ("clean", "ledger"), ("clean", "text"),
        ("deduplicate", "ledger"), ("deduplicate", "text"), ("decontaminate", "ledger"), ("decontaminate", "text"),
        ("tokenize", "ledger"), ("tokenize", "shard"),
    }  # fmt: skip
    assert {entry.stage for entry in remains if entry.doc_id == planted} == {"collect", "clean"}
    rows = [{"id": None, "text": None, "signature": row["signature"], "threshold": 0.8, "source": None}
            for row in pq.read_table(listed.path / "exclusions.parquet").to_pylist() if row["signature"]]  # fmt: skip
    _, by_likeness = search(before.store, outputs(forgotten, "before"), Forgotten(rows))
    assert ("tokenize", "shard", near) in {(entry.stage, entry.where, entry.doc_id) for entry in by_likeness}
    _, clean = search(before.store, outputs(forgotten, "after"), Forgotten(rows))
    assert clean == []


def test_what_did_not_hold_them_stays_as_it_was(before: Course, forgotten: dict[str, Any]) -> None:
    states = {stage["stage"]: stage["state"] for stage in forgotten["stages"]}
    assert states["pair"] == "unchanged"
    made = {record.key for record in before.store.records()}
    config = ExcludeConfig(docs=planted_ids(before.folder))
    again = forget_course(Settings(**write(before.folder), exclude=config), "again", None)
    assert after(again) == after(forgotten)
    fresh = {record.stage for record in before.store.records() if record.key not in made}
    assert fresh <= {"exclude", "collect", "pair"}, "the list changed, and nothing that was made with it"


def test_the_certificate_is_kept_with_a_page_and_without_the_text(before: Course, forgotten: dict[str, Any]) -> None:
    valid(forgotten, "forget")
    assert certificates.read("first") == json.loads(json.dumps(forgotten))
    page = (certificates.folder() / "first.html").read_text()
    assert "Neither the forgotten texts nor near-duplicates" in page
    assert "http" not in page.replace("http-equiv", ""), "it needs nothing else"
    for path in certificates.folder().iterdir():
        assert not any(phrase in path.read_bytes() for phrase in PHRASES)
    models = {model["stage"]: model["relation"] for model in forgotten["models"]}
    assert models == {"pretrain": "trained", "finetune": "inherits", "reward": "inherits", "ppo": "inherits"}
    for model in forgotten["models"]:
        assert model["replaced_by"] == f"{model['name']} {after(forgotten)[model['stage']][:12]}"


def test_a_page_says_so_when_something_is_left(forgotten: dict[str, Any]) -> None:
    remains = {"doc_id": "<b>", "stage": "tokenize", "digest": "0" * 64, "where": "shard", "similarity": 0.9}
    failed = {**forgotten, "check": {**forgotten["check"], "clean": False, "found": [remains]}}
    page = certificates.page(failed)
    assert "1 places still hold forgotten text" in page and "&lt;b&gt;" in page and "<b>" not in page


def test_purged_the_store_is_whole_and_holds_nothing_of_them(before: Course, forgotten: dict[str, Any]) -> None:
    """Last, since it deletes what the tests before look at."""
    store = before.store
    fresh = set(after(forgotten).values())
    planned = purge.plan(store, ask_mlflow=False)
    doomed = {item.name for item in planned.objects}
    assert doomed == {output["digest"] for output in forgotten["tainted"]}
    assert not doomed & fresh
    assert list((store.root / SIGNATURES).rglob("*.bin"))
    gone = purge.execute(store, planned, "first")
    assert not (store.root / SIGNATURES).exists()
    assert {item.name for item in gone.objects} == doomed
    assert not any(store.object_path(name).exists() for name in doomed)
    valid({**forgotten, "purged": gone.answer()}, "forget")
    assert store.verify(deep=True)["damaged"] == store.verify()["missing"] == store.verify()["foreign"] == []
    assert purge.plan(store, ask_mlflow=False).empty
    old = next(output for output in forgotten["tainted"] if output["stage"] == "pretrain")
    record = store.record(old["key"])
    assert record is not None and store.problems(record.output)[0].startswith("deleted by `pedigree forget --purge`")
    answer = impact(store, Selector(texts=(PLANTED, NEAR)), steps=0)
    assert [entry for entry in answer["artifacts"] if entry["stored"] and entry["relation"] != "dropped"] == []
    assert answer["near_duplicates"] == []
    again = forget_course(
        Settings(**write(before.folder), exclude=ExcludeConfig(docs=planted_ids(before.folder))), "third", None
    )
    assert after(again) == after(forgotten), "all of it still cached"


def test_there_is_nothing_to_purge_where_nothing_was_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    with pytest.raises(NotFound, match="nothing was forgotten yet"):
        purge.plan(Store(), ask_mlflow=False)


def test_what_cleaning_makes_alike_is_found_by_the_search_and_excluded_in_a_second_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As collected, each word of the second text is hidden in a role; as cleaned, it is the forgotten text."""
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    settings = write(tmp_path / "texts")
    secret = PLANTED.replace("\n", " ")
    hidden = " ".join(f":class:`{word}`" if word.isalpha() else word for word in secret.split())
    file = tmp_path / "texts" / "texts.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines() if "Ormsvik" not in line]
    rows += [{"id": "secret", "text": secret}, {"id": "hidden", "text": hidden}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = ExcludeConfig(texts=prints_of([secret], 0.8, exact=False), rebuild="data")
    certificate = forget_course(Settings(**settings, exclude=config), "only", None)
    assert certificate["check"]["clean"]
    fates = ledger(after(certificate)["collect"], Store())
    names = {row["source"].rpartition("#")[2] for row in fates.values() if row["reason"] == "forgotten"}
    assert names == {"hidden", "secret"}
    assert len([record for record in Store().records() if record.stage == "exclude"]) == 2
    remove_tree(tmp_path / "home")
