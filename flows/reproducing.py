"""`pedigree reproduce`: everything that something was made from is made again in an empty store, and compared.

The work is done by a process of its own (remaking.py), whose home is another folder, so that the store in use is only
read. No server is needed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.environment import PROJECT, serverless_environment
from flows.errors import SettingsError
from flows.remaking import EXCLUDE, MODULES
from flows.targets import resolve_all
from tasks.lineage.errors import StoreError
from tasks.lineage.files import remove_tree, write_atomically
from tasks.lineage.home import home
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.reproduce import outside, verdict
from tasks.reproduce.steps import Step, steps, work

MARK = "reproduction.json"
NAMES_DOCUMENTS = ("docs", "sources", "licenses", "annotators")  # settings of `exclude` that mean what a store holds
Answer = dict[str, Any]
Report = Callable[[Answer], None]


def reproduce(target: str, folder: Path | None, whole: bool, report: Report) -> Answer:
    """Make `target` again from its sources and say whether the bytes are the same.

    folder: a home for it that stays, so that a second call goes on where the first ended; None: one that is deleted.
    whole: go on after the first difference. report: told of every stage as it ends, as it will stand in the answer,
    and of progress: {"stage", "progress"}. Gives {"target", "identical", "verdict", "first_difference", "stages",
    "home", "notes"}; docs/schemas/reproduce.json has it all.

    Raises NotFound where a record is gone; SettingsError for a folder that holds something else.
    """
    store = Store()
    targets = resolve_all(target)
    records, inputs = work(store, targets)
    plan = steps(records, inputs, PROJECT, not_again)
    with _home(folder) as own:
        found = _Reproduction(store, Store(own), records, plan, report)
        found.run(stop=not whole)
    return found.answer(targets, folder)


def not_again(record: Record) -> str | None:
    """Why a record's work cannot be done again from the sources, so that its output is taken as it is."""
    if record.stage == EXCLUDE and any(record.config.get(name) for name in NAMES_DOCUMENTS):
        return "the list of what must be left out names documents of the store that it was made in; it holds no text"
    if record.stage not in MODULES:
        return "it was not made by a stage of this program"
    return None


