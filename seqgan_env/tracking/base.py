"""What a tracker is, and how a run speaks to several of them without depending on any."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from seqgan_env import faults, registry
from seqgan_env.extras import is_installed
from seqgan_env.metrics.catalogue import TABLE

DEFAULT = "tensorboard"  # written without being asked for, where it is installed
PRETRAIN = "pretrain/"  # begins the names of what is told by epoch; all else is by round
RESULT = "result/"  # begins the names of what the policies of a finished run have reached
FINISHED, INTERRUPTED, FAILED = "finished", "interrupted", "failed"

Row = Mapping[str, str | float]
Warn = Callable[[str], None]


@runtime_checkable
class Tracker(Protocol):
    """Tells a run to a service or a file. It is made by `Class(folder)`, the run's folder.

    It may have `text`, `image` and `table` too (`ShowsText`, `ShowsImages`, `ShowsTables`). What
    it raises ends the tracker and never the run.
    """

    def begin(self, config: Mapping[str, Any]) -> None:
        """Begins a tracked run, or goes on with the one that has this `run_id`.

        Args:
            config: `config.json` of the run: `settings`, `versions`, `command` and `run_id`, which
                stays the same when the run is resumed.
        """
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers by name; not all of them need be finite.

        Args:
            step: the epoch where all names begin with `pretrain/`, else the round. Both count from
                their own beginning.
            metrics: such as `pretrain/nll_validation`, `agent/policy_loss`, `task/kl_mean`.
        """
        ...

    def end(self, status: str) -> None:
        """The run is over: `finished`, `interrupted` or `failed`. What is buffered is written."""
        ...


@runtime_checkable
class ShowsText(Protocol):
    """A tracker that takes texts."""

    def text(self, name: str, text: str) -> None:
        """A text of some lines."""
        ...


@runtime_checkable
class ShowsImages(Protocol):
    """A tracker that takes pictures."""

    def image(self, name: str, file: Path) -> None:
        """A PNG file."""
        ...


@runtime_checkable
class ShowsTables(Protocol):
    """A tracker that takes tables."""

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Rows with the same columns, of which the first is text."""
        ...


def make_trackers(names: Sequence[str], folder: Path) -> dict[str, Tracker]:
    """The trackers of these names, made but not begun.

    Args:
        names: as `registry.TRACKERS` knows them; each counts once.
        folder: of the run.

    Raises:
        ValueError: there is no such tracker, its library is missing, or it cannot be made.
    """
    trackers = {}
    for name in names:
        trackers[name] = _make(name, folder)
    return trackers


def _make(name: str, folder: Path) -> Tracker:
    cls = registry.TRACKERS.load(name)
    if not inspect.isclass(cls):
        raise ValueError(f"tracker {name!r} is {cls!r}; a tracker is named by its class")
    make: Any = cls
    try:
        tracker: Tracker = make(folder)
    except Exception as problem:  # of a class of the user's
        told = faults.in_words(problem)
        raise ValueError(f"tracker {name!r} cannot be made: {told}") from problem
    return tracker


def names_or_default(names: Sequence[str] | None) -> list[str]:
    """The trackers that were asked for; the default one where none was and it is installed."""
    if names is not None:
        return list(names)
    return [DEFAULT] if is_installed(DEFAULT) else []


class Tracking:
    """The trackers of a run. One that fails is told of once, and is left out from then on.

    Attributes:
        trackers: those that still work, by name.
    """

    def __init__(self, trackers: Mapping[str, Tracker], warn: Warn) -> None:
        """Args:
        trackers: by name.
        warn: shows the warning of a tracker that has failed.
        """
        self.trackers = dict(trackers)
        self._warn = warn
        self._round = 0

    def begin(self, config: Mapping[str, Any]) -> None:
        """Tells them the configuration."""
        self._each(lambda tracker: tracker.begin(config))

    def log_row(self, row: Mapping[str, float]) -> None:
        """Tells them one row of a run's history: an epoch (`phase` 0) or a round (`phase` 1)."""
        # Epochs and rounds count from their own beginning; a prefix keeps their metrics apart.
        if row["phase"]:
            self._round = step = int(row["round"])
            prefix = ""
        else:
            step = int(row["epoch"])
            prefix = PRETRAIN
        metrics = {}
        for name, value in row.items():
            if name not in ("phase", "round", "epoch"):
                metrics[prefix + name] = value
        self._each(lambda tracker: tracker.log(step, metrics))

    def show(
        self,
        metrics: Mapping[str, Mapping[str, float]],
        samples: str,
        pictures: Sequence[Path],
    ) -> None:
        """Tells them what a run has come to.

        Args:
            metrics: by policy, as `Run.metrics`; those of the catalogue are told.
            samples: what the policies write.
            pictures: PNG files.
        """
        numbers = {}
        for policy, found in metrics.items():
            for metric in TABLE:
                if metric.name in found:
                    numbers[f"{RESULT}{policy}/{metric.name}"] = found[metric.name]
        rows = result_table(metrics)

        def show(tracker: Tracker) -> None:
            tracker.log(self._round, numbers)
            if rows and isinstance(tracker, ShowsTables):
                tracker.table("result", rows)
            if samples and isinstance(tracker, ShowsText):
                tracker.text("samples", samples)
            if isinstance(tracker, ShowsImages):
                for file in pictures:
                    tracker.image(file.stem, file)

        self._each(show)

    def end(self, status: str) -> None:
        """Tells them that the run is over."""
        self._each(lambda tracker: tracker.end(status))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                tell(tracker)
            except Exception as problem:  # a full disk, no network: it is not the run's affair
                del self.trackers[name]
                told = faults.in_words(problem)
                place = faults.place_behind(problem)
                if place:
                    told += f"; {place}"
                self._warn(f"tracker {name} has failed ({told}); the run goes on without it")
                _give_up(tracker)


def _give_up(tracker: Tracker) -> None:
    """Lets a tracker that has failed free what it holds."""
    try:
        tracker.end(FAILED)
    except Exception:
        return  # it was told already that it has failed


def result_table(metrics: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """The table of a run: a row for every metric of the catalogue, a column for every policy.

    NaN stands where a policy has no such metric.
    """
    rows: list[Row] = []
    for metric in TABLE:
        values: dict[str, str | float] = {}
        for policy, found in metrics.items():
            values[policy] = found.get(metric.name, math.nan)
        is_measured = any(metric.name in found for found in metrics.values())
        if is_measured:  # most metrics belong to some tasks only
            rows.append({"metric": metric.row.strip(), **values})
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """Rows with the same columns as a table in Markdown."""
    columns = list(rows[0])
    text = _line(columns) + _line(["---"] * len(columns))
    for row in rows:
        text += _line([_cell(row[column]) for column in columns])
    return text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value.replace("|", "\\|")  # a bar would begin another column
    return f"{value:.4g}"
