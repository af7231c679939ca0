"""A run after another signs only what is new, and makes the bytes that a run from nothing makes."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import signing
from tasks.deduplicate import DeduplicateConfig, deduplicate
from tasks.lineage.home import home
from tasks.lineage.stage_run import summary
from tasks.lineage.store import Store
from tasks.stage import Resources
from tests.unit.tasks.corpora import corpus, document

WORDS = [f"word{number}" for number in range(300)]


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def text(seed: int) -> str:
    """Texts of one seed // 3 are near copies; some have no words."""
    if seed % 10 == 9:
        return "★" * (seed % 4)
    words = random.Random(seed // 3).choices(WORDS, k=40 + seed % 50 // 3)
    return " ".join([*words, f"end{seed % 3}"])


def run(seeds, **config):
    rows = [document(text(seed), f"file:///{place:03d}") for place, seed in enumerate(seeds)]
    result = deduplicate(corpus=corpus(rows), config=DeduplicateConfig(**config), resources=Resources())
    return result, int(summary(Store().metrics_path(result.key))["texts_signed"])


def memory() -> Path:
    return home() / "cache" / "signatures"


def test_only_new_texts_are_signed(fresh_home):
    assert run(range(60))[1] == len({text(seed) for seed in range(60)})
    assert run(range(63))[1] == 3
    assert run(range(10, 60))[1] == 0
    assert run(range(60), shingle_words=4)[1] > 40  # other shingles, other signatures
    assert run(range(61), threshold=0.7)[1] == 0  # the threshold shapes none


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=40), min_size=2, max_size=3))
def test_a_run_after_others_makes_the_bytes_of_a_run_from_nothing(tmp_path, monkeypatch, corpora):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "again"))
    shutil.rmtree(tmp_path / "again", ignore_errors=True)
    after_others = [run(seeds)[0].digest for seeds in corpora]
    for seeds, digest in zip(corpora, after_others, strict=True):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "alone"))
        shutil.rmtree(tmp_path / "alone", ignore_errors=True)
        assert run(seeds)[0].digest == digest


def test_code_and_libraries_are_part_of_the_name(fresh_home, monkeypatch):
    run(range(30))
    monkeypatch.setattr(signing, "version", lambda name: "0")
    assert run(range(31))[1] > 20


@pytest.mark.parametrize("name", ["signatures.bin", "shingles.bin", "digests.bin", "sizes.bin", "checksums.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_what_is_damaged_is_computed_anew(fresh_home, name, damage):
    run(range(40))
    (file,) = memory().glob(f"*/*/{name}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    if damage != "gone":
        file.write_bytes(data if damage == "changed" else data[: len(data) // 2])
    assert run(range(41))[1] > 30
    assert run(range(42))[1] == 1


def test_what_is_kept_is_bounded(fresh_home):
    for length in range(20, 25):
        for words in (3, 4, 5):
            run(range(length), shingle_words=words)
    assert len(list(memory().glob("*"))) == 2 and len(list(memory().glob("*/*"))) <= 4
    assert not list((home() / "work").glob("*"))
