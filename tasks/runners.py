"""Prefect's task runners for the pieces of a stage: threads, processes, a Ray or a Dask cluster.

Each piece is a Prefect task run. That costs milliseconds in a thread and tens of them on a cluster, so pieces are
coarse. Workers on other machines need the same environment, and PEDIGREE_HOME and the sources at the same paths.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from tasks.lineage.config import Resources
from tasks.lineage.errors import ConfigError
from tasks.lineage.home import home
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
        with _runner(resources, workers) as runner:

            def submit(piece: Piece) -> PrefectFuture[Result]:
                return runner.submit(task, parameters={"function": function, "piece": piece})

            yield from in_window(submit, chain(first, waiting), workers)

    return mapper


def _call(function: Callable[[Any], Any], piece: Any) -> Any:
    return function(piece)


def _runner(resources: Resources, workers: int) -> "TaskRunner[Any]":
    if resources.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    if resources.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=workers)
    return _ray(resources, workers) if resources.runner == "ray" else _dask(resources, workers)


def _ray(resources: Resources, workers: int) -> "TaskRunner[Any]":
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise ConfigError(f"resources.runner is ray, and prefect-ray is not installed: {INSTALL}") from error
    if resources.cluster:
        return RayTaskRunner(address=resources.cluster)
    # Ray would keep its token in the home folder, report usage, and listen on every network.
    os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(home() / "ray" / "auth_token"))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here = {"num_cpus": workers, "_node_ip_address": "127.0.0.1", "include_dashboard": False, "log_to_driver": False}
    return RayTaskRunner(init_kwargs=here)


def _dask(resources: Resources, workers: int) -> "TaskRunner[Any]":
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(f"resources.runner is dask, and prefect-dask is not installed: {INSTALL}") from error
    if resources.cluster:
        return DaskTaskRunner(address=resources.cluster)
    return DaskTaskRunner(cluster_kwargs={"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None})
