"""The README keeps its word: every module, command, flow and preset is named, and every setting it shows exists."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from flows import overrides
from flows.cli import parser
from flows.environment import PROJECT
from flows.presets import FLOW_SECTIONS, PRESETS

README = (PROJECT / "README.md").read_text()


@pytest.mark.parametrize("folder", ["flows", "tasks"])
def test_every_module_has_its_place_in_the_tree(folder: str) -> None:
    modules = {path.name for path in (PROJECT / folder).glob("*.py")} - {"__init__.py"}
    assert not {module for module in modules if module not in README}


def test_every_flow_preset_and_shown_command_is_real() -> None:
    for name in (*FLOW_SECTIONS, *PRESETS):
        assert f"`{name}`" in README
    shown = re.findall(r"\.venv/bin/pedigree ([^#\n]+)", README)
    assert len(shown) >= 6
    for line in shown:
        parser().parse_args(shlex.split(line))  # exits where the command or an option does not exist


def test_the_shown_settings_are_accepted(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    given = overrides.parameters("train", "demo", tmp_path / "mine.yaml", ["pretrain.steps=2000"])
    assert given["snapshot"] == yaml.safe_load(block)["snapshot"]
