"""What a person may accept in place of work, what is refused, and that it is told ever after."""

from pathlib import Path
from typing import Any

import pytest

from tasks.lineage.acceptance import accept, accepted_behind
from tasks.lineage.ancestry import ancestors
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import AcceptanceRefused
from tasks.lineage.fingerprint import Fingerprint
from tasks.lineage.planner import planning
from tasks.lineage.recipe import Use
from tasks.lineage.store import Store
from tasks.stage import Stage, StageConfig, StageRun, stage
from tasks.tracking.why_tags import why_tags

CALLS: list[str] = []


class GrindConfig(StageConfig):
    grade: int = 3


@stage(output="grain", always=True)
def fetch(run: StageRun, config: StageConfig) -> None:
    (run.output / "grain").write_text("wheat")


@stage(output="flour", libraries=("pydantic",))
def grind(run: StageRun, grain: Artifact, config: GrindConfig) -> None:
    CALLS.append("grind")
    (run.output / "flour").write_text(f"flour {config.grade}")


@stage(output="bread")
def bake(run: StageRun, flour: Artifact, config: StageConfig) -> None:
    CALLS.append("bake")
    (run.output / "bread").write_text((flour.path / "flour").read_text() + " bread")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    CALLS.clear()


def course(config: GrindConfig | None = None) -> Artifact:
    return bake(flour=grind(grain=fetch(), config=config or GrindConfig()))


def edit(monkeypatch: pytest.MonkeyPatch, declared: Stage = grind, digest: str = "0" * 64) -> None:
    code = declared.recipe.code
    name = next(name for name in code.definitions if name.endswith(f":{declared.name}"))
    monkeypatch.setitem(declared.recipe.__dict__, "code", Fingerprint({**code.definitions, name: digest}))


def use(declared: Stage = grind, config: GrindConfig | None = None) -> Use:
    with planning() as planner:
        course(config)
    return planner.complete_use(declared.name)


def test_an_accepted_output_is_found_and_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    bread = course()
    (before,) = [record for record in Store().records() if record.stage == "grind"]
    edit(monkeypatch)
    record = accept(use(), "renamed a helper", Store(), by="ada")
    assert record.output == before.output and record.key != before.key
    assert record.accepted is not None
    changed = (f"code {grind.recipe.function.__module__}:grind",)
    assert record.accepted.model_dump(exclude={"at"}) == {
        "by": "ada", "because": "renamed a helper", "stands_on": before.key, "changed": changed,
    }  # fmt: skip
    assert (record.wall_seconds, record.metrics) == (0, before.metrics)
    assert course() == bread
    assert CALLS == ["grind", "bake"]


def test_it_passes_verify_ancestry_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    edit(monkeypatch)
    record = accept(use(), "renamed a helper", Store())
    edit(monkeypatch, bake, "1" * 64)
    bread = course()
    found = Store().verify(deep=True)
    assert not found["damaged"] and not found["missing"]
    made = Store().record(bread.key)
    assert made is not None
    assert record.key in ancestors(Store(), made)["nodes"]
    with planning() as planner:
        course()
    by_stage = {plan.stage: plan for plan in planner.plans}
    assert by_stage["grind"].verdict == "cached"
    assert by_stage["grind"].accepted == record.accepted


def test_all_that_is_made_from_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    edit(monkeypatch)
    accept(use(), "renamed a helper", Store(), by="ada")
    edit(monkeypatch, grind, "2" * 64)
    accept(use(), "and back", Store(), by="bob")
    edit(monkeypatch, bake, "1" * 64)
    bread = Store().record(course().key)
    assert bread is not None and bread.accepted is None
    told = [(record.stage, acceptance.by) for record, acceptance in accepted_behind(Store(), bread)]
    assert told == [("grind", "bob"), ("grind", "ada")]
    tags = why_tags("ran", bread.model_dump(mode="json"))
    assert "grind accepted by bob" in tags["pedigree.accepted"] and "and back" in tags["pedigree.accepted"]
    assert tags["pedigree.why"].startswith("code ")


def test_a_library_may_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    monkeypatch.setitem(grind.recipe.__dict__, "versions", {**grind.recipe.versions, "pydantic": "9"})
    accepted = accept(use(), "a patch release", Store()).accepted
    assert accepted is not None and accepted.changed == ("dependency pydantic",)


def test_the_nearest_work_with_the_same_settings_is_stood_on(monkeypatch: pytest.MonkeyPatch) -> None:
    course(GrindConfig(grade=1))
    course(GrindConfig(grade=2))
    edit(monkeypatch)
    record = accept(use(config=GrindConfig(grade=1)), "same", Store())
    assert (Store().object_path(record.output.digest) / "flour").read_text() == "flour 1"


def refused(match: str, **changes: Any) -> None:
    before = {record.key for record in Store().records()}
    with pytest.raises(AcceptanceRefused, match=match):
        accept(use(**changes), "trust me", Store())
    assert {record.key for record in Store().records()} == before


def test_other_settings_are_refused_though_the_code_changed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    edit(monkeypatch)
    refused("setting grade: 3 → 4", config=GrindConfig(grade=4))


def test_other_inputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    grind(grain=fetch(), config=GrindConfig(grade=4))
    edit(monkeypatch, bake)
    refused("input flour from grind changed", declared=bake, config=GrindConfig(grade=4))


def test_inputs_that_are_yet_to_be_made_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    edit(monkeypatch)
    refused("Accept or run grind first", declared=bake)


def test_what_is_there_what_never_was_and_what_is_always_made_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refused("never ran before")
    course()
    refused("is in the store already")
    refused("looks at the outside world", declared=fetch)


def test_a_damaged_output_can_stand_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    flour = grind(grain=fetch())
    edit(monkeypatch)
    (flour.path / "flour").chmod(0o644)
    (flour.path / "flour").write_text("sand")
    refused("is damaged")


def test_a_reason_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    edit(monkeypatch)
    with pytest.raises(AcceptanceRefused, match="say why"):
        accept(use(), " ", Store())


def test_the_work_itself_replaces_an_acceptance_that_is_damaged_later(monkeypatch: pytest.MonkeyPatch) -> None:
    course()
    edit(monkeypatch)
    accepted = accept(use(), "renamed a helper", Store())
    file = Store().object_path(accepted.output.digest) / "flour"
    file.chmod(0o644)
    file.write_text("sand")
    course()
    made = Store().record(accepted.key)
    assert made is not None and made.accepted is None
    assert [cause.kind for cause in made.causes] == ["damaged"]
