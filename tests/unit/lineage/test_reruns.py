"""For any course and any edits: what runs is exactly what never ran before with these contents, code and settings.

The model below knows nothing of keys, records or stores: it computes every output from its definition, and remembers
which stages it has seen with which inputs. Outputs are small numbers, so that a change often comes out unchanged and
stops there (early cut-off).
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.lineage.artifact import Artifact
from tasks.lineage.fingerprint import Fingerprint
from tasks.lineage.planner import planning
from tasks.lineage.recipe import Recipe
from tasks.stage import Stage, StageConfig, StageRun

CALLS: list[str] = []
CODE: dict[str, int] = {}  # stage → version of its code
CURRENT = [""]  # name of the stage that is called


class ToyConfig(StageConfig):
    salt: int = 0


def toy(run: StageRun, parents: dict[str, Artifact], config: ToyConfig) -> None:
    name = CURRENT[0]
    CALLS.append(name)
    inputs = [int((artifact.path / "value").read_text()) for artifact in parents.values()]
    (run.output / "value").write_text(str(output(CODE[name], config.salt, inputs)))


def output(code: int, salt: int, inputs: Sequence[int]) -> int:
    return hashlib.sha256(repr((code, salt, tuple(inputs))).encode()).digest()[0] % 3


class Spec(NamedTuple):
    """One stage: which earlier ones it takes, and the version of its settings and of its code."""

    parents: tuple[int, ...]
    salt: int
    code: int


@dataclass(frozen=True)
class Edit:
    kind: str
    stage: int
    value: int


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Spec], list[list[Edit]]]:
    number = draw(st.integers(1, 6))
    specs = [
        Spec(tuple(sorted(draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else ())), 0, 0)
        for place in range(number)
    ]
    edit = st.builds(Edit, st.sampled_from(["config", "code", "input"]), st.integers(0, number - 1), st.integers(0, 2))
    return specs, draw(st.lists(st.lists(edit, max_size=2), min_size=1, max_size=4))


def declared(place: int, spec: Spec) -> Stage:
    function: Any = FunctionType(toy.__code__, toy.__globals__, f"stage_{place}")
    function.__annotations__, function.__module__ = toy.__annotations__, toy.__module__
    recipe = Recipe(function, "number")
    recipe.__dict__["code"] = Fingerprint({f"toys:stage_{place}": f"{spec.code:064x}"})
    return Stage(recipe, retries=0)


def apply(specs: list[Spec], edits: list[Edit]) -> list[Spec]:
    changed = list(specs)
    for edit in edits:
        spec = changed[edit.stage]
        if edit.kind == "input":
            parents = tuple(place for place in range(edit.stage) if place % 3 == edit.value)
            changed[edit.stage] = spec._replace(parents=parents)
        else:
            changed[edit.stage] = spec._replace(**{"salt" if edit.kind == "config" else "code": edit.value})
    return changed


def call_all(specs: list[Spec]) -> None:
    made: list[Artifact] = []
    for place, spec in enumerate(specs):
        CURRENT[0] = f"stage_{place}"
        CODE[CURRENT[0]] = spec.code
        parents = {f"p{parent}": made[parent] for parent in spec.parents}
        made.append(declared(place, spec)(parents=parents, config=ToyConfig(salt=spec.salt)))


def expected(specs: list[Spec], seen: set[Any]) -> tuple[list[str], list[int]]:
    """Stages that have to run, by the model; `seen` learns of them."""
    values: list[int] = []
    run: list[str] = []
    for place, spec in enumerate(specs):
        inputs = tuple((parent, values[parent]) for parent in spec.parents)
        identity = (place, spec.code, spec.salt, inputs)
        values.append(output(spec.code, spec.salt, [value for _, value in inputs]))
        if identity not in seen:
            run.append(f"stage_{place}")
            seen.add(identity)
    return run, values


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_exactly_what_changed_runs_and_the_plan_said_so(history: tuple[list[Spec], list[list[Edit]]]) -> None:
    specs, rounds = history
    seen: set[Any] = set()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", folder)
        for edits in [[], *rounds, []]:
            before, specs = specs, apply(specs, edits)
            with planning() as planner:
                call_all(specs)
            CALLS.clear()
            call_all(specs)
            assert expected(specs, seen)[0] == CALLS
            for place, plan in enumerate(planner.plans):
                if plan.verdict != "blocked":
                    assert (plan.verdict == "would run") == (plan.stage in CALLS), plan
                if specs == before and edits:
                    assert plan.verdict == "cached"
                if plan.verdict == "blocked":
                    assert specs[place].parents
                    assert {cause.kind for cause in plan.causes} == {"input"}
        for path in Path(folder, "objects").iterdir():
            path.chmod(0o755)


def test_the_model_itself_knows_cut_off() -> None:
    """Were outputs all different, the property above would not test early cut-off."""
    results = [output(code, salt, [0]) for code in range(3) for salt in range(3)]
    assert 1 < len(set(results)) < len(results)
