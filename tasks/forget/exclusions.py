"""The exclusion list: what must be left out of every collection from now on.

Each list is an artifact, made by the stage `exclude` from the one before and from what is to be forgotten next, so it
only ever grows and its ancestry says when. `collect` and `pair` take the current one as an input; while there is none
they take nothing, and their keys are what they were before anything was forgotten.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.forget.derived import derived
from tasks.forget.texts import wordings
from tasks.impact.selector import RANKING, Selection, Selector, select
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import ConfigError, DataError, StoreError
from tasks.lineage.files import write_atomically
from tasks.lineage.home import home
from tasks.lineage.store import Store
from tasks.stage import Resources, StageConfig, StageRun, neutral, stage
from tasks.text.forgotten import NUM_PERMUTATIONS, SCHEMA, Wording, read_rows, rows_of, write_list


class TextPrint(BaseModel):
    """What a text is recognised by, so that the text itself need not be named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(pattern="^[0-9a-f]{32}$", title="Digest", description="BLAKE2b of the text in lower case")
    signature: str | None = Field(
        None, pattern=f"^[0-9a-f]{{{8 * NUM_PERMUTATIONS}}}$", title="Signature", description="MinHash, in hex"
    )


class ExcludeConfig(StageConfig):
    """What is to be forgotten: documents and texts by name; or all of a source, licence or annotator.

    Together, the latter three narrow the documents.
    """

    docs: tuple[str, ...] = Field((), title="Documents", description="Their doc_id or pair_id, or its beginning")
    sources: tuple[str, ...] = Field((), title="Sources", description="Addresses, with * and ? as wildcards")
    licenses: tuple[str, ...] = Field((), title="Licences", description="SPDX, such as GPL-3.0-only")
    annotators: tuple[str, ...] = Field((), title="Annotators", description="Their pseudonyms")
    texts: tuple[TextPrint, ...] = Field(
        (), title="Texts", description="Made by `pedigree forget --text FILE`, which never passes on the text itself"
    )
    exact: bool = Field(
        False, title="Only the exact text", description="Keep near-duplicates, which are otherwise forgotten too"
    )
    threshold: float = Field(
        0.8, gt=0, lt=1, title="Similarity", description="Jaccard similarity from which a text is a near-duplicate"
    )
    rebuild: Literal["train", "data"] = Field(
        "train", title="Rebuild", description="What is made anew afterwards: the whole course, or the data alone",
        json_schema_extra=neutral("train"),
    )  # fmt: skip

    @property
    def selector(self) -> Selector:
        """Which documents of the store are meant; texts are known by their prints alone."""
        return Selector(docs=self.docs, sources=self.sources, licenses=self.licenses, annotators=self.annotators)

    def check_named(self) -> None:
        """Raises ConfigError where nothing is named, so that no course is rebuilt for nothing."""
        if self.selector.empty and not self.texts:
            raise ConfigError(
                "name documents to forget: `pedigree forget` with --doc, --text, --source, --license or --annotator, "
                "or exclude.docs, exclude.sources, exclude.licenses or exclude.annotators of the flow"
            )

    def of(self, found: Selection) -> dict[str, float | None]:
        """The ids to be forgotten of a selection, each with the similarity from which other texts count as the same:
        None where only it is meant. What is near to a near-duplicate need not be near to what was asked for; and of a
        ranking, its prompt is left out so that it cannot be made again, and nothing like it."""
        meant = {
            document.doc_id: None if self.exact or document.kind == RANKING else self.threshold
            for document in found.documents
        }
        near = () if self.exact else found.near_duplicates
        return {**{document.doc_id: None for document in near}, **meant}


def prints_of(texts: list[str], threshold: float, exact: bool) -> tuple[TextPrint, ...]:
    """The prints of texts."""
    rows = rows_of([Wording(text, threshold=None if exact else threshold) for text in texts])
    return tuple(
        TextPrint(digest=row["text"], signature=row["signature"].hex() if row["signature"] else None) for row in rows
    )


def meant(store: Store, config: ExcludeConfig) -> Selection:
    """The documents of the store that `config` names."""
    if config.selector.empty:
        return Selection([], [])
    return select(store, config.selector, near="none" if config.exact else "all")


def rows_to_exclude(store: Store, config: ExcludeConfig) -> list[dict[str, Any]]:
    """The rows of the list that recognise what `config` names."""
    rows: list[dict[str, Any]] = [
        {
            "id": None,
            "text": known.digest,
            "signature": bytes.fromhex(known.signature) if known.signature and not config.exact else None,
            "threshold": config.threshold if known.signature and not config.exact else None,
            "source": None,
        }
        for known in config.texts
    ]
    if not config.selector.empty:
        found = meant(store, config)
        ids = config.of(found)
        rows += rows_of(list(wordings(store, ids)))
        named = {row["id"] for row in rows}
        others = [*ids, *(document.doc_id for document in derived(store, found.documents))]
        # Of what stands in ledgers alone there is no text; and what was made from a document is known by its address.
        rows += [dict.fromkeys(SCHEMA.names) | {"id": name} for name in others if name not in named]
    return rows


@stage(output="exclusions", always=True)
def exclude(run: StageRun, config: ExcludeConfig, resources: Resources, earlier: Artifact | None = None) -> None:
    """Write the list `earlier` with what is to be forgotten now: digests and signatures, never a text.

    Raises DataError if nothing is named.
    """
    rows = rows_to_exclude(Store(), config)
    before = read_rows(earlier.path) if earlier else []
    if not rows:
        raise DataError("nothing in the store answers to what is to be forgotten, so there is nothing to exclude")
    count = write_list([*before, *rows], run.output)
    run.log_metrics({"wordings": count, "wordings_before": len(before), "ids": len({row["id"] for row in rows})})


def _pointer() -> Path:
    return home() / "exclusions" / "current.json"


def current() -> Artifact | None:
    """The list in force; None if nothing was ever forgotten.

    Raises StoreError if there should be one and it cannot be read: collecting without it would bring back what was
    forgotten.
    """
    try:
        artifact = Artifact.model_validate_json(_pointer().read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(
            f"{_pointer()}, which names the list of what must be left out, cannot be read. Put in it the kind, digest "
            "and key of the newest record of the stage `exclude`; without it, forgotten text would come back."
        ) from error
    record = Store().maker(artifact)
    problems = Store().problems(record.output) if record else ["its record is gone"]
    if problems:
        raise StoreError(
            f"the list of what must be left out ({artifact}) is damaged: {'; '.join(problems)}. Restore it from a "
            f"backup of {artifact.path}; without it, forgotten text would come back."
        )
    return artifact


def put_in_force(artifact: Artifact) -> None:
    """From now on every collection leaves out what this list names."""
    write_atomically(_pointer(), artifact.model_dump_json(indent=1).encode())
