"""Why a stage would run: each cause alone is named, alone, with what it was and what it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from tasks.lineage import sources
from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import Cause
from tasks.lineage.explain import Plan, plan
from tasks.lineage.fingerprint import Fingerprint, digest_of
from tasks.lineage.recipe import Recipe
from tasks.lineage.sides import flat
from tasks.lineage.store import Store
from tasks.stage import Resources, Stage, StageConfig, StageRun, stage


class Flour(BaseModel):
    kind: str = "rye"


class BakeConfig(StageConfig):
    minutes: int = 40
    flours: tuple[Flour, ...] = (Flour(),)
    toppings: tuple[str, ...] | None = Field(None, json_schema_extra={"neutral": None})


@stage(output="bread", libraries=("pydantic",))
def bake(run: StageRun, dough: Artifact, config: BakeConfig, resources: Resources) -> None:
    (run.output / "bread").write_text(f"{(dough.path / 'dough').read_text()} {config.minutes}")


@stage(output="dough", always=True)
def knead(run: StageRun, config: StageConfig, resources: Resources) -> None:
    (run.output / "dough").write_text((run.work.parent.parent / "outside").read_text())


@pytest.fixture(autouse=True)
def dough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """A dough that was made into bread."""
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "outside").write_text("wheat")
    made = knead()
    bake(dough=made)
    return made


def why(dough: Artifact | None, config: BakeConfig | None = None, declared: Stage = bake) -> Plan:
    return declared.plan({"dough": dough}, config)


def edited(**changes: Any) -> Recipe:
    """`bake` with other code or versions, as if the repository or the libraries had changed."""
    recipe = replace(bake.recipe)
    recipe.__dict__.update(changes)
    return recipe


def test_what_is_in_the_store_is_cached(dough: Artifact) -> None:
    found = why(dough)
    assert (found.verdict, found.causes) == ("cached", [])
    assert found.artifact == bake(dough=dough)


CHANGES: dict[str, tuple[BakeConfig, dict[str, Any]]] = {
    "a setting": (BakeConfig(minutes=50), {"kind": "config", "name": "minutes", "old": 40, "new": 50}),
    "a nested setting": (
        BakeConfig(flours=(Flour(kind="spelt"),)),
        {"kind": "config", "name": "flours.0.kind", "old": "rye", "new": "spelt"},
    ),
    "a new setting": (BakeConfig(toppings=()), {"kind": "config", "name": "toppings", "old": None, "new": []}),
}


@pytest.mark.parametrize(("config", "cause"), CHANGES.values(), ids=CHANGES)
def test_a_changed_setting_is_named_alone(dough: Artifact, config: BakeConfig, cause: dict[str, Any]) -> None:
    found = why(dough, config)
    assert found.verdict == "would run"
    assert found.causes == [Cause(**cause)]


def test_changed_code_is_named_alone(dough: Artifact) -> None:
    code = dict(bake.recipe.code.definitions)
    changed = next(name for name in code if name.endswith(":bake"))
    source = bake.recipe.code.sources[code[changed]].replace("config.minutes", "config.minutes * 2")
    now = Fingerprint({**code, changed: digest_of(source)}, {digest_of(source): source})
    found = plan(edited(code=now), {"dough": dough}, BakeConfig())
    assert found.verdict == "would run"
    (cause,) = found.causes
    assert (cause.kind, cause.name, cause.old, cause.new) == ("code", changed, code[changed], digest_of(source))
    lines = (cause.diff or "").splitlines()[2:]
    assert [line.split("config")[1] for line in lines if line[0] in "-+"] == ['.minutes}")', '.minutes * 2}")']


def test_of_code_that_was_not_kept_only_the_name_is_told(dough: Artifact) -> None:
    code = dict(bake.recipe.code.definitions)
    changed = next(name for name in code if name.endswith(":bake"))
    sources.path_of(Store(), code[changed]).write_text("something else")
    found = plan(edited(code=Fingerprint({**code, changed: "0" * 64})), {"dough": dough}, BakeConfig())
    assert [(cause.name, cause.diff, cause.note) for cause in found.causes] == [(changed, None, sources.NOT_KEPT)]


def test_a_changed_library_is_named_alone(dough: Artifact) -> None:
    versions = bake.recipe.versions
    found = plan(edited(versions={**versions, "pydantic": "1.0"}), {"dough": dough}, BakeConfig())
    assert found.causes == [Cause(kind="dependency", name="pydantic", old=versions["pydantic"], new="1.0")]


def test_a_changed_input_is_named_alone(dough: Artifact) -> None:
    other = Artifact(kind="dough", digest="1" * 64, key="2" * 64)
    (cause,) = why(other).causes
    assert (cause.kind, cause.name, cause.old, cause.new) == ("input", "dough", dough.digest, other.digest)


def test_the_nearest_earlier_record_is_the_one_compared_with(dough: Artifact) -> None:
    bake(dough=dough, config=BakeConfig(minutes=10, flours=()))
    found = why(dough, BakeConfig(minutes=41))
    assert [(cause.name, cause.old) for cause in found.causes] == [("minutes", 40)]


def test_a_stage_that_never_ran_says_so(dough: Artifact) -> None:
    for path in (Store().root / "records").glob("*.json"):
        path.unlink()
    found = why(dough)
    assert (found.verdict, found.causes) == ("would run", [Cause(kind="first run", name="bake")])


def test_a_damaged_output_says_so(dough: Artifact) -> None:
    bread = bake(dough=dough)
    (bread.path / "bread").chmod(0o644)
    (bread.path / "bread").write_text("mould")
    found = why(dough)
    assert (found.verdict, [cause.kind for cause in found.causes]) == ("would run", ["damaged"])
    assert bread.path.exists()  # asking changes nothing


def test_an_input_that_is_yet_to_be_made_blocks_unless_something_else_differs_too(dough: Artifact) -> None:
    waiting = why(None)
    assert waiting.verdict == "blocked"
    assert waiting.causes == [Cause(kind="input", name="dough", old=dough.digest, new=None, upstream="knead")]
    assert why(None, BakeConfig(minutes=50)).verdict == "would run"


def test_the_outside_world_is_assumed_to_be_as_it_was_and_that_is_said(dough: Artifact) -> None:
    found = knead.plan({})
    assert (found.verdict, found.causes, found.artifact) == ("cached", [], dough)
    assert "outside is as it was on 2" in (found.assumed or "")


@pytest.mark.parametrize("ask", [lambda dough: why(dough), lambda dough: why(None, BakeConfig(minutes=1))])
def test_a_plan_is_json(dough: Artifact, ask: Callable[[Artifact], Plan]) -> None:
    found = ask(dough)
    assert Plan.model_validate_json(found.model_dump_json()) == found


def test_empty_settings_are_settings() -> None:
    assert flat({"a": [], "b": {"c": {}}, "d": [{"e": 1}]}) == {"a": [], "b.c": {}, "d.0.e": 1}
