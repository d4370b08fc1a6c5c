"""Shows how far a benchmark is.

On a terminal there are a bar and the running jobs. Elsewhere there is a line at the start, one for
every job that ends, and one whenever nothing was said for `SECONDS_BETWEEN_LINES`.
"""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqgan_env.bench.jobs import Job
from seqgan_env.bench.runner import Progress
from seqgan_env.screen import SECONDS_BETWEEN_LINES

_MOST_SHOWN = 8  # running or failed jobs; the others are counted
_MOST_TOLD = 3  # running jobs in a line


class LiveView:
    """A view of the jobs on the screen; called with the progress, inside `with`."""

    def __init__(self, console: Console, beat: float = SECONDS_BETWEEN_LINES) -> None:
        """
        Args:
            console: where it is shown.
            beat: seconds after which a line is due, off a terminal.
        """
        self._console, self._beat, self._started = console, beat, time.monotonic()
        self._told: set[str] = set()  # keys of jobs
        self._told_at: float | None = None  # when the last line was printed
        # A file or a pipe cannot be drawn over: there lines are printed instead.
        self._live = None
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        if self._live:
            self._live.update(self._picture(progress))
            return
        for line in self._lines(progress):
            self._told_at = time.monotonic()
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _lines(self, progress: Progress) -> list[str]:
        """What is to be said now, off a terminal."""
        now = time.monotonic()
        if self._told_at is None:
            return [_beginning(progress), *self._news(progress)]
        news = self._news(progress)
        if news or not progress.running or now - self._told_at < self._beat:
            return news
        return [f"{_at_work(progress, now)}. {self._counts(progress).plain}"]

    def _picture(self, progress: Progress) -> RenderableType:
        """A bar with counts, and below it the jobs that run and those that failed."""
        num_over = progress.total - progress.num_left
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(progress.total, num_over, width=30)
        head.add_row(bar, Text(f"{num_over}/{progress.total}"), self._counts(progress))
        now = time.monotonic()
        running, failed = [], []
        for job, since in progress.running:
            running.append(Text(f"  {_at(job, since, progress, now)}", style="dim"))
        for job, path in progress.failed:
            failed.append(Text(f"  failed: {job.name}, see {path}", style="red"))
        return Group(head, *_shortened(running), *_shortened(failed))

    def _counts(self, progress: Progress) -> Text:
        """How many jobs are in which state, and the time that is gone and left."""
        left = progress.seconds_left()
        failed = ""
        if progress.failed:
            failed = "bold red"
        remaining = "time left unknown"
        if left is not None:
            remaining = f"about {_clock(left)} left"
        if left == 0 and progress.running:  # all of them should be over by now
            remaining = "longer than expected"
        return Text.assemble(
            f"{len(progress.done)} done, {len(progress.running)} running, ",
            (f"{len(progress.failed)} failed", failed),
            f", {len(progress.kept)} kept; {_clock(time.monotonic() - self._started)} gone, ",
            remaining,
        )

    def _news(self, progress: Progress) -> list[str]:
        """A line for every job that has ended since the last call."""
        over = {job.key: f"{job.name}: done" for job in progress.done}
        for job, path in progress.failed:
            over[job.key] = f"{job.name}: FAILED, see {path}"
        news = []
        for key, line in over.items():
            if key not in self._told:
                news.append(f"{line}. {self._counts(progress).plain}")
        self._told |= set(over)  # a line is printed once
        return news


def _beginning(progress: Progress) -> str:
    """How many jobs there are, and how many of them are still to be run."""
    kept = ""
    if progress.kept:
        kept = f", {len(progress.kept)} of them kept from before"
    slots = f"{progress.num_slots} at a time"
    return f"{progress.total} jobs{kept}; {progress.num_left} to run, {slots}"


def _at_work(progress: Progress, now: float) -> str:
    """The jobs that run, with what they are at; of many the first few are named."""
    told = []
    for job, since in progress.running[:_MOST_TOLD]:
        told.append(_at(job, since, progress, now))
    more = len(progress.running) - _MOST_TOLD
    if more > 0:
        told.append(f"and {more} more")
    return "; ".join(told)


def _at(job: Job, since: float, progress: Progress, now: float) -> str:
    """A running job, how long it has run, and what it is at, where its worker tells."""
    told = f"{job.name}: {_clock(now - since)}"
    phase = progress.phases.get(job.key)
    if phase:
        told += f", {phase}"
    return told


def _shortened(lines: list[Text]) -> list[Text]:
    """The first lines, and how many more there are: a screen has room for few."""
    more = len(lines) - _MOST_SHOWN
    if more <= 0:
        return lines
    return [*lines[:_MOST_SHOWN], Text(f"  and {more} more")]


def _clock(seconds: float) -> str:
    """A time as hours, minutes and whole seconds."""
    return str(timedelta(seconds=round(seconds)))
