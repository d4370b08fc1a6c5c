"""The runs of one trial side by side: all of them come to a round before any goes beyond it.

So the mean over tasks and seeds is known round by round, and a trial can be ended by it. What is
found depends neither on the number of workers nor on their speed.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from seqgan_env.bench.jobs import Job
from seqgan_env.bench.worker import ENVIRONMENT
from seqgan_env.screen import SECONDS_BETWEEN_LINES
from seqgan_env.sweep.worker import ANOTHER_JOB


class TrialDivergedError(Exception):
    """A run of a trial has run away: its settings are bad, and nothing is broken."""


class TrialFailedError(Exception):
    """A run of a trial has ended by an error; the message is what it said."""


@dataclass(frozen=True)
class Measured:
    """What the runs of a trial have reached together.

    Attributes:
        round: behind which they were measured.
        metric: the name of the divergence.
        values: of every run, in the order of the jobs; infinite where there is no number.
    """

    round: int
    metric: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        total = 0.0
        for value in self.values:
            total += value
        return total / len(self.values)


@contextmanager
def in_step(
    jobs: Sequence[Job], num_workers: int, waiting: Callable[[], None] = lambda: None
) -> Iterator[Iterator[Measured]]:
    """The measurements of the runs of a trial; when the block is left, runs that are left end.

    Args:
        jobs: the runs, which are measured in the same rounds.
        num_workers: that compute at a time. Every run is a process from its beginning to its end.
        waiting: is called where nothing was measured for `SECONDS_BETWEEN_LINES`, again and again.

    Yields:
        What is measured, round by round. Taking the next one raises `TrialDivergedError`,
        `TrialFailedError`, or a ValueError where runs cannot be compared or the code has changed.
    """
    runs = [_Run(job) for job in jobs]
    try:
        yield _measurements(runs, num_workers, waiting)
    finally:
        for run in runs:
            run.end()


def _measurements(
    runs: Sequence[_Run], num_workers: int, waiting: Callable[[], None]
) -> Iterator[Measured]:
    while True:
        messages = _next_of_each(runs, num_workers, waiting)
        rounds, metrics, values = set(), set(), []
        for message in messages:
            if message is None:
                continue
            rounds.add(message["round"])
            metrics.add(message["metric"])
            value = float(message["value"])
            if math.isnan(value):  # infinitely far, for a study takes no other
                value = math.inf
            values.append(value)
        if not values:
            return
        if len(values) < len(runs) or len(rounds) > 1:
            raise ValueError("runs of one trial were measured in different rounds")
        if len(metrics) > 1:
            raise ValueError(
                f"{' and '.join(sorted(metrics))} cannot be averaged; tasks that are measured by "
                "different divergences need suites of their own"
            )
        yield Measured(rounds.pop(), metrics.pop(), tuple(values))


def _next_of_each(
    runs: Sequence[_Run], num_workers: int, waiting: Callable[[], None]
) -> list[dict[str, Any] | None]:
    """The next message of every run, None of those that have come to their end.

    The first run of the list that diverges or fails decides, whichever is the first to say so.
    """
    messages: list[dict[str, Any] | None] = [None] * len(runs)
    left = list(range(len(runs)))
    with selectors.DefaultSelector() as selector:
        computing = 0
        while left or computing:
            while left and computing < num_workers:
                place = left.pop(0)
                runs[place].go_on()
                selector.register(runs[place].output, selectors.EVENT_READ, place)
                computing += 1
            ready = selector.select(SECONDS_BETWEEN_LINES)
            if not ready:
                waiting()
            for key, _ in ready:
                selector.unregister(key.fileobj)
                messages[key.data] = runs[key.data].message()
                computing -= 1
    for message in messages:
        if message is not None and "diverged" in message:
            raise TrialDivergedError(message["diverged"])
        if message is not None and "failed" in message:
            raise TrialFailedError(message["failed"])
    return messages


class _Run:
    """A job in a process of its own, which waits between its measurements.

    The process begins with the first `go_on`: what it imports takes seconds of a processor.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> IO[bytes]:
        """Where its messages come."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def go_on(self) -> None:
        """Lets it compute up to its next message."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "seqgan_env.sweep.worker", self._job.key],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=os.environ | ENVIRONMENT,
            )
            self._send(self._job.to_json())
        self._send("go on")

    def message(self) -> dict[str, Any] | None:
        """Its next message; None if it has come to its end.

        Raises:
            ValueError: the code, the data or a version is another one than when the sweep began.
        """
        line = self.output.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        assert self._process is not None
        code = self._process.wait()
        if code == 0:
            return None
        if code == ANOTHER_JOB:
            raise ValueError(
                f"{self._job.name} would be another job than when the sweep began: the code, the "
                "data or a version has changed since"
            )
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        return {"failed": f"{self._job.name}\n{said}\nended with code {code}"}

    def end(self) -> None:
        """Ends it, if it has not ended, and waits until it has."""
        self._log.close()
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self.output.close()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it was told last was never read
            self._process.stdin.close()

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it has died; its log says why
            pass
