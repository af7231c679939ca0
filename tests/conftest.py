"""For all tests: no limits of time on single examples, and what goes to which process where there are several.

make unit                 two processes (`pytest -n 2 --dist loadgroup`)
make unit WORKERS=0       one after the other in this process
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: the processors are shared

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

ROOT = Path(__file__).parent
TOGETHER = ("e2e", "unit/tasks/tracking")
"""Folders whose tests share servers, so that one process starts them."""
COURSE = "unit/tasks"
"""Files below it that ask for the fixture `trained` share one trained course, too."""


@pytest.hookimpl(tryfirst=True)  # before xdist asks which group a test is of
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file stay together and in order, as do those that share what is dear to make. The longest group comes
    first, so that nothing long is left for the end."""
    on_course = {
        item.path for item in items
        if "trained" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(ROOT / COURSE)
    }  # fmt: skip
    for item in items:
        place = item.path.relative_to(ROOT).as_posix()
        shared = [folder for folder in TOGETHER if place.startswith(f"{folder}/")]
        group = "course" if item.path in on_course else shared[0] if shared else place
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not item.path.is_relative_to(ROOT / "e2e"))
