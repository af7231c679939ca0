"""Near-duplicate removal from text on one core: speed beside other programs, accuracy beside exact similarity.

    python -m tests.benchmarks.data.bench_dedup [--documents 20000]

The texts are docstrings of the installed packages. Speed is in documents per second of processor time, from text in
memory to the documents kept, of sides that take less than a second the fastest of five times; slow programs get fewer
documents and are compared by rate. Recall is the share of pairs of Jaccard similarity ≥ 0.8 (over sets of five-word
shingles, compared exactly) of which not both are kept; precision the share of the documents dropped that are so near to
another.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from model.memory import peak_resident_bytes
from tasks.deduplicate import DeduplicateConfig, deduplicate
from tasks.lineage.stage_run import StageRun
from tasks.signing import survey
from tasks.stage import Resources
from tasks.text.clusters import components
from tasks.text.minhash import short_dtype
from tasks.text.shards import BATCH_BYTES, BATCH_ROWS, SCHEMA, CorpusWriter, slices_by_bytes
from tasks.text.signature_memory import Remembered
from tests.benchmarks.data import dedup_sides
from tests.benchmarks.data.sample import sample as common_sample
from tests.benchmarks.rows import ONE_THREAD, Row, environment, in_process, plot, show, write
from tests.in_memory import InMemory

WORK = "MinHash dedup from text, 128 permutations"
AIMS = {"rensa": 4.0, "datasketch": 60.0, "datasketch_bulk": None, "text_dedup": 40.0}
LIMITS = {"rensa": 20_000, "datasketch": 3_000, "datasketch_bulk": 20_000, "text_dedup": 5_000}
REQUIREMENTS = {
    "rensa": ["rensa==0.5.0"],
    "datasketch": ["datasketch==2.0.0", "xxhash"],
    # Of what text-dedup asks for, only what its MinHash imports: the rest is Spark and TensorFlow.
    "text_dedup": ["--no-deps", "text-dedup==0.4.0", "click-option-group==0.5.7", "regex==2025.11.3"],
}
NAMES = {
    "rensa": "rensa 0.5.0", "datasketch": "datasketch 2.0.0, one MinHash a document",
    "datasketch_bulk": "datasketch 2.0.0, in bulk", "text_dedup": "text-dedup 0.4.0",
}  # fmt: skip


def texts_of(path: Path, limit: int) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for _, line in zip(range(limit), file, strict=False)]


def ours(path: Path, limit: int) -> tuple[list[int], float]:
    """As the stage does it: exact copies first, signatures, bands, exact comparison; without its ledger and output."""
    texts = texts_of(path, limit)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    config = DeduplicateConfig()
    with tempfile.TemporaryDirectory() as place:
        began = time.process_time()
        groups = (InMemory(part) for part in slices_by_bytes(table, BATCH_BYTES))
        nothing = Remembered((), config.num_permutations, short_dtype(config.rows))
        found = survey(groups, Path(place) / "store", config, nothing, compiled=True)
        labels, _ = components(found.store, config.threshold)
        _, kept = np.unique(labels[found.texts], return_index=True)
        return sorted(kept.tolist()), time.process_time() - began


def exact_sets(texts: Iterable[str]) -> list[frozenset[int]]:
    """Shingles of each text, found and hashed in another way than the program does."""
    return [
        frozenset(xxhash.xxh3_64_intdigest(shingle.encode()) for shingle in dedup_sides.shingles(text) if shingle)
        for text in texts
    ]


def exact_pairs(sets: list[frozenset[int]], threshold: float) -> Iterator[tuple[int, int, float]]:
    """All pairs of Jaccard similarity ≥ threshold, by prefix filtering (Chaudhuri et al. 2006): two such sets share one
    of the rarest |S| − ⌈t·|S|⌉ + 1 of each."""
    frequency = Counter(shingle for shingles in sets for shingle in shingles)
    index: dict[int, list[int]] = defaultdict(list)
    for number, shingles in enumerate(sets):
        rarest = sorted(shingles, key=lambda shingle: (frequency[shingle], shingle))
        prefix = rarest[: len(shingles) - ceil(threshold * len(shingles)) + 1]
        for other in sorted({other for shingle in prefix for other in index[shingle]}):
            common = len(shingles & sets[other])
            similarity = common / (len(shingles) + len(sets[other]) - common)
            if similarity >= threshold:
                yield other, number, similarity
        for shingle in prefix:
            index[shingle].append(number)


def accuracy(kept: Iterable[int], documents: int, pairs: list[tuple[int, int, float]]) -> dict[str, float]:
    """Recall at 0.8 and 0.9, and precision, of keeping these of the first `documents`."""
    keeps = np.zeros(documents, bool)
    keeps[list(kept)] = True
    here = [pair for pair in pairs if pair[1] < documents]
    near = {number for left, right, _ in here for number in (left, right)}
    dropped = np.flatnonzero(~keeps).tolist()
    return {
        **{f"recall at {least}": recall([pair for pair in here if pair[2] >= least], keeps) for least in (0.8, 0.9)},
        "precision": sum(number in near for number in dropped) / max(len(dropped), 1),
    }


def recall(pairs: list[tuple[int, int, float]], keeps: np.ndarray) -> float:
    return sum(not (keeps[left] and keeps[right]) for left, right, _ in pairs) / max(len(pairs), 1)


def write_corpus(sample: Path, megabytes: float, place: Path) -> None:
    """A corpus of the first texts of the sample, this many megabytes of text; all of it where it has fewer."""
    held, size = [], 0.0
    with sample.open(encoding="utf-8") as file, CorpusWriter(place) as writer:
        for line in file:
            row = json.loads(line)
            size += len(row["text"].encode()) / 1e6
            doc_id = xxhash.xxh3_128_hexdigest(line.encode())
            more = {"doc_id": doc_id, "source": row["source"], "text": row["text"], "split": "train"}
            held.append(dict.fromkeys(SCHEMA.names) | more)
            if len(held) == BATCH_ROWS or size > megabytes:
                writer.write(pa.Table.from_pylist(held, SCHEMA))
                held = []
            if size > megabytes:
                return
        writer.write(pa.Table.from_pylist(held, SCHEMA))


def run_stage(corpus: Path) -> dict[str, float]:
    """The stage itself on a corpus, twice: peak MiB of this process, and processor seconds of the two runs, of which
    the second finds every text signed."""
    os.environ["PEDIGREE_HOME"] = str(corpus / "home")
    seconds = []
    for name in ("first", "second"):
        (corpus / name / "output").mkdir(parents=True)
        run = StageRun(corpus / name / "output", corpus / name, corpus / f"{name}.jsonl", logging.getLogger())
        began = time.process_time()
        artifact: Any = SimpleNamespace(path=corpus)
        deduplicate.function(run, artifact, DeduplicateConfig(), Resources(workers=1, threads=1))
        seconds.append(time.process_time() - began)
    return {"peak": peak_resident_bytes() / 2**20, "first": seconds[0], "second": seconds[1]}


def stage_rows(sample: Path, megabytes: float) -> list[Row]:
    """Memory at ten times the corpus, and the time of a run that finds its texts signed."""
    found = []
    for size in (megabytes / 10, megabytes):
        with tempfile.TemporaryDirectory() as place:
            write_corpus(sample, size, Path(place))
            command = [sys.executable, "-m", "tests.benchmarks.data.bench_dedup", "--stage", place]
            found.append(in_process(command, ONE_THREAD)[0])
    one, ten = ({name: float(str(value)) for name, value in result.items()} for result in found)
    sizes = f"{megabytes / 10:.3g} and {megabytes:.3g} MB of text"
    return [
        Row("peak memory of deduplicate, 10× the corpus", "1×", ten["peak"], one["peak"], one["peak"] / ten["peak"],
            "MiB", at_least=1 / 1.3, note=f"{sizes}; at most 1.3 times as much is a ratio of 0.77"),
        Row("deduplicate again, every text signed before", "first run", ten["second"], ten["first"],
            ten["first"] / ten["second"], "s", note=f"{megabytes:.3g} MB of text; reading, bands and writing stay"),
    ]  # fmt: skip


def rows(documents: int = 20_000, megabytes: float = 60) -> list[Row]:
    """Speed against each program, accuracy against exact similarity, memory at ten times the corpus."""
    sample = common_sample()
    documents = min(documents, len(texts_of(sample, documents)))
    own = [sys.executable, "-m", "tests.benchmarks.data.bench_dedup", "--ours", str(sample)]
    mine, _ = in_process([*own, "--documents", str(documents)], ONE_THREAD)
    pairs = list(exact_pairs(exact_sets(texts_of(sample, documents)), 0.8))
    exact = accuracy(_kept(mine), documents, pairs)
    found = [_against(side, sample, documents, mine, pairs) for side in AIMS]
    aims = {"recall at 0.8": 0.98, "recall at 0.9": 0.999, "precision": 0.95}
    note = f"{len(pairs)} pairs of similarity ≥ 0.8 among {documents} documents; the aim is on ours itself"
    for name, value in exact.items():
        found.append(Row(f"dedup accuracy: {name}", "exact Jaccard", value, 1.0, value, "share", at_least=aims[name],
                         note=note))  # fmt: skip
    return found + stage_rows(sample, min(megabytes, sample.stat().st_size / 1.4e6))


def _kept(result: dict[str, Any]) -> list[int]:
    kept: list[int] = result["kept"]
    return kept


def _against(side: str, sample: Path, documents: int, mine: dict[str, Any], pairs: list[tuple[int, int, float]]) -> Row:
    name = side.removesuffix("_bulk")
    python = environment(name, REQUIREMENTS[name], packages_of_project=name == "text_dedup")
    limit = min(LIMITS[side], documents)
    with tempfile.TemporaryDirectory() as place:
        script = str(Path(dedup_sides.__file__))
        theirs, _ = in_process([str(python), script, side, str(sample), str(limit), place], ONE_THREAD)
    rates = [float(one["documents"]) / float(one["seconds"]) for one in (mine, theirs)]
    quality = [accuracy(_kept(one), int(one["documents"]), pairs) for one in (mine, theirs)]
    said = [", ".join(f"{name} {value:.4f}" for name, value in one.items()) for one in quality]
    return Row(
        WORK, NAMES[side], rates[0], rates[1], rates[0] / rates[1], "documents/s",
        {"numpy": version("numpy")}, AIMS[side], f"ours: {said[0]}; theirs on {limit}: {said[1]}",
    )  # fmt: skip


def main() -> None:
    """Run, show and write the rows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--documents", type=int, default=20_000)
    options.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.stage:
        print(json.dumps(run_stage(chosen.stage)))
        return
    if chosen.ours:
        ours(chosen.ours, 2000)  # what is compiled is compiled before, as the others' is; some of it only pairs ask for
        times = [ours(chosen.ours, chosen.documents) for _ in range(dedup_sides.REPEATS)]
        kept, seconds = min(times, key=lambda one: one[1])
        count = len(texts_of(chosen.ours, chosen.documents))
        print(json.dumps({"documents": count, "seconds": seconds, "kept": kept}))
        return
    found = rows(chosen.documents)
    show("Near-duplicates", found)
    for row in found:
        print(f"{row.against}: {row.note}")
    write("data", found)
    plot("data-dedup", "Near-duplicate removal", found)


if __name__ == "__main__":
    main()
