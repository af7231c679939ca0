import re
from pathlib import Path

import pytest

from model.rates import BASE, BASE_RATE, EXPONENTS, Size, beyond, fitted_rate

PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
SHAPES = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) × 128 \| ([\d.e-]+) \| ([\d.e-]+) \|", PAGE, re.MULTILINE)


def test_the_page_tells_the_rule() -> None:
    a, b, c, d = EXPONENTS.values()
    width, layers, steps = f"(width/{BASE.width})^{a}", f"(layers/{BASE.layers})^{b}", f"(steps/{BASE.steps})^{c}"
    assert f"{BASE_RATE} · {width} · {layers} · {steps} · (tokens a step/{BASE.batch_tokens:,})^{d}" in PAGE


def test_the_rule_is_near_the_best_rate_of_each_shape_that_was_searched() -> None:
    assert len(SHAPES) >= 6
    for width, layers, steps, rows, best, told in SHAPES:
        size = Size(int(width), int(layers), int(steps), int(rows) * 128)
        assert fitted_rate(size) == pytest.approx(float(told), rel=0.02)
        assert fitted_rate(size) == pytest.approx(float(best), rel=0.25)
        assert beyond(size) == 1


@pytest.mark.parametrize(
    ("size", "times"),
    [
        (Size(512, 3, 200, 1024), 4),
        (Size(16, 3, 200, 1024), 2),
        (Size(256, 3, 8000, 1024), 10),
        (Size(64, 4, 300, 2048), 1),
    ],
)
def test_a_size_outside_of_the_search_is_known_as_such(size: Size, times: float) -> None:
    assert beyond(size) == pytest.approx(times)
