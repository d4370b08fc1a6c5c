"""What a run shows while it goes on, and how it bears that nobody reads it."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from seqgan_env.metrics.catalogue import METRICS
from seqgan_env.screen import SECONDS_BETWEEN_LINES, plain_console, time_left

_SHOWN = (
    "nll_validation",
    *(METRICS[name].shown_live for name in ("nll_oracle", "nll_gen", "score")),
    "discriminator/accuracy_heldout",
    METRICS["kl_mean"].shown_live,
    "agent/reward",
)


def console() -> Console:
    """A console on standard output that never ends a run.

    What the output's encoding cannot say is replaced by "?". Once its reader has gone, or its disk
    is full, the rest is dropped.
    """
    if sys.stdout is None:  # it was closed before we began
        return plain_console(io.StringIO())
    stream = sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return plain_console(Tolerant(stream))  # type: ignore[arg-type]


class Tolerant:
    """A text stream that drops what can no longer be written, and says so once on standard error.

    Attributes:
        stream: that is written to.
        gone: whether its reader has gone.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.gone = stream, False

    def write(self, text: str) -> int:
        """Writes `text`, or drops it."""
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flushes, or drops what is buffered."""
        self._try(self.stream.flush)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def _try(self, act: Callable[[], object]) -> None:
        if self.gone:
            return
        try:
            act()
        except (OSError, ValueError) as problem:
            self.gone = True
            _discard(self.stream)
            reason = getattr(problem, "strerror", None) or problem
            _tell(f"seqgan: standard output cannot be written ({reason}); the run goes on")


def _discard(stream: TextIO) -> None:
    """Points a stream to nowhere, so that what it still buffers fails no more at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        return  # it has no file behind it, or is closed


def warn(text: str) -> None:
    """Says something on standard error, if anybody reads it."""
    _tell(f"seqgan: {text}")


