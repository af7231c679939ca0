"""A new setting with a neutral value reruns nothing, from the file on disk to the store; at another value it does."""

import subprocess
import sys
from pathlib import Path

BEFORE = """
from pydantic import BaseModel, Field
from tasks.stage import StageConfig, StageRun, neutral, stage

class Oven(BaseModel):
    degrees: int = 200

class BakeConfig(StageConfig):
    minutes: int = 40
    oven: Oven = Oven()

@stage(output="bread")
def bake(run: StageRun, config: BakeConfig) -> None:
    print("baked")
    (run.output / "bread").write_text("bread")
"""
AFTER = BEFORE.replace(
    "degrees: int = 200",
    "degrees: int = 200\n    steam: bool = Field(False, json_schema_extra=neutral(False))",
).replace(
    "minutes: int = 40",
    "minutes: int = 40\n    topping: str | None = Field(None, json_schema_extra=neutral(None))",
)
PLAIN = BEFORE.replace("minutes: int = 40", "minutes: int = 40\n    salt: int = 1")


def run(folder: Path, source: str, config: str = "BakeConfig()") -> list[str]:
    """Runs the stage in a process of its own, with the state of the earlier ones; what it printed, then its causes."""
    (folder / "bakery.py").write_text(source)
    script = (
        "from bakery import BakeConfig, Oven, bake\n"
        "from tasks.lineage.store import Store\n"
        f"config = {config}\n"
        "known = bake.plan({}, config)\n"
        "bake(config=config)\n"
        "print(known.verdict, [(cause.kind, cause.name, cause.new) for cause in known.causes])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{folder}:{Path.cwd()}", "PEDIGREE_HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_new_setting_reruns_nothing_at_its_neutral_value_and_is_named_at_another(tmp_path: Path) -> None:
    assert run(tmp_path, BEFORE) == ["baked", "would run [('first run', 'bake', None)]"]
    assert run(tmp_path, AFTER) == ["cached []"]
    assert run(tmp_path, AFTER, "BakeConfig(topping='seeds')") == [
        "baked",
        "would run [('config', 'topping', 'seeds')]",
    ]
    assert run(tmp_path, AFTER, "BakeConfig(oven=Oven(steam=True))") == [
        "baked",
        "would run [('config', 'oven.steam', True)]",
    ]
    assert run(tmp_path, BEFORE) == ["cached []"]


def test_without_a_neutral_value_it_reruns_the_stage(tmp_path: Path) -> None:
    run(tmp_path, BEFORE)
    assert run(tmp_path, PLAIN) == ["baked", "would run [('config', 'salt', 1)]"]
