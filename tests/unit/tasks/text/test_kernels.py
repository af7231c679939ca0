"""What is compiled gives what numpy gives, on any text; and it counts as the code of the stages that use it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.deduplicate import DeduplicateConfig, deduplicate
from tasks.lineage.fingerprint import fingerprint
from tasks.lineage.parallel import in_this_process, in_threads
from tasks.signing import normalised_digests, sign, survey
from tasks.text import kernels
from tasks.text.clusters import ShingleStore, bucket_pairs, components
from tasks.text.minhash import band_hashes, short_dtype
from tasks.text.shingles import Shingles, shingle_sets
from tasks.text.signature_memory import Remembered
from tasks.text.spans import CHARACTERS, LONG_SPAN, TextBatch
from tests.in_memory import InMemory

# Letters, digits, marks and blanks of several scripts and sizes in UTF-8, of which many make no word and many do.
letters = st.sampled_from("ab_Z9 \t\n.é\u0301ßж漢字ひกา\u00a0\u3000\u200b\u2028😀𝐀𠀀\u0000\x7f")
texts = st.lists(st.text(letters | st.characters(exclude_categories=["Cs"]), max_size=60), max_size=8)
HOSTILE = [
    "",
    " ",
    "\u3000\u2028 ",
    "a" * LONG_SPAN,
    "é" * (LONG_SPAN // 2),
    "x " * 300,
    "漢" * 40,
    "a漢b字",
    "\0",
    " é",
]


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 7))
@example(HOSTILE, 5)
@example([], 5)
@example([*HOSTILE, "a" * (LONG_SPAN + 1)], 5)  # a word that is left to numpy
@example(["word " * 50, "word " * 50], 1)
def test_shingles_signatures_and_digests_are_those_of_numpy(rows: list[str], size: int) -> None:
    batch, config = TextBatch(rows), DeduplicateConfig(shingle_words=size)
    ours, theirs = sign(batch, config, compiled=True), sign(batch, config)
    assert ours[0].hashes.tolist() == theirs[0].hashes.tolist()
    assert ours[0].offsets.tolist() == theirs[0].offsets.tolist()
    assert ours[1].dtype == theirs[1].dtype and np.array_equal(ours[1], theirs[1])
    assert np.array_equal(normalised_digests(batch, compiled=True), normalised_digests(batch))
    assert np.array_equal(band_hashes(ours[1], 21, 6, compiled=True), band_hashes(ours[1], 21, 6))


def test_white_space_is_evened_out_as_by_numpy() -> None:
    """Of every character of ASCII, in texts of every size up to some vectors, with little white space and with much."""
    generator, rows = np.random.default_rng(0), [chr(code) * 3 for code in range(128)]
    for size in range(300):
        for share in (0.0, 0.02, 0.5, 0.98, 1.0):
            letters = generator.integers(0, 128, size, np.uint8)
            letters[generator.random(size) < share] = ord(" ")
            rows.append(letters.tobytes().decode())
    for some in (rows, rows[::-1], ["é", *rows[::7], "\u2028"]):
        batch = TextBatch(some)
        found, expected = (
            kernels.evenly_spaced(batch.data, batch.offsets, CHARACTERS.known(batch)),
            batch.evenly_spaced(),
        )
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize(("step", "high", "done"), [(1, 2**32, True), (2**30, 4, True), (1, 2**20, False)])
def test_sorting_is_that_of_numpy_or_given_up(step: int, high: int, done: bool) -> None:
    """Spread as chance would spread them; mostly equal; all in one bucket."""
    for count in (1, 2, 3, 64, 1000):
        values = np.random.default_rng(count).integers(0, high, count).astype(np.uint32) * np.uint32(step)
        expected = sorted(values.tolist())
        sorted_here = kernels.sort(values, np.empty(2 * count, np.int32), np.empty(count, np.uint32))
        assert sorted_here == (done or count <= kernels.MOST_MOVES * 2)
        assert not sorted_here or values.tolist() == expected


def test_clusters_are_those_of_numpy(tmp_path) -> None:
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(400)])
    base = [generator.choice(words, 60) for _ in range(30)]
    rows = [" ".join(np.where(generator.random(60) < 0.03, "other", text)) for text in base for _ in range(4)]
    config = DeduplicateConfig()
    found = []
    for compiled in (True, False):
        store = ShingleStore(tmp_path / str(compiled), config.num_permutations, config.bands, config.rows, compiled)
        store.add(*sign(TextBatch([*rows, "", "two words"]), config, compiled))
        store.seal()
        found.append(components(store, config.threshold))
    assert found[0][0].tolist() == found[1][0].tolist() and found[0][1] == found[1][1]
    assert 30 < len(set(found[0][0].tolist())) < len(rows)  # some are near, and some are not


def test_threads_that_sign_leave_the_same_files(tmp_path) -> None:
    generator, config = np.random.default_rng(1), DeduplicateConfig()
    words = np.array([f"wörd{number}" for number in range(300)])
    rows = [[" ".join(generator.choice(words, 30)) for _ in range(40)] for _ in range(9)]
    groups = [InMemory(pa.table({"text": pa.array(texts, pa.large_string())})) for texts in (*rows, rows[2])]
    found = {}
    for name, mapper in (("here", in_this_process), ("threads", in_threads(3))):
        nothing = Remembered((), config.num_permutations, short_dtype(config.rows))
        survey(groups, tmp_path / name, config, nothing, mapper=mapper, compiled=name == "threads")
        found[name] = {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}
    assert found["here"] == found["threads"] and found["here"]["shingles.bin"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12) | st.integers(0, 2**32 - 1), max_size=60))
def test_pairs_are_those_of_numpy(values: list[int]) -> None:
    hashes, usable = np.array(values, np.uint32), np.arange(len(values))[::2]
    ours, theirs = (list(bucket_pairs(hashes, usable, compiled)) for compiled in (True, False))
    assert [[side.tolist() for side in pair] for pair in ours] == [[side.tolist() for side in pair] for pair in theirs]


def test_a_word_too_long_for_the_kernel_is_hashed_all_the_same() -> None:
    batch = TextBatch(pa.array(["x" * 1000, "x" * 999, "x" * 1000], pa.large_string()))
    found: Shingles = shingle_sets(batch, 5, compiled=True)
    assert found.hashes[0] == found.hashes[2] != found.hashes[1]


def unmixed(value: int) -> int:
    """What `mix64` makes `value` of."""
    mask = (1 << 64) - 1
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        found = value
        for _ in range(3):
            found = value ^ found >> shift
        value = found * pow(factor, -1, 1 << 64) & mask
    return value


def test_machine_code_is_kept_under_all_code_that_it_came_from() -> None:
    reached = fingerprint(kernels.unique_shingles.py_func).definitions
    assert {"tasks.text.kernels:mix64", "tasks.text.kernels:WORD", "tasks.text.spans:LONG_SPAN"} <= reached.keys()
    assert "tasks.text.kernels:evenly_spaced" not in reached
    kept = kernels.kept(kernels.unique_shingles)
    assert fingerprint(kernels.unique_shingles.py_func).digest[:16] in kept.stats.cache_path


def test_kernels_count_as_code_of_the_stage_that_uses_them() -> None:
    reached = fingerprint(deduplicate.function).definitions
    for name in ("unique_shingles", "signatures", "band_hashes", "evenly_spaced", "mix64", "sort", "MULTIPLIER"):
        assert f"tasks.text.kernels:{name}" in reached
