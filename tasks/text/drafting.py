"""Reading the items of a snapshot into drafts: what was read before is remembered, the rest is read by workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.lineage.parallel import Mapper
from tasks.text.documents import Limits
from tasks.text.draft_cache import DraftCache, item_keys
from tasks.text.drafts import DraftTask, Segment, write_drafts
from tasks.text.items import Part, cut
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


def read_items(wholes: Sequence[Part], limits: Limits, mapper: Mapper, progress: Callable[[int, int], None]) -> Reading:
    """The drafts of each source's items. mapper: reads parts; progress: is told bytes read and bytes to read.

    Finished parts are remembered at once, so a killed run goes on after them.
    """
    memory = DraftCache()
    places: dict[bytes, Segment] = {}
    keys = [list(item_keys(whole.source, whole.items, limits)) for whole in wholes]
    tasks: list[DraftTask] = []
    task_keys: list[list[bytes]] = []
    for whole, its_keys in zip(wholes, keys, strict=True):
        known = memory.known(its_keys)
        places |= known
        missing = {key: item for key, item in zip(its_keys, whole.items, strict=True) if key not in known}
        of_item = {id(item): key for key, item in missing.items()}
        for part in cut(whole.source, list(missing.values())):
            part_keys = [of_item[id(item)] for item in part.items]
            tasks.append(DraftTask(part, limits, memory.file(part_keys)))
            task_keys.append(part_keys)
    total = sum(task.size for task in tasks)
    reading = Reading([], sum(map(len, keys)), sum(map(len, task_keys)), total)
    done = 0
    progress(done, total)
    drafted = mapper(write_drafts, tasks)
    for task, part_keys, made in zip(tasks, task_keys, drafted, strict=True):
        memory.remember(part_keys, made)
        places |= {key: item.segment for key, item in zip(part_keys, made, strict=True)}
        reading.changed += sum(item.changed for item in made)
        done += task.size
        progress(done, total)
    memory.used({segment.file for segment in places.values()})
    for whole, its_keys in zip(wholes, keys, strict=True):
        reading.drafts.append(SourceDrafts(whole.source, tuple(places[key] for key in its_keys)))
    return reading
