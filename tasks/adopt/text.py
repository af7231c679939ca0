"""Adopt text: documents from a file or folder that somebody else made, under the origin that is declared of them.

They are read as `collect` reads files, with the same ledger and quarantine, and left out is what must be forgotten. A
document's source is the declared origin, with the file's name behind it where a folder was given, so that the same
files give the same documents wherever they lie.
"""

from pathlib import Path
from urllib.parse import quote

from pydantic import Field

from tasks.adopt.given import Given, Report, existing, hashed, quiet, refuse_pickle, unchanged
from tasks.collect import CollectConfig, write_corpus
from tasks.lineage.declaration import Statement
from tasks.lineage.errors import ConfigError
from tasks.stage import Artifact, Resources, StageRun, stage
from tasks.text.documents import Limits
from tasks.text.formats import FORMATS, format_of
from tasks.text.items import Item, Snapshot, by_source
from tasks.text.sources import Source


class AdoptTextConfig(Statement):
    """Documents made elsewhere."""

    text_field: str = Field("text", min_length=1, max_length=200, description="field of a row that holds the text")
    origin_field: str | None = Field(None, max_length=200, description="field that names where a row came from")
    max_bad_share: float = Field(0.2, ge=0, le=1, description="share of the rows that may be malformed")


@stage(output="corpus", libraries=("pyarrow",))
def adopt_text(
    run: StageRun, config: AdoptTextConfig, resources: Resources, exclusions: Artifact | None = None
) -> None:
    """Write documents-*.parquet, ledger.parquet and quarantine.jsonl of the files at `resources.root`.

    exclusions: what must be left out, if anything. Raises DataError as `collect` does.
    """
    assert resources.root is not None
    given = look(resources.root)
    unchanged(given, config.given, resources.root)
    seen = as_snapshot(given, config, config.text_field, config.origin_field)
    reading = CollectConfig(max_bad_share=config.max_bad_share)
    limits = Limits(reading.document_chars, reading.max_document_bytes, reading.min_docstring_chars)
    write_corpus(run, list(by_source(seen)), limits, seen, reading, resources, exclusions, setting="--max-bad-share")


def look(path: Path, report: Report = quiet) -> Given:
    """The files of text at `path`. Raises ConfigError where there is none."""
    path = existing(path)
    endings = f"{', '.join(FORMATS)} (also with .gz or .zst)"
    if path.is_file():
        refuse_pickle(path)
        if format_of(path) is None:
            raise ConfigError(f"the name of {path} does not say how to read it: it should end in {endings}.")
        return Given(hashed([("", path)], report))
    inside = {
        file.relative_to(path).as_posix(): file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    }
    text = {name: file for name, file in inside.items() if format_of(file) is not None}
    if not text:
        raise ConfigError(f"{path} holds no text: its files should end in {endings}.")
    return Given(hashed(text.items(), report), tuple(sorted(inside.keys() - text.keys())))


def address(origin: str, name: str) -> str:
    """What a file of the adopted folder is called: the declared origin, and its name behind it."""
    return f"{origin.rstrip('/')}/{quote(name)}" if name else origin


def check_origin(origin: str) -> None:
    """Raises ConfigError for an origin that cannot be the beginning of documents' addresses."""
    if "#" in origin:
        raise ConfigError(f"the origin {origin!r} holds a '#', behind which the places of single documents will stand.")
    if origin.startswith("pypi:"):
        raise ConfigError(
            "an origin that begins with pypi: names what `collect` itself found in an installed package; give the "
            "address of the package's page, such as https://pypi.org/project/NAME."
        )


def as_snapshot(given: Given, stated: Statement, text_field: str = "text", origin_field: str | None = None) -> Snapshot:
    """The files as the stages that read files take them; no origin is set apart for evaluation yet."""
    source = Source(
        kind="files", path=stated.origin, text_field=text_field, origin_field=origin_field, license=stated.license
    )
    items = []
    for file in given.files:
        uri, kind = address(stated.origin, file.name), format_of(file.path)
        assert kind is not None
        items.append(Item(uri, file.size, file.sha256, uri, stated.license, kind, 0, None, str(file.path)))
    return Snapshot(0, 0.0, (source,), tuple(items))
