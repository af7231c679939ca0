"""The model layer in an environment of its own: only the packages it names are there, and nothing else of Pedigree.

It trains on real text, is killed in the middle, goes on to the same bytes, samples and measures.
"""

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from importlib.metadata import distribution
from pathlib import Path
from pydoc_data.topics import topics

import jsonschema
import pytest
from packaging.requirements import Requirement

import model.__main__ as entry

ROOT = Path(__file__).parents[2]
ABSENT = (
    "flows", "tasks", "prefect", "mlflow", "pydantic", "pyarrow", "pandas", "scipy", "numba", "datasets",
    "transformers",
)  # fmt: skip
STEPS = 120
SETTINGS = ["--preset", "test", "--steps", str(STEPS), "--held-out-bytes", "20000", "--threads", "1", "--json"]


def named_packages() -> list[str]:
    """What the layer says it needs, from the pip line of its entry point."""
    (line,) = re.findall(r"^pip install (.*)$", entry.__doc__ or "", re.MULTILINE)
    for package in line.split():
        name, version = package.split("==")
        assert distribution(name).version.split("+")[0] == version, f"{package} is not what the project pins"
    return [package.split("==")[0] for package in line.split()]


def with_dependencies(names: list[str]) -> list[str]:
    """The packages, and all that their metadata requires here."""
    found: list[str] = []
    while names:
        name, names = names[0].lower().replace("_", "-"), names[1:]
        if name not in found:
            found.append(name)
            needs = [Requirement(line) for line in distribution(name).requires or []]
            names += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> "Alone":
    """A virtual environment whose packages are links to those installed here, and a copy of the layer's folder."""
    base = tmp_path_factory.mktemp("alone")
    venv.create(base / "env", with_pip=False, symlinks=True)
    (site,) = (base / "env").glob("lib/python*/site-packages")
    for name in with_dependencies(named_packages()):
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or []}
        for top in tops - {"..", "__pycache__", "distutils-precedence.pth"}:
            (site / top).symlink_to(Path(str(installed.locate_file(top))))
    shutil.copytree(ROOT / "model", base / "work" / "model", ignore=shutil.ignore_patterns("__pycache__"))
    (base / "work" / "text.txt").write_text("\n\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
    return Alone(base / "env" / "bin" / "python", base / "work")


class Alone:
    """Runs Python there."""

    def __init__(self, python: Path, work: Path) -> None:
        self.python, self.work = python, work

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.Popen(
            [str(self.python), *arguments],
            cwd=self.work,
            env={**kept, "OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return output

    def answer(self, command: str, *arguments: str) -> dict:
        """The command's --json answer, which its schema describes."""
        answer = json.loads(self.call("-m", "model", command, *arguments))
        schema = json.loads((ROOT / "docs" / "schemas" / f"model-{command}.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
        return answer

    def kill(self, number: int, after: int, *arguments: str) -> int:
        """Starts training, sends the signal once `after` steps are saved; the exit code."""
        process = self.start("-m", "model", "train", *arguments)
        checkpoints = self.work / arguments[arguments.index("--out") + 1] / "training" / "checkpoints"
        deadline = time.monotonic() + 300
        try:
            while not any(int(path.name[5:]) >= after for path in checkpoints.glob("step-*")):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "no checkpoint appeared"
                time.sleep(0.005)
            process.send_signal(number)
            process.communicate(timeout=300)
            return process.returncode
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def test_the_rest_of_pedigree_is_not_there(alone: Alone) -> None:
    script = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    assert alone.call("-c", script, *ABSENT).strip() == "[]"
    assert alone.call("-c", "import sys; print(sys.prefix)").strip() != sys.prefix


def test_it_learns_survives_a_kill_to_the_same_bytes_samples_and_measures(alone: Alone) -> None:
    whole = alone.answer("train", "--text", "text.txt", "--out", "whole", *SETTINGS)
    assert whole["bits_per_byte_before"] > 3.3
    assert whole["bits_per_byte_high"] < whole["bits_per_byte_before"] - 0.8, "it has learnt next to nothing"

    often = ["--text", "text.txt", "--out", "killed", *SETTINGS, "--checkpoint-seconds", "0"]
    assert alone.kill(signal.SIGKILL, 10, *often) == -signal.SIGKILL
    assert not (alone.work / "killed" / "config.json").exists()
    assert alone.kill(signal.SIGINT, 40, *often) == 130
    resumed = alone.answer("train", *often)
    assert {**resumed, "model": "whole"} == whole
    names = sorted(path.name for path in (alone.work / "whole").iterdir())
    assert names == sorted(path.name for path in (alone.work / "killed").iterdir())
    assert "model.safetensors" in names and "curve.jsonl" in names and "training" not in names
    assert filecmp.cmpfiles(alone.work / "whole", alone.work / "killed", names, shallow=False) == (names, [], [])

    written = alone.answer(
        "generate", "--model", "whole", "--prompt", "The", "--greedy", "--max-new-tokens", "20", "--json"
    )
    assert written["text"] and written["tokens"] <= 20
    (alone.work / "unseen.txt").write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    measured = alone.answer("eval", "--model", "whole", "--text", "unseen.txt", "--json")
    assert measured["bits_per_byte"] < 8 and measured["documents"] > 10


def test_what_needs_one_more_package_says_which(alone: Alone) -> None:
    process = alone.start("-m", "model", "import", "--gguf", "model.gguf", "--out", "imported")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"pip install gguf=={distribution('gguf').version}" in errors and "Traceback" not in errors
    assert len(alone.answer("presets", "--json")["presets"]) > 2
