"""The data chain on two cores against one, and its memory at ten times the text.

Two cores: seconds by the clock, of the same text, to the same bytes, after the same work before on both sides, which
starts processes and takes memory; each side has TURNS, and its fastest counts. On a machine with other work to do the
clock says little, so the note says what the processor time allows: with two free cores the work cannot be done sooner
than in half of all processor time. Memory: the peak of one process, imports and all; ten times the text is the text in
ten wordings, since copies would be dropped on the way.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.data.bench_chain import FIRST_MEGABYTES, VOCABULARY
from tests.benchmarks.data.sample import part, sample
from tests.benchmarks.rows import ONE_THREAD, Row, in_process

MEGABYTES, TIMES, TURNS = 25.0, 10, 3
SHARED_MEGABYTES = 80.0  # of which processes have their share, worked on before the time is taken
CHANGED = 3  # every third word is another in each wording


def rows() -> list[Row]:
    text = sample()
    own = [sys.executable, "-m", "tests.benchmarks.data.bench_chain"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_process([*own, "--tokenizer", str(folder / "tokenizer"), "--text", str(text)], ONE_THREAD)
        once = part(text, MEGABYTES, folder / "once.jsonl")
        tenfold = reworded(once, folder / "tenfold")

        def measured(corpus: Path, workers: int, first: float = SHARED_MEGABYTES) -> dict[str, Any]:
            home = folder / "home"
            settings = {**ONE_THREAD, "PEDIGREE_HOME": str(home)}
            tokenizer = ["--tokenizer", str(folder / "tokenizer" / "tokenizer.json")]
            in_process([*own, *tokenizer, "--compile", str(once)], settings)
            asked = [*own, *tokenizer, "--chain", str(corpus), "--workers", str(workers), "--first", str(first)]
            try:
                os.sync()
                return in_process(asked, settings)[0]
            finally:  # or the system would write it to the disk while the other side works
                shutil.rmtree(home)

        small = measured(once, 1, FIRST_MEGABYTES)
        turns = [(measured(tenfold, 1), measured(tenfold, 2)) for _ in range(TURNS)]
    large, parallel = (min(sides, key=lambda side: side["elapsed"]) for sides in zip(*turns, strict=True))
    if large["digest"] != parallel["digest"]:
        raise AssertionError("two workers gave other bytes than one")
    rate, serial = (side["bytes"] / 1e6 / side["elapsed"] for side in (parallel, large))
    main, workers = parallel["seconds"], parallel["worker_seconds"]
    allowed = 2 * large["seconds"] / (main + workers)
    size = f"{large['bytes'] / 1e6:.0f} MB, vocabulary {VOCABULARY}"
    seconds = (
        f"processor seconds {large['seconds']:.0f} with one worker, with two {main:.0f} in the main process and "
        f"{workers:.0f} in the workers, which allows {allowed:.2f} times the speed"
    )
    return [
        Row(
            "the same chain on two cores", "one core", rate, serial, rate / serial, "MB/s", {}, 1.8,
            f"{size}; {seconds}",
        ),
        Row(
            f"peak memory, {TIMES}× the text", "1× the text", large["peak_mib"], small["peak_mib"],
            small["peak_mib"] / large["peak_mib"], "MiB", {}, 1 / 1.3, f"{size}; may grow to 1.3 times",
        ),
    ]  # fmt: skip


def reworded(text: Path, folder: Path) -> Path:
    """The documents in TIMES wordings, each in a file."""
    folder.mkdir()
    for wording in range(TIMES):
        with (folder / f"{wording:02d}.jsonl").open("w", encoding="utf-8") as output:
            for line in text.open(encoding="utf-8"):
                row = json.loads(line)
                words = row["text"].split(" ")
                words[::CHANGED] = [f"{word}{wording or ''}" for word in words[::CHANGED]]
                row |= {"text": " ".join(words), "source": f"{row['source']}?{wording}"}
                output.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder
