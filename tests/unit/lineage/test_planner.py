"""A course planned by calling it: what each stage would do, why, and which change upstream explains it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import Cause, sentence
from tasks.lineage.errors import StoreError
from tasks.lineage.explain import Plan
from tasks.lineage.fingerprint import Fingerprint, digest_of
from tasks.lineage.planner import planning
from tasks.lineage.store import Store
from tasks.stage import Stage, StageConfig, StageRun, stage

WORLD: list[str] = []


class CutConfig(StageConfig):
    length: int = 5


class ShoutConfig(StageConfig):
    marks: int = 1


@stage(output="snapshot", always=True)
def look(run: StageRun, config: StageConfig) -> None:
    (run.output / "text").write_text(WORLD[-1])


@stage(output="text")
def cut(run: StageRun, snapshot: Artifact, config: CutConfig) -> None:
    (run.output / "text").write_text((snapshot.path / "text").read_text()[: config.length])


@stage(output="text", libraries=("pydantic",))
def shout(run: StageRun, text: Artifact, config: ShoutConfig) -> None:
    (run.output / "text").write_text((text.path / "text").read_text().upper() + "!" * config.marks)


@stage(output="text")
def join(run: StageRun, parts: dict[str, Artifact], config: StageConfig) -> None:
    (run.output / "text").write_text(" ".join((part.path / "text").read_text() for part in parts.values()))


@dataclass(frozen=True)
class Settings:
    cut: CutConfig = field(default_factory=CutConfig)
    shout: ShoutConfig = field(default_factory=ShoutConfig)


def course(settings: Settings) -> Artifact:
    short = cut(snapshot=look(), config=settings.cut)
    loud = shout(text=short, config=settings.shout)
    return join(parts={"short": short, "loud": loud})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    WORLD[:] = ["hello world"]
    return tmp_path


def plans(settings: Settings | None = None, look: bool = True) -> dict[str, Plan]:
    with planning(look) as planner:
        course(settings or Settings())
    return {plan.stage: plan for plan in planner.plans}


def verdicts(found: dict[str, Plan]) -> dict[str, str]:
    return {stage: plan.verdict for stage, plan in found.items()}


def said(plan: Plan) -> list[str]:
    return [sentence(cause) for cause in plan.causes]


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage, str, str], str]:
    """Changes the code of a stage as its digest sees it; gives the name of the changed definition."""

    def edit(declared: Stage, old: str, new: str) -> str:
        code = declared.recipe.code
        name = next(name for name in code.definitions if name.endswith(f":{declared.name}"))
        source = code.sources[code.definitions[name]]
        assert old in source
        source = source.replace(old, new)
        now = Fingerprint({**code.definitions, name: digest_of(source)}, {**code.sources, digest_of(source): source})
        monkeypatch.setitem(declared.recipe.__dict__, "code", now)
        return name

    return edit


def test_nothing_made_yet_means_a_first_run_and_what_follows_waits() -> None:
    found = plans()
    assert verdicts(found) == {"look": "would run", "cut": "would run", "shout": "would run", "join": "would run"}
    assert {cause.kind for plan in found.values() for cause in plan.causes} == {"first run"}


def test_after_a_run_everything_is_cached_and_the_plan_gives_the_same_artifact() -> None:
    made = course(Settings())
    with planning() as planner:
        assert course(Settings()) == made
    assert {plan.verdict for plan in planner.plans} == {"cached"}
    assert not any(plan.causes for plan in planner.plans)


def test_a_plan_runs_nothing_and_writes_nothing_but_caches(home: Path) -> None:
    course(Settings())
    plans()
    before = {path for path in home.rglob("*") if path.relative_to(home).parts[0] not in ("cache", "index")}
    WORLD.append("other words")
    plans(Settings(CutConfig(length=3)))
    assert {path for path in home.rglob("*") if path.relative_to(home).parts[0] not in ("cache", "index")} == before


def test_a_changed_setting_is_named_there_and_downstream() -> None:
    course(Settings())
    found = plans(Settings(cut=CutConfig(length=4)))
    assert verdicts(found) == {"look": "cached", "cut": "would run", "shout": "blocked", "join": "blocked"}
    assert found["cut"].causes == [Cause(kind="config", name="length", old=5, new=4)]
    root = Cause(kind="config", name="length", old=5, new=4, stage="cut")
    (cause,) = found["shout"].causes
    assert (cause.kind, cause.name, cause.new, cause.upstream, cause.because) == ("input", "text", None, "cut", (root,))
    by_part = {cause.name: cause for cause in found["join"].causes}
    assert by_part["parts/short"].upstream == "cut"
    assert by_part["parts/loud"].upstream == "shout"
    assert by_part["parts/loud"].because == (root,)
    assert said(found["shout"]) == ["input text from cut is yet to be made (cut: setting length: 5 → 4)"]


def test_a_stage_that_has_reasons_of_its_own_runs_whatever_comes_before() -> None:
    course(Settings())
    found = plans(Settings(cut=CutConfig(length=4), shout=ShoutConfig(marks=2)))
    assert found["shout"].verdict == "would run"
    assert [cause.kind for cause in found["shout"].causes] == ["input", "config"]


def test_one_that_ran_with_these_settings_before_only_waits_for_its_input() -> None:
    course(Settings(shout=ShoutConfig(marks=2)))
    course(Settings())
    found = plans(Settings(cut=CutConfig(length=4), shout=ShoutConfig(marks=2)))
    assert found["shout"].verdict == "blocked"


def test_a_changed_world_is_seen_and_explains_what_follows() -> None:
    first = course(Settings())
    old = look()
    WORLD.append("help them")
    found = plans()
    assert verdicts(found) == {"look": "would run", "cut": "would run", "shout": "blocked", "join": "blocked"}
    (cause,) = found["look"].causes
    assert (cause.kind, cause.name, cause.old) == ("input", "outside world", old.digest)
    assert found["cut"].causes[0].new == cause.new == look().digest
    assert course(Settings()) != first
    WORLD.append("hello world")
    assert set(verdicts(plans()).values()) == {"cached"}


def test_a_world_that_is_not_looked_at_is_assumed_unchanged() -> None:
    course(Settings())
    WORLD.append("help them")
    found = plans(look=False)
    assert set(verdicts(found).values()) == {"cached"}
    assert [plan.stage for plan in found.values() if plan.assumed] == ["look"]


def test_an_input_that_changed_earlier_is_explained_by_what_changed_behind_it() -> None:
    """`cut` was made anew by somebody else; nothing upstream would run now, but `shout` meets its new output."""
    course(Settings())
    cut(snapshot=look(), config=CutConfig(length=4))
    found = plans(Settings(cut=CutConfig(length=4)))
    assert verdicts(found) == {"look": "cached", "cut": "cached", "shout": "would run", "join": "would run"}
    (cause,) = found["shout"].causes
    assert (cause.kind, cause.name, cause.upstream) == ("input", "text", "cut")
    assert cause.because == (Cause(kind="config", name="length", old=5, new=4, stage="cut"),)


def test_changed_code_is_shown(edited: Callable[[Stage, str, str], str]) -> None:
    course(Settings())
    name = edited(shout, ".upper()", ".lower()")
    (cause,) = plans()["shout"].causes
    assert (cause.kind, cause.name) == ("code", name)
    changed = [line for line in (cause.diff or "").splitlines()[2:] if line[0] in "+-"]
    assert len(changed) == 2
    assert ".upper()" in changed[0] and ".lower()" in changed[1]


def test_a_changed_library_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    course(Settings())
    versions = shout.recipe.versions
    monkeypatch.setitem(shout.recipe.__dict__, "versions", {**versions, "pydantic": "9"})
    assert plans()["shout"].causes == [Cause(kind="dependency", name="pydantic", old=versions["pydantic"], new="9")]


def test_a_damaged_output_runs_again_and_what_follows_waits() -> None:
    course(Settings())
    short = cut(snapshot=look())
    (short.path / "text").chmod(0o644)
    (short.path / "text").write_text("hullo")
    found = plans()
    assert verdicts(found) == {"look": "cached", "cut": "would run", "shout": "blocked", "join": "blocked"}
    assert [cause.kind for cause in found["cut"].causes] == ["damaged"]
    assert short.path.exists()


def test_every_record_says_why_its_stage_ran() -> None:
    def causes(artifact: Artifact) -> list[tuple[str, str]]:
        record = Store().record(artifact.key)
        assert record is not None
        assert all(cause.diff is None for cause in record.causes)
        return [(cause.kind, cause.name) for cause in record.causes]

    first = course(Settings())
    assert causes(first) == [("first run", "join")]
    second = course(Settings(shout=ShoutConfig(marks=2)))
    assert causes(second) == [("input", "parts/loud")]
    record = Store().record(second.key)
    assert record is not None and record.compared_with == first.key
    WORLD.append("hello again")
    assert causes(look()) == [("input", "outside world")]


def test_what_is_yet_to_be_made_cannot_be_read() -> None:
    with planning():
        promised = course(Settings())
        with pytest.raises(StoreError, match="join is yet to be made"):
            _ = promised.path


def test_a_stage_runs_for_real_again_after_the_plan() -> None:
    with pytest.raises(ZeroDivisionError), planning():
        _ = 1 / 0
    assert course(Settings()).path.is_dir()


def test_asking_one_stage_does_not_hide_a_match_behind_many_newer_ones() -> None:
    """With a promise among its inputs, whether a stage must run depends on every record with its settings."""
    course(Settings(shout=ShoutConfig(marks=9)))
    for marks in range(5):
        course(Settings(shout=ShoutConfig(marks=marks)))
    assert plans(Settings(cut=CutConfig(length=4), shout=ShoutConfig(marks=9)))["shout"].verdict == "blocked"


def test_a_cause_is_written_with_what_it_has_and_always_old_and_new() -> None:
    written: Any = Cause(kind="first run", name="cut").model_dump(mode="json")
    assert written == {"kind": "first run", "name": "cut", "old": None, "new": None}
