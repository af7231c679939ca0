"""A document planted in a corpus is found in every model that it reached, by path and step; and so is its copy."""

from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.impact.impact import impact
from tasks.impact.selector import Selector, select
from tasks.lineage.errors import ConfigError, NotFound
from tests.planted_course import ANNOTATED, NEAR, PLANTED, Course, planted_ids


def by_stage(answer: dict[str, Any], field: str = "models") -> dict[str, dict[str, Any]]:
    return {entry["stage"]: entry for entry in answer[field]}


def stages(path: list[dict[str, Any]]) -> list[str]:
    return [step["stage"] or step["kind"] for step in path]


def test_a_text_is_found_in_every_model_with_the_path_that_taints_it(course: Course) -> None:
    planted, near = planted_ids(course.folder)
    answer = impact(course.store, Selector(texts=(PLANTED,)))
    assert {(d["doc_id"], d["similarity"] == 1.0) for d in answer["documents"]} == {(planted, True), (near, False)}
    assert all(document["similarity"] >= 0.8 and document["kind"] == "text" for document in answer["documents"])
    assert answer["near_duplicates"] == []  # both copies are among the documents already
    models = by_stage(answer)
    assert {stage: model["relation"] for stage, model in models.items()} == {
        "pretrain": "trained", "finetune": "inherits", "reward": "inherits", "ppo": "inherits",
    }  # fmt: skip
    assert {model["name"] for model in models.values()} == {
        "pedigree-pretrained", "pedigree-finetuned", "pedigree-reward", "pedigree-aligned",
    }  # fmt: skip
    made = {entry["digest"]: entry["stage"] for entry in answer["artifacts"]}

    def names(path: list[str]) -> list[str]:
        return [made.get(digest, "text") for digest in path]

    to_base = ["text", "collect", "clean", "deduplicate", "decontaminate", "tokenize", "pretrain"]
    assert stages(models["pretrain"]["path"]) == to_base
    assert names(models["reward"]["paths"]["rankings"]) == [*to_base, "finetune", "rank", "reward"]
    assert stages(models["ppo"]["path"]) == [*to_base, "finetune", "ppo"]
    assert names(models["ppo"]["paths"]["reward_model"]) == [*to_base, "finetune", "reward", "ppo"]
    assert answer["registry"].startswith("not asked")
    assert all(model["version"] is None and model["aliases"] == [] for model in models.values())


def test_what_dropped_a_document_is_not_tainted_by_it_and_its_copy_is_named(course: Course) -> None:
    """`deduplicate` keeps the copy of the lesser URI, "#near", so the planted text itself goes no further."""
    planted, near = planted_ids(course.folder)
    answer = impact(course.store, Selector(docs=(planted,)))
    assert by_stage(answer, "artifacts")["deduplicate"]["relation"] == "dropped"
    assert answer["models"] == [] and answer["steps"] == {}
    assert [(d["doc_id"], d["replaces"]) for d in answer["near_duplicates"]] == [(near, None)]
    assert answer["near_duplicates"][0]["similarity"] >= 0.8


def test_a_copy_that_would_stand_in_for_a_removed_document_is_named(course: Course) -> None:
    planted, near = planted_ids(course.folder)
    answer = impact(course.store, Selector(docs=(near[:12],)))
    assert [document["doc_id"] for document in answer["documents"]] == [near]
    assert [(d["doc_id"], d["replaces"]) for d in answer["near_duplicates"]] == [(planted, near)]
    assert set(by_stage(answer)) == {"pretrain", "finetune", "reward", "ppo"}
    assert set(answer["steps"]) == {"pretrain"}  # the others inherit; their own steps saw none of it
    assert answer["steps"]["pretrain"][0]["doubts"] == []
    held = by_stage(answer, "artifacts")
    assert {stage for stage, entry in held.items() if entry["relation"] == "holds"} == {
        "collect", "clean", "deduplicate", "decontaminate", "tokenize",
    }  # fmt: skip
    assert held["evaluate"]["relation"] == held["rank"]["relation"] == "inherits"
    way = ("collect", "clean", "deduplicate", "decontaminate", "tokenize")
    assert held["tokenize"]["path"] == [near, *(held[stage]["digest"] for stage in way)]


def test_every_pair_reaches_what_its_split_is_for_and_no_more(course: Course) -> None:
    direct = {"finetune": {"finetune"}, "rank": {"reward"}, "ppo": {"ppo"}}
    rows = pq.read_table(course.made["pairs"].path / "pairs.parquet").to_pylist()
    rankings = pq.read_table(course.store.root / "objects" / _digest(course, "rank") / "rankings.parquet").to_pylist()
    learned = {row["prompt_id"] for row in rankings if row["split"] == "train"}
    only_checked = {row["prompt_id"] for row in rankings if row["split"] == "validation"}
    for split in ("finetune", "rank", "ppo", "validation", "evaluation"):
        pair = next(row for row in rows if row["split"] == split and (split != "rank" or row["pair_id"] in learned))
        answer = impact(course.store, Selector(docs=(pair["pair_id"],)))
        assert [(d["doc_id"], d["kind"], d["license"]) for d in answer["documents"]] == [
            (pair["pair_id"], "pair", "MIT")
        ]
        trained = {stage for stage, model in by_stage(answer).items() if model["relation"] == "trained"}
        assert trained == direct.get(split, set()), split
        assert set(answer["steps"]) == trained
        assert all(training["unknown"] is None for found in answer["steps"].values() for training in found)
    unlearned = impact(course.store, Selector(docs=(next(iter(only_checked)),)))
    assert unlearned["models"] == []  # it only measured the reward model
    assert by_stage(unlearned, "artifacts")["reward"]["relation"] == "measured"


def _digest(course: Course, stage: str) -> str:
    return next(record.output.digest for record in course.store.records() if record.stage == stage)


def test_a_pair_is_found_by_either_half_of_its_text(course: Course) -> None:
    for text in (ANNOTATED["prompt"], ANNOTATED["response"].upper(), "\n".join(ANNOTATED.values())):
        found = select(course.store, Selector(texts=(f"  {text}\n",)), near="none").documents
        assert [(document.kind, document.similarity) for document in found] == [("pair", 1.0)]
        assert course.made["pairs"].digest in found[0].held_by


def test_sources_and_licences_narrow_one_another(course: Course) -> None:
    planted, near = planted_ids(course.folder)
    texts = select(course.store, Selector(sources=(f"{course.folder}/texts.*",)), near="none").documents
    ledger = pq.read_table(course.store.object_path(_digest(course, "collect")) / "ledger.parquet")
    assert {document.doc_id for document in texts} == set(ledger["doc_id"].to_pylist()) >= {planted, near}
    just = select(course.store, Selector(sources=("file://*texts.jsonl#n*r", "nothing"), licenses=("cc-by-4.0",)))
    assert [document.doc_id for document in just.documents] == [near]
    assert select(course.store, Selector(docs=(near,), licenses=("MIT",))).documents == []
    pairs = select(course.store, Selector(licenses=("MIT",)), near="none").documents
    assert {document.kind for document in pairs} == {"pair"} and len(pairs) > 100


def test_an_annotator_taints_the_reward_model_and_what_it_trained(course: Course) -> None:
    answer = impact(course.store, Selector(annotators=("reference-rater",)))
    assert {document["kind"] for document in answer["documents"]} == {"ranking"}
    models = by_stage(answer)
    assert {stage: model["relation"] for stage, model in models.items()} == {"reward": "trained", "ppo": "inherits"}
    assert stages(models["ppo"]["path"]) == ["ranking", "rank", "reward", "ppo"]
    reward = answer["steps"]["reward"][0]
    assert reward["count"] == reward["of"] > 0  # one rater ranked everything
    assert impact(course.store, Selector(annotators=("nobody",)))["documents"] == []


def test_code_is_followed_to_what_it_made_and_on(course: Course) -> None:
    answer = impact(course.store, Selector(), ["tasks/text/clusters.py"])
    made = {stage for stage, entry in by_stage(answer, "artifacts").items() if entry["relation"] == "made"}
    assert made == {"deduplicate"}
    assert set(by_stage(answer)) == {"pretrain", "finetune", "reward", "ppo"}
    entry = by_stage(answer, "artifacts")["deduplicate"]
    assert "tasks.text.clusters:components" in entry["code"]
    one = impact(course.store, Selector(), ["tasks.text.clusters:components"])
    assert list(by_stage(one, "artifacts")["deduplicate"]["code"]) == ["tasks.text.clusters:components"]
    both = impact(course.store, Selector(docs=planted_ids(course.folder)), ["tasks/ppo.py"])
    assert set(by_stage(both, "artifacts")) == {"ppo", "evaluate"}
    with pytest.raises(NotFound, match=r"made by code of 'tasks/nothing\.py'"):
        impact(course.store, Selector(), ["tasks/nothing.py"])


def test_what_cannot_be_answered_says_so(course: Course) -> None:
    with pytest.raises(NotFound, match="no stored output names a document 'abcdef"):
        impact(course.store, Selector(docs=("abcdef0123456789",)))
    with pytest.raises(ConfigError, match="say what falls"):
        impact(course.store, Selector())
    with pytest.raises(ConfigError, match="say which documents"):
        select(course.store, Selector())


def test_a_text_that_nothing_resembles_is_not_found(course: Course) -> None:
    other = "Quartz veins in the upper shaft were assayed twice, and neither sample held enough silver to be worth it."
    assert impact(course.store, Selector(texts=(other, "")))["documents"] == []
    assert NEAR != PLANTED
