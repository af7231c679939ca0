"""A classifier trained from two corpora, and what `clean` does with it."""

import json
import random
from pathlib import Path

import jsonschema
import pytest

from flows import cli
from tasks.clean import CleanConfig, clean
from tasks.lineage.errors import DataError
from tasks.lineage.store import Store
from tasks.stage import Resources
from tasks.text.classifier import Classifier
from tasks.train_classifier import TrainClassifierConfig, train_classifier
from tests.unit.tasks.corpora import corpus, document, ledger

PROSE = ("river", "boat", "bridge", "people", "water", "town", "field", "spring", "farmer", "old", "wait", "remember")


def prose(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(
        f"The {draw.choice(PROSE)} of the {draw.choice(PROSE)} is {draw.choice(PROSE)}, and we {draw.choice(PROSE)}."
        for _ in range(6)
    )


def advert(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(
        f"Buy the best {draw.choice(PROSE)} now and save {draw.randrange(90)}% on that {draw.choice(PROSE)}!"
        for _ in range(6)
    )


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def trained(count: int = 150):
    first, second = (corpus([document(make(n), f"file:///{make.__name__}/{n}") for n in range(count)])
                     for make in (prose, advert))  # fmt: skip
    return train_classifier(first=first, second=second, config=TrainClassifierConfig(), resources=Resources())


def test_it_tells_the_samples_apart_on_texts_held_out():
    made = trained()
    told = json.loads((made.path / "classifier.json").read_text())
    metrics = Store().record(made.key).metrics
    assert metrics["held_out/area"] == told["held_out"]["area"] > 0.99
    assert told["texts_first"] == told["texts_second"] == 150 and 40 <= told["texts_held_out"] <= 80
    assert sum(map(sum, told["scores"].values())) == told["texts_held_out"]
    assert metrics["held_out/precision"] > 0.95 and metrics["held_out/recall"] > 0.95


def test_too_few_texts_or_the_same_ones_twice_are_refused():
    with pytest.raises(DataError, match=r"of the first sample only .* 20 are needed"):
        trained(30)
    same = corpus([document(prose(n)) for n in range(200)])
    with pytest.raises(DataError, match="200 stand in both samples"):
        train_classifier(first=same, second=same, config=TrainClassifierConfig(), resources=Resources())


def test_clean_keeps_what_is_like_the_first_sample_and_drops_what_is_like_undesirable_text():
    classifier = trained()
    rows = [document(prose(1000)), document(advert(1000)), document(prose(1001)), document("Short.")]
    given = corpus(rows)
    made = clean(corpus=given, quality=classifier, config=CleanConfig(), resources=Resources())
    entries = ledger(made)
    assert [entries[row["doc_id"]]["reason"] for row in rows] == [None, "low_quality", None, "too_short"]
    samples = [json.loads(line) for line in (made.path / "samples.jsonl").read_text().splitlines()]
    (sample,) = [sample for sample in samples if sample["reason"] == "low_quality"]
    assert sample["measured"] < sample["limit"] == round(Classifier.read(classifier.path).threshold, 6)
    made = clean(corpus=given, undesirable=classifier, config=CleanConfig(), resources=Resources())
    assert [ledger(made)[row["doc_id"]]["reason"] for row in rows[:2]] == ["undesirable_content", None]
    strict = CleanConfig(min_quality=0.0)
    made = clean(corpus=given, quality=classifier, config=strict, resources=Resources())
    assert [ledger(made)[row["doc_id"]]["reason"] for row in rows[:2]] == [None, None]


def test_what_is_no_classifier_is_refused():
    rows = [document(prose(1))]
    with pytest.raises(DataError, match="is no classifier"):
        clean(corpus=corpus(rows), quality=corpus(rows), config=CleanConfig(), resources=Resources())


def test_the_command_answers_in_the_documented_form(capsys):
    first, second = (
        corpus([document(make(n), f"file:///{n}") for n in range(150)]) for make in (prose, advert)
    )  # corpora that no stage made have no record, so they are cleaned first
    digests = [clean(corpus=given, config=CleanConfig(), resources=Resources()).digest for given in (first, second)]
    assert cli.main(["classifier", "--first", digests[0][:12], "--second", digests[1][:12], "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.validate(answer, json.loads(Path("docs/schemas/classifier.json").read_text()))
    assert cli.main(["classifier", "--first", digests[0][:12], "--second", digests[1][:12]]) == 0
    shown = capsys.readouterr().out
    assert "is in the store already: 150 and 150 texts" in shown and "classifiers.quality=" in shown
    assert cli.main(["classifier", "--first", "feed", "--second", digests[1][:12]]) != 0
    assert "has a digest beginning with 'feed'" in capsys.readouterr().err
