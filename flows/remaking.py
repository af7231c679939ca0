"""Makes stages again, one after the other, in the home of this process: the other end of `pedigree reproduce`.

    PEDIGREE_HOME=… python -m flows.remaking < request

The request is JSON: {"steps": [a Step, …], "stop": whether to end at the first output that is not as expected}. What
happens is told on standard output, a JSON object a line: {"step", "progress"}; {"step", "key", "found", "seconds"} of
what was made, or was found because an earlier attempt made it; {"step", "failed"}. Needs no server.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TextIO

from flows import presets
from tasks.lineage.artifact import Artifact
from tasks.lineage.execute import Context, execute
from tasks.lineage.recipe import Use, flatten
from tasks.reproduce.steps import Step
from tasks.stage import Stage

EXCLUDE = "exclude"
ALONE = ("sample", "train_classifier")  # stages behind `pedigree classifier`
MODULES = {EXCLUDE: "tasks.forget.exclusions", **{stage: f"tasks.{stage}" for stage in (*presets.STAGES, *ALONE)}}
"""Stage → its module, which is loaded when its turn comes: data stages need not wait for torch."""

WATCH_SECONDS = 1.0

Say = Callable[[dict[str, Any]], None]


def remake(steps: list[Step], stop: bool, say: Say) -> None:
    """Do the steps; with `stop` no further than the first that fails or gives another output than it had."""
    made: dict[int, Artifact] = {}
    for number, step in enumerate(steps):
        if step.taken is not None:
            made[number] = step.taken
            continue
        if any(source not in made for source in step.inputs.values()):
            continue  # an earlier one failed
        try:
            made[number] = _make(number, step, made, say)
        except Exception as error:  # whatever it is, it is the answer
            say({"step": number, "failed": f"{type(error).__name__}: {error}"})
        if stop and (number not in made or made[number].digest != step.expected):
            return


def _make(number: int, step: Step, made: Mapping[int, Artifact], say: Say) -> Artifact:
    stage = stage_named(step.stage)
    config = stage.config_type.model_validate(step.config).resolved()
    inputs = {name: made[source] for name, source in step.inputs.items()}
    arguments = stage.recipe.checked_inputs(_by_parameter(inputs))
    context = Context(on_progress=lambda progress: say({"step": number, "progress": progress}))
    began = time.monotonic()
    outcome = execute(Use(stage.recipe, flatten(arguments), config), arguments, step.resources, context)
    seconds = round(time.monotonic() - began, 3)
    say({"step": number, "key": outcome.record.key, "found": outcome.cached, "seconds": seconds})
    return outcome.artifact


def stage_named(name: str) -> Stage:
    """The stage of this program with that name. Raises KeyError."""
    stage: Stage = getattr(import_module(MODULES[name]), name)
    return stage


def _by_parameter(inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Flat names (`models/first`) as a stage takes them: a dict of artifacts by parameter."""
    arguments: dict[str, Any] = {}
    for name, artifact in inputs.items():
        parameter, slash, entry = name.partition("/")
        if slash:
            arguments.setdefault(parameter, {})[entry] = artifact
        else:
            arguments[parameter] = artifact
    return arguments


def _own_output() -> TextIO:
    """Standard output for what is told here; whatever else is printed in this process goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _end_with(parent: int) -> None:
    """Ends this process soon after the one that asked for it was killed: nobody would hear what it makes."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with _own_output() as output:
        request = json.load(sys.stdin)

        def say(line: dict[str, Any]) -> None:
            print(json.dumps(line), file=output, flush=True)

        remake([Step.model_validate(step) for step in request["steps"]], request["stop"], say)


if __name__ == "__main__":
    main()
