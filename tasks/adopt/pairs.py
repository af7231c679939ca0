"""Adopt prompt–response pairs that somebody else made, under the origin that is declared of them.

They are read, told apart and shared out as `pair` does with its default shares, so that `align` can take them as they
are; a course that takes them beside its own shares them out again by its own settings.
"""

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from tasks.adopt.given import Given, Report, quiet, unchanged
from tasks.adopt.text import as_snapshot
from tasks.adopt.text import look as look_for_text
from tasks.lineage.declaration import Statement
from tasks.lineage.errors import ConfigError
from tasks.pair import PairConfig, make_pairs
from tasks.stage import Artifact, Resources, StageRun, stage
from tasks.text.formats import TABLES, format_of
from tasks.text.items import parts

EVALUATION_SHARE = 0.1


class AdoptPairsConfig(Statement):
    """Prompt–response pairs made elsewhere."""

    max_bad_share: float = Field(0.2, ge=0, le=1, description="share of the rows that may be malformed")


@stage(output="pairs", libraries=("pyarrow",))
def adopt_pairs(
    run: StageRun, config: AdoptPairsConfig, resources: Resources, exclusions: Artifact | None = None
) -> None:
    """Write pairs.parquet, ledger.parquet, quarantine.jsonl and samples.jsonl of the files at `resources.root`.

    exclusions: what must be left out, if anything. Raises DataError as `pair` does.
    """
    assert resources.root is not None
    given = look(resources.root)
    unchanged(given, config.given, resources.root)
    seen = replace(as_snapshot(given, config), evaluation_share=EVALUATION_SHARE)
    sharing = PairConfig(ask_packages=False, max_bad_share=config.max_bad_share)
    make_pairs(run, list(parts(seen)), seen, sharing, resources, exclusions, setting="--max-bad-share")


def look(path: Path, report: Report = quiet) -> Given:
    """The files of pairs at `path`. Raises ConfigError where there is none."""
    found = look_for_text(path, report)
    tables = tuple(file for file in found.files if format_of(file.path) in TABLES)
    if not tables:
        raise ConfigError(f"{path} holds no pairs: they should be JSON lines or Parquet, a pair or conversation a row.")
    others = sorted({file.name for file in found.files} - {file.name for file in tables})
    return Given(tables, (*found.left_out, *others))
