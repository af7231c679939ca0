"""`python -m model find-lr`: a rate, its curve, and what is said where there is none."""

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from model.command import main as command

SMALL = ["--preset", "test", "--hidden-size", "16", "--num-hidden-layers", "1", "--context-length", "32"]
FIND = ["find-lr", *SMALL, "--threads", "1", "--quiet", "--text"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(f"Document {n} says that {n} and {n + 1} are neighbours." for n in range(400)))
    return path


def test_a_rate_is_found_and_its_curve_drawn(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "rates.svg"
    assert command.main([*FIND, str(text), "--test-steps", "30", "--plot", str(plot), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    schema = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "model-find-lr.json").read_text())
    jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
    assert len(answer["curve"]) == answer["steps"] <= 30
    assert 1e-5 < answer["suggested_lr"] < answer["lr_of_lowest_loss"] <= 1
    drawing = ElementTree.parse(plot).getroot()
    assert len(drawing.findall(".//{http://www.w3.org/2000/svg}circle")) == answer["steps"]


def test_a_rate_that_cannot_be_told_is_not_and_a_plot_has_a_place_before_the_work(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for highest, told in (("1e6", "lower --highest"), ("1e-6", "raise --highest")):
        assert command.main([*FIND, str(text), "--test-steps", "20", "--highest", highest]) == 1
        assert told in capsys.readouterr().err
    for plot in (tmp_path / "none" / "x.svg", tmp_path):
        assert command.main([*FIND, "not looked at", "--plot", str(plot)]) == 1
        assert f"--plot {plot}" in capsys.readouterr().err


def test_options_without_effect_are_refused_and_a_break_at_once_is_told(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unused = ["--lr", "5", "--steps", "7", "--schedule", "cosine", "--spike-deviations", "3"]
    assert command.main([*FIND, "not looked at", *unused]) == 1
    assert "--steps, --schedule, --spike-deviations, --lr would have no effect" in capsys.readouterr().err
    for more in (["--z-loss", "1e30"], ["--highest", "3e38"]):
        assert command.main([*FIND, str(text), "--test-steps", "20", *more]) == 1
        assert "lower --highest" in capsys.readouterr().err


def test_the_z_loss_is_part_of_what_is_minimised(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = []
    for z_loss in ("0", "5"):
        assert command.main([*FIND, str(text), "--test-steps", "20", "--z-loss", z_loss, "--json"]) == 0
        first.append(json.loads(capsys.readouterr().out)["curve"][-1])
    assert first[0] != first[1]
