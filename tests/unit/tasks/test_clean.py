"""The clean stage: what is kept, what the ledger and samples say, and what happens when nothing is left."""

import json

import pytest

from tasks.clean import CleanConfig, clean
from tasks.lineage.errors import DataError
from tasks.stage import Resources
from tasks.text.rules import TEXT
from tests.unit.tasks.corpora import corpus, document, ledger, read

PROSE = "The river that runs to the east of the old town is wide, and people have to cross it with a boat (no. {})."


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def run(rows, **config):
    return clean(corpus=corpus(rows), config=CleanConfig(**config), resources=Resources())


def mixed(count: int = 30):
    rows = [document(PROSE.format(number)) for number in range(count)]
    rows += [document(f"Too short {number}.") for number in range(7)]
    rows += [document("Returns a copy of the array.", kind="docstring"), document("Copy.", kind="docstring")]
    rows += [document("<main><p>" + PROSE.format(1) * 5 + "</p></main>", kind="html")]
    return rows


def test_documents_keep_their_id_order_and_other_columns():
    rows = mixed()
    result = read(run(rows))
    kept = [row["doc_id"] for row in result]
    assert kept == [row["doc_id"] for row in rows if row["doc_id"] in set(kept)]
    assert {row["doc_id"]: row["source"] for row in result}.items() <= {r["doc_id"]: r["source"] for r in rows}.items()


def test_rules_go_by_the_kind_of_text():
    rows = mixed()
    short = "Returns a copy of the array."
    plain, docstring = document(short, "file:///x"), document(short, "file:///y", kind="docstring")
    entries = ledger(run([*rows, plain, docstring]))
    assert entries[docstring["doc_id"]]["decision"] == "kept"
    assert entries[plain["doc_id"]]["reason"] == "too_short"


def test_the_ledger_accounts_for_every_document():
    rows = mixed()
    entries = ledger(run(rows))
    assert set(entries) == {row["doc_id"] for row in rows}
    assert sum(entry["reason"] == "too_short" for entry in entries.values()) == 8
    for row in rows:
        entry = entries[row["doc_id"]]
        assert entry["bytes_in"] == len(row["text"].encode())
        assert (entry["bytes_out"] > 0) == (entry["decision"] == "kept") == (entry["reason"] is None)


def test_samples_show_a_few_rejects_of_every_rule():
    result = run(mixed(), rejects_per_rule=3)
    rows = [json.loads(line) for line in (result.path / "samples.jsonl").read_text().splitlines()]
    assert [row["reason"] for row in rows if row["kind"] == "text"].count("too_short") <= 3
    assert len([row for row in rows if row["reason"] == "too_short"]) == 3
    assert all(row["excerpt"] and row["source"] for row in rows)
    assert (run(mixed(), rejects_per_rule=0).path / "samples.jsonl").read_text() == ""


def test_text_is_mended_masked_and_bare():
    text = "Itâ€™s the page of jane@corp.test, \x00which is about the river and the boats on it.  \n\n\n\nEnd.\n"
    first = read(run([document(text)]))[0]["text"]
    assert first.startswith("It’s the page of name@example.com, which is about")
    assert "\x00" not in first and "\n\n\n" not in first and not first.endswith("\n")
    assert "jane@corp.test" in read(run([document(text)], mask_emails=False))[0]["text"]


def test_added_words_make_a_text_undesirable():
    rows = [document(PROSE.format("Foo foo FOO")), document(PROSE.format(2))]
    entries = ledger(run(rows, undesirable_words=["foo"]))
    assert [entries[row["doc_id"]]["reason"] for row in rows] == ["undesirable", None]


def test_nothing_left_names_the_rule_and_its_setting():
    rows = [document(f"Short {number}.") for number in range(5)] + [document("1 2 3 " * 40)]
    with pytest.raises(DataError, match=r"all 6 documents.*too_short .*\(5.*clean\.text\.min_chars \(now 80\)"):
        run(rows)
    with pytest.raises(DataError, match="no documents to clean"):
        run([])
    loose = TEXT.model_copy(update={"min_chars": None, "min_words": None, "min_worded": None})
    assert len(read(run(rows, text=loose))) == 5


def test_same_input_gives_same_digest(tmp_path, monkeypatch):
    first = run(mixed())
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "elsewhere"))
    assert run(mixed()).digest == first.digest


def test_the_outcome_does_not_depend_on_batches(monkeypatch):
    rows = mixed()
    whole = {doc_id: entry["reason"] for doc_id, entry in ledger(run(rows)).items()}
    monkeypatch.setattr("tasks.text.shards.BATCH_BYTES", 300)
    monkeypatch.setattr("tasks.text.shards.read_corpus.__defaults__", (None, 300))
    assert {doc_id: entry["reason"] for doc_id, entry in ledger(run(rows, rejects_per_rule=1)).items()} == whole
