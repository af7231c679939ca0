"""What a training stage tells while it trains, and which documents it names when it diverges: one way for all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import torch

from model.throughput import peak_memory_bytes
from model.training import NonFiniteLoss
from tasks.lineage.cost import Meter
from tasks.lineage.errors import DataError
from tasks.lineage.stage_run import StageRun

MOST_NAMED = 20  # documents of a batch in a message
SLOW_FIGURES = 200  # points at most of what changes slowly: memory and energy


class BatchDocument(NamedTuple):
    """A document that a batch was made of, and where it came from ("" where that is not known)."""

    doc_id: str
    source: str


class Watch:
    """Logs and shows each step; give it to `train` or `train_ppo` as `on_step`, and train inside `naming_documents`.

    steps: the last step. shown: figures of the progress line. documents: the documents of a step counted from 0, asked
    for only when something is wrong with it. prefix: of the metrics' names, where they have none.
    """

    def __init__(
        self,
        run: StageRun,
        stage: str,
        steps: int,
        documents: Callable[[int], Sequence[BatchDocument]],
        *,
        device: torch.device,
        shown: Sequence[str] = ("loss", "tokens_per_second", "mfu"),
        prefix: str = "train",
    ) -> None:
        self._run, self._stage, self._steps, self._documents = run, stage, steps, documents
        self._device, self._shown, self._prefix = device, shown, prefix
        self._meter = Meter()
        self._every = max(1, steps // SLOW_FIGURES)

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes the figures of `step`, counted from 1."""
        found = dict(figures)
        if step % self._every == 0 or step == self._steps:
            found["peak_memory_gb"] = peak_memory_bytes(self._device) / 1e9
            found["energy_wh"] = self._meter.energy_wh  # of this attempt
        self._run.log_metrics(
            {name if "/" in name else f"{self._prefix}/{name}": value for name, value in found.items()}, step
        )
        self._run.progress(step, self._steps, **{name: found[name] for name in self._shown if name in found})
        if found.get("skipped"):
            self._run.logger.warning(
                "%s: step %d (counted from 0) was a spike (loss %.4g, gradient norm %.4g); its update is left out. %s",
                self._stage, step - 1, found["loss"], found["grad_norm"], self._named(step - 1),
            )  # fmt: skip

    @contextmanager
    def naming_documents(self) -> Iterator[None]:
        """Within it, a loss or gradient that is not finite becomes a DataError that names the step's documents."""
        try:
            yield
        except NonFiniteLoss as error:
            raise DataError(f"{self._stage}: {error}. {self._named(error.step)}") from error

    def _named(self, step: int) -> str:
        documents = list(dict.fromkeys(self._documents(step)))
        names = [f"{document.doc_id} ({document.source or 'source unknown'})" for document in documents[:MOST_NAMED]]
        more = len(documents) - len(names)
        return _printable(f"Its documents: {', '.join(names)}{f', and {more} more' if more else ''}")


def documents_where(
    table: Path, column: str, values: Sequence[str], *, doc_id: str = "doc_id", source: str = "source"
) -> list[BatchDocument]:
    """The documents of a Parquet table whose `column` has one of the values, in the order of the values.

    A value that is not there (none is, where there is no table) stands for itself, as a document of unknown source.
    """
    found: dict[str, list[BatchDocument]] = {}
    if table.is_file():
        columns = list(dict.fromkeys((column, doc_id, source)))
        rows = pq.read_table(table, columns=columns, filters=[(column, "in", sorted(set(values)))]).to_pylist()
        for row in rows:
            found.setdefault(row[column], []).append(BatchDocument(row[doc_id], row[source]))
    return [document for value in values for document in found.get(value, [BatchDocument(value, "")])]


def _printable(text: str) -> str:
    """Sources are foreign text: what could command a terminal is written out."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
