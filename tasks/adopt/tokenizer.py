"""Adopt a tokenizer: a tokenizer.json that somebody else made, to tokenise the course's text with."""

import shutil
from pathlib import Path

from model.errors import ModelError
from model.tokenizer import Tokenizer
from tasks.adopt.given import Given, Report, existing, hashed, quiet, refuse_pickle, unchanged
from tasks.adopt.model import add_chat_tokens
from tasks.lineage.declaration import Statement
from tasks.lineage.errors import ConfigError, DataError
from tasks.stage import Resources, StageRun, stage

FILE = "tokenizer.json"


class AdoptTokenizerConfig(Statement):
    """A tokenizer made elsewhere."""


@stage(output="tokenizer", libraries=("tokenizers",))
def adopt_tokenizer(run: StageRun, config: AdoptTokenizerConfig, resources: Resources) -> None:
    """Write tokenizer.json, a copy of the one at `resources.root`, with the tokens of the chat format added to it where
    they are missing. Raises DataError if it cannot be used."""
    assert resources.root is not None
    given = look(resources.root)
    unchanged(given, config.given, resources.root)
    copy = run.output / FILE
    shutil.copyfile(given.files[0].path, copy)
    try:
        tokenizer = Tokenizer.load(copy)
    except ModelError as error:
        reason = str(error).replace(str(copy), str(resources.root))
        raise DataError(f"{resources.root} cannot be adopted: {reason}") from error
    unchanged(Given(hashed([("", copy)], quiet)), config.given, resources.root)
    added = add_chat_tokens(tokenizer, resources.root)
    if added:
        tokenizer.save(copy)
    run.log_metrics({"vocabulary": tokenizer.vocab_size, "tokens_added": len(added)})


def look(path: Path, report: Report = quiet) -> Given:
    """The tokenizer.json at `path`, or in that folder. Raises ConfigError where there is none."""
    path = existing(path)
    file = path / FILE if path.is_dir() else path
    refuse_pickle(file)
    if not file.is_file() or file.suffix != ".json":
        raise ConfigError(f"{path} is no {FILE}: give the file, or the folder that it is in.")
    return Given(hashed([("", file)], report))
