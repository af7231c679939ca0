"""For all tests: how Hypothesis looks for counter-examples, and which tests stay together on several processes.

make unit             two processes (`pytest -n 2`)
make unit WORKERS=0   one after the other in a single one
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: the processors are shared

# The same examples in every run, and none fails because a machine is slow. `pytest --hypothesis-profile explore` looks
# for others.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None)
settings.load_profile("suite")

TOGETHER = {
    "tests/e2e/": "servers",
    "tests/unit/tasks/tracking/": "MLflow",
    "tests/unit/tasks/impact/": "planted course",
    "tests/unit/tasks/forget/": "planted course",
}
"""Folders whose tests share what is dear to make, and what that is. All other tests stay together by file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest group comes first, so that nothing long is left for the end."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/e2e/"))


class Together(LoadScopeScheduling):
    """A process takes groups of tests, each with all its tests, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        shared = [what for folder, what in TOGETHER.items() if nodeid.startswith(folder)]
        return shared[0] if shared else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    config.option.loadscopereorder = False
    return Together(config, log)
