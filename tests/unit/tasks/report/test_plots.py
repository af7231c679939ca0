from pathlib import Path

import pytest

from tasks.report import plots
from tasks.report.plots import Estimate, Funnel


def rows(**series: list[float]) -> list[dict]:
    length = max(map(len, series.values()))
    return [
        {
            "step": step,
            "metrics": {name.replace("__", "/"): values[step] for name, values in series.items() if step < len(values)},
        }
        for step in range(length)
    ]


def titles(figure: plots.Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_curves_show_the_panels_of_the_stage_that_were_logged() -> None:
    logged = rows(ppo__reward=[0.0, 1.0], ppo__kl=[0.0, 3.0], ppo__length=[17.0, 18.0], other=[1.0, 2.0])
    logged.append({"step": None, "metrics": {"ppo/gold": 1.0}})
    figure = plots.curves("ppo", logged)
    assert titles(figure) == [
        "Reward model's score",
        "KL to the fine-tuned model (nats an answer)",
        "Answer length (tokens)",
    ]
    [line] = figure.axes[1].get_lines()
    assert list(line.get_xdata()) == [0, 1] and list(line.get_ydata()) == [0.0, 3.0]


def test_a_stage_without_panels_of_its_own_gets_one_for_each_metric() -> None:
    assert titles(plots.curves("mine", rows(b=[1, 2], a=[1, 2], single=[1]))) == ["a", "b"]


def test_nothing_over_steps_is_no_curve() -> None:
    assert not plots.has_curves("pretrain", [{"step": None, "metrics": {"train/loss": 1.0}}])
    assert not plots.has_curves("pretrain", rows(train__loss=[1.0]))
    with pytest.raises(ValueError, match="nothing over steps"):
        plots.curves("pretrain", [])


def test_bars_carry_their_intervals() -> None:
    models = {"before": {"gold": Estimate(0.1, 0.05, 0.15)}, "after": {"gold": Estimate(0.2)}}
    figure = plots.model_bars(models, {"gold": "Gold", "absent": "Absent"})
    assert titles(figure) == ["Gold"]
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.1, 0.2]
    [line] = figure.axes[0].get_lines()
    assert list(line.get_ydata()) == [0.05, 0.15]
    with pytest.raises(ValueError, match="no model"):
        plots.model_bars(models, {"absent": "Absent"})


def test_the_funnel_adds_up_and_gives_each_reason_one_colour() -> None:
    figure = plots.funnel([Funnel("clean", 6, {"short": 3, "odd": 1}), Funnel("deduplicate", 4, {"twin": 2})])
    axes = figure.axes[0]
    ends = [
        max(bar.get_x() + bar.get_width() for bar in axes.patches if round(bar.get_y() + 0.31) == row) for row in (0, 1)
    ]
    assert ends == [10, 6]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["kept", "odd", "short", "twin"]


def test_grouped_bars_stand_beside_their_names() -> None:
    figure = plots.bar_groups({"Shares": {"books": {"wanted": 0.75, "realised": 0.7}, "code": {"wanted": 0.25}}})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["books", "code"]
    assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.75, 0.25, 0.7, 0.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["wanted", "realised"]


@pytest.mark.parametrize(
    "bins", [[], [{"gap": 0.5, "right": 0.3, "pairs": 10}, {"gap": 1.5, "right": 0.9, "pairs": 2}]]
)
def test_calibration_is_drawn_with_and_without_pairs(bins: list[dict[str, float]]) -> None:
    axes = plots.calibration(bins).axes[0]
    assert list(axes.get_lines()[1].get_ydata()) == [bin_["right"] for bin_ in bins]


def test_equal_drawings_are_equal_bytes_without_a_date(tmp_path: Path) -> None:
    for name in ("one", "two"):
        plots.write(plots.curves("pretrain", rows(train__loss=[3.0, 2.0, 1.5])), tmp_path / name)
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    drawn = (tmp_path / "one.svg").read_text()
    assert "<dc:date>" not in drawn and "Matplotlib" not in drawn
    assert plots.svg(plots.curves("pretrain", rows(train__loss=[3.0, 2.0, 1.5]))) == drawn
