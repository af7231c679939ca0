"""The key of a use, and what a declaration or a call may not look like."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources, StageConfig
from tasks.lineage.errors import CanonicalError, ConfigError
from tasks.lineage.recipe import CONTRACT_VERSION, Recipe, Use, flatten
from tasks.stage import StageRun, stage

BREAD = Artifact(kind="bread", digest="a" * 64, key="b" * 64)
BUTTER = Artifact(kind="butter", digest="c" * 64, key="d" * 64)


class ToastConfig(StageConfig):
    minutes: float = 2.0
    shade: str = "auto"

    def resolved(self) -> "ToastConfig":
        return self.model_copy(update={"shade": "golden"}) if self.shade == "auto" else self


@stage(output="toast", libraries=("pydantic",))
def toast(
    run: StageRun, bread: Artifact, spreads: dict[str, Artifact], config: ToastConfig, resources: Resources
) -> None:
    raise AssertionError("only its key is asked for")


def key(bread: Artifact = BREAD, minutes: float = 2.0, **spreads: Artifact) -> str:
    return toast.key_for(bread=bread, spreads=spreads, config=ToastConfig(minutes=minutes), resources=Resources())


def test_the_key_is_the_digest_of_everything_that_the_result_depends_on() -> None:
    parts = {
        "code": toast.recipe.code.digest,
        "config": {"minutes": 2.0, "shade": "golden"},
        "contract": CONTRACT_VERSION,
        "inputs": {"bread": "a" * 64, "spreads/thick": "c" * 64},
        "kind": "toast",
        "stage": "toast",
        "versions": toast.recipe.versions,
    }
    written = json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()
    assert key(thick=BUTTER) == hashlib.sha256(written).hexdigest()


def test_an_input_counts_by_its_content_not_by_who_made_it() -> None:
    assert key(BREAD.model_copy(update={"key": "e" * 64})) == key()
    assert key(BREAD.model_copy(update={"digest": "e" * 64})) != key()


def test_the_name_of_an_input_counts() -> None:
    assert key(thick=BUTTER) != key(thin=BUTTER)


def test_an_automatic_setting_has_the_key_of_what_it_stands_for() -> None:
    chosen = toast.key_for(bread=BREAD, spreads={}, config=ToastConfig(shade="golden"))
    assert chosen == toast.key_for(bread=BREAD, spreads={}) == key()


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_different_settings_have_different_keys(first: float, second: float) -> None:
    assert (key(minutes=first) == key(minutes=second)) == (repr(first) == repr(second))


def test_a_setting_that_is_not_stable_is_refused() -> None:
    class PathConfig(StageConfig):
        path: Path = Path("data")

    with pytest.raises(CanonicalError, match=r"value\.path .* Resources"):
        _ = Use(toast.recipe, {}, PathConfig()).key


def test_settings_are_frozen_finite_and_known() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ToastConfig().minutes = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="finite"):
        ToastConfig(minutes=float("inf"))
    with pytest.raises(ValueError, match="Extra inputs"):
        ToastConfig(minuts=3)  # type: ignore[call-arg]


def test_what_is_not_an_artifact_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'bread' is a str; pass the Artifact"):
        toast(bread="a" * 64, spreads={})
    with pytest.raises(ConfigError, match="'spreads/thick' is a NoneType"):
        flatten({"spreads": {"thick": None}})  # type: ignore[dict-item]


def without_run(bread: Artifact, config: StageConfig) -> None:
    """Not a stage."""


def with_a_number(run: StageRun, size: int, config: StageConfig) -> None:
    """Not a stage."""


def with_other_settings(run: StageRun, config: dict) -> None:  # type: ignore[type-arg]
    """Not a stage."""


def with_a_secret_default(run: StageRun, config: StageConfig, bread: Artifact = BREAD) -> None:
    """Its default is code, and counts as such."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (without_run, "first parameter of a stage is `run: StageRun`"),
        (with_a_number, "'size' must be annotated Artifact"),
        (with_other_settings, "subclass of StageConfig"),
    ],
)
def test_a_function_that_is_no_stage_is_refused(function: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stage(output="toast")(function)()  # type: ignore[arg-type]


def test_a_library_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-library"):
        _ = Recipe(without_run, "toast", ("no-such-library",)).versions


def test_neutral_settings_need_not_be_at_the_top() -> None:
    class Inner(StageConfig):
        depth: int = 1
        width: int | None = Field(None, json_schema_extra={"neutral": None})

    class Outer(StageConfig):
        inner: tuple[Inner, ...] = (Inner(),)

    assert Use(toast.recipe, {}, Outer()).config_identity == {"inner": [{"depth": 1}]}
    assert Use(toast.recipe, {}, Outer(inner=(Inner(width=2),))).config_identity == {
        "inner": [{"depth": 1, "width": 2}]
    }
