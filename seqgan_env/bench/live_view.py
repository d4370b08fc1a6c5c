"""What a person sees while a benchmark runs: on a terminal a bar and what runs, elsewhere a line
for every job that ends.
"""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqgan_env.bench.runner import Progress

_MOST_SHOWN = 8  # running or failed jobs; the others are counted


class LiveView:
    """A view of the jobs on the screen; called with the progress, inside `with`."""

    def __init__(self, console: Console) -> None:
        self._console, self._started = console, time.monotonic()
        self._told: set[str] = set()  # keys of jobs
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
        for line in self._news(progress):
            self._console.print(line, highlight=False, soft_wrap=True)

    def _picture(self, progress: Progress) -> RenderableType:
        num_over = progress.total - progress.num_left
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(progress.total, num_over, width=30)
        head.add_row(bar, Text(f"{num_over}/{progress.total}"), self._counts(progress))
        now = time.monotonic()
        running = [
            Text(f"  {job.name}, {_clock(now - since)}", style="dim")
            for job, since in progress.running
        ]
        failed = [
            Text(f"  failed: {job.name}, see {path}", style="red") for job, path in progress.failed
        ]
        return Group(head, *_shortened(running), *_shortened(failed))

    def _counts(self, progress: Progress) -> Text:
        left = progress.seconds_left()
        failed = ""
        if progress.failed:
            failed = "bold red"
        remaining = "time left unknown"
        if left is not None:
            remaining = f"about {_clock(left)} left"
        return Text.assemble(
            f"{len(progress.done)} done, {len(progress.running)} running, ",
            (f"{len(progress.failed)} failed", failed),
            f", {len(progress.kept)} kept; {_clock(time.monotonic() - self._started)} gone, ",
            remaining,
        )

    def _news(self, progress: Progress) -> list[str]:
        """Lines on what has ended since the last call."""
        over = {job.key: f"{job.name}: done" for job in progress.done}
        over |= {job.key: f"{job.name}: FAILED, see {path}" for job, path in progress.failed}
        news = [line for key, line in over.items() if key not in self._told]
        self._told |= set(over)
        return [f"{line}. {self._counts(progress).plain}" for line in news]


def _shortened(lines: list[Text]) -> list[Text]:
    more = len(lines) - _MOST_SHOWN
    if more <= 0:
        return lines
    return [*lines[:_MOST_SHOWN], Text(f"  and {more} more")]


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
