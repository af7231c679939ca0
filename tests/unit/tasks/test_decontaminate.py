"""Training text that shares wording with evaluation texts goes, whatever its script; nothing else does."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contamination import CONTAMINATED, Detector, EvaluationTexts, Overlap
from tasks.decontaminate import DecontaminateConfig, decontaminate
from tasks.lineage.errors import DataError
from tasks.pair import PairConfig, pair
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.benchmarks import EvaluationItem
from tasks.text.sources import Source
from tests.unit.tasks.corpora import corpus, document, ledger, read

RESOURCES = Resources(workers=1, threads=1)
QUESTION = "Which bird did the lighthouse keeper of Ormsvik find aboard the barque that drifted past the skerries?"
WORDS = [f"word{number}" for number in range(400)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def prose(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def world(folder: Path, benchmark: str | None = None, name: str = "benchmark.jsonl", share: float = 0.5):
    """A snapshot of pairs (and a benchmark), and the pairs made of it."""
    folder.mkdir(exist_ok=True)
    rows = [{"prompt": f"{prose(100_000 + n, 14)}?", "response": prose(200_000 + n, 12)} for n in range(60)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [Source(kind="files", path=str(folder / "pairs.jsonl"), role="pairs")]
    if benchmark is not None:
        (folder / name).write_text(benchmark)
        sources.append(Source(kind="files", path=str(folder / name), role="benchmark"))
    outside = snapshot(config=SnapshotConfig(sources=tuple(sources), evaluation_share=share), resources=RESOURCES)
    return outside, pair(snapshot=outside, config=PairConfig(ask_packages=False), resources=RESOURCES)


def run(rows, outside, pairs, **overlap):
    config = DecontaminateConfig(overlap=Overlap(**overlap))
    return decontaminate(corpus=corpus(rows), pairs=pairs, snapshot=outside, config=config, resources=RESOURCES)


def test_documents_that_hold_a_held_out_prompt_or_answer_go_and_say_which(tmp_path):
    outside, pairs = world(tmp_path / "sources")
    held_out = pq.read_table(pairs.path / "pairs.parquet", filters=[("split", "=", "evaluation")]).to_pylist()
    trained = pq.read_table(pairs.path / "pairs.parquet", filters=[("split", "=", "finetune")]).to_pylist()
    rows = [
        document(f"{prose(5000)} {held_out[0]['prompt'].upper()} {prose(5001)}", "file:///prompt"),
        document(f"({held_out[1]['response'].replace(' ', ', ')})", "file:///answer"),
        document(f"{prose(5002)} {trained[0]['prompt']} {prose(5003)}", "file:///trained"),
        document(f"{prose(5004)} {held_out[0]['prompt']}", "file:///held-out", split="evaluation"),
        document(prose(5005), "file:///clean"),
    ]
    result = run(rows, outside, pairs)
    assert [row["source"] for row in read(result)] == ["file:///trained", "file:///held-out", "file:///clean"]
    assert [ledger(result)[row["doc_id"]]["reason"] for row in rows] == [CONTAMINATED] * 2 + [None] * 3
    told = {row["source"]: row for row in read(result, "contaminated.parquet")}
    assert told["file:///prompt"]["item"] == held_out[0]["pair_id"]
    assert told["file:///prompt"]["match"] == "n-gram"
    assert told["file:///prompt"]["shared"] == " ".join(held_out[0]["prompt"].split()[:13])
    assert (told["file:///answer"]["item"], told["file:///answer"]["match"]) == (held_out[1]["pair_id"], "n-gram")
    samples = [json.loads(line) for line in (result.path / "samples.jsonl").read_text().splitlines()]
    assert {sample["source"] for sample in samples} == {"file:///prompt", "file:///answer"}


def test_a_near_copy_without_a_long_run_in_common_goes(tmp_path):
    words = prose(1, 60).split()
    changed = [f"x{place}" if place % 30 == 10 else word for place, word in enumerate(words)]
    outside, pairs = world(tmp_path / "sources", json.dumps({"question": " ".join(words)}) + "\n")
    rows = [document(" ".join(changed), "file:///near"), document(prose(2), "file:///other")]
    result = run(rows, outside, pairs, words=40, similarity=0.6)
    assert [row["source"] for row in read(result)] == ["file:///other"]
    (told,) = read(result, "contaminated.parquet")
    assert told["match"] == "near" and told["item_source"].endswith("benchmark.jsonl#row=1")
    assert 0.6 <= told["share"] < 0.8


@pytest.mark.parametrize(("name", "text"), [
    ("b.jsonl", json.dumps({"id": 7, "turns": [{"content": QUESTION}], "choices": ["yes", "no"]}) + "\n"),
    ("b.txt", f"Questions\n\n{QUESTION}\n\nAnother text.\n"),
    ("b.md", f"# Questions\n\n* {QUESTION}\n"),
])  # fmt: skip
def test_benchmarks_of_any_shape_keep_text_and_training_pairs_out(tmp_path, name, text):
    folder = tmp_path / "sources"
    folder.mkdir()
    rows = [{"prompt": QUESTION, "response": "A goldfinch."}, {"prompt": "What is it?", "response": QUESTION.lower()}]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / name).write_text(text)
    more = [Source(kind="files", path=str(folder / "own.jsonl"), role="pairs")]
    world(folder)
    sources = (Source(kind="files", path=str(folder / "pairs.jsonl"), role="pairs"), *more,
               Source(kind="files", path=str(folder / name), role="benchmark"))  # fmt: skip
    outside = snapshot(config=SnapshotConfig(sources=sources, evaluation_share=0), resources=RESOURCES)
    pairs = pair(snapshot=outside, config=PairConfig(ask_packages=False), resources=RESOURCES)
    dropped = [row for row in ledger(pairs).values() if row["reason"] == CONTAMINATED]
    assert [row["source"].rsplit("/", 1)[1] for row in dropped] == ["own.jsonl"] * 2
    assert len(read(pairs, "contaminated.parquet")) == 2
    texts = [document(f"{prose(1)} {QUESTION} {prose(2)}"), document(prose(3))]
    result = run(texts, outside, pairs)
    assert [row["doc_id"] for row in read(result)] == [texts[1]["doc_id"]]


def test_without_benchmarks_pairs_are_what_they_were(tmp_path):
    """The setting is left out of the key, and no file is added."""
    _, pairs = world(tmp_path / "sources")
    assert not (pairs.path / "contaminated.parquet").exists()


def test_what_is_clean_keeps_its_bytes(tmp_path):
    outside, pairs = world(tmp_path / "sources")
    given = corpus([document(prose(7000 + number)) for number in range(50)])
    result = decontaminate(corpus=given, pairs=pairs, snapshot=outside, resources=RESOURCES)
    (before,), (after,) = (sorted(Path(folder).glob("documents-*")) for folder in (given.path, result.path))
    assert before.read_bytes() == after.read_bytes()
    assert read(result, "contaminated.parquet") == []


def test_common_phrases_and_short_texts_say_nothing(tmp_path):
    phrase = " ".join(WORDS[:13])
    outside, pairs = world(tmp_path / "sources", json.dumps({"q": phrase, "a": "word1 word2 word3"}) + "\n")
    rows = [document(f"{prose(n)} {phrase} {prose(900 + n)}", f"file:///{n:02d}") for n in range(11)]
    rows.append(document("word1 word2 word3", "file:///short"))
    assert len(read(run(rows, outside, pairs))) == 12
    assert [row["source"] for row in read(run(rows[1:], outside, pairs))] == ["file:///short"]
    assert len(read(run(rows, outside, pairs, most_documents=None))) == 1


def test_a_share_of_runs_can_be_asked_for(tmp_path):
    words = prose(1, 43).split()  # 31 runs of 13
    outside, pairs = world(tmp_path / "sources", json.dumps({"q": " ".join(words)}) + "\n")
    rows = [document(f"{prose(8)} {' '.join(words[:n])} {prose(9)}", f"file:///{n}") for n in (13, 30)]  # 1, 18 runs
    assert len(read(run(rows, outside, pairs))) == 0
    assert [row["source"] for row in read(run(rows, outside, pairs, share=0.5))] == ["file:///13"]


@pytest.mark.parametrize("text", [
    "灯塔看守人在奥姆斯维克发现了一只被关在笼子里的金翅雀",
    "奥尔姆斯维克の灯台守は檻に入れられたゴシキヒワを見つけた",
    "ผู้ดูแลประภาคารแห่งออร์มสวิกพบนกฟินช์สีทองในกรง",
    "등대지기는 오름스비크에서 새장에 갇힌 오색방울새를 발견하고 열한 해 동안 길렀다 그 뒤로 아무도 그것을 보지 못했다",
    "وجد حارس منارة أورمسفيك طائرا ذهبيا في قفص واحتفظ به أحد عشر عاما قبل أن يموت في الشتاء",
    "ओर्म्सविक के प्रकाशस्तंभ के रखवाले को पिंजरे में एक सुनहरी चिड़िया मिली और उसने उसे ग्यारह साल तक रखा",
])  # fmt: skip
def test_all_scripts(tmp_path, text):
    detector = Detector([text], [text], Overlap())

    detector.look_in([f"{prose(1)} {text} {prose(2)}", prose(3), text[:10]], np.arange(3))
    by_run, near = detector.findings()
    assert {finding.number for finding in by_run} == {0} and near == []


def test_a_benchmark_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(DataError, match="benchmark"):
        world(tmp_path / "more", "not json\n{]\n")


def test_packages_are_no_benchmark():
    with pytest.raises(ValueError, match="benchmark"):
        Source(role="benchmark")


words = st.lists(st.sampled_from(WORDS[:12]), min_size=0, max_size=30)


@given(st.lists(words, min_size=1, max_size=4), st.lists(words, min_size=1, max_size=5), st.sampled_from([None, 1, 2]))
def test_findings_are_those_of_the_definition(items, texts, most):

    overlap = Overlap(words=6, min_words=4, most_documents=most)
    looked = EvaluationTexts([EvaluationItem(str(n), "", (" ".join(item),)) for n, item in enumerate(items)], overlap)
    for number, text in enumerate(texts):  # batches do not matter
        looked.detector.look_in([" ".join(text)], np.array([number]))

    def runs(words: list[str], size: int) -> set[tuple[str, ...]]:
        return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)} if size else set()

    def shingles(words: list[str]) -> set[tuple[str, ...]]:
        return runs(words, min(len(words), 5))

    wanted = set()
    for i, item in enumerate(items):
        if len(item) < 4:
            continue
        size = min(len(item), 6)
        for n, text in enumerate(texts):
            shared = {run for run in runs(item, size) & runs(text, size)
                      if most is None or sum(run in runs(other, size) for other in texts) <= most}  # fmt: skip
            left, right = shingles(item), shingles(text)
            if shared or (right and len(left & right) >= 0.8 * len(left | right)):
                wanted.add((n, i))
    assert {(n, i) for n, ties in looked.findings().items() for i in ties} == wanted


def test_a_few_bad_rows_of_a_benchmark_are_told_and_passed_over(tmp_path, caplog):
    good = "".join(json.dumps({"q": prose(300_000 + n, 20)}) + "\n" for n in range(9))
    outside, pairs = world(tmp_path / "sources", good + "{not json\n")
    rows = [document(prose(300_003, 20)), document(prose(1))]
    assert [row["doc_id"] for row in read(run(rows, outside, pairs))] == [rows[1]["doc_id"]]
    assert "1 of 10 rows" in caplog.text and "line 10" in caplog.text
