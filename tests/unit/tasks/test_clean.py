"""The clean stage: what is kept, what the ledger and samples say, and what happens when nothing is left."""

import json
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.clean import CleanConfig, clean
from tasks.lineage.errors import DataError
from tasks.lineage.store import Store
from tasks.stage import Resources
from tasks.text.rule_presets import CODE, GOPHER, TEXT
from tests.unit.tasks.corpora import corpus, document, ledger, read
from tests.unit.tasks.planted import apply, around, planted

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
    assert "jane@corp.test" in read(run([document(text)], mask=[]))[0]["text"]


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


GERMAN = "Der Fluss, der östlich der Altstadt fließt, ist breit, und man muss ihn mit einem Boot überqueren (Nr. {})."


def test_languages_are_told_and_can_be_chosen():
    rows = [document(PROSE.format(1)), document(GERMAN.format(2)), document(GERMAN.format(3), language="nds")]
    made = run(rows)
    assert [row["language"] for row in read(made)] == ["en", "de", "nds"]  # what a source says of itself stands
    measures = json.loads((made.path / "measures.json").read_text())
    assert measures["languages"] == {"de": 1, "en": 1, "nds": 1}
    entries = ledger(run(rows, languages=["de"]))
    assert [entries[row["doc_id"]]["reason"] for row in rows] == ["other_language", None, "other_language"]
    with pytest.raises(ValueError, match="no language that can be identified has the code 'xx'"):
        CleanConfig(languages=["xx"])


def test_declared_languages_are_read_as_codes_and_what_names_none_is_told_by_the_text():
    names = ["en-US", "en_GB", "eng", "EN", "English", "xx", "unknown", "", "und"]
    rows = [document(PROSE.format(n), language=name) for n, name in enumerate(names)]
    code = document(
        "def area(width, height):\n    return width * height  # in square metres\n", kind="code", language="python"
    )
    french = document(PROSE.format("x"), language="fr-CA")
    made = run([*rows, code, french], languages=["en"])
    assert {row["doc_id"]: row["language"] for row in read(made)} == {
        **{row["doc_id"]: "en" for row in rows}, code["doc_id"]: "python",
    }  # fmt: skip
    assert ledger(made)[french["doc_id"]]["language"] == "fr"


def test_code_has_no_language_and_unknown_ones_are_kept_where_asked_for():
    code = document("def area(width, height):\n    return width * height  # in square metres\n", kind="code")
    digits = document("%d %s " * 20, kind="docstring")
    loose = {
        "docstring": {"min_letters": None, "min_worded": None, "max_repeated_words": None},
        "languages": ["en", "und"],
    }
    assert {row["doc_id"] for row in read(run([code, digits], **loose))} == {code["doc_id"], digits["doc_id"]}
    entries = ledger(run([code, digits], **{**loose, "languages": ["en"]}))
    assert [entries[row["doc_id"]]["reason"] for row in (code, digits)] == [None, "other_language"]


def test_limits_given_in_part_differ_from_the_preset_of_their_kind():
    config = CleanConfig.model_validate({"text": {"min_chars": 5}})
    assert config.text == TEXT.model_copy(update={"min_chars": 5})
    assert CleanConfig.model_validate({"rules": "gopher"}).limits("text") == GOPHER
    assert CleanConfig.model_validate({"rules": "gopher"}).limits("code") == CODE


def test_a_papers_rules_judge_all_kinds_but_code():
    rows = [document(PROSE.format(1)), document(PROSE.format(2), kind="docstring")]
    assert {entry["reason"] for entry in ledger(run([*rows, document(PROSE.format(3) * 4)], rules="c4")).values()} == {
        "few_sentences", None,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"those of clean\.rules=gopher"):
        run(rows, rules="gopher")


def test_lines_that_many_documents_share_are_dropped():
    footer = "\nThis page is part of the collection of the society."
    rows = [document(PROSE.format(number) + footer) for number in range(5)]
    made = run(rows, shared_line_documents=4)
    assert [row["text"] for row in read(made)] == [PROSE.format(number) for number in range(5)]
    assert Store().record(made.key).metrics["lines_dropped/shared_line"] == 5


