"""Megabytes a second from raw JSONL to shards on one core, beside a plain chain of ftfy, datasketch and tokenizers.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.data.bench_pipeline [--jsonl FILE] [--megabytes 30] [--naive 2]

Without --jsonl the text is the docstrings of the installed packages. Rates are by processor time, so that other work on
the machine matters little; the plain chain runs in the same process on the first --naive megabytes, and is compared by
rate. All is single-threaded, and every stage runs through the engine, with its locks, digests, ledgers and records.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import resource
import sysconfig
import tempfile
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.json
from datasketch import MinHash, MinHashLSH

from model.tokenizer import Tokenizer
from tasks import tokenize as tokenize_stage
from tasks.clean import clean
from tasks.deduplicate import deduplicate
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.text.shards import CorpusWriter, slices_by_bytes


class JSONLConfig(StageConfig):
    """One JSONL file with the fields text, source, origin and kind."""

    path: str


@stage(output="corpus", always=True)
def read_jsonl(run: StageRun, config: JSONLConfig, resources: Resources) -> None:
    """The least that makes a corpus of a JSONL file."""
    table = pyarrow.json.read_json(config.path, pyarrow.json.ReadOptions(use_threads=False, block_size=1 << 24))
    with CorpusWriter(run.output) as writer:
        for part in slices_by_bytes(table, 4 << 20):
            names = zip(part["source"].to_pylist(), part["text"].to_pylist(), strict=True)
            ids = [hashlib.sha256(f"{source}\0{text}".encode()).hexdigest()[:32] for source, text in names]
            columns = {
                "doc_id": pa.array(ids),
                "collector": pa.array(["jsonl"] * len(ids)),
                "split": pa.array(["train"] * len(ids)),
            }
            columns |= {name: part[name] for name in ("text", "source", "origin", "kind")}
            columns |= {name: pa.nulls(len(ids), pa.string()) for name in ("license", "language")}
            writer.write(pa.table(columns))


def docstrings() -> Iterator[dict[str, str]]:
    """Docstrings of the installed packages, in an order that mixes packages."""
    root = Path(sysconfig.get_path("purelib"))
    for path in sorted(root.rglob("*.py"), key=lambda path: hashlib.md5(str(path).encode()).digest()):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        name = str(path.relative_to(root))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text and not any("\ud800" <= letter <= "\udfff" for letter in text):
                    label = f"pypi://{name}#{getattr(node, 'name', '')}:{getattr(node, 'lineno', 0)}"
                    yield {"text": text, "source": label, "origin": name.split("/")[0], "kind": "docstring"}


def write_sample(path: Path, megabytes: float) -> None:
    """A JSONL file of about this much text."""
    held = 0
    with path.open("w", encoding="utf-8") as file:
        for row in docstrings():
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            held += len(row["text"].encode())
            if held > megabytes * 1e6:
                return


def naive(path: Path, tokenizer: Tokenizer, limit: float, output: Path) -> tuple[int, float]:
    """The plain chain on the first `limit` bytes. Gives bytes of text and processor seconds."""
    began, size, kept = time.process_time(), 0, []
    lsh, seen = MinHashLSH(threshold=0.8, num_perm=128), set()
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            raw = json.loads(line)["text"]
            size += len(raw.encode())
            text = unicodedata.normalize("NFC", ftfy.fix_text(raw)).strip()
            words = text.split()
            if len(words) >= 3 and sum(map(str.isalpha, text)) >= 0.4 * sum(not letter.isspace() for letter in text):
                digest = hashlib.sha256(" ".join(words).lower().encode()).digest()
                signature = MinHash(128)
                for start in range(max(1, len(words) - 4)):
                    signature.update(" ".join(words[start : start + 5]).lower().encode())
                if digest not in seen and not lsh.query(signature):
                    lsh.insert(str(number), signature)
                    kept.append(text)
                seen.add(digest)
            if size > limit:
                break
    with output.open("wb") as shard:
        for ids in tokenizer.encode_batch(kept):
            shard.write(np.array([*ids, 0], np.uint16).tobytes())
    return size, time.process_time() - began


def timed(function: Callable[..., Any], **arguments: Any) -> tuple[Any, float]:
    """The result and the processor seconds it took."""
    began = time.process_time()
    return function(**arguments, resources=Resources(workers=1, threads=1)), time.process_time() - began


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jsonl", type=Path, help="file with the fields text, source, origin, kind")
    options.add_argument("--megabytes", type=float, default=30, help="of docstrings, without --jsonl")
    options.add_argument("--naive", type=float, default=2, help="megabytes for the plain chain")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PEDIGREE_HOME"] = f"{folder}/home"
        path = chosen.jsonl or Path(folder) / "sample.jsonl"
        if not chosen.jsonl:
            write_sample(path, chosen.megabytes)
        learning, train = [0.0], tokenize_stage.train_tokenizer

        def timed_training(texts: Iterable[str], vocab_size: int) -> Tokenizer:
            began = time.process_time()
            tokenizer = train(texts, vocab_size)
            learning[0] = time.process_time() - began
            return tokenizer

        tokenize_stage.train_tokenizer = timed_training  # the one-off part, told apart
        seconds: dict[str, float] = {}
        corpus, seconds["read JSONL"] = timed(read_jsonl, config=JSONLConfig(path=str(path)))
        size = sum(map(bytes_of, [corpus]))
        cleaned, seconds["clean"] = timed(clean, corpus=corpus)
        kept, seconds["deduplicate"] = timed(deduplicate, corpus=cleaned)
        tokens, whole = timed(tokenize_stage.tokenize, corpus=kept)
        seconds["tokenize"] = whole - learning[0]
        total = sum(seconds.values())
        plain_size, plain_seconds = naive(path, Tokenizer.load(tokens.path), chosen.naive * 1e6, Path(folder) / "x.bin")
        for name, value in seconds.items():
            print(f"{name:28}{size / 1e6 / value:8.1f} MB/s {value:8.2f} s")
        print(f"{'all, BPE learnt before':28}{size / 1e6 / total:8.1f} MB/s {total:8.2f} s of {size / 1e6:.1f} MB")
        total += learning[0]
        print(f"{'all, learning a BPE of 4,096':28}{size / 1e6 / total:8.1f} MB/s {total:8.2f} s")
        rate = plain_size / 1e6 / plain_seconds
        print(f"{'plain chain':28}{rate:8.2f} MB/s {plain_seconds:8.2f} s of {plain_size / 1e6:.1f} MB")
        print(f"ratio to the plain chain: {size / 1e6 / (total - learning[0]) / rate:.0f}×")
        print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def bytes_of(corpus: Artifact) -> int:
    """Bytes of text in a corpus."""
    return sum(pa.compute.sum(pa.compute.binary_length(part["text"])).as_py() for part in tables(corpus))


def tables(corpus: Artifact) -> Iterator[pa.Table]:
    """Its documents."""
    yield from tokenize_stage.read_corpus(corpus.path, ["text"])


if __name__ == "__main__":
    main()
