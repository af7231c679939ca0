"""Prefect's task runners for the pieces of a stage: threads, processes, a Ray or a Dask cluster.

Each piece is a Prefect task run. That costs milliseconds in a thread and tens of them on a cluster, so pieces are
coarse. Workers on other machines need the same environment, and PEDIGREE_HOME and the sources at the same paths.
"""

import atexit
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import chain, islice
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from tasks.lineage.config import Resources
from tasks.lineage.crew import end_with_parent
from tasks.lineage.errors import ConfigError
from tasks.lineage.parallel import Mapper, Piece, Result, count_workers, in_window

INSTALL = "pip install -r requirements-cluster.lock"


def on_prefect(resources: Resources) -> Mapper:
    """Maps on the runner that `resources` names. Raises ConfigError where its package is not installed."""

    def mapper(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        waiting = iter(pieces)
        first = list(islice(waiting, 2))
        if len(first) < 2:
            yield from map(function, first)
            return
        named = function.func if isinstance(function, partial) else function
        task = Task(_call, name=named.__name__, cache_policy=NO_CACHE, persist_result=False)
        workers = count_workers(resources.workers)
        runner = _open_runner(resources.runner, resources.cluster, workers)

        def submit(piece: Piece) -> PrefectFuture[Result]:
            return runner.submit(task, parameters={"function": function, "piece": piece})

        # After an error none may still be writing when the stage is tried again.
        yield from in_window(submit, chain(first, waiting), workers, leave=lambda future: future.wait())

    return mapper


def _call(function: Callable[[Any], Any], piece: Any) -> Any:
    return function(piece)


@cache
def _open_runner(kind: str, cluster: str | None, workers: int) -> "TaskRunner[Any]":
    """Opened once for all stages that this process runs, since a cluster takes seconds to start."""
    runner: TaskRunner[Any]
    if kind == "threads":
        runner = ThreadPoolTaskRunner(max_workers=workers)
    elif kind == "processes":
        runner = ProcessPoolTaskRunner(max_workers=workers, initializer=end_with_parent)
    else:
        runner = _ray(cluster, workers) if kind == "ray" else _dask(cluster, workers)
    runner.__enter__()
    atexit.register(runner.__exit__, None, None, None)
    return runner


def _ray(cluster: str | None, workers: int) -> "TaskRunner[Any]":
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise ConfigError(f"resources.runner is ray, and prefect-ray is not installed: {INSTALL}") from error
    if cluster:
        return RayTaskRunner(address=cluster)
    # Ray would keep its token in the home folder, report usage, and listen on every network.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here = {"num_cpus": workers, "_node_ip_address": "127.0.0.1", "include_dashboard": False, "log_to_driver": False}
    return RayTaskRunner(init_kwargs=here)


def _dask(cluster: str | None, workers: int) -> "TaskRunner[Any]":
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(f"resources.runner is dask, and prefect-dask is not installed: {INSTALL}") from error
    if cluster:
        return DaskTaskRunner(address=cluster)
    return DaskTaskRunner(cluster_kwargs={"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None})
