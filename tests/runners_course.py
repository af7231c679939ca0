"""The data stages of a small folder inside a Prefect flow, on one kind of runner: prints the digests as JSON.

    python -m tests.runners_course FOLDER RUNNER WORKERS

A program of its own, since Ray and Dask are in an environment of their own.
"""

import json
import os
import sys
from pathlib import Path

from prefect import flow

from tasks.clean import clean
from tasks.collect import CollectConfig, collect
from tasks.deduplicate import deduplicate
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text import shards
from tasks.text.sources import Source
from tasks.tokenize import TokenizeConfig, tokenize
from tests.small_course import text

PARTS = 5
SMALL_BATCH = 20_000  # bytes of text: several pieces of work from little text


def write_sources(folder: Path) -> None:
    """A few JSONL files, some rows of them alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(PARTS):
        rows = [{"text": text(number % 55 + 40 * part)} for number in range(60)]
        (folder / f"part-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@flow
def data(folder: str, runner: str, workers: int) -> dict[str, str]:
    resources = Resources.model_validate({"runner": runner, "workers": workers})
    sources = tuple(Source(kind="files", path=f"{folder}/part-{part}.jsonl") for part in range(PARTS))
    outside = snapshot(config=SnapshotConfig(sources=sources, evaluation_share=0.2), resources=resources)
    made = {"collect": collect(snapshot=outside, config=CollectConfig(), resources=resources)}
    made["clean"] = clean(corpus=made["collect"], resources=resources)
    made["deduplicate"] = deduplicate(corpus=made["clean"], resources=resources)
    learning = TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.1)
    made["tokenize"] = tokenize(corpus=made["deduplicate"], config=learning, resources=resources)
    return {name: artifact.digest for name, artifact in made.items()}


if __name__ == "__main__":
    shards.BATCH_BYTES = SMALL_BATCH
    print(json.dumps(data(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    sys.stdout.flush()
    os._exit(0)  # whatever a runner leaves behind
