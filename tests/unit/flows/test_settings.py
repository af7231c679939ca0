"""Presets, files and single settings: checked before anything starts, with the field named."""

import inspect
from pathlib import Path

import pytest
import yaml

from flows import align, data, forget, overrides, retrain, train
from flows.deploy import PREFECT_FILE
from flows.errors import SettingsError
from flows.presets import FLOW_SECTIONS, PRESETS
from flows.settings import DEFAULTS, Settings

FLOWS = {"train": train.train, "data": data.data, "align": align.align, "retrain": retrain.retrain,
         "forget": forget.forget}  # fmt: skip


@pytest.mark.parametrize("flow", FLOW_SECTIONS)
def test_the_sections_are_the_flow_s_parameters(flow: str) -> None:
    parameters = inspect.signature(FLOWS[flow].fn).parameters
    assert tuple(parameters) == FLOW_SECTIONS[flow]
    for name, parameter in parameters.items():
        assert parameter.default == getattr(DEFAULTS, name), "the form shows the demo preset"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    Settings.model_validate(PRESETS[preset])


def test_demo_is_the_defaults_and_the_others_are_not() -> None:
    assert PRESETS["demo"] == {}
    for preset in PRESETS.keys() - {"demo"}:
        assert Settings.model_validate(PRESETS[preset]) != DEFAULTS


def test_the_deployments_parameters_equal_their_presets() -> None:
    deployed = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    names = [(entry["entrypoint"].rsplit(":", 1)[1], entry["name"]) for entry in deployed]
    assert names == [("train", "demo"), ("train", "gpu"), ("data", "demo"), ("align", "demo"), ("retrain", "demo"),
                     ("forget", "demo")]  # fmt: skip
    for entry in deployed:
        assert entry.get("parameters", {}) == PRESETS[entry["name"]]
        assert entry["concurrency_limit"]["limit"] == 1
    assert [schedule["active"] for entry in deployed for schedule in entry.get("schedules", [])] == [False]


def test_later_layers_win(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("pretrain: {steps: 7, seed: 3}\n")
    given = overrides.parameters("train", "demo", config, ["pretrain.steps=9"])
    assert given == {"pretrain": {"steps": 9, "seed": 3}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yml", "pretrain:\n  steps: 7\n"),
        ("c.toml", "[pretrain]\nsteps = 7\n"),
        ("c.json", '{"pretrain": {"steps": 7}}'),
    ],
)
def test_files_of_three_kinds(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert overrides.parameters("train", "demo", tmp_path / name, []) == {"pretrain": {"steps": 7}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.yaml", "pretrain: [", "is not valid YAML"),
        ("c.yaml", "- 1", "must hold sections of fields"),
        ("c.ini", "", "must end in"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=said):
        overrides.parameters("train", "demo", tmp_path / name, [])


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("pretrain.stepz=1", "pretrain.stepz: there is no such field. Did you mean 'steps'?"),
        ("pretrain.steps=0", "pretrain.steps = 0: input should be greater than"),
        ("pretrain.steps=many", "pretrain.steps = 'many': input should be a valid integer"),
        ("pretrian.steps=1", "The flow `train` has no section 'pretrian'. Did you mean 'pretrain'?"),
        ("resources.device=tpu", "resources.device = 'tpu': input should be 'auto', 'cpu' or 'cuda'"),
        ("resources.threads=100000", "resources.threads = 100000: input should be less than or equal to 1024"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(assignment: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        overrides.parameters("train", "demo", None, [assignment])
    assert said in str(error.value)


def test_align_takes_a_model_to_start_from() -> None:
    given = overrides.parameters("align", "test", None, ['start.pretrained="3fa9"'])
    assert given["start"] == {"pretrained": "3fa9"}
    assert "collect" not in given, "a preset gives a flow only its own sections"


def test_collect_source_and_path_stand_for_the_one_source_of_text(tmp_path: Path) -> None:
    given = ["collect.source=local", "collect.path=texts", "collect.license=MIT", "collect.max_documents=9"]
    spelled_out = {
        "snapshot": {"sources": [{"kind": "files", "path": "texts", "license": "MIT"}]},
        "collect": {"max_documents": 9},
    }
    assert overrides.parameters("data", "demo", None, given) == spelled_out
    config = tmp_path / "mine.yaml"
    config.write_text("collect: {source: local, path: texts, license: MIT, max_documents: 9}\n")
    assert overrides.parameters("data", "demo", config, []) == spelled_out
    preset = overrides.parameters("data", "test", None, given[:2])["snapshot"]
    assert preset == {"sources": [{"kind": "files", "path": "texts"}], "evaluation_share": 0.3}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["collect.source=local"], "needs 'path'"),
        (["collect.source=locally"], "^collect.source = 'locally': .* 'local', 'packages', 'files', 'huggingface'.$"),
        (['snapshot.sources=[{"kind":"x"}]'], r"^snapshot.sources.0.kind = 'x': .* or 'huggingface'.$"),
        (["collect.source=[1]"], r"^collect.source = \[1\]: .* 'local'"),
        (["collect.source=local", "collect.pth=x"], r"collect\.pth: there is no such field"),
        (["collect.path=x"], r"collect\.path: .*collect\.source=local for files"),
        (["collect.source=local", "collect.path=x", 'snapshot.sources=[{"kind":"packages"}]'], "give one of them"),
    ],
)
def test_a_wrong_short_form_is_named(given: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        overrides.parameters("data", "demo", None, given)
