"""Pairs of packages and of users, and what each is for."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.lineage.errors import DataError
from tasks.pair import PairConfig, pair
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Artifact, Resources
from tasks.text.pair_choice import normalised
from tasks.text.sources import Source

DATA = Path(__file__).parents[4] / "shared" / "data"
PACKAGES = Source(include=("click", "attrs", "rich", "httpx", "jinja2", "werkzeug", "networkx"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def run(*sources: Source, workers: int = 1, share: float = 0.2, **config) -> Artifact:
    seen = snapshot(config=SnapshotConfig(sources=sources, evaluation_share=share))
    return pair(snapshot=seen, config=PairConfig(**config), resources=Resources(workers=workers))


def user_pairs(path: Path, **more) -> Source:
    return Source(kind="files", path=str(path), role="pairs", **more)


def write_jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(pairs: Artifact) -> list[dict]:
    return pq.read_table(pairs.path / "pairs.parquet").to_pylist()


def ledger(pairs: Artifact) -> list[dict]:
    return pq.read_table(pairs.path / "ledger.parquet").to_pylist()


@pytest.fixture(scope="module")
def of_packages(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PEDIGREE_HOME", str(tmp_path_factory.mktemp("home")))
        artifact = run(PACKAGES)
        yield rows(artifact), ledger(artifact)


def test_packages_give_pairs_in_every_split(of_packages):
    found, _ = of_packages
    counts = Counter(row["split"] for row in found)
    assert set(counts) == {"finetune", "validation", "rank", "ppo", "evaluation"}
    assert counts["finetune"] > counts["rank"] > counts["ppo"] > counts["validation"] > 0


def test_evaluation_pairs_come_from_other_packages(of_packages):
    found, _ = of_packages
    held_out = {row["origin"] for row in found if row["split"] == "evaluation"}
    trained = {row["origin"] for row in found if row["split"] != "evaluation"}
    assert held_out and trained and not held_out & trained


def test_no_prompt_and_no_answer_is_there_twice(of_packages):
    found, _ = of_packages
    for name in ("prompt", "response"):
        values = [normalised(row[name]) for row in found]
        assert len(values) == len(set(values))


def test_answers_of_packages_are_short_plain_sentences(of_packages):
    found, _ = of_packages
    for row in found:
        assert 20 <= len(row["response"]) <= 120
        assert row["response"].isascii() and "\n" not in row["response"] and len(row["response"].split()) >= 4
        assert row["source"].startswith(f"pypi://{row['origin']}/")
        assert row["license"]


def test_the_ledger_accounts_for_every_documented_object(of_packages):
    found, entries = of_packages
    assert sum(entry["decision"] == "kept" for entry in entries) == len(found)
    assert all((entry["decision"] == "kept") == (entry["reason"] is None) for entry in entries)
    reasons = {entry["reason"] for entry in entries}
    assert {"private_object", "answer_too_short", "answer_unrelated_to_name", "repeated_response"} <= reasons


def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.text.items.PART_BYTES", 300_000)
    digests = set()
    for workers in (1, 2):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / f"home{workers}"))
        digests.add(run(Source(include=("click", "attrs", "rich")), workers=workers).digest)
    assert len(digests) == 1


def some_rows(number: int = 200) -> list[dict]:
    return [
        {"prompt": f"Say the number {n}.", "response": f"The number that you asked for is {n}."} for n in range(number)
    ]


def test_json_lines_parquet_and_a_hugging_face_folder_give_the_same_pairs(tmp_path):
    data = some_rows(50)
    write_jsonl(tmp_path / "a.jsonl", data)
    pq.write_table(pa.Table.from_pylist(data), tmp_path / "a.parquet")
    datasets.Dataset.from_list(data).save_to_disk(str(tmp_path / "saved"))
    sources = [
        user_pairs(tmp_path / "a.jsonl"),
        user_pairs(tmp_path / "a.parquet"),
        Source(kind="huggingface", path=str(tmp_path / "saved"), role="pairs"),
    ]
    found = [{(row["prompt"], row["response"], row["split"]) for row in rows(run(source))} for source in sources]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 50


def test_user_pairs_of_one_file_are_split_by_hash(tmp_path):
    counts = Counter(row["split"] for row in rows(run(user_pairs(write_jsonl(tmp_path / "a.jsonl", some_rows(1000))))))
    assert counts["evaluation"] / 1000 == pytest.approx(0.2, abs=0.04)
    assert counts["finetune"] / 800 == pytest.approx(0.5, abs=0.06)


def test_user_pairs_with_an_origin_field_are_split_by_it(tmp_path):
    data = [row | {"from": f"o{number % 20}"} for number, row in enumerate(some_rows())]
    found = rows(run(user_pairs(write_jsonl(tmp_path / "a.jsonl", data), origin_field="from")))
    held_out = {row["origin"] for row in found if row["split"] == "evaluation"}
    assert held_out and not held_out & {row["origin"] for row in found if row["split"] != "evaluation"}


def test_users_rows_join_those_of_packages_and_packages_can_be_left_out(tmp_path):
    own = user_pairs(write_jsonl(tmp_path / "a.jsonl", some_rows(30)))
    both = rows(run(Source(include=("click",)), own))
    assert {row["origin"] for row in both} == {"click", (tmp_path / "a.jsonl").as_uri()}
    assert len(rows(run(Source(include=("click",)), own, ask_packages=False))) == 30


def test_bad_rows_are_quarantined_and_long_pairs_dropped(tmp_path):
    data = [*some_rows(30), {"prompt": "only"}, {"prompt": "p", "response": "word " * 2000}]
    pairs = run(user_pairs(write_jsonl(tmp_path / "a.jsonl", data)))
    [entry] = map(json.loads, (pairs.path / "quarantine.jsonl").read_text().splitlines())
    assert entry["line"] == 31 and "no pair in its fields (prompt)" in entry["reason"]
    assert Counter(entry["reason"] for entry in ledger(pairs)) == {None: 30, "quarantined": 1, "pair_too_long": 1}


def test_too_many_bad_rows_are_an_error(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*some_rows(3), {"a": 1}, {"b": 2}])
    with pytest.raises(DataError, match=r"2 of 5 rows .*pair\.max_bad_share"):
        run(user_pairs(path))


def test_no_pair_at_all_says_what_to_do(tmp_path):
    (tmp_path / "a.txt").write_text("just text")
    with pytest.raises(DataError, match="Add a source with role 'pairs'"):
        run(Source(kind="files", path=str(tmp_path / "a.txt")))


def test_max_pairs(tmp_path):
    pairs = run(user_pairs(write_jsonl(tmp_path / "a.jsonl", some_rows(100))), max_pairs=25)
    assert len(rows(pairs)) == 25
    assert Counter(entry["reason"] for entry in ledger(pairs)) == {None: 25, "above_max_pairs": 75}


def test_samples_show_each_split(tmp_path):
    pairs = run(user_pairs(write_jsonl(tmp_path / "a.jsonl", some_rows(1000))))
    shown = [json.loads(line) for line in (pairs.path / "samples.jsonl").read_text().splitlines()]
    assert {row["split"] for row in shown} == {"finetune", "validation", "rank", "ppo", "evaluation"}
    assert len(shown) <= 100


def test_shares_must_sum_to_one():
    with pytest.raises(ValidationError, match=r"sum to 1\.1: make it 1"):
        PairConfig(finetune_share=0.6)


@pytest.mark.parametrize(("name", "expected"), [("gsm8k/train.jsonl", 7000), ("self-instruct/seed_tasks.jsonl", 150)])
def test_real_data_sets(name, expected):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found = rows(run(user_pairs(path)))
    assert len(found) > expected
    assert len({row["split"] for row in found}) == 5
