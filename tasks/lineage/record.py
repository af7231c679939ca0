"""The record of one piece of work: what went in, what came out, by which code, at what cost.

Records are the truth that every later question is answered from; MLflow and Prefect only mirror them. Its file begins
with the checksum of the rest, so that a changed byte is seen.
"""

import hashlib
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import Acceptance, Cause
from tasks.lineage.declaration import Declaration


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")  # a metric may be NaN


class StoredFile(_Model):
    """One file of an output. `path` is relative, with forward slashes; `size` in bytes."""

    path: str
    size: int
    sha256: str


class Output(_Model):
    """What the work made."""

    kind: str
    digest: str
    files: list[StoredFile]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


class Record(_Model):
    """Everything known about one finished piece of work."""

    checksum: str | None = Field(None, description="of the record's file, where it stands in one; see `sealed`")
    key: str = Field(description="sha256 over stage, inputs, config, code and versions")
    stage: str
    inputs: dict[str, Artifact] = Field(description="parameter name → consumed artifact")
    config: dict[str, Any] = Field(description="identity settings, neutral ones left out")
    code: dict[str, str] = Field(description="module:definition → digest of its normalised source")
    code_digest: str
    versions: dict[str, str] = Field(description="library → version, for the libraries that shape the result")
    output: Output
    metrics: dict[str, float] = Field(default_factory=dict, description="summary figures")
    documents: dict[str, int] | None = Field(None, description="documents_in, documents_kept, documents_dropped")
    wall_seconds: float
    cpu_seconds: float
    energy_wh: float = Field(description="estimate, see cost.py")
    numerics: dict[str, Any] = Field(description="what may change bytes but not meaning: processor, threads, builds")
    metrics_digest: str | None = Field(None, description="sha256 of the metrics file when the work was done")
    git_commit: str | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    mlflow_run_id: str | None = None
    created: str = Field(description="ISO 8601, UTC")
    causes: list[Cause] = Field(default_factory=list, description="why it ran: what differed from `compared_with`")
    compared_with: str | None = Field(None, description="key of what was then the nearest earlier record")
    accepted: Acceptance | None = Field(None, description="set if no work was done: a person took an existing output")
    declared: Declaration | None = Field(None, description="set if it was made elsewhere: what a person says of it")

    @property
    def artifact(self) -> Artifact:
        """The output as the value other stages take."""
        return Artifact(kind=self.output.kind, digest=self.output.digest, key=self.key)

    def named(self) -> dict[str, str]:
        """As answers name it: {"stage", "kind", "digest", "key"}."""
        return {"stage": self.stage, "kind": self.output.kind, "digest": self.output.digest, "key": self.key}


_SEAL = re.compile(rb'\{\n "checksum": "([0-9a-f]{64})"')
_UNSEALED = b'{\n "checksum": ""'


def sealed(record: Record) -> bytes:
    """The content of the record's file: JSON whose checksum is the sha256 of the same text with an empty checksum."""
    blank = record.model_copy(update={"checksum": ""}).model_dump_json(indent=1).encode()
    assert blank.startswith(_UNSEALED)
    return _UNSEALED[:-1] + hashlib.sha256(blank).hexdigest().encode() + blank[len(_UNSEALED) - 1 :]


def unsealed(content: bytes) -> Record:
    """The record in a file. Raises ValueError if it is no record, or not as it was written.

    Records that were written before there were checksums have none, and are taken as they are.
    """
    record = Record.model_validate_json(content)
    if record.checksum is None:
        return record
    seal = _SEAL.match(content)
    if seal is None or hashlib.sha256(_UNSEALED + content[seal.end() :]).hexdigest().encode() != seal[1]:
        raise ValueError("its content differs from its checksum")
    return record.model_copy(update={"checksum": None})
