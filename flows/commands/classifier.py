"""`pedigree classifier`: train a classifier of texts from two samples."""

import argparse
from typing import Any

from flows import servers
from flows.commands.base import Progress, command, print_json, say
from flows.latest import named

CORPORA = ("adopt_text", "collect", "clean", "deduplicate")


def add(commands: Any) -> None:
    parser = command(commands, "classifier", _classifier, "train a classifier of texts from two samples", (
        'pedigree adopt text good/ --origin urn:lab:good --because "read and found good"\n'
        '  pedigree adopt text poor/ --origin urn:lab:poor --because "read and found poor"\n'
        "  pedigree classifier --first 5e0c1a --second 9b77d2"
    ), json_output=True)  # fmt: skip
    parser.add_argument("--first", required=True, metavar="DIGEST", help=(
        "texts that shall score high: a digest, or its beginning, of adopted text or of a corpus that a run made"
    ))  # fmt: skip
    parser.add_argument("--second", required=True, metavar="DIGEST", help="texts that shall score low")


def _classifier(options: argparse.Namespace) -> None:
    corpora = {name: named(CORPORA[0], getattr(options, name), *CORPORA[1:]) for name in ("first", "second")}
    servers.name_mlflow()
    from tasks.alone import run_alone
    from tasks.forget.exclusions import current
    from tasks.sample import SampleConfig, sample
    from tasks.stage import Resources
    from tasks.train_classifier import TrainClassifierConfig, train_classifier

    listed = current()
    forgotten = {"exclusions": listed} if listed else {}
    samples = {}
    for name, record in corpora.items():
        given = {"corpus": record.artifact, **forgotten}
        drawn, _ = run_alone(sample, given, SampleConfig(), Resources(), Progress(), f"drawing the {name} sample")
        samples[name] = drawn.artifact
    outcome, run_id = run_alone(
        train_classifier, samples, TrainClassifierConfig(), Resources(), Progress(), "training"
    )  # fmt: skip
    record = outcome.record
    digest = record.output.digest
    use = f"pedigree run train --set classifiers.quality={digest[:16]}"
    if options.json:
        print_json({
            "artifact": record.artifact.model_dump(), "known": outcome.cached, "metrics": record.metrics,
            "mlflow_run_id": run_id, "use": use,
        })  # fmt: skip
        return
    figures = record.metrics
    stored = "is in the store already" if outcome.cached else "trained"
    say(f"{record.artifact} {stored}: {figures['texts_first']:,.0f} and {figures['texts_second']:,.0f} texts")
    say(
        f"  on the {figures['texts_held_out']:,.0f} held out: area under the ROC curve {figures['held_out/area']:.3f}; "
        f"at the threshold {figures['threshold']:.3f} precision {figures['held_out/precision']:.3f} and recall "
        f"{figures['held_out/recall']:.3f}"
    )
    say(f"To keep what is like the first: {use}")
    say(f"To drop what is like the first: {use.replace('quality', 'undesirable')}")
