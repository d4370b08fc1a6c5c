"""Runs the jobs of a suite that have no result yet, so many at a time; what fails stops nothing else and is kept to be read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqgan_env.bench.jobs import Job
from seqgan_env.bench.results import FAILURES, RESULTS, Result, path_of

_POLL_SECONDS = 0.05
_ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # a job is one thread, whatever the machine has


@dataclass
class Progress:
    """How far the jobs are.

    Attributes:
        kept: had a result already.
        waiting: not begun.
        running: at this moment.
        done: made now.
        failed: each with the file that says why.
    """

    kept: list[Job] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    failed: dict[str, Path] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return len(self.kept) + len(self.waiting) + len(self.running) + len(self.done) + len(self.failed)


Watch = Callable[[Progress], None]


def begin(jobs: Sequence[Job], folder: Path) -> Progress:
    """The jobs that have a result in `folder` and those that still need one.

    Raises:
        ValueError: the folder cannot be written, or a result in it is damaged.
    """
    try:
        for name in (RESULTS, FAILURES):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(f"{folder} cannot be written: {problem.strerror}") from problem
    progress = Progress()
    for job in jobs:
        path = path_of(folder, job.key)
        if path.exists():
            Result.read(path)
            progress.kept.append(job)
        else:
            progress.waiting.append(job)
    return progress


def failure_path(folder: Path, job: Job) -> Path:
    """Where it is written why a job failed."""
    return folder / FAILURES / f"{job.key}.txt"


class _Worker:
    """A job in a process of its own, which ends with this one."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.log, self.result = job, failure_path(folder, job), path_of(folder, job.key)
        with self.log.open("w", encoding="utf-8") as log:
            log.write(f"{job.name}\n{job.to_json()}\n\n")
            log.flush()
            command = [sys.executable, "-P", "-m", "seqgan_env.bench.worker", str(self.result)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env=os.environ | _ENV
            )
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(job.to_json() + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it died at once; its log says why
            pass

    def succeeded(self) -> bool | None:
        """None while it runs. The log of what went well is removed."""
        if self.process.poll() is None:
            return None
        if self.process.returncode == 0 and self.result.exists():
            self.log.unlink()
            return True
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\nended with code {self.process.returncode}\n")
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.unlink(missing_ok=True)


def run_jobs(jobs: Sequence[Job], folder: Path, num_workers: int, watch: Watch = lambda progress: None) -> Progress:
    """Runs what has no result yet, `num_workers` processes of one thread at a time.

    Args:
        jobs: of a suite.
        folder: of the benchmark; results go to `results/`, what went wrong to `failures/`.
        num_workers: K.
        watch: called whenever something changed.

    Raises:
        ValueError: as `begin`.
    """
    progress, workers = begin(jobs, folder), list[_Worker]()
    try:
        while progress.waiting or workers:
            watch(progress)
            while progress.waiting and len(workers) < num_workers:
                job = progress.waiting.pop(0)
                workers.append(_Worker(job, folder))
                progress.running.append(job)
                watch(progress)
            time.sleep(_POLL_SECONDS)
            for worker in list(workers):
                succeeded = worker.succeeded()
                if succeeded is None:
                    continue
                workers.remove(worker)
                progress.running.remove(worker.job)
                if succeeded:
                    progress.done.append(worker.job)
                else:
                    progress.failed[worker.job.name] = worker.log
    finally:
        for worker in workers:
            worker.kill()
    watch(progress)
    return progress
