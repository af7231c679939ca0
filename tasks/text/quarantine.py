"""When malformed rows are too many: counted by source, and told with examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.lineage.errors import DataError

_SHOWN = 5


@dataclass
class SourceCount:
    """Rows of one source: how many there are, how many could not be read, and the first of those."""

    described: str
    rows: int = 0
    rejected: int = 0
    examples: list[str] = field(default_factory=list)

    def reject(self, uri: str, line: int | None, reason: str) -> None:
        self.rejected += 1
        if len(self.examples) < _SHOWN:
            where = uri if line is None else f"{uri} line {line}"
            self.examples.append(f"{where}: {reason}")


def check(counts: Sequence[SourceCount], max_bad_share: float, setting: str) -> None:
    """Raise DataError, naming the first few, if more than ``max_bad_share`` of a source could not be read."""
    for count in counts:
        if count.rows and count.rejected > max_bad_share * count.rows:
            examples = "\n  ".join(count.examples)
            raise DataError(
                f"{count.rejected} of {count.rows} rows of {count.described!r} could not be read, more than {setting} "
                f"({max_bad_share:.0%}) allows. Mend or remove them, or raise {setting}. The first:\n  {examples}"
            )
