"""The whole data chain on one core: read → clean → deduplicate → tokenise → write, against datatrove's usual blocks.

Both sides read the same JSONL file of docstrings (datatrove its first megabytes, compared by rate) and write token
shards with the same tokenizer. Ours goes through every stage as a user's run does, with snapshot, locks, digests,
ledgers and records. datatrove does the same work with its own blocks: JsonlReader, FTFYFormatter, PIIFormatter, the
language by the model that ours uses (it has none that needs no download), GopherRepetitionFilter and
GopherQualityFilter with limits as loose as our rules for docstrings, so that both keep about as many documents; the
four stages of MinHash; DocumentTokenizer. Time is processor time of the process. Imports are left out, and on our side
the fingerprinting of the code and the loading of machine code, which a first run of a few megabytes does once.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.memory import peak_resident_bytes
from tests.benchmarks.data.sample import files_of, part, sample, texts
from tests.benchmarks.rows import ONE_THREAD, Row, environment, in_process

MEGABYTES, FIRST_MEGABYTES, THEIR_MEGABYTES = 50.0, 12.0, 2.0
VOCABULARY, LEARNT_FROM = 8192, 8.0
DATATROVE = ["datatrove[io,processing]==0.10.1", "spacy", "py3langid==0.4.0"]
OTHER = Path(__file__).parent / "others" / "datatrove_chain.py"


def rows() -> list[Row]:
    text = sample()
    python = str(environment("datatrove", DATATROVE))
    own = [sys.executable, "-m", "tests.benchmarks.data.bench_chain"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_process([*own, "--tokenizer", str(folder / "tokenizer"), "--text", str(text)], ONE_THREAD)
        files = {size: part(text, size, folder / f"{size:g}.jsonl") for size in (MEGABYTES, THEIR_MEGABYTES)}
        home = {"PEDIGREE_HOME": str(folder / "home")}
        tokenizer = str(folder / "tokenizer" / "tokenizer.json")
        asked_of_ours = [*own, "--tokenizer", tokenizer]
        in_process([*asked_of_ours, "--compile", str(text)], {**ONE_THREAD, **home})
        ours, _ = in_process([*asked_of_ours, "--chain", str(files[MEGABYTES])], {**ONE_THREAD, **home})
        asked = json.dumps({"text": str(files[THEIR_MEGABYTES]), "tokenizer": tokenizer, "work": str(folder / "work")})
        theirs, _ = in_process([python, str(OTHER), asked], {**ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"})
    rate, other = (side["bytes"] / 1e6 / side["seconds"] for side in (ours, theirs))
    note = (
        f"{ours['bytes'] / 1e6:.0f} and {theirs['bytes'] / 1e6:.0f} MB of docstrings; kept {ours['kept']} of "
        f"{ours['documents']} and {theirs['kept']} of {theirs['documents']} documents; peak {ours['peak_mib']:.0f} and "
        f"{theirs['peak_mib']:.0f} MiB; seconds by stage: {ours['stages']}"
    )
    return [
        Row(
            "read → clean → dedup → tokenise → write, one core", "datatrove", rate, other, rate / other, "MB/s",
            theirs["versions"], 80.0, note,
        )
    ]  # fmt: skip


def learn(text: Path, target: Path) -> dict[str, Any]:
    """The tokenizer of both sides, learnt before."""
    from model.tokenizer import tokenizer_of_words
    from tasks.text.pretokens import count_words
    from tasks.text.spans import TextBatch

    target.mkdir()
    tokenizer_of_words(count_words([TextBatch(texts(text, LEARNT_FROM))]), VOCABULARY).save(target / "tokenizer.json")
    return {}


def make_machine_code(text: Path, vocabulary: Path) -> dict[str, Any]:
    """What a first run of much text does, so that it is there as the other side's is."""
    import pyarrow as pa

    from model.tokenizer import Tokenizer
    from tasks.clean_config import CleanConfig
    from tasks.cleaner import Cleaner
    from tasks.text.encoder import encoder_of
    from tests.benchmarks.data.bench_dedup import ours

    ours(text, 2000)
    encoder_of(Tokenizer.load(vocabulary).backend, compiled=True).encode(["some words"])
    documents = pa.table({"text": ["some words"], "kind": ["docstring"], "language": pa.nulls(1, pa.string())})
    return {"reasons": Cleaner(CleanConfig(), compiled=True).clean(documents).reasons.tolist()}


