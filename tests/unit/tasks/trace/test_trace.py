"""Tracing a text in a real store: documents, offsets, licences, pairs, and an index that may be lost."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tasks.lineage.errors import ConfigError, NotFound
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.trace.answer import answer
from tasks.trace.index import sweep
from tasks.trace.trace import trace
from tests.small_course import make, trained_on, write_sources


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("trace")
    write_sources(folder / "sources")
    before = os.environ.get("PEDIGREE_HOME")
    os.environ["PEDIGREE_HOME"] = str(folder / "home")
    yield make(folder / "sources")
    os.environ.pop("PEDIGREE_HOME")
    if before is not None:
        os.environ["PEDIGREE_HOME"] = before


def record(course: Any, stage: str) -> Record:
    found = Store().maker(course[stage])
    assert found is not None
    return found


def traced(course: Any, text: str, stage: str = "finetune", **options: Any) -> dict[str, Any]:
    return trace(Store(), record(course, stage), text, lambda *_: None, **options)


def sentence(course: Any) -> tuple[dict[str, Any], str]:
    """A document of the training split, and the middle of it."""
    document = trained_on(course)[3]
    return document, " ".join(document["text"].split(" ")[20:40])


def test_a_sentence_is_found_where_it_stands_in_the_kept_document(course: Any) -> None:
    document, planted = sentence(course)
    found = traced(course, f"He wrote: {planted}! And more.")
    [span] = found["spans"]
    assert span["text"] == planted
    assert found["text"][span["start"] : span["end"]] == planted
    [place] = span["documents"]
    assert document["text"][place["offset"] : place["offset"] + len(planted)] == planted
    assert (place["doc_id"], place["source"]) == (document["doc_id"], document["source"])
    assert (place["license"], place["held_by"]) == ("CC0-1.0", course["tokenize"].digest)
    assert span["occurrences"] == 1 and span["log_probability"] < 0


def test_text_of_the_evaluation_split_is_not_found(course: Any) -> None:
    path = course["deduplicate"].path / "documents-00000.parquet"
    corpus = pq.read_table(path, filters=[("split", "=", "evaluation")])
    assert traced(course, corpus["text"][0].as_py())["spans"] == []


def test_an_answer_of_a_pair_is_found_by_the_model_that_was_fine_tuned_on_it_only(course: Any) -> None:
    pairs = pq.read_table(course["pair"].path / "pairs.parquet").to_pylist()
    learned = next(pair for pair in pairs if pair["split"] == "finetune")
    other = next(pair for pair in pairs if pair["split"] == "ppo")
    [span] = traced(course, learned["response"])["spans"]
    [place] = span["documents"]
    assert (place["doc_id"], place["field"], place["license"]) == (learned["pair_id"], "response", "MIT")
    assert learned["response"][place["offset"] :].startswith(span["text"])
    assert traced(course, learned["response"], stage="pretrain")["spans"] == []
    assert traced(course, other["response"])["spans"] == []


def test_the_rarest_span_comes_first_and_limits_are_kept(course: Any) -> None:
    trained = [document["text"] for document in trained_on(course)]
    short, long = trained[0][:30].rpartition(" ")[0], trained[1][:200].rpartition(" ")[0]
    found = traced(course, f"{short} xyzzy {long}", min_words=2)
    assert [span["text"] for span in found["spans"]][:2] == [long, short]
    assert len(traced(course, f"{short} xyzzy {long}", min_words=2, max_spans=1)["spans"]) == 1
    [span, *_] = traced(course, "the", min_words=1, max_documents=3)["spans"]
    assert span["occurrences"] > 3 and len(span["documents"]) == 3
    assert traced(course, f"{short}", min_words=50)["spans"] == []


def test_a_lost_or_damaged_index_is_built_again_and_one_of_a_lost_output_deleted(course: Any) -> None:
    _, planted = sentence(course)
    [first] = traced(course, planted)["spans"]
    index = Store().root / "index" / course["tokenize"].digest
    shutil.rmtree(index)
    assert traced(course, planted)["spans"] == [first]
    order = next(index.glob("trace-*/order.bin"))
    order.write_bytes(order.read_bytes()[:-4])
    assert traced(course, planted)["spans"] == [first]
    assert not list(index.glob(".*"))
    stray = Store().root / "index" / ("0" * 64)
    (stray / "trace-1-train").mkdir(parents=True)
    sweep(Store())
    assert not stray.exists() and index.exists()


def test_what_was_not_made_from_text_and_a_senseless_length_are_refused(course: Any) -> None:
    with pytest.raises(NotFound, match="was not made from any text"):
        traced(course, "words", stage="snapshot")
    with pytest.raises(ConfigError, match="1 or more"):
        traced(course, "words", min_words=0)


def test_a_model_answers_a_prompt(course: Any) -> None:
    assert isinstance(answer(course["finetune"].path, "What does it do?", 4), str)
    with pytest.raises(ConfigError, match="holds no model"):
        answer(course["tokenize"].path, "What does it do?")


def test_the_command_prints_json_of_the_promised_form(course: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema

    _, planted = sentence(course)
    assert main(["trace", planted, "--model", "finetune", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    schema = json.loads(Path("docs/schemas/trace.json").read_text())
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    assert found["spans"][0]["text"] == planted
    assert main(["trace", "--model", "finetune"]) == 2
    assert main(["trace", "--model", "finetune", "--prompt", "Why?", "--min-words", "1"]) == 0
    assert "The model says" in capsys.readouterr().out
