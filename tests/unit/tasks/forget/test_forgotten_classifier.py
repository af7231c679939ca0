"""A text that only a classifier learned from is forgotten: the classifier is made again without it, then what follows.

The tests build on one another, in the order in which they stand: asked, foreseen, forgotten, purged, forgotten again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.course import data_course, pretrain_course
from flows.forget_request import dry_run, request
from flows.forgetting import forget_course
from flows.settings import Settings
from tasks.collect import CollectConfig, collect
from tasks.forget import purge
from tasks.forget.exclusions import current
from tasks.impact.impact import impact
from tasks.impact.selector import Selector
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StoreError
from tasks.lineage.files import remove_tree
from tasks.lineage.planner import planning
from tasks.lineage.store import Store
from tasks.sample import SampleConfig, sample
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.train_classifier import TrainClassifierConfig, train_classifier
from tests.small_course import text as rare_words
from tests.unit.tasks.forget.test_forget_course import valid
from tests.unit.tasks.test_train_classifier import advert, prose
from tests.unit.tasks.text.test_forgotten import changed, text

RESOURCES = Resources(threads=1, workers=1)
SECRET = text(1)
NEAR = changed(SECRET, 1)


def good(number: int) -> str:
    """Prose with many words that hardly another has: without such, no n-gram model can tell what unseen ones cost."""
    return f"{prose(number)} {rare_words(number, 40)}"


GOOD = [good(number) for number in range(120)]
DATA = {
    "tokenize": {"vocab_size": 300, "train_bytes": 5000, "validation_share": 0.1},
    "pair": {"ask_packages": False, "validation_share": 0.1, "finetune_share": 0.4, "rank_share": 0.25,
             "ppo_share": 0.25},
    "pretrain": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
                 "intermediate_size": 32, "context_length": 64, "steps": 4, "batch_size": 4, "evaluations": 1,
                 "evaluation_tokens": 500, "ngram_tokens": 5000, "samples": 1, "precision": "fp32"},
    "resources": {"threads": 1, "workers": 1},
}  # fmt: skip


class World:
    """Samples for a classifier, a course that it judges the texts of, and what came of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write(folder / "good.jsonl", [*GOOD, SECRET, NEAR])
        write(folder / "poor.jsonl", [advert(number) for number in range(120)])
        write(folder / "texts.jsonl", [*(good(1000 + n) for n in range(60)), *(advert(1000 + n) for n in range(10))])
        rows = [{"prompt": f"What is {number}?", "response": text(3000 + number, 8)} for number in range(60)]
        (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.classifier = trained(folder, "good", "poor")
        sources = [
            {"kind": "files", "path": str(folder / "texts.jsonl")},
            {"kind": "files", "path": str(folder / "pairs.jsonl"), "role": "pairs"},
        ]
        snapshot_ = {"sources": sources, "evaluation_share": 0.2}
        self.settings = {**DATA, "snapshot": snapshot_, "classifiers": {"quality": self.classifier.digest}}
        self.model, self.cleaned = self.course()
        self.secret = next(
            row["doc_id"] for row in read(Store().record(self.sample("first").key).inputs["corpus"])
            if row["text"] == SECRET
        )  # fmt: skip

    def course(self) -> tuple[Artifact, Artifact]:
        """The model and the cleaned text."""
        settings = Settings.model_validate(self.settings)
        data = data_course(settings)
        assert data.cleaned is not None
        return pretrain_course(settings, data), data.cleaned

    def sample(self, which: str) -> Artifact:
        return Store().record(self.classifier.key).inputs[which]

    def forget(self, name: str, selector: Selector, **changes: Any) -> dict[str, Any]:
        config = request(Store(), selector, exact=False).config.model_copy(update={"rebuild": "data"})
        return forget_course(Settings.model_validate({**self.settings, **changes, "exclude": config}), name, None)


def write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in texts))


def trained(folder: Path, first: str, second: str) -> Artifact:
    """As `pedigree classifier` does it."""
    drawn = []
    for name in (first, second):
        outside = snapshot(config=SnapshotConfig(sources=({"kind": "files", "path": str(folder / f"{name}.jsonl")},)))
        given = collect(snapshot=outside, config=CollectConfig(), resources=RESOURCES)
        drawn.append(sample(corpus=given, config=SampleConfig(), resources=RESOURCES))
    return train_classifier(first=drawn[0], second=drawn[1], config=TrainClassifierConfig(), resources=RESOURCES)


