"""When malformed rows are too many: counted by source, and told with examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.lineage.errors import DataError

_SHOWN = 5
FEWEST = 20  # malformed rows that can be too many: of fewer, a share says little


@dataclass
class SourceCount:
    """Rows of one source: how many there are, how many could not be read, and the first of those.

    files: those among the rejected that are no rows but whole files. in_unread: rows of files none of whose rows has
    a text: each such file counts as one that could not be read, unless there is no other.
    """

    described: str
    rows: int = 0
    rejected: int = 0
    files: int = 0
    in_unread: int = 0
    examples: list[str] = field(default_factory=list)

    def reject(self, uri: str, line: int | None, reason: str) -> None:
        self.rejected += 1
        self.files += line is None
        if len(self.examples) < _SHOWN:
            where = uri if line is None else f"{uri} line {line}"
            self.examples.append(f"{where}: {reason}")


def check(counts: Sequence[SourceCount], max_bad_share: float, setting: str) -> None:
    """Raise DataError, naming the first few, if more than ``max_bad_share`` of a source's rows are malformed."""
    for count in counts:
        malformed, rows = count.rejected - count.files, count.rows
        if count.rejected < rows:  # something could be read
            malformed, rows = malformed - count.in_unread, rows - count.in_unread
        if malformed >= FEWEST and malformed > max_bad_share * rows:
            examples = "\n  ".join(count.examples)
            raise DataError(
                f"{malformed} of {rows} rows of {count.described!r} could not be read, more than {setting} "
                f"({max_bad_share:.0%}) allows. Mend or remove them, or raise {setting}. The first:\n  {examples}"
            )