def chain(text: Path, vocabulary: Path, workers: int, first_megabytes: float) -> dict[str, Any]:
    """The stages of the flow `data` up to the tokens, on a JSONL file or a folder of some. seconds: of this process's
    computing; worker_seconds: of its workers'; elapsed: by the clock. A run of the first megabytes before
    gets all processes ready."""
    import psutil
    import pyarrow as pa

    from tasks.adopt.tokenizer import AdoptTokenizerConfig, adopt_tokenizer, look
    from tasks.clean import clean
    from tasks.collect import collect
    from tasks.deduplicate import deduplicate
    from tasks.snapshot import SnapshotConfig, snapshot
    from tasks.stage import Resources
    from tasks.text.sources import Source
    from tasks.tokenize import tokenize

    warnings.simplefilter("ignore")
    pa.set_cpu_count(1)
    resources = Resources(workers=workers, threads=1)
    adopted = adopt_tokenizer(
        config=AdoptTokenizerConfig(origin="file:///benchmark", given=look(vocabulary).digest),
        resources=resources.model_copy(update={"root": vocabulary}),
    )
    seconds: dict[str, float] = {}

    def timed(name: str, stage: Callable[..., Any], **arguments: Any) -> Any:
        began = time.process_time()
        made = stage(**arguments, resources=resources)
        seconds[name] = time.process_time() - began
        return made

    def workers_seconds() -> float:
        return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())

    first = part(text, first_megabytes, text.with_suffix(".first.jsonl"))
    for place in (first, text):  # the first time the code is fingerprinted, and machine code loaded
        started, of_workers = time.perf_counter(), workers_seconds()
        source = Source(kind="files", path=str(place), text_kind="docstring", origin_field="origin")
        outside = timed("snapshot", snapshot, config=SnapshotConfig(sources=(source,), evaluation_share=0))
        collected = timed("collect", collect, snapshot=outside)
        cleaned = timed("clean", clean, corpus=collected)
        kept = timed("deduplicate", deduplicate, corpus=cleaned)
        tokens = timed("tokenize", tokenize, corpus=kept, tokenizer=adopted)
    elapsed, of_workers = time.perf_counter() - started, workers_seconds() - of_workers
    peak = peak_resident_bytes() / 2**20
    documents = [json.loads(line)["text"] for file in files_of(text) for line in file.open(encoding="utf-8")]
    meta = json.loads((tokens.path / "meta.json").read_text())
    return {
        "bytes": sum(len(document.encode()) for document in documents),
        "documents": len(documents),
        "kept": meta["train_documents"] + meta["validation_documents"],
        "seconds": sum(seconds.values()),
        "worker_seconds": of_workers,
        "elapsed": elapsed,
        "stages": ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()),
        "peak_mib": peak,
        "digest": tokens.digest,
    }


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--tokenizer", type=Path, required=True)
    options.add_argument("--text", type=Path)
    options.add_argument("--compile", type=Path)
    options.add_argument("--chain", type=Path)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--first", type=float, default=FIRST_MEGABYTES)
    chosen = options.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    if chosen.chain:
        if hasattr(os, "sched_setaffinity"):  # what waits for the disk, or hashes, has no core beside the workers'
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-chosen.workers :])
        done = chain(chosen.chain, chosen.tokenizer, chosen.workers, chosen.first)
    elif chosen.compile:
        done = make_machine_code(chosen.compile, chosen.tokenizer)
    else:
        done = learn(chosen.text, chosen.tokenizer)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
