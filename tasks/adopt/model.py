"""Adopt a model of Llama's kin, if it loads and fits the course: a folder as Hugging Face lays it out, or a GGUF file.

Of a folder the files that say what the model is are taken, byte for byte; whatever would run code when it is opened is
not. A GGUF file is turned into such a folder, its weights dequantised to fp32. So is a folder whose tokenizer lacks a
token of the chat format: the token is added, and the model gets a row for it.
"""

import dataclasses
import shutil
from fnmatch import fnmatch
from pathlib import Path

from model.errors import ModelError
from model.export import load_causal, save_pretrained
from model.gguf_checkpoint import import_gguf
from model.tokenizer import END_OF_TEXT, TURN_END, TURN_START, Tokenizer
from model.transformer import Transformer
from model.vocabulary import with_new_tokens
from tasks.adopt.given import Given, Report, existing, hashed, quiet, refuse_pickle, unchanged
from tasks.lineage.declaration import Statement
from tasks.lineage.errors import ConfigError, DataError
from tasks.stage import Resources, StageRun, stage

TAKEN = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors", "chat_template.jinja",
)  # fmt: skip
GGUF = ".gguf"
NEEDED_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)  # that every stage after pretraining writes


class AdoptModelConfig(Statement):
    """A language model made elsewhere."""


@stage(output="model", libraries=("gguf", "safetensors", "tokenizers", "torch"))
def adopt_model(run: StageRun, config: AdoptModelConfig, resources: Resources) -> None:
    """Write model/, the checkpoint at `resources.root`. Raises DataError if it cannot be used."""
    assert resources.root is not None
    given = look(resources.root)
    unchanged(given, config.given, resources.root)
    target, steps = run.output / "model", len(given.files) + 1
    target.mkdir()
    if given.files[0].path.suffix.lower() == GGUF:
        run.progress(0, steps)
        converted(given.files[0].path, target)
        unchanged(look(resources.root), config.given, resources.root)
    else:
        for number, file in enumerate(given.files):
            run.progress(number, steps)
            shutil.copyfile(file.path, target / file.name)
        copies = Given(hashed(((file.name, target / file.name) for file in given.files), quiet))
        unchanged(copies, config.given, resources.root)  # what is checked now is what is kept
    run.progress(len(given.files), steps)
    model, tokenizer = checked(target, resources.root)
    model, added = with_chat_tokens(model, tokenizer, resources.root)
    if added:
        run.logger.info("the tokenizer lacks %s: added, each as the mean of the tokens there are", " ".join(added))
        shutil.rmtree(target)
        save_pretrained(model, tokenizer, target)
    run.log_metrics({
        "parameters": model.config.num_parameters(), "vocabulary": model.config.vocab_size, "tokens_added": len(added),
    })  # fmt: skip
    run.progress(steps, steps)


def converted(file: Path, target: Path) -> None:
    """Write the model directory of a GGUF file. Raises DataError if it cannot be read."""
    try:
        import_gguf(file, target)
    except ModelError as error:
        raise DataError(f"{file} cannot be adopted: {error}") from error


def look(path: Path, report: Report = quiet) -> Given:
    """The files of the checkpoint at `path`. Raises ConfigError where it is none, or only a pickled one."""
    path = existing(path)
    if path.is_file() and path.suffix.lower() == GGUF:
        return Given(hashed([("", path)], report))
    if path.is_file():
        refuse_pickle(path)
        raise ConfigError(
            f"{path} is a file: give a .gguf file, or the folder of config.json, model.safetensors and tokenizer.json."
        )
    if not (path / "config.json").exists() and (path / "model" / "config.json").exists():
        path = path / "model"  # an output of this program
    inside = {file.name: file for file in path.iterdir() if file.is_file()}
    taken = {name: file for name, file in inside.items() if any(fnmatch(name, pattern) for pattern in TAKEN)}
    if not any(name.endswith(".safetensors") for name in taken):
        for file in inside.values():
            refuse_pickle(file)
    missing = [name for name in ("config.json", "tokenizer.json") if name not in taken]
    if not any(name.endswith(".safetensors") for name in taken):
        missing.append("model.safetensors")
    if missing:
        raise ConfigError(
            f"{path} has no {', '.join(missing)}: give the folder of a Hugging Face checkpoint, with its weights as "
            "safetensors and its tokenizer as tokenizer.json, or a .gguf file."
        )
    left_out = [name for name in inside if name not in taken and not name.startswith(".")]
    return Given(hashed(taken.items(), report), tuple(sorted(left_out)))


def checked(folder: Path, named: Path) -> tuple[Transformer, Tokenizer]:
    """The model and its tokenizer, if they can be used. Raises DataError, with `named` as what is at fault."""
    try:
        return load_causal(folder)
    except ModelError as error:
        raise DataError(f"{named} cannot be adopted: {error}".replace(str(folder), str(named))) from error


def with_chat_tokens(model: Transformer, tokenizer: Tokenizer, named: Path) -> tuple[Transformer, list[str]]:
    """The model with a row for each token that its tokenizer lacked and now has, and which these are. If any is, a text
    of the model ends with the end of a turn, as in the models of the course."""
    used = sorted(tokenizer.backend.get_vocab(with_added_tokens=True).values())
    added = add_chat_tokens(tokenizer, named)
    if added:
        model = with_new_tokens(model, used, [tokenizer.token_id(token) for token in added])
        model.config = dataclasses.replace(model.config, eos_token_id=tokenizer.im_end_id)
    return model, added


def add_chat_tokens(tokenizer: Tokenizer, named: Path) -> list[str]:
    """Adds the tokens that the course cannot do without; which were missing. Raises DataError where that cannot be."""
    try:
        return tokenizer.add_missing(NEEDED_TOKENS)
    except ModelError as error:
        raise DataError(f"{named} cannot be adopted: {error} Take another one.") from error
