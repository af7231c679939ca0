"""What was adopted is used by the stages of the course, and every answer about what comes of it says so."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tokenizers import pre_tokenizers

from flows import cli, questions
from flows.course import data_course
from flows.errors import NothingFound
from flows.forgetting import forget_course
from flows.housekeeping import Keep, roots
from flows.latest import named
from flows.settings import Adopted as AdoptedSettings
from flows.settings import Settings, Start
from flows.starting import starting_point
from model.tokenizer import Tokenizer
from tasks.collect import CollectConfig, collect
from tasks.finetune import FinetuneConfig, finetune
from tasks.forget.exclusions import ExcludeConfig, current, exclude, put_in_force
from tasks.impact.impact import impact
from tasks.impact.selector import Selector, select
from tasks.lineage import journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StoreError
from tasks.lineage.planner import planning
from tasks.lineage.store import Store
from tasks.pair import PairConfig
from tasks.report.lineage_graph import page_before
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.sources import Source
from tasks.tokenize import TokenizeConfig, tokenize
from tasks.tokens import Tokens
from tasks.tracking.why_tags import why_tags
from tests import tiny_artifacts
from tests.small_course import text, write_sources
from tests.unit.tasks.adopt.test_adopt import take
from tests.unit.tasks.corpora import corpus, document, ledger, read

RESOURCES = Resources(threads=1, workers=1)


def sources(folder: Path) -> SnapshotConfig:
    write_sources(folder)
    found = (
        Source(kind="files", path=str(folder / "texts.jsonl"), license="MIT"),
        Source(kind="files", path=str(folder / "pairs.jsonl"), license="MIT", role="pairs"),
    )
    return SnapshotConfig(sources=found, evaluation_share=0.2)


def tuned(model: Artifact) -> Artifact:
    pairs = tiny_artifacts.pairs_artifact(finetune=20, validation=4, evaluation=4)
    config = FinetuneConfig(
        steps=2, batch_size=4, validation_pairs=2, eval_prompts=2, max_new_tokens=4, samples=1, precision="fp32"
    )
    return finetune(model=model, pairs=pairs, config=config, resources=RESOURCES)


def test_adopted_text_is_collected_beside_the_sources(texts: Path, tmp_path: Path) -> None:
    adopted = take("text", texts).record.artifact
    outside = snapshot(config=sources(tmp_path / "own"), resources=RESOURCES)
    config = CollectConfig()
    collected = collect(snapshot=outside, adopted=adopted, config=config, resources=RESOURCES)
    rows = {row["doc_id"]: row for row in read(collected)}
    own = read(collect(snapshot=outside, config=config, resources=RESOURCES))
    assert rows.keys() == {row["doc_id"] for row in (*read(adopted), *own)}, "ids are what they were"
    taken = [rows[row["doc_id"]] for row in read(adopted)]
    assert {row["collector"] for row in taken} == {"files"} and {row["split"] for row in taken} >= {"train"}
    record = Store().record(collected.key)
    assert record is not None and record.inputs["adopted"] == adopted


def test_origins_of_adopted_text_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        rows = [{"text": text(1000 * number + row)} for row in range(3)]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopted = take("text", folder).record.artifact
    outside = snapshot(config=sources(tmp_path / "own"), resources=RESOURCES)
    collected = collect(snapshot=outside, adopted=adopted, config=CollectConfig(), resources=RESOURCES)
    sides: dict[str, set[str]] = {}
    for row in read(collected):
        if row["origin"].startswith("https://example.org/"):
            sides.setdefault(row["origin"], set()).add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert set.union(*sides.values()) == {"train", "evaluation"}


def test_what_is_forgotten_is_left_out_of_adopted_text(texts: Path, tmp_path: Path) -> None:
    adopted = take("text", texts).record.artifact
    doomed = read(adopted)[0]["doc_id"]
    listed = exclude(config=ExcludeConfig(docs=(doomed,), exact=True), resources=RESOURCES)
    put_in_force(listed)
    outside = snapshot(config=sources(tmp_path / "own"), resources=RESOURCES)
    collected = collect(
        snapshot=outside, adopted=adopted, exclusions=listed, config=CollectConfig(), resources=RESOURCES
    )
    assert ledger(collected)[doomed]["reason"] == "forgotten"
    again = take("text", texts).record
    assert again.artifact != adopted and ledger(again.artifact)[doomed]["reason"] == "forgotten"


def test_the_course_takes_adopted_text_pairs_and_tokenizer(texts: Path, checkpoint: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(
        json.dumps({"prompt": f"Is {text(n, 4)}", "response": text(n + 50, 9)}) + "\n" for n in range(40)
    ))  # fmt: skip
    digests = {
        "text": take("text", texts).record.output.digest[:10],
        "pairs": take("pairs", pairs, origin="urn:pairs").record.output.digest[:10],
        "tokenizer": take("tokenizer", checkpoint).record.output.digest[:10],
    }
    settings = Settings(
        adopted=AdoptedSettings(**digests),
        snapshot=sources(tmp_path / "own"),
        tokenize=TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.1),
        pair=PairConfig(ask_packages=False),
        resources=RESOURCES,
    )
    data = data_course(settings)
    assert Tokens(data.tokens.path).tokenizer.to_json() == Tokenizer.load(checkpoint).to_json()
    assert "urn:pairs" in {row["source"] for row in read(data.pairs, "pairs.parquet")}
    answer = questions.documents(data.tokens.digest)
    assert any(name.startswith("https://example.org/data/") for name in answer["origins"]) and answer["unknown"] == []
    declared = questions.lineage(data.tokens.digest)["declared"]
    # the pairs too: what of them is held out is kept out of the text
    assert {made["stage"] for made in declared} == {"adopt_text", "adopt_tokenizer", "adopt_pairs"}


def test_a_tokenizer_that_is_not_gpt2s_is_used_as_it_is(checkpoint: Path) -> None:
    tokenizer = tiny_artifacts.tokenizer()
    cutters = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend.pre_tokenizer = pre_tokenizers.Sequence(cutters)
    tokenizer.save(checkpoint / "tokenizer.json")
    adopted = take("tokenizer", checkpoint).record.artifact
    texts = [f"Read file {number} — and “close” it: {number * 37}" for number in range(40)]
    made = tokenize(
        corpus=corpus([document(text) for text in texts]), tokenizer=adopted,
        config=TokenizeConfig(validation_share=0.2), resources=RESOURCES,
    )  # fmt: skip
    tokens = Tokens(made.path)
    index = pq.read_table(made.path / "index.parquet", filters=[("split", "=", "train")]).to_pylist()
    shard = tokens.shards("train").shards[0]
    decoded = {tokens.tokenizer.decode(shard[row["offset"] : row["offset"] + row["length"]]) for row in index}
    assert decoded <= set(texts) and len(decoded) > 20


def test_a_model_made_from_an_adopted_one_never_hides_it(checkpoint: Path) -> None:
    adopted = take("model", checkpoint, origin="hf://somebody/tiny").record
    made = tuned(adopted.artifact)
    record = Store().record(made.key)
    assert record is not None
    answer = questions.documents(made.digest)
    assert answer["documents"] > 0
    assert [(entry["digest"], entry["origin"]) for entry in answer["unknown"]] == [
        (adopted.output.digest, "hf://somebody/tiny")
    ]
    alone = questions.documents(adopted.output.digest)
    assert alone["documents"] == 0 and len(alone["unknown"]) == 1
    sentence = "declared, not made here: from hf://somebody/tiny"
    assert sentence in why_tags("ran", record.model_dump(mode="json"))["pedigree.declared"]
    page = page_before(record, lambda _: "", lambda _: "")
    assert "1 declared, not made here" in page and sentence in page


def test_hostile_declarations_are_escaped_on_the_page(checkpoint: Path) -> None:
    adopted = take("model", checkpoint, because="</script><script>alert(1)</script>").record
    page = page_before(adopted, lambda _: "", lambda _: "")
    assert "<script>alert(1)" not in page


def test_align_starts_from_an_adopted_model_in_its_own_tokens(checkpoint: Path) -> None:
    adopted = take("model", checkpoint).record
    rows = [document(tiny_artifacts.sentence(number) + f" {number}") for number in range(60)]
    config = TokenizeConfig(vocab_size=280, train_bytes=5000, validation_share=0.2)
    own = tokenize(corpus=corpus(rows), config=config, resources=RESOURCES)
    pairs = tiny_artifacts.pairs_artifact(finetune=4)
    record = Store().record(own.key)
    assert record is not None
    Store().write_record(record.model_copy(update={
        "key": "f" * 64, "stage": "pair", "output": record.output.model_copy(update={"digest": pairs.digest}),
    }))  # fmt: skip
    settings = Settings(start=Start(pretrained=adopted.output.digest[:8]), resources=RESOURCES)
    with planning() as planner:
        starting_point(settings)
    assert [(plan.stage, plan.verdict) for plan in planner.plans] == [("tokenize", "would run")]
    model, data = starting_point(settings)
    assert model == adopted.artifact
    assert Tokens(data.tokens.path).vocab_size == 300, "the model's vocabulary, not the one learnt from the text"
    split = [set(pq.read_table(path / "index.parquet", filters=[("split", "=", "validation")])["doc_id"].to_pylist())
             for path in (own.path, data.tokens.path)]  # fmt: skip
    assert split[0] == split[1]


def test_a_plan_says_that_adopted_text_is_gone(texts: Path, tmp_path: Path) -> None:
    adopted = take("text", texts).record.artifact
    outside = snapshot(config=sources(tmp_path / "own"), resources=RESOURCES)

    def collected(share: float) -> Artifact:
        config = CollectConfig(max_bad_share=share)
        return collect(snapshot=outside, adopted=adopted, config=config, resources=RESOURCES)

    collected(0.2)
    Store().set_aside(adopted.digest)
    with planning() as planner:
        collected(0.2)
        with pytest.raises(StoreError, match="Adopt it again"):
            collected(0.3)
    assert [plan.verdict for plan in planner.plans] == ["cached"], "what is there needs it no more"


def test_adopted_text_that_is_gone_is_to_be_adopted_again_before_it_is_reproduced(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adopted = take("text", texts).record.artifact
    Store().set_aside(adopted.digest)
    assert cli.main(["reproduce", adopted.digest[:12]]) == 1
    assert "Adopt it again (`pedigree adopt`)" in capsys.readouterr().out
    take("text", texts)
    assert cli.main(["reproduce", adopted.digest[:12]]) == 0, "the remedy is one"


def test_forgetting_is_refused_before_anything_changes_where_adopted_text_is_gone(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adopted = take("text", texts).record.artifact
    doomed = read(adopted)[0]["doc_id"]
    settings = Settings(
        adopted=AdoptedSettings(text=adopted.digest[:12]),
        snapshot=sources(tmp_path / "own"),
        exclude=ExcludeConfig(docs=(doomed,), exact=True, rebuild="data"),
        resources=RESOURCES,
    )
    collect(snapshot=snapshot(config=settings.snapshot, resources=RESOURCES), adopted=adopted, resources=RESOURCES)
    journal.begin_flow("data", "one", settings=settings.model_dump(mode="json", exclude={"exclude", "start"}))
    journal.end_flow("one", "completed")
    Store().set_aside(adopted.digest)
    with pytest.raises(StoreError, match=r"adopted\.text .*Nothing was changed\. Adopt it again"):
        forget_course(settings, "certificate", None)
    assert current() is None, "no list is in force"
    asked = ["forget", "--doc", doomed, "--dry-run"]
    assert cli.main(asked) == 1
    assert "--set adopted.text=null" in capsys.readouterr().err
    assert cli.main([*asked, "--set", "adopted.text=null"]) == 0, "the remedy is one"


def test_a_digest_that_nothing_has_is_answered_with_those_there_are(texts: Path, checkpoint: Path) -> None:
    with pytest.raises(NothingFound, match="None was made or adopted yet"):
        named("adopt_text", "abcd")
    made = take("text", texts).record.output.digest
    take("model", checkpoint)
    with pytest.raises(NothingFound, match=f"The newest are {made[:12]}\\.$"):
        named("adopt_text", "0" * 64)


def test_the_same_text_under_another_origin_falls_too(texts: Path) -> None:
    first = take("text", texts).record.artifact
    second = take("text", texts, origin="urn:elsewhere", correct=True).record.artifact
    doomed = read(first)[0]
    found = select(Store(), Selector(docs=(doomed["doc_id"],)))
    (copy,) = [row["doc_id"] for row in read(second) if row["text"] == doomed["text"]]
    assert [(other.doc_id, other.similarity) for other in found.near_duplicates] == [(copy, 1.0)]


def test_impact_says_what_cannot_be_told(texts: Path, checkpoint: Path) -> None:
    adopted = take("text", texts).record.artifact
    model = take("model", checkpoint).record.artifact
    tuned(model)
    answer = impact(Store(), Selector(docs=(read(adopted)[0]["doc_id"],)))
    assert [entry["stage"] for entry in answer["artifacts"]] == ["adopt_text"]
    (note,) = [note for note in answer["notes"] if "unknown" in note]
    assert str(model) in note and "1 outputs" in note


def test_the_store_is_whole_and_keeps_what_it_cannot_make_again(texts: Path, checkpoint: Path) -> None:
    made: list[Any] = [take("text", texts).record, take("model", checkpoint).record]
    found = Store().verify(deep=True)
    assert not found["damaged"] and not found["missing"] and not found["foreign"]
    kept = roots(Store(), Keep(days=0, runs=0, ask_mlflow=False))
    adopted = next(digests for reason, digests in kept.items() if reason.startswith("adopted"))
    assert adopted == {record.output.digest for record in made}


def test_old_records_without_a_declaration_can_be_read(texts: Path) -> None:
    record = take("text", texts).record
    plain = json.loads(record.model_dump_json(exclude={"declared", "checksum"}))
    path = Store().record_path(record.key)
    path.write_text(json.dumps(plain))
    found = Store().record(record.key)
    assert found is not None and found.declared is None


@pytest.mark.parametrize("kind", ["text", "pairs", "tokenizer"])
def test_a_digest_of_something_else_is_no_input_of_the_course(checkpoint: Path, kind: str) -> None:
    model = take("model", checkpoint).record
    with pytest.raises(NothingFound, match=f"adopt_{kind}"):
        data_course(Settings(adopted=AdoptedSettings(**{kind: model.output.digest[:10]})))