def test_lines_taken_out_are_counted_by_rule_and_shown_masked():
    law = "The terms of use of a service are a contract between two parties. "
    page = "<html><body><main><p>{}</p><p>Terms of Use | Privacy Policy</p>"
    page += "<p>© 2020 jane@corp.test. All rights reserved.</p></main>"
    rows = [document(page.format(law + PROSE.format(n)), kind="html") for n in range(3)]
    made = run(rows, html={"min_chars": None, "min_words": None})
    assert [row["text"] for row in read(made)] == [law + PROSE.format(n) for n in range(3)]
    assert json.loads((made.path / "measures.json").read_text())["lines_dropped"] == {"notice": 6}
    assert Store().record(made.key).metrics["lines_dropped/notice"] == 6
    shown = [json.loads(line) for line in (made.path / "samples.jsonl").read_text().splitlines()]
    assert {row["excerpt"] for row in shown if row["reason"] == "notice"} == {"Terms of Use | Privacy Policy"}
    assert "jane" not in (made.path / "samples.jsonl").read_text()
    key = "MIIEpAIBAAKCAQEA7bq98x3a1Z" * 2
    page = f"{key}\n{key}\n-----END PRIVATE KEY-----\n{PROSE} {PROSE} {PROSE} It is so."
    shown = run([document(page.format(n, n, n)) for n in range(3)], rules="c4").path / "samples.jsonl"
    assert '"[…]"' in shown.read_text() and key not in shown.read_text()
    kept = run(rows, html={"min_chars": None, "min_words": None, "drop_notices": False})
    assert "Privacy Policy" in read(kept)[0]["text"]


def test_personal_data_is_counted_by_kind_and_document():
    rows = [document(PROSE.format("write to jane@corp.test or 81.169.145.92")), document(PROSE.format(2))]
    made = run(rows)
    assert read(made, "personal_data.parquet") == [
        {"doc_id": rows[0]["doc_id"], "kind": kind, "count": 1} for kind in ("email", "ip_address")
    ]
    metrics = Store().record(made.key).metrics
    assert metrics["masked/email"] == metrics["masked/ip_address"] == metrics["masked_documents"] == 1
    assert metrics["masked/secret"] == 0


def test_an_e_mail_address_in_a_documents_address_becomes_a_pseudonym():
    names = ["jane.doe%40corp.com", "jane.doe@corp.com", "bob@corp.com", "x"]
    rows = [document(PROSE.format(n), f"file:///rows.jsonl?of={name}#id={n}") for n, name in enumerate(names)]
    made = run([*rows, document("Short.", "mailto:ann@corp.com")])
    entries, kept = ledger(made), {row["doc_id"]: row["source"] for row in read(made)}
    first, second, other, none = (entries[row["doc_id"]]["source"] for row in rows)
    assert list(kept.values()) == [first, second, other, none] and none == rows[3]["source"]
    assert first.replace("#id=0", "#id=1") == second != other.replace("#id=2", "#id=1")
    assert not any("corp" in str(entry) for entry in [*entries.values(), (made.path / "samples.jsonl").read_text()])
    assert read(run(rows, mask=["phone"]))[0]["source"] == rows[0]["source"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(around, planted, around), min_size=1, max_size=4))
def test_no_masked_personal_data_is_in_any_file_of_the_output(parts):
    texts = [PROSE.format(n) + f"\n{before}\n{value}\n{after}" for n, (before, value, after) in enumerate(parts)]
    made = run([document(text) for text in [*texts, "1 2\n" + parts[0][1]]] + [document(PROSE.format("x"))])
    values = [value for _, value, _ in parts if sum(apply(value)[1].values())]
    stored = [row["text"] for row in read(made)] + [(made.path / "samples.jsonl").read_text()]
    assert not [value for value in values if any(value in text for text in stored)]


HOSTILE = {
    "nul and control": "The \x00river\x07 is \x1b[31mwide\x1b[0m, and people have to cross it with a boat.\x7f\x85",
    "zero width": "The ri\u200bver is\ufeff wide, and peo\u2060ple have to cross it with a\u00ad boat.",
    "turned round": "The \u202eriver\u202c is wide, and \u2067people\u2069 have to cross it with a boat.",
    "tags and noncharacters": "The river\U000e0041 is wide,\ufffe and people\U0001ffff have to cross\ufdd0 it by boat.",
    "decomposed": "The cafe\u0301 by the river is wide, and people have to cross it with a boat.",
}


def test_hostile_characters_are_gone_and_right_to_left_text_stays():
    rows = [
        document(f"{text} In spring it floods the lower fields.", f"file:///{name}") for name, text in HOSTILE.items()
    ]
    hebrew = "הנהר שממזרח לעיר העתיקה רחב, ואנשים צריכים לחצות אותו בסירה, ובאביב הוא מציף את השדות הנמוכים שלידו."
    persian = (
        "پل روی رودخانه بهار گذشته برای تعمیر بسته بود و او ابزارهایش را در انبار پشت خانه نگه می‌دارد، نه جای دیگر."
    )
    made = {row["source"]: row for row in read(run([*rows, document(hebrew, "he"), document(persian, "fa")]))}
    for name in HOSTILE:
        text = made[f"file:///{name}"]["text"]
        assert unicodedata.is_normalized("NFC", text)
        assert not {unicodedata.category(letter) for letter in text} & {"Cc", "Cf", "Cn", "Cs"}, name
    assert made["he"]["text"] == hebrew and made["he"]["language"] == "he"
    assert made["fa"]["text"] == persian and made["fa"]["language"] == "fa"  # U+200C is part of how it is written