class _Reproduction:
    """One reproduction: `stages` has an entry for each step, in order."""

    def __init__(self, store: Store, again: Store, records: list[Record], plan: list[Step], report: Report) -> None:
        self._store, self._again, self._records, self._plan, self._report = store, again, records, plan, report
        self.stages = [_entry(record) for record in records]

    def run(self, stop: bool) -> None:
        """Do the steps, as far as they go. Whatever stops it ends the other process too."""
        for number, record in enumerate(self._records):
            reason = not_again(record)
            if reason is not None and not self._take(number, record, reason):
                return
        command = [sys.executable, "-m", "flows.remaking"]
        environment = serverless_environment(self._again.root)
        with subprocess.Popen(
            command, env=environment, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdin and process.stdout
                with process.stdin as request:
                    plan = [step.model_dump(mode="json") for step in self._plan]
                    json.dump({"steps": plan, "stop": stop}, request)
                for line in process.stdout:
                    self._hear(json.loads(line))
            finally:
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.terminate()
        if process.returncode:
            self._died(process.returncode)

    def _take(self, number: int, record: Record, reason: str) -> bool:
        """Copy an output that cannot be made again into the other store; whether it was whole."""
        problems = self._store.problems(record.output, deep=True)
        if problems:
            failed = f"{reason}, and its output is not whole in the store: {'; '.join(problems)}"
            if record.declared is not None:
                failed += ". Adopt it again (`pedigree adopt`), then reproduce this"
            self._ended(number, verdict="failed", failed=failed)
            return False
        copy = self._again.root / "taking"
        remove_tree(copy)
        shutil.copytree(self._store.object_path(record.output.digest), copy)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if self._again.commit(copy, record.output.kind).digest != record.output.digest:
            raise StoreError(f"the output of {record.stage} {record.output.digest[:12]} changed while it was copied")
        self._again.write_record(record)
        self._ended(number, verdict="taken", made=record.output.digest, note=f"taken as it is: {reason}")
        return True

    def _hear(self, said: Answer) -> None:
        number = said["step"]
        if "progress" in said:
            self._report({"stage": self._records[number].stage, "progress": said["progress"]})
        elif "failed" in said:
            self._ended(number, verdict="failed", failed=said["failed"], sources=self._gone(number))
        else:
            old, new = self._records[number], self._again.record(said["key"])
            assert new is not None  # it was written before it was told of
            finding = verdict.compared(self._store, old, self._again, new)
            self._ended(
                number, made=new.output.digest, found=said["found"], seconds=new.wall_seconds, **finding
            )  # fmt: skip

    def _gone(self, number: int) -> dict[str, list[str]] | None:
        """Of a snapshot that could not be taken, the files that are not there any more."""
        output = self._records[number].output
        return outside.gone(self._store.object_path(output.digest)) if output.kind == outside.SNAPSHOT else None

    def _died(self, code: int) -> None:
        """The other process ended by itself: of the step that it was at."""
        waiting = [number for number, stage in enumerate(self.stages) if stage["verdict"] == "not made"]
        told = f"by signal {-code} (out of memory?)" if code < 0 else f"with exit code {code}"
        if waiting and self._first() is None:
            self._ended(waiting[0], verdict="failed", failed=f"the process that made it was ended {told}")

    def _ended(self, number: int, **fields: Any) -> None:
        self.stages[number] |= fields
        self._report(self.stages[number])

    def _first(self) -> Answer | None:
        return next((stage for stage in self.stages if stage["verdict"] in ("different", "failed")), None)

    def answer(self, targets: list[Record], folder: Path | None) -> Answer:
        """The answer of `reproduce`."""
        first = self._first()
        identical = all(stage["verdict"] in ("identical", "taken") for stage in self.stages)
        return {
            "target": [record.named() for record in targets],
            "identical": identical,
            "verdict": "identical" if identical else _verdict(first),
            "first_difference": None if first is None else _first_difference(first),
            "stages": self.stages,
            "home": str(folder.absolute()) if folder else None,
            "notes": [f"{stage['stage']} was {stage['note']}" for stage in self.stages if stage["note"]],
        }


def _entry(record: Record) -> Answer:
    """A stage of the answer, before anything is known of it."""
    return {
        "stage": record.stage,
        "key": record.key,
        "expected": record.output.digest,
        "made": None,
        "verdict": "not made",
        "found": False,
        "seconds": None,
        "seconds_before": record.wall_seconds,
        "causes": [],
        "numerics": [],
        "files": [],
        "sources": None,
        "failed": None,
        "note": None,
        "accepted": record.accepted.model_dump(mode="json") if record.accepted else None,
    }


def _verdict(first: Answer | None) -> str:
    """Of what is not identical, by the first stage that is not."""
    if first is None or first["verdict"] == "failed":
        return "failed"
    excused = first["numerics"] and not (first["causes"] or first["accepted"] or first["sources"])
    return "same recipe, other numerics" if excused else "different"


def _first_difference(stage: Answer) -> Answer:
    """{"stage", "file", "how", "causes"} and the finding on the file itself, `detail`; file None if there is none."""
    file = stage["files"][0] if stage["files"] else None
    told = []
    if stage["failed"]:
        told.append(stage["failed"])
    if stage["accepted"]:
        told.append("its output was not made by this code: a person accepted an earlier one in its place")
    told += [f"{cause['kind']} {cause['name']}" for cause in stage["causes"]]
    if stage["sources"]:
        told += [f"{what}: {', '.join(uris)}" for what, uris in stage["sources"].items() if uris]
    if stage["numerics"] and stage["verdict"] == "different":
        told += [f"{entry['name']} {entry['old']} → {entry['new']}" for entry in stage["numerics"]]
    if file:
        told.append(verdict.how(file))
    return {
        "stage": stage["stage"],
        "file": file["path"] if file else None,
        "how": "; ".join(told),
        "causes": stage["causes"],
        "detail": file,
    }


@contextmanager
def _home(folder: Path | None) -> Iterator[Path]:
    """An empty home, or one that holds an earlier reproduction. One that nobody asked to keep is deleted."""
    if folder is None:
        own = Path(tempfile.mkdtemp(prefix="pedigree-reproduce-"))
        try:
            yield own
        finally:
            remove_tree(own)
        return
    if folder.absolute() == home() or (folder.exists() and folder.resolve() == home().resolve()):
        raise SettingsError(f"{folder} is the store itself; everything would be found there. Give another folder.")
    if home().resolve() in folder.resolve().parents:
        raise SettingsError(f"{folder} is inside the store, which is only read here. Give a folder outside it.")
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is no folder.")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise SettingsError(f"{folder} holds something else. Give an empty folder, or that of an earlier reproduction.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / MARK, json.dumps({"of": str(home())}).encode())
    yield folder.absolute()
