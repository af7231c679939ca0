"""Near-duplicate removal by other programs, each as its own documentation does it. Runs in their environments.

    python dedup_sides.py rensa|datasketch|datasketch_bulk|text_dedup TEXTS.jsonl LIMIT FOLDER

Prints {"documents", "seconds" (of processor time, from text in memory to which are kept), "kept": [number, …]}. All
compare the same shingles: runs of five words in lower case, 128 permutations, similarity 0.8.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

WORD = re.compile(r"\w+")
SHINGLE, PERMUTATIONS, THRESHOLD = 5, 128, 0.8
REPEATS = 5  # of what takes less than a second; the fastest counts


def shingles(text: str) -> list[str]:
    """Runs of five words; the whole text where it has fewer."""
    words = WORD.findall(text.lower())
    return [" ".join(words[start : start + SHINGLE]) for start in range(max(len(words) - SHINGLE + 1, 1))]


def rensa(texts: list[str], folder: Path) -> tuple[list[int], float]:
    """README: keep unique documents, with the full-set sketch."""
    from rensa import RMinHashDeduplicator

    began = time.process_time()
    unique = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=PERMUTATIONS, use_lsh=True)
    kept = unique.add_pairs((str(number), shingles(text)) for number, text in enumerate(texts))
    return [number for number, keep in enumerate(kept) if keep], time.process_time() - began


def datasketch(texts: list[str], folder: Path) -> tuple[list[int], float]:
    """One MinHash a document, as in its guide."""
    from datasketch import MinHash, MinHashLSH

    began = time.process_time()
    lsh, kept = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=PERMUTATIONS)
        for shingle in shingles(text):
            sketch.update(shingle.encode())
        if not lsh.query(sketch):
            lsh.insert(str(number), sketch)
            kept.append(number)
    return kept, time.process_time() - began


def datasketch_bulk(texts: list[str], folder: Path) -> tuple[list[int], float]:
    """Its fastest way: generated in bulk, 32-bit affine permutations, xxHash."""
    import xxhash
    from datasketch import MinHash, MinHashLSH

    began = time.process_time()
    lsh, kept = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), []
    sets = ([shingle.encode() for shingle in shingles(text)] for text in texts)
    sketches = MinHash.generator(sets, num_perm=PERMUTATIONS, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
    for number, sketch in enumerate(sketches):
        if not lsh.query(sketch):
            lsh.insert(str(number), sketch)
            kept.append(number)
    return kept, time.process_time() - began


def text_dedup(texts: list[str], folder: Path) -> tuple[list[int], float]:
    """Its command, in this process; what it takes for a hundred documents is taken off as its start."""
    import datasets

    seconds = []
    kept: list[int] = []
    from text_dedup.minhash import main

    logging.disable(logging.INFO)
    datasets.disable_progress_bars()
    for name, some in (("few", texts[:100]), ("all", texts)):
        source, target = folder / f"{name}.jsonl", folder / f"{name}-out"
        source.write_text("".join(json.dumps({"text": text, "number": n}) + "\n" for n, text in enumerate(some)))
        arguments = ["--path", "json", "--data_files", str(source), "--split", "train", "--column", "text"]
        arguments += ["--output", str(target), "--cache_dir", str(folder / "cache"), "--batch_size", "10000"]
        arguments += ["--num_proc", "1", "--ngram", str(SHINGLE), "--min_length", "0", "--num_perm", str(PERMUTATIONS)]
        arguments += ["--threshold", str(THRESHOLD), "--hash_func", "xxh3", "--hash_bits", "32"]
        began = of_all_processes()
        with contextlib.redirect_stderr(io.StringIO()):
            main(arguments, standalone_mode=False)
        seconds.append(of_all_processes() - began)
        kept = list(datasets.load_from_disk(str(target))["number"])
    return kept, seconds[1] - seconds[0]


def of_all_processes() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


SIDES: dict[str, Callable[[list[str], Path], tuple[list[int], float]]] = {
    "rensa": rensa, "datasketch": datasketch, "datasketch_bulk": datasketch_bulk, "text_dedup": text_dedup,
}  # fmt: skip


def main() -> None:
    """Run one side."""
    side, path, limit, folder = sys.argv[1:]
    with Path(path).open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for _, line in zip(range(int(limit)), file, strict=False)]
    with contextlib.redirect_stdout(sys.stderr):
        kept, seconds = SIDES[side](texts, Path(folder))
        if seconds < 1:
            seconds = min(seconds, *(SIDES[side](texts, Path(folder))[1] for _ in range(REPEATS - 1)))
    print(json.dumps({"documents": len(texts), "seconds": seconds, "kept": kept}))


if __name__ == "__main__":
    main()
