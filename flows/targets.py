"""Finds the work that a person names, however he names it:

    pedigree-aligned, aligned         a registered model: what the latest flow run met in its stage
    pedigree-aligned@current, …/3     a version of a registered model, by alias or number (asks MLflow)
    ppo, tokenize                     a stage: likewise its latest
    3fa9c1d2                          the beginning of an output's digest or of a record's key, four characters or more
    8f1c…-…-…                         a flow run in Prefect, by its whole id
    0a1b…                             a run in MLflow, by its whole id

Only names of versions, and runs that no record or journal knows, need the MLflow server.
"""

import re

from flows import servers
from flows.errors import NothingFound, ServerUnreachable
from flows.latest import DONE, MODEL_PREFIX, MODEL_STAGES, latest
from tasks.lineage import journal
from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.tracking import names

SHORTEST_PREFIX = 4
FLOW_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MLFLOW_RUN = re.compile(r"[0-9a-f]{32}")
VERSION = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))")
LISTED = 6  # candidates named in an error


def resolve(target: str) -> Record:
    """The record of what `target` names; of a flow run the one that most of its work went into.

    Raises NothingFound for a name that nothing answers to, or several things do.
    """
    return resolve_all(target)[0]


def resolve_all(target: str) -> list[Record]:
    """As `resolve`, with every end of a flow run: a flow that makes tokens and pairs has two."""
    store = Store()
    return resolve_among(store, headers(store), target)


def resolve_among(store: Store, known: list[Header], target: str) -> list[Record]:
    """As `resolve_all`, where the store's headers have been read already."""
    return [record_of(store, header) for header in _Search(store, known).find(target.strip())]


def record_of(store: Store, header: Header) -> Record:
    """The record that a header is of. Raises NothingFound where it is gone by now."""
    record = store.maker(header.artifact)
    if record is None:
        raise NothingFound(f"The record {header.key[:12]} of {header.stage} was removed while it was looked for.")
    return record


class _Search:
    def __init__(self, store: Store, known: list[Header]) -> None:
        self._store = store
        self._known = known
        self._stages = sorted({header.stage for header in known})

    def find(self, target: str) -> list[Header]:
        name = target.lower()
        stage = MODEL_STAGES.get(target.removeprefix(MODEL_PREFIX), target)
        if stage in self._stages:
            record = latest(stage)
            assert record is not None  # there is a header of this stage
            return [self._header(record.artifact.key, record.output.digest)]
        if match := VERSION.fullmatch(target):
            return [self._version(target, **match.groupdict())]
        if FLOW_RUN.fullmatch(name):
            return self._flow_run(name)
        if MLFLOW_RUN.fullmatch(name) and (found := self._mlflow_run(name)):
            return found
        return [self._prefix(target)]

    def _version(self, target: str, name: str, alias: str | None, version: str | None) -> Header:
        name = name if name.startswith(MODEL_PREFIX) else MODEL_PREFIX + name
        servers.name_mlflow()
        try:
            made = names.by_alias(name, alias) if alias else names.by_version(name, str(version))
        except names.MlflowAway as error:
            raise ServerUnreachable(
                f"{target!r} is a name in MLflow's registry, and {error}. Start it with `pedigree up`, or give the "
                "model's digest or its name alone."
            ) from error
        if made is None:
            raise NothingFound(f"MLflow's registry has no {target!r} that Pedigree made; its page Models lists them.")
        return self._made(made, target)

    def _mlflow_run(self, run_id: str) -> list[Header]:
        """A stage's run by its record or the journal; then a flow's; then whatever MLflow itself says of the run."""
        own = [header for header in self._known if header.mlflow_run_id == run_id]
        if own:
            return own[:1]
        for flow_run_id, entry in journal.flows().items():
            if entry.get("mlflow_run_id") == run_id:
                return self._flow_run(flow_run_id)
            for stage in entry["stages"].values():
                if stage.get("mlflow_run_id") == run_id and stage.get("key"):
                    return [self._header(stage["key"], stage.get("output"))]
        servers.name_mlflow()
        try:
            found = names.by_run(run_id)
        except names.MlflowAway:
            return []  # 32 characters may also begin a digest
        if isinstance(found, str):
            return self._flow_run(found)
        return [self._made(found, run_id)] if found else []

    def _flow_run(self, flow_run_id: str) -> list[Header]:
        """What no other stage of the run took, the one made of the most first."""
        entry = journal.read_flow(flow_run_id)
        stages = entry["stages"].values() if entry else ()
        met = {(stage["key"], stage.get("output")) for stage in stages if stage["state"] in DONE and stage.get("key")}
        found = [
            header
            for header in self._known
            if (header.key, header.digest) in met or (not met and header.flow_run_id == flow_run_id)
        ]
        if not found:
            raise NothingFound(
                f"No finished stage of the flow run {flow_run_id} is in this store. `pedigree status` shows the latest "
                "run of each flow."
            )
        return Graph(self._known).ends(found)

    def _prefix(self, target: str) -> Header:
        prefix = target.lower()
        matches = [
            header
            for header in self._known
            if len(prefix) >= SHORTEST_PREFIX and (header.digest.startswith(prefix) or header.id.startswith(prefix))
        ]
        if not matches:
            raise NothingFound(self._unknown(target))
        if len({header.digest for header in matches}) > 1:
            named = ", ".join(f"{header.stage} {header.digest[:16]}" for header in matches[:LISTED])
            more = f" and {len(matches) - LISTED} more" if len(matches) > LISTED else ""
            raise NothingFound(f"{target!r} begins the digest or key of {named}{more}; give more of it.")
        return _newest(matches)

    def _made(self, made: names.Made, target: str) -> Header:
        matches = [header for header in self._known if header.digest == made.digest]
        if not matches:
            raise NothingFound(
                f"{target!r} is the output {made.digest[:12]}, of which this store has no record. Is PEDIGREE_HOME the "
                "one that it was made in?"
            )
        return next((header for header in matches if header.key == made.key), _newest(matches))

    def _header(self, key: str, digest: str | None) -> Header:
        found = [header for header in self._known if header.key == key and digest in (None, header.digest)]
        if not found:
            raise NothingFound(f"The record {key[:12]} is no longer in this store; run the flow that made it.")
        return _newest(found)

    def _unknown(self, target: str) -> str:
        models = ", ".join(f"{MODEL_PREFIX}{model}" for model in MODEL_STAGES)
        made = ", ".join(self._stages) or "none yet"
        return (
            f"Nothing is called {target!r}. Give a model ({models}; also with @alias or /version), a stage (made so "
            f"far: {made}), the id of a run in MLflow or Prefect, or four or more characters of a digest."
        )


def _newest(matches: list[Header]) -> Header:
    return max(matches, key=lambda header: (not header.superseded, header.created))
