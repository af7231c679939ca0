"""Reading the items of a snapshot into drafts: what was read before is remembered, the rest is read by workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tasks.lineage.parallel import Mapper
from tasks.text.documents import Limits
from tasks.text.draft_cache import DraftCache, item_keys, range_key
from tasks.text.drafts import Drafted, DraftTask, Segment, write_drafts
from tasks.text.items import Item, Part, cut
from tasks.text.ranges import LineRange, count_ranges, line_ranges
from tasks.text.sources import Source


@dataclass(frozen=True)
class SourceDrafts:
    """All that one source holds, in the order of its items."""

    source: Source
    segments: tuple[Segment, ...]

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)


@dataclass
class Reading:
    """What was read. read: items that had to be read, of all; changed: how many of them were not what the snapshot saw,
    so that the drafts do not follow from the snapshot alone."""

    drafts: list[SourceDrafts]
    items: int = 0
    read: int = 0
    bytes_read: int = 0
    changed: int = 0


@dataclass(frozen=True)
class _Wanted:
    """An item, and under what its drafts are remembered: as a whole and, if several workers read it, by range."""

    source: Source
    item: Item
    key: bytes
    range_keys: tuple[bytes, ...]

    def segments(self, places: dict[bytes, Segment]) -> tuple[Segment, ...] | None:
        """Where its drafts lie; None if some are missing."""
        if self.key in places:
            return (places[self.key],)
        found = tuple(places[key] for key in self.range_keys if key in places)
        return found if found and len(found) == len(self.range_keys) else None


def read_items(wholes: Sequence[Part], limits: Limits, mapper: Mapper, progress: Callable[[int, int], None]) -> Reading:
    """The drafts of each source's items. mapper: reads parts; progress: is told bytes read and bytes to read.

    Finished parts are remembered within a second, so a killed run goes on after them. Of a large file of lines a part
    is a range; if it changes while it is read, one worker goes through it once more and says so.
    """
    wanted = [_wanted(whole, limits) for whole in wholes]
    reader = _Reader(limits, mapper, progress)
    missing = [reader.missing(of_source) for of_source in wanted]
    for of_source in missing:
        reader.add_whole([one for one in of_source if not one.range_keys])
    reader.add_ranges([one for of_source in missing for one in of_source if one.range_keys])
    reader.read()
    reader.add_whole(reader.disturbed)
    reader.read()
    reading = Reading([], sum(map(len, wanted)), sum(map(len, missing)), reader.total, reader.changed)
    for whole, of_source in zip(wholes, wanted, strict=True):
        segments = [segment for one in of_source for segment in one.segments(reader.places) or ()]
        reading.drafts.append(SourceDrafts(whole.source, tuple(segments)))
    reader.memory.used({segment.file for one in reading.drafts for segment in one.segments})
    return reading


def _wanted(whole: Part, limits: Limits) -> list[_Wanted]:
    found = []
    for item, key in zip(whole.items, item_keys(whole.source, whole.items, limits), strict=True):
        count = count_ranges(item)
        ranges = tuple(range_key(key, number, count) for number in range(count)) if count > 1 else ()
        found.append(_Wanted(whole.source, item, key, ranges))
    return found


class _Reader:
    """What is still to be read, and what has been. places: of drafts, by what they are remembered under. disturbed:
    items of which some ranges were no longer what the snapshot saw. changed: items that are in quarantine for it."""

    def __init__(self, limits: Limits, mapper: Mapper, progress: Callable[[int, int], None]) -> None:
        self._limits, self._mapper, self._progress = limits, mapper, progress
        self._waiting: list[tuple[DraftTask, list[_Wanted], list[bytes]]] = []
        self._done = self.total = self.changed = 0
        self.memory = DraftCache()
        self.places: dict[bytes, Segment] = {}
        self.disturbed: list[_Wanted] = []

    def missing(self, wanted: Sequence[_Wanted]) -> list[_Wanted]:
        """Those that are not remembered in full."""
        self.places |= self.memory.known([key for one in wanted for key in (one.key, *one.range_keys)])
        return [one for one in wanted if one.segments(self.places) is None]

    def add_whole(self, wanted: Sequence[_Wanted]) -> None:
        """Let items be read, several small ones by one worker."""
        of_item = {id(one.item): one for one in wanted}
        for source, ones in groupby(wanted, lambda one: one.source):
            for part in cut(source, [one.item for one in ones]):
                of_part = [of_item[id(item)] for item in part.items]
                self._add(part, of_part, [one.key for one in of_part])

    def add_ranges(self, wanted: Sequence[_Wanted]) -> None:
        """Let large items be read, each by several workers."""
        counts = [(one.item, len(one.range_keys)) for one in wanted]
        for one, ranges in zip(wanted, line_ranges(counts, self._mapper), strict=True):
            if ranges is None:
                self.disturbed.append(one)
                continue
            missing = [pair for pair in zip(one.range_keys, ranges, strict=True) if pair[0] not in self.places]
            for number, (key, lines) in enumerate(missing):
                part = Part(one.source, (one.item,))
                self._add(part, [one], [key], replace(lines, looks=number == 0))

    def _add(self, part: Part, wanted: list[_Wanted], keys: list[bytes], only: LineRange | None = None) -> None:
        task = DraftTask(part, self._limits, self.memory.file(keys), only)
        self.total += task.size
        self._waiting.append((task, wanted, keys))

    def read(self) -> None:
        """Read all that was added."""
        waiting, self._waiting = self._waiting, []
        self._progress(self._done, self.total)
        drafted = self._mapper(write_drafts, [task for task, _, _ in waiting])
        try:
            for (task, wanted, keys), made in zip(waiting, drafted, strict=True):
                self._done += task.size
                self._progress(self._done, self.total)
                self._take(task, wanted, keys, made)
        finally:
            self.memory.save()

    def _take(self, task: DraftTask, wanted: list[_Wanted], keys: list[bytes], made: list[Drafted]) -> None:
        """What was made of one part."""
        changed = sum(one.changed for one in made)
        if task.only is not None:
            [one] = wanted
            if changed and one not in self.disturbed:
                self.disturbed.append(one)
            if one in self.disturbed:  # the first of its ranges tells, so nothing is remembered of what it was not
                return
        self.memory.remember(keys, made)
        self.places |= {key: one.segment for key, one in zip(keys, made, strict=True)}
        self.changed += changed
