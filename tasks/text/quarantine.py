"""When malformed rows are too many: counted by source, and told with the commonest reasons, an example of each."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from tasks.lineage.errors import DataError

_SHOWN = 5
_MOST_KINDS = 1000  # of reasons that are told apart: some name what was in the row
_OTHER = "other reasons"
FEWEST = 20  # malformed rows that can be too many: of fewer, a share says little


@dataclass
class SourceCount:
    """Rows of one source: how many there are, how many could not be read, and why.

    files: those among the rejected that are no rows but whole files. in_unread: rows of files none of whose rows has
    a text: each such file counts as one that could not be read, unless there is no other.
    """

    described: str
    rows: int = 0
    rejected: int = 0
    files: int = 0
    in_unread: int = 0
    first: str = ""
    _reasons: Counter[str] = field(default_factory=Counter)  # of rows, by kind: the same but for numbers
    _examples: dict[str, str] = field(default_factory=dict)  # the first of each kind

    def reject(self, uri: str, line: int | None, reason: str) -> None:
        self.rejected += 1
        self.first = self.first or _told(uri, line, reason)
        if line is None:
            self.files += 1
            return
        kind = _kind(reason)
        if kind not in self._reasons and len(self._reasons) >= _MOST_KINDS:
            kind = _OTHER
        self._reasons[kind] += 1
        if self._reasons[kind] == 1:
            self._examples[kind] = _told(uri, line, reason)

    def commonest(self) -> list[str]:
        """The commonest reasons why rows could not be read: how many rows each, and the first of them."""
        found = self._reasons.most_common(_SHOWN)
        return [f"{count:,} such as {self._examples[kind]}" for kind, count in found]


def _told(uri: str, line: int | None, reason: str) -> str:
    return f"{uri if line is None else f'{uri} line {line}'}: {reason}"


@lru_cache(maxsize=4096)
def _kind(reason: str) -> str:
    return re.sub(r"\d[\d,.]*", "0", reason)


def check(counts: Sequence[SourceCount], max_bad_share: float, setting: str) -> None:
    """Raise DataError, with the commonest reasons, if more than ``max_bad_share`` of a source's rows are malformed."""
    for count in counts:
        malformed, rows = count.rejected - count.files, count.rows
        if count.rejected < rows:  # something could be read
            malformed, rows = malformed - count.in_unread, rows - count.in_unread
        if malformed >= FEWEST and malformed > max_bad_share * rows:
            reasons = "\n  ".join(count.commonest())
            raise DataError(
                f"{malformed} of {rows} rows of {count.described!r} could not be read, more than {setting} "
                f"({max_bad_share:.0%}) allows. Mend or remove them, or raise {setting}. The commonest "
                f"reasons:\n  {reasons}"
            )


def metrics(counts: Sequence[SourceCount]) -> dict[str, int]:
    """How many rows and whole files could not be read; empty if all could."""
    rejected, files = sum(count.rejected for count in counts), sum(count.files for count in counts)
    return {"quarantined_rows": rejected - files, "quarantined_files": files} if rejected else {}
