"""What a flow would do, before it is started: its course, planned instead of run. And why the last one did what it did.

Answers of `pedigree why` and `pedigree accept`.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flows import course, overrides
from flows.errors import NothingFound, SettingsError
from flows.presets import STAGES
from flows.settings import Settings
from flows.starting import starting_point
from tasks.lineage import acceptance, journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.declaration import declared_sentence
from tasks.lineage.planner import Planner, planning
from tasks.lineage.store import Store


def _align(settings: Settings) -> object:
    return course.align_course(settings, *starting_point(settings))


COURSES: dict[str, Callable[[Settings], object]] = {
    "train": course.train_course,
    "data": course.data_alone,
    "align": _align,
    "retrain": course.train_course,
}
"""Flow → what it runs once its settings are known."""

Answer = dict[str, Any]


def why(target: str, preset: str, config: Path | None, assignments: Sequence[str], look: bool = True) -> Answer:
    """What each stage of a flow would do if it were started now with these settings.

    target: a flow, or a stage of `train` to be told of alone. look: look at the sources; else they are assumed to be
    as they were. Gives {"flow", "stages": [{"stage", "verdict": "cached" | "would run" | "blocked", "causes": [{"kind",
    "name", "old", "new", …}], "artifact", "compared_with", "accepted", "declared": {input: what is declared of it},
    "assumed"}]}.
    """
    flow, stage = flow_of(target)
    planner = planned(flow, preset, config, assignments, look)
    stages = [
        {**plan.model_dump(mode="json"), "declared": _declared(planner.uses[plan.stage].inputs)}
        for plan in planner.plans
        if stage in (None, plan.stage)
    ]
    return {"flow": flow, "stages": stages}


def why_last(target: str) -> Answer:
    """Why the stages of the latest run of a flow ran or did not; `target` as in `why`.

    Gives {"flow", "stages": [{"stage", "verdict": "ran" | "cached" | "failed" | "running", "causes", "compared_with",
    "accepted", "declared", "created"}]}, from the records; of a stage that was cached, why the work that it found was
    once done.
    """
    flow, stage = flow_of(target)
    runs = journal.latest_flows()
    run = runs.get(flow) if stage is None else _latest_with(stage, runs)
    if run is None:
        raise NothingFound(f"No run of {target} is known here. `pedigree run {flow}` makes one.")
    entries = {name: entry for name, entry in run["stages"].items() if stage in (None, name)}
    return {"flow": run["flow"], "stages": [_told(name, entry) for name, entry in entries.items()]}


def accept(stages: Sequence[str], because: str, preset: str, config: Path | None, assignments: Sequence[str]) -> Answer:
    """Take existing outputs of stages of `train` whose code or libraries changed; the first stage of the course first.

    Gives {"accepted": [{"stage", "key", "digest", "by", "at", "because", "stands_on", "changed"}]}. Raises
    AcceptanceRefused at the first stage whose output may not be taken; those before it are accepted then.
    """
    for stage in stages:
        if flow_of(stage)[1] is None:
            raise SettingsError(f"{stage!r} is a flow; name the stages whose output is to be taken.")
    accepted: list[Answer] = []
    for stage in (known for known in STAGES if known in stages):
        planner = planned("train", preset, config, assignments)  # anew: what was just accepted is now found
        use = planner.complete_use(stage)
        record = acceptance.accept(use, because, planner.past.store)
        assert record.accepted is not None
        accepted.append(
            {
                "stage": stage,
                "key": record.key,
                "digest": record.output.digest,
                **record.accepted.model_dump(mode="json"),
            }
        )
    return {"accepted": accepted}


def planned(flow: str, preset: str, config: Path | None, assignments: Sequence[str], look: bool = True) -> Planner:
    """The plans of a flow's stages, in the order they would run."""
    settings = Settings.model_validate(overrides.parameters(flow, preset, config, assignments))
    with planning(look) as planner:
        COURSES[flow](settings)
    return planner


def flow_of(target: str) -> tuple[str, str | None]:
    """The flow a person means, and the stage if it is one. Raises SettingsError."""
    if target in COURSES:
        return target, None
    stages = list(STAGES)
    if target in stages:
        return "train", target
    known = [*COURSES, *stages]
    close = get_close_matches(target, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SettingsError(f"There is no flow or stage {target!r}.{hint} There are: {', '.join(known)}.")


def _latest_with(stage: str, runs: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    met = [run for run in runs.values() if stage in run["stages"]]
    return max(met, key=lambda run: run["stages"][stage].get("started") or "", default=None)


def _told(stage: str, entry: dict[str, Any]) -> Answer:
    record = Store().record(entry["key"]) if entry.get("key") else None
    told = record.model_dump(mode="json", include={"causes", "compared_with", "accepted", "created"}) if record else {}
    declared = _declared(record.inputs) if record else {}
    return {"stage": stage, "verdict": entry["state"], "causes": [], **told, "declared": declared}


def _declared(inputs: Mapping[str, Artifact]) -> dict[str, str]:
    """Of the inputs that were made elsewhere, what is declared of them."""
    makers = {name: Store().maker(artifact) for name, artifact in inputs.items()}
    return {name: declared_sentence(made.declared) for name, made in makers.items() if made and made.declared}
