"""Runs jobs as tasks of a Ray cluster.

Ray places the jobs, repeats those of lost workers, and brings the results back as values.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seqgan_env.bench.jobs import Job
from seqgan_env.bench.results import Result, path_of
from seqgan_env.bench.runner import Ended
from seqgan_env.bench.worker import ENVIRONMENT, run_job
from seqgan_env.extras import load

NUM_RETRIES = 3  # of a job whose worker is lost

_CONNECT_SECONDS = 10
_STORE_BYTES = 80 * 2**20  # of a cluster on this machine: results are small


class RayPool:
    """A pool that runs each job as a Ray task of one CPU in a worker process of its own.

    This process writes the results.
    """

    def __init__(
        self, folder: Path, address: str, num_workers: int | None, plug_ins: Iterable[str]
    ) -> None:
        """Connects to the cluster.

        Args:
            folder: folder of the benchmark.
            address: "local" for a cluster on this machine that ends with this process, "auto" for
                the one that this machine is part of, or the address of one.
            num_workers: number of jobs at a time; all CPUs of the cluster if None.
            plug_ins: names of the jobs' plug-ins; the code of those given as
                `package.module:Class` is sent along.

        Raises:
            ValueError: Ray is missing or the cluster cannot be reached.
        """
        self._ray, self._folder, self._num_workers = _import_ray(), folder, num_workers
        modules = _modules_of(plug_ins)
        environment: dict[str, Any] = {"env_vars": ENVIRONMENT}
        if modules:
            environment["py_modules"] = modules
        settings: dict[str, Any] = {
            "runtime_env": environment,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }
        if address == "local":
            settings |= {
                "num_cpus": num_workers,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
            }
        try:
            _check_reachable(address)
            self._ray.init(address=address, **settings)
        except (OSError, RuntimeError, ValueError) as problem:
            raise ValueError(
                f"no Ray cluster at {address!r}: {problem}; allowed are local, auto and an address"
            ) from problem
        # A worker takes one job and ends (`max_calls`): times and memory are then of that job.
        self._task = self._ray.remote(num_cpus=1, max_calls=1, max_retries=NUM_RETRIES)(run_job)
        self._jobs: dict[Any, Job] = {}

    def num_slots(self) -> int:
        return self._num_workers or int(self._ray.cluster_resources().get("CPU", 0))

    def start(self, job: Job) -> None:
        self._jobs[self._task.remote(job.with_absolute_paths(), job.key)] = job

    def wait(self, seconds: float) -> list[Ended]:
        over, _ = self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=seconds)
        return list(map(self._ended, over))

    def phases(self) -> dict[str, str]:
        return {}  # a task of Ray tells nothing before its end

    def close(self) -> None:
        for reference in self._jobs:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _ended(self, reference: Any) -> Ended:
        """Writes the result of a task that is over, or says why there is none."""
        job = self._jobs.pop(reference)
        try:
            result: Result = self._ray.get(reference)
        except self._ray.exceptions.RayError as problem:
            return Ended(job, str(problem))
        result.write(path_of(self._folder, job.key))
        return Ended(job, None)


def _import_ray() -> Any:
    """Ray; a missing extra is an error that names it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or Ray reports to its makers
    return load("ray", "--ray")


def _check_reachable(address: str) -> None:
    """Raises an OSError or ValueError where nothing listens; Ray itself would try for minutes."""
    if address not in ("local", "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


def _modules_of(plug_ins: Iterable[str]) -> list[str]:
    """The folder or file of the package of each plug-in given as `package.module:Class`."""
    packages = set()
    for name in plug_ins:
        module_name, colon, _ = name.partition(":")
        if colon:  # names without one are of packages that are installed everywhere
            packages.add(module_name.split(".")[0])
    found = []
    for module in map(importlib.import_module, sorted(packages)):
        folders = getattr(module, "__path__", [module.__file__])
        found.append(next(iter(folders)))
    return found
