"""Runs the jobs of a suite that have no result yet, several at a time.

A job that fails stops no other one; the reason is written to a file.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from seqgan_env.bench.jobs import Job
from seqgan_env.bench.places import Places
from seqgan_env.bench.results import FAILURES, RESULTS, Result, path_of
from seqgan_env.training import run_directory
from seqgan_env.training.run_directory import write_text

_POLL_SECONDS = 0.1  # how often a view is brought up to date
# Folder for results that other settings, code or data made than the benchmark has now.
SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Ended:
    """A job that is over.

    Attributes:
        job: the job; its result is in the folder unless it failed.
        problem: why it failed, with the traceback; None where it did not fail.
    """

    job: Job
    problem: str | None


class Pool(Protocol):
    """A place where jobs run."""

    def num_slots(self) -> int:
        """How many jobs can run at a time; the number may change."""
        ...

    def start(self, job: Job) -> None:
        """Begins a job without waiting for its end."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that have ended since the last call; returns after `seconds` at the latest."""
        ...

    def phases(self) -> dict[str, str]:
        """What running jobs are at, by their keys; of those whose workers tell it."""
        ...

    def close(self) -> None:
        """Ends what still runs."""
        ...


@dataclass
class Progress:
    """How far the jobs are.

    Attributes:
        kept: jobs that had a result already.
        waiting: jobs that have not begun.
        running: jobs that run, each with the time of its start by `time.monotonic`.
        done: jobs whose result was made now.
        failed: jobs that failed, each with the file that says why.
        phases: what running jobs are at, by their keys, such as "adversarial 3/160"; of those whose
            workers tell it.
        seconds: how long the jobs of a row took, by the row's label.
        num_slots: number of jobs that can run at a time.
        num_superseded: number of results that were there and were moved away.
        num_of_other_code: number of results that stay although other code, data or versions made
            them, since they are of seeds that no job has.
    """

    kept: list[Job] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    running: list[tuple[Job, float]] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    failed: list[tuple[Job, Path]] = field(default_factory=list)
    phases: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    num_slots: int = 1
    num_superseded: int = 0
    num_of_other_code: int = 0

    @property
    def total(self) -> int:
        return len(self.kept) + self.num_left + len(self.done) + len(self.failed)

    @property
    def num_left(self) -> int:
        return len(self.waiting) + len(self.running)

    def seconds_left(self) -> float | None:
        """An estimate of the seconds until all jobs are over; None before one has ended.

        A job is expected to take as long as those of its row did on average, or as all did where
        none of its row has ended.
        """
        every = list(itertools.chain.from_iterable(self.seconds.values()))
        if not every:
            return None

        def expected(job: Job) -> float:
            known = self.seconds.get(job.label, every)
            return sum(known) / len(known)

        now = time.monotonic()
        running = []
        for job, since in self.running:
            # A job that is later than expected may end at any moment.
            running.append(max(0.0, expected(job) - (now - since)))
        # The work is shared among the slots, but the longest job is not divided.
        work = sum(map(expected, self.waiting)) + sum(running)
        return max([work / max(1, min(self.num_slots, self.num_left)), *running])

    def end(self, job: Job, failure: Path | None) -> None:
        """Notes that a running job is over."""
        since = next(since for running, since in self.running if running is job)
        self.running.remove((job, since))
        if failure is None:
            self.done.append(job)
            self.seconds.setdefault(job.label, []).append(time.monotonic() - since)
        else:
            self.failed.append((job, failure))


Watch = Callable[[Progress], None]


def begin(jobs: Sequence[Job], folder: Path) -> Progress:
    """Tells the jobs that have a result in `folder` from those that still need one.

    Results of the same row, task and seed that other settings, code or data made go to
    `superseded/`, and so do those of other seeds, or of other rows, that do not fit (`Places`).

    Raises:
        ValueError: a result is damaged.
    """
    progress = Progress()
    found, own = {}, {job.key for job in jobs}
    for path in sorted((folder / RESULTS).glob("*.json")):
        found[path] = Result.read(path)
    for job in jobs:
        path = path_of(folder, job.key)
        if path not in found:
            progress.waiting.append(job)
            continue
        progress.kept.append(job)
        if "wall_seconds" in found[path].costs:
            progress.seconds.setdefault(job.label, []).append(found[path].costs["wall_seconds"])

    # What does not fit beside the jobs makes room: it could not be compared with them.
    places = Places(jobs)
    for path, result in found.items():
        if not places.takes(result, path.stem):
            progress.num_superseded += 1
            (folder / SUPERSEDED).mkdir(exist_ok=True)
            path.replace(folder / SUPERSEDED / path.name)
        elif path.stem not in own and places.is_of_other_code(result, path.stem):
            progress.num_of_other_code += 1
    return progress


def failure_path(folder: Path, job: Job) -> Path:
    """The file that says why a job failed."""
    return folder / FAILURES / f"{job.key}.txt"


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """The folder of a benchmark, made if need be, for one process at a time.

    Raises:
        ValueError: it cannot be written, or a benchmark that still runs writes there.
    """
    with run_directory.locked(folder, "`seqgan bench`"):
        try:
            for name in (RESULTS, FAILURES):
                (folder / name).mkdir(exist_ok=True)
        except OSError as problem:
            raise run_directory.unwritable(folder, problem) from problem
        yield


def run_jobs(
    jobs: Sequence[Job], folder: Path, pool: Pool, watch: Watch = lambda progress: None
) -> Progress:
    """Runs the jobs that have no result yet.

    Args:
        jobs: the jobs of a suite.
        folder: folder of the benchmark, `opened`; results go to `results/`, the reasons of failures
            to `failures/`.
        pool: where the jobs run; it is closed at the end, whatever happens.
        watch: called with the progress about ten times a second and whenever it has changed.

    Raises:
        ValueError: as `begin`.
    """
    try:
        progress = begin(jobs, folder)
        progress.num_slots = max(1, pool.num_slots())
        watch(progress)
        while progress.num_left:
            _fill(progress, pool, folder)
            progress.phases = pool.phases()
            watch(progress)
            for ended in pool.wait(_POLL_SECONDS):
                progress.end(ended.job, _failure(ended, folder))
    finally:
        pool.close()
    watch(progress)
    return progress


def _fill(progress: Progress, pool: Pool, folder: Path) -> None:
    """Starts as many jobs as there is room for."""
    progress.num_slots = max(1, pool.num_slots())
    while progress.waiting and len(progress.running) < progress.num_slots:
        job = progress.waiting.pop(0)
        failure_path(folder, job).unlink(missing_ok=True)  # of an earlier attempt
        pool.start(job)
        progress.running.append((job, time.monotonic()))


def _failure(ended: Ended, folder: Path) -> Path | None:
    """Writes why a job failed and returns the file; None for a job that did not fail."""
    if ended.problem is None:
        return None
    path = failure_path(folder, ended.job)
    write_text(path, f"{ended.job.name}\n{ended.job.to_json()}\n\n{ended.problem}\n")
    return path
