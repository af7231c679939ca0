"""The value stages hand to one another: small, JSON, and all that is needed to find the files."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tasks.lineage.home import home

DIGEST_PATTERN = r"^[0-9a-f]{64}$"


class Artifact(BaseModel):
    """An output in the store: what it is, its content and the key of the work that made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="what the folder holds: corpus, tokens, model …")
    digest: str = Field(pattern=DIGEST_PATTERN, description="digest of the content")
    key: str = Field(pattern=DIGEST_PATTERN, description="key of the record that produced it")

    @property
    def path(self) -> Path:
        """The read-only folder that holds the files."""
        return home() / "objects" / self.digest

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:12]}"
