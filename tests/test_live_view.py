"""What a benchmark says of itself where its output is no terminal."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from seqgan_env.bench import live_view, runner
from seqgan_env.bench.jobs import Job
from seqgan_env.bench.live_view import LiveView
from seqgan_env.bench.runner import Progress
from seqgan_env.bench.worker import PHASE_BYTES
from seqgan_env.screen import SECONDS_BETWEEN_LINES

from .test_bench import run, suite

TEN_PER_SECOND = 10


class Clock:
    """A time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live_view, "time", made)
    monkeypatch.setattr(runner, "time", made)
    return made


class Watched:
    """The lines that a view prints, each with its time."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.screen = clock, io.StringIO()
        self.view = LiveView(Console(file=self.screen, width=200))
        self.lines: list[tuple[float, str]] = []

    def show(self, progress: Progress, seconds: float) -> None:
        """Shows it as often as a benchmark does, for so long."""
        for _ in range(int(TEN_PER_SECOND * seconds)):
            before = len(self.screen.getvalue())
            self.view(progress)
            for line in self.screen.getvalue()[before:].splitlines():
                self.lines.append((self.clock.now, line))
            self.clock.now += 1 / TEN_PER_SECOND


def jobs_of_two() -> list[Job]:
    return suite(seeds=1).jobs()


def test_nobody_waits_longer_than_the_beat_for_a_line(clock: Clock) -> None:
    first, second = jobs_of_two()
    progress = Progress(waiting=[second], running=[(first, 0.0)])
    watched = Watched(clock)
    watched.show(progress, 130)
    progress.end(first, None)
    progress.waiting.clear()
    progress.running.append((second, clock.now))
    watched.show(progress, 90)
    times = [time for time, _ in watched.lines]
    assert times[0] == 0.0
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) <= SECONDS_BETWEEN_LINES + 0.2
    assert len(times) <= 14  # and nobody is told much more often


def test_the_first_line_says_how_many_jobs_there_are(clock: Clock) -> None:
    first, second = jobs_of_two()
    watched = Watched(clock)
    watched.show(Progress(kept=[first], waiting=[second], num_slots=2), 0.1)
    [(_, line)] = watched.lines
    assert line == "2 jobs, 1 of them kept from before; 1 to run, 2 at a time"


def test_a_line_in_between_says_which_job_runs_and_what_it_is_at(clock: Clock) -> None:
    first, second = jobs_of_two()
    progress = Progress(waiting=[second], running=[(first, 0.0)])
    progress.phases = {first.key: "pre-train policy 3/8"}
    watched = Watched(clock)
    watched.show(progress, 21)
    line = watched.lines[-1][1]
    assert line.startswith(f"{first.name}: 0:00:20, pre-train policy 3/8. 0 done, 1 running")
    assert line.endswith("time left unknown")


def test_a_job_that_is_late_is_never_said_to_end_at_once(clock: Clock) -> None:
    first, second = jobs_of_two()
    progress = Progress(running=[(second, 0.0)], done=[first])
    progress.seconds = {first.label: [10.0], second.label: [10.0]}
    watched = Watched(clock)
    watched.show(progress, 45)
    told = [line for _, line in watched.lines]
    assert "about 0:00:00 left" not in "".join(told)
    assert told[-1].endswith("longer than expected")


def test_a_worker_tells_what_its_job_is_at(tmp_path: Path) -> None:
    seen: set[str] = set()

    def watch(progress: Progress) -> None:
        seen.update(progress.phases.values())
        for phase in progress.phases.values():
            assert len(phase) <= PHASE_BYTES

    progress = run(jobs_of_two(), tmp_path, num_workers=1, watch=watch)
    assert len(progress.done) == 2
    assert seen - {""}  # which of the short phases are seen is a matter of time
    for phase in seen - {""}:
        name, _, share = phase.rpartition(" ")
        done, total = map(int, share.split("/"))
        assert name
        assert done <= total