def _tell(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # nobody reads that either


class RunProgress:
    """A run's phases: bars on a terminal, lines elsewhere, and the same lines in a file.

    A line is due when a phase begins, when it ends, and every so many seconds, whether anything was
    done since or not, and between phases too.
    """

    def __init__(self, console: Console, beat: float = SECONDS_BETWEEN_LINES) -> None:
        """
        Args:
            console: where it is shown.
            beat: seconds between two lines.
        """
        self.console, self.beat = console, beat
        self._bars = None
        if console.is_terminal:
            self._bars = _Bars(console)
        self._began: dict[str, float] = {}
        self._first: dict[str, int] = {}  # what was done when a phase began
        # Phases that are not over, the latest one last: done, total, and when they were reported.
        self._open: dict[str, tuple[int, int, float]] = {}
        self._reported_at = self._told_at = time.monotonic()
        self._metrics: dict[str, float] = {}
        self._lines: list[str] = []
        self._log: Path | None = None
        self._lock, self._over = threading.RLock(), threading.Event()

    def __enter__(self) -> RunProgress:
        if self._bars:
            self._bars.start()
        self._over.clear()
        threading.Thread(target=self._keep_telling, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        if self._bars:
            self._bars.stop()

    def log_to(self, path: Path) -> None:
        """Writes the lines to this file from now on, those so far among them."""
        with self._lock:
            self._log = path
            self._append("".join(f"{line}\n" for line in self._lines))

    def __call__(self, phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        with self._lock:
            now = time.monotonic()
            is_new = phase not in self._began
            if is_new:
                # Where something is done already, the phase began at the report before.
                self._began[phase] = self._reported_at if done else now
                self._first[phase] = 0 if done == 1 else done
                self._metrics = {}
            self._reported_at = now
            self._open[phase] = (done, total, now)
            self._metrics |= {key.split("/")[-1]: metrics[key] for key in _SHOWN if key in metrics}
            if self._bars:
                self._bars.show(phase, done, total, self._metrics)
            if is_new or done == total or now - self._told_at >= self.beat:
                self._tell_of(phase, now)
            if done >= total:
                del self._open[phase]

    def _keep_telling(self) -> None:
        """Says how long a phase has lasted, or is over, where nothing was reported for long."""
        while not self._over.wait(self.beat / 20):
            with self._lock:
                now = time.monotonic()
                if self._over.is_set() or now - self._told_at < self.beat:
                    continue
                if self._open:
                    self._tell_of(next(reversed(self._open)), now)
                else:
                    self._tell_of_none(now)

    def _tell_of(self, phase: str, now: float) -> None:
        """Says how far a phase is: its share, seconds, what is left of it, and the metrics."""
        self._told_at = now
        done, total, _ = self._open[phase]
        metrics, seconds, left = (
            _text(self._metrics),
            now - self._began[phase],
            self._left(phase, now),
        )
        if metrics:
            metrics = f"  {metrics}"
        self._say(f"{phase}: {done}/{total}, {seconds:.0f} s{left}{metrics}")

    def _tell_of_none(self, now: float) -> None:
        """Says how long the work between two phases has lasted."""
        self._told_at = now
        behind = next(reversed(self._began), "the beginning")
        self._say(f"working, {now - self._reported_at:.0f} s behind {behind}")

    def _left(self, phase: str, now: float) -> str:
        """How long the rest of a phase will take at its rate so far."""
        done, total, reported_at = self._open[phase]
        num = done - self._first[phase]  # since it began, or was resumed
        seconds = reported_at - self._began[phase]
        left = time_left(num, total - done, seconds, now - reported_at)
        if left:
            left = f", {left}"
        return left

    def _say(self, line: str) -> None:
        self._lines.append(line)
        self._append(f"{line}\n")
        if not self._bars:
            self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _append(self, text: str) -> None:
        if self._log is None:
            return
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as problem:
            _tell(f"seqgan: {self._log} cannot be written ({problem.strerror}); the run goes on")
            self._log = None


class _Bars:
    """One bar a phase, with the metrics that matter behind it."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, TextColumn("{task.fields[metrics]}"), console=console)
        self.tasks: dict[str, TaskID] = {}

    def start(self) -> None:
        self.progress.start()

    def stop(self) -> None:
        self.progress.stop()

    def show(self, phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if phase not in self.tasks:
            self.tasks[phase] = self.progress.add_task(phase, total=total, metrics="")
        self.progress.update(self.tasks[phase], completed=done, metrics=_text(metrics))


def _text(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.3f}" for key, value in metrics.items())


@contextmanager
def told_if_slow(text: str, seconds: float = 2.0) -> Iterator[None]:
    """Says on standard error what is done, once it has lasted so long."""
    timer = threading.Timer(seconds, warn, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tell_of_no_data(task: object, rather: str) -> bool:
    """Says on standard error why a task has no real data, and what is done instead; whether it has
    none.
    """
    why: str | None = getattr(task, "no_data", None)
    if why is not None:
        _tell(f"seqgan: {why}; {rather}")
    return why is not None


def metrics_table(
    title: str,
    columns: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, str],
    real: Mapping[str, float],
) -> Table:
    """A row for every metric, with what real data reach where that is known.

    Args:
        title: of the table.
        columns: by heading the cells, by metric; all of the same metrics.
        labels: of the metrics, by name, in the order of the rows.
        real: the metrics of real data; empty where these were not measured.
    """
    table = Table(title=title)
    table.add_column("metric", no_wrap=True)
    for heading in columns:
        table.add_column(heading)
    if real:
        table.add_column("real data")
    for name, label in labels.items():
        cells = [cells_of[name] for cells_of in columns.values()]
        if real:
            cells.append(f"{real[name]:.4f}" if name in real else "")
        table.add_row(label, *cells)
    return table


def of_which_parts(real: Mapping[str, float]) -> str:
    """Which real sequences were measured, in words; "" where none were."""
    parts = []
    for part in ("validation", "training"):
        num = int(real.get(f"num_{part}", 0))
        if num:
            parts.append(f"{num:,} of {part}")
    if not parts:
        return ""
    return f"real data: {' and '.join(parts)}"
