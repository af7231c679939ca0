"""What a user can name as a source of text or of prompt–response pairs.

One flat model, so that the form in the Prefect UI stays a plain list of fields; a validator says
which fields belong to which kind of source.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SourceKind = Literal["packages", "files", "huggingface"]
TextKind = Literal["docstring", "markdown", "rst", "text", "html", "code"]


class Source(BaseModel):
    """A place that documents or prompt–response pairs come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SourceKind = Field(
        "packages",
        title="Kind",
        description="packages: documentation of the installed Python packages. files: a file, folder, glob or URI. "
        "huggingface: a data set of the Hugging Face hub, or a folder written by save_to_disk.",
    )
    role: Literal["text", "pairs", "benchmark"] = Field(
        "text",
        title="Role",
        description="text: documents to pretrain on (packages then also give questions and answers). "
        "pairs: prompt–response pairs only. benchmark: what models are evaluated on, to be kept out of training.",
    )
    path: str | None = Field(
        None,
        title="Path or name",
        max_length=4096,
        description="files: a file, folder, glob or URI (s3://, https://, zip:// …) of .jsonl, .parquet, .txt, .md, "
        ".rst, .html, .pdf, .warc, .wet or source code, also .gz and .zst. "
        "huggingface: the data set's name, or its folder. packages: leave empty.",
    )
    subset: str | None = Field(
        None, title="Subset", max_length=200, description="huggingface: configuration of the data set, if several."
    )
    split: str | None = Field(
        None, title="Split", max_length=200, description="huggingface: only this split; empty takes all of them."
    )
    revision: str | None = Field(
        None, title="Revision", max_length=200, description="huggingface: branch, tag or commit; the commit is kept."
    )
    text_field: str = Field(
        "text", title="Text field", min_length=1, max_length=200, description="Field of a row that holds the text."
    )
    origin_field: str | None = Field(
        None,
        title="Origin field",
        max_length=200,
        description="Field that names where a row came from. Rows of one origin stay on one side of the evaluation "
        "split. Empty: the file is the origin.",
    )
    license: str | None = Field(
        None, title="Licence", max_length=200, description="SPDX licence of this source; overrides what is found."
    )
    text_kind: TextKind | None = Field(
        None, title="Kind of text", description="Chooses the cleaning rules; empty: judged by the file's name."
    )
    include: tuple[str, ...] = Field(
        ("*",), title="Packages to take", description="packages: names, with * and ? as wildcards."
    )
    exclude: tuple[str, ...] = Field(
        (), title="Packages to leave out", description="packages: names, with * and ? as wildcards."
    )
    max_bytes: int | None = Field(
        None,
        title="Most bytes",
        ge=1,
        description="packages: whole packages are taken, in an order fixed by their names' hash, while their files fit "
        "into this many bytes. Empty: all.",
    )

    @model_validator(mode="after")
    def _fields_belong_to_kind(self) -> Self:
        foreign: dict[str, object]
        if self.kind == "packages":
            if self.role == "benchmark":
                raise ValueError("a benchmark is of kind 'files' or 'huggingface': packages are documentation")
            foreign = {
                "path": self.path,
                "subset": self.subset,
                "split": self.split,
                "revision": self.revision,
                "origin_field": self.origin_field,
            }
        else:
            if not self.path:
                raise ValueError(f"a source of kind {self.kind!r} needs 'path': say what to read")
            foreign = {"include": self.include != ("*",), "exclude": self.exclude, "max_bytes": self.max_bytes}
            if self.kind == "files":
                foreign |= {"subset": self.subset, "split": self.split, "revision": self.revision}
        wrong = sorted(name for name, value in foreign.items() if value)
        if wrong:
            raise ValueError(f"a source of kind {self.kind!r} takes no {', '.join(map(repr, wrong))}: leave it out")
        return self

    def described(self) -> str:
        """Short name for messages, such as ``files ../books/*.txt``."""
        return f"{self.kind} {self.path}" if self.path else self.kind
