"""Which copies are found, which document is kept, and that nothing else matters."""

import random

import pytest
from pydantic import ValidationError

from tasks.deduplicate import DeduplicateConfig, deduplicate
from tasks.lineage.errors import DataError
from tasks.stage import Resources
from tests.unit.tasks.corpora import corpus, document, ledger, read

WORDS = [f"word{number}" for number in range(3000)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def prose(seed: int, length: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def run(rows, **config):
    return deduplicate(corpus=corpus(rows), config=DeduplicateConfig(**config), resources=Resources())


def test_exact_copies_differ_only_in_case_and_spacing():
    text = " ".join(prose(1))
    rows = [document(text, "file:///b"), document(text.upper().replace(" ", "\n\n "), "file:///a")]
    result = run(rows)
    assert [row["source"] for row in read(result)] == ["file:///a"]
    dropped = ledger(result)[rows[0]["doc_id"]]
    assert (dropped["reason"], dropped["duplicate_of"]) == ("exact_duplicate", rows[1]["doc_id"])
    assert dropped["bytes_in"] == len(text) and dropped["bytes_out"] == 0


def test_near_copies_are_dropped_and_distant_ones_kept():
    words = prose(2)
    near = [*words[:100], "different", *words[101:]]  # 196 shingles each, 191 shared: J = 0.95
    far = [*words[:100], *prose(3, 100)]  # J = 0.32
    rows = [document(" ".join(text), f"file:///{name}") for name, text in (("a", words), ("b", near), ("c", far))]
    result = run(rows)
    assert [row["source"] for row in read(result)] == ["file:///a", "file:///c"]
    assert ledger(result)[rows[1]["doc_id"]]["reason"] == "near_duplicate"
    assert ledger(result)[rows[1]["doc_id"]]["duplicate_of"] == rows[0]["doc_id"]


def test_evaluation_text_is_kept_before_training_text():
    words = prose(4)
    near = " ".join([*words[:-1], "end"])
    rows = [document(" ".join(words), "file:///a"), document(near, "file:///z", split="evaluation")]
    result = run(rows)
    assert [(row["source"], row["split"]) for row in read(result)] == [("file:///z", "evaluation")]


def test_a_chain_of_near_copies_is_one_cluster():
    words = prose(5, 300)
    chain = [words]
    for step in range(4):  # neighbours J ≈ 0.9; ends J ≈ 0.68
        chain.append([*chain[-1][: step * 40], *prose(50 + step, 10), *chain[-1][step * 40 + 10 :]])
    rows = [document(" ".join(text), f"file:///{number}") for number, text in enumerate(chain)]
    result = run(rows)
    assert [row["source"] for row in read(result)] == ["file:///0"]
    assert read(result, "clusters.parquet") == [{"doc_id": rows[0]["doc_id"], "documents": 5, "distinct_texts": 5}]


def test_order_of_arrival_does_not_decide():
    rows = [
        document(" ".join([*prose(number // 4)[:-1], f"tail{number}"]), f"file:///{number:03d}") for number in range(80)
    ]
    shuffled = random.Random(0).sample(rows, len(rows))
    first, second = run(rows), run(shuffled)
    assert {row["doc_id"] for row in read(first)} == {row["doc_id"] for row in read(second)}
    assert len(read(first)) == 20


def test_other_scripts_and_texts_without_words():
    generator = random.Random(7)
    han = "".join(chr(0x4E00 + generator.randrange(5000)) for _ in range(200))
    rows = [
        document(han, "file:///a"),
        document(han[:-1] + "字", "file:///b"),
        document("★★★ !!!", "file:///c"),
        document("--- ???", "file:///d"),
    ]
    assert [row["source"] for row in read(run(rows))] == ["file:///a", "file:///c", "file:///d"]


def test_recall_and_precision_on_synthetic_copies():
    generator, rows, wanted = random.Random(8), [], set()
    for number in range(400):
        words = prose(1000 + number, generator.randrange(40, 300))
        changed = list(words)
        for _ in range(generator.randrange(0, max(2, len(words) // 25))):
            changed[generator.randrange(len(words))] = generator.choice(WORDS)
        rows += [
            document(" ".join(words), f"file:///{number:03d}a"),
            document(" ".join(changed), f"file:///{number:03d}b"),
        ]
        left, right = (set(zip(*(text[i:] for i in range(5)), strict=False)) for text in (words, changed))
        if len(left & right) / len(left | right) >= 0.8:
            wanted.add(rows[-1]["doc_id"])
    assert 100 < len(wanted) < 390
    found = {doc_id for doc_id, row in ledger(run(rows)).items() if row["decision"] == "dropped"}
    assert len(found & wanted) / len(wanted) >= 0.98
    assert len(found & wanted) / len(found) >= 0.95


def test_same_input_gives_same_digest(tmp_path, monkeypatch):
    rows = [document(" ".join(prose(number % 30)), f"file:///{number}") for number in range(60)]
    first = run(rows)
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "elsewhere"))
    assert run(rows).digest == first.digest


def test_an_empty_corpus_says_what_to_do():
    with pytest.raises(DataError, match="source of text"):
        run([])


def test_banding_beyond_the_signature_is_refused():
    with pytest.raises(ValidationError, match="lower bands or rows"):
        DeduplicateConfig(bands=64, rows=8, num_permutations=128)


def test_paragraphs_that_another_kept_document_holds_are_taken_out():
    licence = "Permission is granted  to copy this text, word for word,\nas often as you like."
    rows = [
        document(f"{' '.join(prose(21))}\n\n{licence}\n\nEnd of the first.", "file:///b"),
        document(f"{licence.upper()}\n \n{' '.join(prose(22))}\n\nshort one\n\nshort one", "file:///a"),
        document(licence.replace("  ", " "), "file:///c"),
        document(f"{' '.join(prose(23))}\n\n{licence}", "file:///z", split="evaluation"),
    ]
    kept = {row["source"]: row["text"] for row in read(run(rows, paragraph_chars=40))}
    assert kept == {
        "file:///b": f"{' '.join(prose(21))}\n\nEnd of the first.",
        "file:///a": f"{' '.join(prose(22))}\n\nshort one\n\nshort one",
        "file:///z": rows[3]["text"],
    }
    told = ledger(run(rows, paragraph_chars=40))
    assert told[rows[2]["doc_id"]]["reason"] == "repeated_paragraphs"
    assert told[rows[2]["doc_id"]]["duplicate_of"] is None
    assert told[rows[0]["doc_id"]]["bytes_out"] == len(kept["file:///b"]) < told[rows[0]["doc_id"]]["bytes_in"]
    assert len(read(run(rows))) == 4 and {row["text"] for row in read(run(rows))} == {row["text"] for row in rows}


@pytest.mark.parametrize("text", [
    "灯塔看守人在奥姆斯维克发现了一只被关在笼子里的金翅雀，他把它养了十一年。冬天的船只都记在他的本子里，每一条都有时间、风向和船的颜色。",
    "灯台守は檻に入れられたゴシキヒワを見つけて、十一年のあいだ飼いました。冬に通った船はすべて帳面に書いてあります。",
    "ผู้ดูแลประภาคารพบนกฟินช์สีทองในกรงและเลี้ยงไว้สิบเอ็ดปี เรือทุกลำที่ผ่านในฤดูหนาวถูกจดไว้ในสมุดของเขา",
    "등대지기는 새장에 갇힌 오색방울새를 발견하고 열한 해 동안 길렀다 겨울에 지나간 모든 배는 그의 공책에 적혀 있다 "
    "거기에는 시간과 바람과 배의 색깔이 적혀 있고 가끔은 짐에 대한 말도 덧붙어 있다 그는 혼자 노를 저어 나갔다",
    "وجد حارس المنارة طائرا ذهبيا في قفص واحتفظ به أحد عشر عاما وكل سفينة مرت في الشتاء مكتوبة في دفتره مع الساعة "
    "والريح ولون البدن وفي التاسع من شباط خرج وحده في قاربه ولم يجد أحدا على متن السفينة سوى طائر صغير في قفص",
    "प्रकाशस्तंभ के रखवाले को पिंजरे में एक सुनहरी चिड़िया मिली और उसने उसे ग्यारह साल तक रखा सर्दियों में गुज़रा हर जहाज़ उसकी कॉपी "
    "में दर्ज है साथ में समय हवा और पतवार का रंग और कभी कभी माल के बारे में एक छोटी टिप्पणी भी लिखी हुई मिलती है",
])  # fmt: skip
def test_near_copies_are_found_in_any_script(text):
    """A copy with its end changed goes; another text of the same letters stays."""
    other = " ".join(reversed(text.split())) if text.count(" ") > 9 else text[::-1]
    rows = [document(text, "file:///a"), document(text[:-2] + "x", "file:///b"), document(other, "file:///c")]
    assert [row["source"] for row in read(run(rows))] == ["file:///a", "file:///c"]
