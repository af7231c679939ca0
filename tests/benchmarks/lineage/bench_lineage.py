"""How long questions about lineage take, and how much memory, on 10,000 records and 10 million documents.

    python -m tests.benchmarks.lineage.bench_lineage [--records N] [--documents N] [--overhead] [--home FOLDER]

`make bench-lineage` runs it in full. Each question is a fresh process on one core; the shortest of three runs counts,
and memory is that process's peak. The store (about 4 GB; an hour on a busy machine, minutes on an idle one) is kept
in `.pedigree/bench/lineage-store`. Rows go to `.pedigree/bench/lineage.json`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.lineage.home import home
from tests.benchmarks.lineage import overhead, synthetic

TARGET_SECONDS, TARGET_MEGABYTES = 2.0, 1000.0
TIMES = 3
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "ARROW_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

# A process's peak counts that of the process it was forked from, so a small one stands between.
LAUNCHER = """
import json, os, sys, time
core, out, err, *command = sys.argv[1:]
os.sched_setaffinity(0, {int(core)})
began = time.perf_counter()
child = os.fork()
if not child:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.execv(command[0], command)
status, usage = os.wait4(child, 0)[1:]
print(json.dumps({
    "code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - began,
    "processor": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024,
}))
"""


@dataclass(frozen=True)
class Row:
    """One figure. seconds: by the clock; processor: of all threads; megabytes: peak of resident memory."""

    what: str
    seconds: float
    processor: float
    megabytes: float
    answer_bytes: int
    target_seconds: float | None = TARGET_SECONDS
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target_seconds is None:
            return None
        return self.seconds < self.target_seconds and self.megabytes < TARGET_MEGABYTES


def main() -> None:
    options = _options()
    folder = home() / "bench"
    store = folder / f"lineage-store-{options.records}-{options.documents}"
    console = Console(highlight=False, width=150)
    console.print(f"The synthetic store: {store}")
    facts = synthetic.make(store, options.records, options.documents)
    rows = [row for question in _questions(facts, store) if (row := _ask(console, store, *question)) is not None]
    found: dict[str, Any] = {"facts": facts, "rows": [{**asdict(row), "met": row.met} for row in rows]}
    if options.overhead:
        found["overhead"] = overhead.measure(options.home, folder / "overhead", console.print)
    if options.home:
        found["trace"] = [asdict(row) for row in _trace(console, options.home)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lineage.json").write_text(json.dumps(found, indent=1) + "\n")
    _print(console, rows, facts)
    if options.overhead:
        overhead.show(found["overhead"], console.print)
    console.print(f"Written to {folder / 'lineage.json'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--overhead", action="store_true", help="also the engine's share of a run's time")
    parser.add_argument("--home", type=Path, help="a PEDIGREE_HOME with a finished demo run: its overhead, and `trace`")
    return parser.parse_args()


def _questions(facts: dict[str, Any], store: Path) -> list[tuple[str, list[str], Path | None, bool]]:
    """Name, arguments of `pedigree`, what to delete before (so that it is built anew), whether the target applies."""
    model, corpus = facts["model"][:16], facts["corpus"][:16]
    return [
        ("header index, built anew", ["lineage", model, "--json"], store / "index" / "headers.jsonl", False),
        ("lineage MODEL", ["lineage", model], None, True),
        ("lineage MODEL --json", ["lineage", model, "--json"], None, True),
        ("lineage CORPUS --down", ["lineage", corpus, "--down"], None, True),
        ("lineage CORPUS --down --json (all of it)", ["lineage", corpus, "--down", "--json"], None, False),
        ("why train --json", ["why", "train", "--json"], None, True),
        ("document index, built anew", ["impact", "--doc", facts["document"], "--json"], store / "index" / "documents",
         False),
        ("impact --doc ID --json", ["impact", "--doc", facts["document"], "--json"], None, True),
    ]  # fmt: skip


def _ask(
    console: Console, root: Path, what: str, arguments: list[str], anew: Path | None, has_target: bool
) -> Row | None:
    """The shortest of several runs; None, with the reason, where the question has no answer."""
    runs = []
    for _ in range(TIMES if anew is None else 1):
        if anew is not None:
            shutil.rmtree(anew) if anew.is_dir() else anew.unlink(missing_ok=True)
        run = _pedigree(root, arguments)
        if run.code != 0:
            console.print(f"{what}: left out: {run.error.strip().splitlines()[-1:] or run.code}", markup=False)
            return None
        runs.append(run)
    best = min(runs, key=lambda run: run.seconds)
    row = Row(what, best.seconds, best.processor, best.megabytes, best.answer, TARGET_SECONDS if has_target else None)
    console.print(
        f"{what}: {row.seconds:.2f} s ({row.processor:.2f} of them computing), {row.megabytes:.0f} MB", markup=False
    )
    return row


@dataclass(frozen=True)
class _Run:
    code: int
    seconds: float
    processor: float
    megabytes: float
    answer: int
    error: str


def _pedigree(root: Path, arguments: list[str]) -> _Run:
    """One command in a fresh process that may use one core."""
    environment = {**os.environ, **ONE_CORE, "PEDIGREE_HOME": str(root)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    core = str(max(os.sched_getaffinity(0)))
    outputs = [root / f"bench.{name}" for name in ("out", "err")]
    told = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, core, *map(str, outputs), sys.executable, "-m", "flows.cli", *arguments],
        env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return _Run(**json.loads(told), answer=outputs[0].stat().st_size, error=outputs[1].read_text(errors="replace"))


def _trace(console: Console, root: Path) -> list[Row]:
    """`trace` of a sentence on a real home; the first time builds its index."""
    text = "Return a new array of given shape and type, filled with zeros."
    first = _ask(console, root, "trace TEXT (first, builds the index)", ["trace", text, "--json"], root / "none", False)
    again = _ask(console, root, "trace TEXT", ["trace", text, "--json"], None, True)
    return [row for row in (first, again) if row]


def _print(console: Console, rows: list[Row], facts: dict[str, Any]) -> None:
    table = Table(
        title=f"{facts['records']:,} records, {facts['documents']:,} documents, one core", title_justify="left"
    )
    for column in ("question", "seconds", "processor s", "peak MB", "answer bytes", "below 2 s and 1 GB"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for row in rows:
        met = {True: "yes", False: "NO", None: "no target"}[row.met]
        table.add_row(row.what, f"{row.seconds:.2f}", f"{row.processor:.2f}", f"{row.megabytes:.0f}",
                      f"{row.answer_bytes:,}", met)  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