def read(artifact: Artifact, pattern: str = "documents-*.parquet") -> list[dict[str, Any]]:
    return [row for path in sorted(artifact.path.glob(pattern)) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(root / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield World(root / "texts")
    remove_tree(root / "home")


@pytest.fixture(scope="module")
def plan(world: World) -> dict[str, Any]:
    return dry_run(Store(), request(Store(), Selector(docs=(world.secret,)), exact=False))


@pytest.fixture(scope="module")
def certificate(world: World, plan: dict[str, Any]) -> dict[str, Any]:
    return world.forget("first", Selector(docs=(world.secret,)))


def test_impact_names_the_classifier_and_the_way_through_it_to_the_model(world: World) -> None:
    answer = impact(Store(), Selector(docs=(world.secret,)))
    valid(answer, "impact")
    (found,) = answer["classifiers"]
    assert (found["digest"], found["relation"], found["documents"]) == (
        world.classifier.digest, "trained", {"trained": 1}
    )  # fmt: skip
    assert [step["stage"] for step in found["path"]] == [None, "collect", "sample", "train_classifier"]
    (model,) = found["models"]
    assert model["digest"] == world.model.digest
    way = ["train_classifier", "clean", "deduplicate", "decontaminate", "tokenize", "pretrain"]
    assert [step["stage"] for step in model["path"]] == way
    (tainted,) = answer["models"]
    assert tainted["relation"] == "inherits"
    assert [step["stage"] for step in tainted["path"]] == [None, "collect", "sample", *way]


def test_a_dry_run_says_that_the_classifier_changes(world: World, plan: dict[str, Any]) -> None:
    valid(plan, "forget-plan")
    assert plan["classifiers"] == [
        {"setting": "quality", "digest": world.classifier.digest, "relation": "trained", "changes": True}
    ]
    stages = {stage["stage"]: (stage["verdict"], stage["changes"]) for stage in plan["stages"]}
    assert stages["clean"] == ("would run", True)
    assert stages["collect"] == stages["pair"] == ("would run", False)
    assert stages["deduplicate"] == stages["pretrain"] == ("would run", True), "as it may be"
    assert [model["stage"] for model in plan["models"]] == ["pretrain"]
    assert world.classifier.digest in {output["digest"] for output in plan["tainted"]}


def test_the_classifier_is_made_again_without_the_text_and_its_near_copy(
    world: World, certificate: dict[str, Any]
) -> None:
    valid(certificate, "forget")
    (entry,) = certificate["classifiers"]
    assert (entry["before"], entry["relation"], entry["state"]) == (world.classifier.digest, "trained", "made anew")
    assert world.classifier.digest in {output["digest"] for output in certificate["tainted"]}
    cleaned = next(stage["after"] for stage in certificate["stages"] if stage["stage"] == "clean")
    (record,) = [record for record in Store().records() if record.output.digest == cleaned]
    assert record.inputs["quality"].digest == entry["after"]
    first = Store().maker(record.inputs["quality"]).inputs["first"]
    assert [row["reason"] for row in read(first, "ledger.parquet") if row["reason"]] == ["forgotten", "forgotten"]
    assert not {SECRET, NEAR} & {row["text"] for row in read(first)}
    searched = {row["stage"]: row["texts"] for row in certificate["check"]["searched"]}
    assert (searched["quality, first sample"], searched["quality, second sample"]) == (len(GOOD), 120)
    page = (Store().root / "certificates" / "first.html").read_text()
    assert entry["after"][:12] in page and "Classifiers that the data are cleaned with" in page


def test_it_is_the_classifier_that_the_samples_would_have_given_without_them(
    world: World, certificate: dict[str, Any]
) -> None:
    path = world.folder / "good.jsonl"
    before = path.read_text()
    write(path, GOOD)
    assert trained(world.folder, "good", "poor").digest == certificate["classifiers"][0]["after"]
    path.write_text(before)


def test_a_model_that_comes_out_the_same_is_neither_tainted_nor_purged(
    world: World, certificate: dict[str, Any]
) -> None:
    """The new classifier keeps the same texts, so that their tokens are the same and the model is found."""
    with planning(look=False) as planner:
        data_course(Settings.model_validate(world.settings))
    assert {plan.stage: plan.verdict for plan in planner.plans}.items() >= {
        "sample": "cached", "train_classifier": "cached", "clean": "cached"
    }.items()  # fmt: skip
    model, cleaned = world.course()
    assert cleaned.digest != world.cleaned.digest
    assert model == world.model
    assert certificate["models"] == []
    doomed = {item.name for item in purge.plan(Store(), ask_mlflow=False).objects}
    assert {world.classifier.digest, world.sample("first").digest, world.cleaned.digest} <= doomed
    assert not {model.digest, cleaned.digest, certificate["classifiers"][0]["after"]} & doomed


def test_a_classifier_whose_samples_held_nothing_of_it_stays_and_its_work_too(
    world: World, certificate: dict[str, Any]
) -> None:
    victim = next(row["doc_id"] for row in read(world.cleaned) if row["text"] == good(1000))
    again = world.forget("second", Selector(docs=(victim,)))
    assert [(entry["relation"], entry["state"]) for entry in again["classifiers"]] == [(None, "unchanged")]


def test_after_a_purge_a_further_text_is_left_out_of_what_was_drawn_since(
    world: World, certificate: dict[str, Any]
) -> None:
    store = Store()
    purge.execute(store, purge.plan(store, ask_mlflow=False), "first")
    assert not store.object_path(world.classifier.digest).exists()
    left = [record.artifact for record in store.records()
            if record.stage == "sample" and not store.problems(record.output)]  # fmt: skip
    victim = next(row["doc_id"] for artifact in left for row in read(artifact) if row["text"] == GOOD[0])
    again = world.forget("third", Selector(docs=(victim,)))
    (entry,) = again["classifiers"]
    assert (entry["before"], entry["relation"], entry["state"]) == (
        certificate["classifiers"][0]["after"], "trained", "made anew"
    )  # fmt: skip
    assert again["check"]["clean"]
    searched = {row["stage"]: row["texts"] for row in again["check"]["searched"]}
    assert searched["quality, first sample"] == len(GOOD) - 1


def test_where_no_sample_is_left_nothing_changes_and_the_way_out_is_named(
    world: World, certificate: dict[str, Any]
) -> None:
    for record in list(Store().records()):
        if record.stage == "sample":
            remove_tree(record.artifact.path)
    listed = current()
    with pytest.raises(StoreError, match=r"Train one on other samples .* classifiers.quality=null"):
        world.forget("fourth", Selector(texts=(good(1001),)))
    assert current() == listed
