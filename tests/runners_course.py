"""The data stages of a small folder inside a Prefect flow, on each of some runners: prints what came of it as JSON.

    python -m tests.runners_course FOLDER HOME RUNNER:WORKERS …

A program of its own, since Ray and Dask are in an environment of their own.
"""

import json
import os
import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from tasks import signing
from tasks.clean import clean
from tasks.collect import CollectConfig, collect
from tasks.deduplicate import deduplicate
from tasks.lineage import parallel
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text import draft_reader, items, shards
from tasks.text.sources import Source
from tasks.tokenize import TokenizeConfig, tokenize

SMALL_BATCH = 20_000  # bytes of text: several pieces of work from little text


@flow
def data(folder: Path, runner: str, workers: int) -> dict[str, str]:
    """Digests by stage, and the flow run's id."""
    resources = Resources.model_validate({"runner": runner, "workers": workers})
    sources = tuple(Source(kind="files", path=str(path)) for path in sorted(folder.iterdir()))
    outside = snapshot(config=SnapshotConfig(sources=sources, evaluation_share=0.2), resources=resources)
    made = {"collect": collect(snapshot=outside, config=CollectConfig(), resources=resources)}
    made["clean"] = clean(corpus=made["collect"], resources=resources)
    made["deduplicate"] = deduplicate(corpus=made["clean"], resources=resources)
    learning = TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.1)
    made["tokenize"] = tokenize(corpus=made["deduplicate"], config=learning, resources=resources)
    return {"flow_run": flow_run.id, **{name: artifact.digest for name, artifact in made.items()}}


if __name__ == "__main__":
    parallel.WORTH_PROCESSES = 0  # processes although there is so little
    items.PART_BYTES = draft_reader.BATCH_BYTES = signing.SIGNED_BYTES = SMALL_BATCH
    shards.BATCH_BYTES = shards.PIECE_BYTES = SMALL_BATCH
    done = {}
    for asked in sys.argv[3:]:
        kind, count = asked.split(":")
        os.environ["PEDIGREE_HOME"] = f"{sys.argv[2]}/{kind}-{count}"  # of its own, so that nothing is found
        done[asked] = data(Path(sys.argv[1]), kind, int(count))
    print(json.dumps(done))
