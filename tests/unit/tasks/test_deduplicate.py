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
