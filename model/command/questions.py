"""`evaluate --choices` and `evaluate --questions`: the share of questions that a model answers rightly."""

import argparse
import logging
from typing import Any

from model.bootstrap import bootstrap_interval
from model.boundaries import read_boundaries
from model.command.chat import check_chat
from model.command.device import given_device
from model.command.errors import CommandError
from model.command.folder import finished_model
from model.evaluation import Floats
from model.export import load_causal
from model.precision import resolve_precision, use_threads
from model.questions import Rows, parse_choice, parse_question, read_rows
from model.scoring import answer, choose, matches

DEFAULT_TOKENS = 32  # of an answer
log = logging.getLogger(__name__)


def given(options: argparse.Namespace) -> bool:
    """Whether questions were given, and not texts. Raises CommandError where both or neither were."""
    questions = options.choices is not None or options.questions is not None
    if questions == bool(options.text):
        raise CommandError("name what to measure on: text files, or --choices FILE, or --questions FILE.")
    return questions


def without_effect(options: argparse.Namespace, *names: str) -> None:
    """Raises CommandError where one of these options was given."""
    values = {f"--{name.replace('_', '-')}": getattr(options, name, None) for name in names}
    found = [option for option, value in values.items() if value is not None and value is not False and value != []]
    if found:
        raise CommandError(f"{', '.join(found)} would have no effect here (see --help): leave it out.")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures. Shares of right answers with 95% intervals over the rows, the number of rows, and of lines left out.

    With choices: accuracy, accuracy_normalised (by the log-likelihood for each character) and chance, the share that
    blind guessing gets. With questions: exact_match and contains.
    """
    of_texts = ("context_length", "document_separator", "one_document_per_file")
    without_effect(options, *of_texts, *(() if options.choices is None else ("max_new_tokens", "stop")))
    use_threads(options.threads)
    device = given_device(options.device)
    model, tokenizer = load_causal(finished_model(options.model), device=device)
    boundaries = read_boundaries(options.model, tokenizer)
    if options.chat:
        check_chat(options.model, tokenizer)
    if options.choices is not None:
        choices = read_rows(options.choices, parse_choice)
        right, normalised = choose(
            model, tokenizer, choices, chat=options.chat, boundaries=boundaries, device=device,
            precision=resolve_precision(options.precision or "auto", device),
        )  # fmt: skip
        chance = sum(1 / len(row.choices) for row in choices.rows) / len(choices.rows)
        return {**_shares(accuracy=right, accuracy_normalised=normalised), "chance": chance, **_read(choices)}
    questions = read_rows(options.questions, parse_question)
    written = answer(
        model, tokenizer, questions, max_new_tokens=options.max_new_tokens or DEFAULT_TOKENS, stop=options.stop,
        chat=options.chat, boundaries=boundaries, precision=resolve_precision(options.precision or "fp32", device),
    )  # fmt: skip
    exact, contains = matches(questions.rows, written)
    return {**_shares(exact_match=exact, contains=contains), **_read(questions)}


def _shares(**right: Floats) -> dict[str, float]:
    shares: dict[str, float] = {}
    for name, values in right.items():
        shares |= bootstrap_interval(values).metrics(name)
    return shares


def _read(rows: Rows[Any]) -> dict[str, Any]:
    if rows.left_out:
        log.warning("lines left out: %s", rows.reasons())
    return {"rows": len(rows.rows), "left_out": rows.left_out.total()}
