"""Builds the tables of a report from standings, and writes tables as Markdown and as CSV rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seqgan_env.bench.jobs import REFERENCE
from seqgan_env.bench.leaderboard import JUDGED, KINDS, ORACLE, Entry, Standings
from seqgan_env.bench.statistics import (
    Paired,
    estimate,
    iqm,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
)
from seqgan_env.metrics.catalogue import HEALTH, MORE, metric_named, more_of
from seqgan_env.metrics.divergence import SATURATED
from seqgan_env.metrics.score import FORWARD, REVERSE
from seqgan_env.types import Estimate

Cell = str | float | Estimate | None

_COSTS = {
    "env_steps": "environment steps",
    "rollout_tokens": "rollout tokens",
    "sequences_scored": "sequences scored",
    "sequences_trained": "sequences D trained on",
    "wall_seconds": "wall seconds",
    "cpu_seconds": "CPU seconds",
    "peak_mebibytes": "peak memory, MiB",
}
_NOTHING = "–"  # what a person sees where a cell is unknown
# "&" stands first: it would escape the other entities again.
_IN_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "[": "\\[", "]": "\\]"}
_NOTES = {
    JUDGED: (
        "Rows that the referee judged by samples alone, among them those without likelihoods, "
        "which have no other score. The referee finds only a part of the divergence. "
    )
}


_TITLES_APART = ("score in KL(G‖O) alone", "score in KL(O‖G) alone")
_APART = (
    "A score in one divergence alone is against the best knob in that one, often another than the "
    "best in both: it says which of them a gain comes from. "
)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: the heading, with the unit.
        digits: format specification of its numbers.
        interval: whether a person is shown the intervals; CSV files always have them.
    """

    title: str
    digits: str = ".3f"
    interval: bool = True

    def text(self, cell: Cell) -> str:
        """A cell as a person reads it."""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, Estimate):
            if not self.interval or math.isnan(cell.low):
                return self.text(cell.value)
            ends = f"{cell.low:{self.digits}} to {cell.high:{self.digits}}"
            return f"{cell.value:{self.digits}} ({ends})"
        if cell is None or math.isnan(cell):
            return _NOTHING
        return f"{cell:{self.digits}}"


@dataclass(frozen=True)
class Table:
    """A table with its title and a note.

    Attributes:
        name: name of its CSV file, without the ending.
        title: title above the table.
        note: one paragraph of what to know before reading.
        columns: the columns; the first one names the row.
        rows: the cells of every row, as many as there are columns.
        marks: the style of every row: "reference", "control", "ceiling", "infinite" or "".
    """

    name: str
    title: str
    note: str
    columns: list[Column]
    rows: list[list[Cell]]
    marks: list[str]

    def texts(self) -> list[list[str]]:
        """The cells as a person reads them."""
        found = []
        for row in self.rows:
            found.append(list(map(Column.text, self.columns, row)))
        return found

    def markdown(self) -> str:
        """The table alone, without title and note."""
        head = [column.title for column in self.columns]
        lines = [_escaped(head), ["---"] * len(head)]
        for row, mark in zip(self.texts(), self.marks, strict=True):
            if mark:
                row[0] = f"{row[0]} ({mark})"
            lines.append(_escaped(row))
        text = ""
        for line in lines:
            text += f"| {' | '.join(line)} |\n"
        return text

    def csv_rows(self) -> list[dict[str, Any]]:
        """The rows by column title, in plain numbers; an interval takes two columns more."""
        rows = []
        for cells, mark in zip(self.rows, self.marks, strict=True):
            row: dict[str, Any] = {}
            for column, cell in zip(self.columns, cells, strict=True):
                row |= _plain(column.title, cell)
            rows.append(row | {"mark": mark})
        return rows


def all_tables(standings: Standings) -> tuple[list[Table], list[Table]]:
    """The leaderboards, and the tables that have more detail; those without rows are left out."""
    boards, pairs, summaries = [], [], []
    for kind in standings.kinds:
        boards.append(leaderboard(standings, kind))
        pairs.append(improvements(standings, kind))
        summaries.append(aggregates(standings, kind))
    others = [*summaries, *pairs, health(standings), costs(standings)]
    return boards, [table for table in others if table.rows]


def leaderboard(standings: Standings, kind: str) -> Table:
    """The rows of a kind of task, the best first."""
    of, tasks, entries = KINDS[kind], standings.tasks_of(kind), standings.entries(kind)
    everyone = []
    for entry in entries:
        everyone += [run.metrics for run in entry.all_runs]

    # A metric has a column on every task where some row has a value of it.
    beside = []
    for task in tasks:
        for metric in (*of.beside, *more_of(everyone)):
            if _is_known(metric, task, entries):
                beside.append((task, metric))

    columns = [
        Column("row"),
        Column(f"score, {of.score.unit}", "+.4f"),
        Column("verdict"),
        Column("P(beats the knob)", ".2f", interval=False),
    ]
    for task, metric in beside:
        column = _column(metric)
        if len(tasks) > 1:  # the title says of which task it is
            column = replace(column, title=f"{column.title}, {task}")
        columns.append(column)
    columns.append(Column("runs", ".0f"))

    rows: list[list[Cell]] = []
    for entry in entries:
        cells: list[Cell] = [entry.label, entry.score, entry.verdict, entry.improvement]
        for task, metric in beside:
            cells.append(_beside(entry, metric, task))
        rows.append([*cells, len(entry.all_runs)])

    # The page explains every board where it stands, for it may be read alone.
    note = _NOTES.get(kind, "") + (
        f"The score is the {of.score.divergence} of the best knob of maximum likelihood on the "
        "same seed less that of the row; above 0 is nearer to the truth. A knob is a temperature, "
        "a mixture of two, a truncation or a power: untrained, and blind to any reward. It was "
        "chosen on other draws than it is valued by. The mean over runs; the verdict is a t-test "
        "of the scores against 0, corrected by Holm for all verdicts of this page, and the "
        "interval has the level of that test: it excludes 0 if and only if the verdict says "
        "better or worse."
    )
    return _table("leaderboard", f"Leaderboard, {kind}", note, columns, rows, entries)


def improvements(standings: Standings, kind: str) -> Table:
    """For every pair of rows, how probable it is that a run of one beats a run of the other."""
    entries = [entry for entry in standings.entries(kind) if entry.scores is not None]
    columns = [Column("row beats column")]
    rows: list[list[Cell]] = []
    for one in entries:
        columns.append(Column(one.label, ".2f", interval=False))
        cells: list[Cell] = [one.label]
        for other in entries:
            cells.append(_beats(one, other))
        rows.append(cells)
    note = (
        "How probable it is that a run of the row has a higher score than one of the column on the "
        "same task, a tie half. The intervals are in the CSV file."
    )
    return _table("pairs", f"Every pair, {kind}", note, columns, rows, entries)


def aggregates(standings: Standings, kind: str) -> Table:
    """Other summaries of the scores, and the gain in what is usually reported.

    The gain is the difference to maximum likelihood on the same seeds. Oracle tasks have the score
    in each of the two divergences too.
    """
    of, entries = KINDS[kind], standings.entries(kind)
    # `fmax` ignores the NaN that stands for no ceiling.
    ceiling = math.nan
    for entry in entries:
        if entry.role == "ceiling" and entry.scores is not None:
            ceiling = float(np.fmax(ceiling, mean(entry.scores)))
    gap = optimality_gap(ceiling)
    apart = ""
    of_parts: list[Column] = []
    if kind == ORACLE:
        apart = _APART
        of_parts = [Column(title, "+.4f") for title in _TITLES_APART]
    columns = [
        Column("row"),
        Column("IQM, bootstrap interval", "+.4f"),
        Column("median", "+.4f"),
        Column("gap to the ceiling", ".4f"),
        Column("mean, plain 95 % interval", "+.4f"),
        Column("p", ".3f"),
        Column("p, Holm", ".3f"),
        *of_parts,
        Column(f"{of.quality} gained on MLE", "+.3f"),
        Column("p of it", ".3f"),
        Column("pairs", ".0f"),
    ]
    note = (
        f"Scores in {of.score.unit}. The gap is to the best row whose reward sees the truth, where "
        "there is one. Intervals here are plain 95 % ones, without a correction, and p-values too "
        f"but for Holm's. {apart}Gained is the paired difference of {of.quality} on shared seeds, "
        "positive where better: what is usually reported, and what a knob alone can move."
    )
    rows = []
    for entry in entries:
        rows.append(_summary(entry, gap, with_parts=kind == ORACLE))
    return _table("summaries", f"Other summaries, {kind}", note, columns, rows, entries)


def _summary(entry: Entry, gap: Callable[[np.ndarray], np.ndarray], with_parts: bool) -> list[Cell]:
    """The cells of a row of `aggregates`.

    Args:
        entry: the row.
        gap: the distance of scores (runs, tasks) to the ceiling.
        with_parts: whether there are columns for the score in each divergence alone.
    """
    of_scores: list[Cell] = [None] * 3  # IQM, median and gap
    if entry.scores is not None:
        # One run has no interval, and the reference's scores are 0 in every resample.
        quartiles: Cell = float(iqm(entry.scores))
        if len(entry.scores) > 1 and entry.role != "reference":
            quartiles = estimate(entry.scores)
        of_scores = [quartiles, float(median(entry.scores)), float(gap(entry.scores))]
    middle, p_value = _estimate(entry.against), entry.against.p_value
    if entry.role == "reference":  # 0 by definition, which no test can find otherwise
        middle, p_value = 0.0, math.nan
    adjusted = None
    if entry.decision:
        adjusted = entry.decision.adjusted
    apart: list[Cell] = []
    if with_parts:
        for score in (REVERSE, FORWARD):
            part = entry.beside.get(score.name)
            if part is None:
                apart.append(None)
            else:
                apart.append(_estimate(part))
    quality = [_estimate(entry.quality), entry.quality.p_value, entry.quality.num_pairs]
    return [entry.label, *of_scores, middle, p_value, adjusted, *apart, *quality]


def health(standings: Standings) -> Table:
    """How good the discriminators are in the end, the mean over seeds."""

    def cells(label: str, task: str) -> list[Cell]:
        last = []
        for run in standings.runs[label, task]:
            if run.result.curve:
                last.append(run.result.curve[-1])
        return _means_of(last, [metric.name for metric in HEALTH])

    note = (
        "At the last evaluation. An even discriminator, which cannot tell the policy from real "
        "data, has 0.5 in both accuracies; one that has memorised its real data has far less on "
        "those held out. The correlation, of oracle tasks alone, is with log p_oracle - log "
        "p_policy, what the best possible discriminator would say."
    )
    return _by_task(
        "discriminators",
        "Discriminator health",
        note,
        [Column(metric.label, ".2f") for metric in HEALTH],
        standings,
        cells,
    )


def costs(standings: Standings) -> Table:
    """What a run of every row has spent on every task, the mean over seeds."""

    def cells(label: str, task: str) -> list[Cell]:
        spent = []
        for run in standings.runs[label, task]:
            if run.result.costs:
                peak = run.result.costs.get("peak_bytes", math.nan) / 2**20
                spent.append(run.result.budget | run.result.costs | {"peak_mebibytes": peak})
        return _means_of(spent, _COSTS)

    note = (
        "The mean of a run. Evaluation counts in seconds and in nothing else; pre-training is "
        f"part of every run, and measuring its knobs part of those of {REFERENCE}."
    )
    return _by_task(
        "budgets",
        "What it cost",
        note,
        [Column(title, ",.0f") for title in _COSTS.values()],
        standings,
        cells,
    )


def runs_rows(standings: Standings) -> list[dict[str, Any]]:
    """One row a run, with everything that was measured of it at the end."""
    rows = []
    for (label, task), runs in standings.runs.items():
        for run in runs:
            result = run.result
            named: dict[str, Any] = {"row": label, "task": task, "seed": result.seed}
            named |= {"mark": run.mark, "key": result.key}
            rows.append(named | run.metrics | result.budget | result.costs)
    return rows


def _beside(entry: Entry, metric: str, task: str) -> Cell:
    """The cell of a metric beside the score.

    A divergence at its maximum no longer tells policies apart, and the cell says so.
    """
    value = entry.mean(metric, task)
    if metric in ("js", "tv") and value > SATURATED:
        return f"{value:.3f}, saturated"
    return value


def _column(metric: str) -> Column:
    """The column of a metric of this package or of the user's own."""
    known = metric_named(metric)
    title = known.title or metric.removeprefix(MORE)
    return Column(title, f".{known.digits_in_report}f")


def _table(
    name: str,
    title: str,
    note: str,
    columns: list[Column],
    rows: list[list[Cell]],
    entries: Sequence[Entry],
) -> Table:
    """A table of entries, whose file is named by the kind of task that its title ends with."""
    kind = title.rpartition(", ")[2].replace(" ", "-")
    marks = [entry.mark for entry in entries]
    # Every kind has a file of its own, and file names have no spaces.
    return Table(f"{name}-{kind}", title, note, columns, rows, marks)


def _by_task(
    name: str,
    title: str,
    note: str,
    columns: list[Column],
    standings: Standings,
    cells: Callable[[str, str], list[Cell]],
) -> Table:
    """A table with a row for every label and task, the mean over seeds.

    Args:
        name: as of `Table`.
        title: as of `Table`.
        note: as of `Table`.
        columns: the columns behind label and task.
        standings: what is compared.
        cells: gives the cells of `columns` for a label and a task.
    """
    rows: list[list[Cell]] = []
    for label, task in standings.runs:
        values = cells(label, task)
        if values != [None] * len(values):  # of some rows nothing is known
            rows.append([label, task, *values])
    columns = [Column("row"), Column("task"), *columns]
    return Table(name, title, note, columns, rows, marks=[""] * len(rows))


def _beats(one: Entry, other: Entry) -> Cell:
    """How probable it is that a run of the one beats one of the other; None for a row itself."""
    if one is other or one.scores is None or other.scores is None:
        return None
    return probability_of_improvement(one.scores, other.scores)


def _estimate(difference: Paired) -> Cell:
    """A difference with its interval; None where there are no pairs."""
    if not difference.num_pairs:
        return None
    return Estimate(difference.mean, difference.low, difference.high)


def _means_of(rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> list[Cell]:
    """The mean of each name over the rows that have it; None where none has."""
    means: list[Cell] = []
    for name in names:
        values = [row[name] for row in rows if name in row]
        if values:
            means.append(sum(values) / len(values))
        else:
            means.append(None)
    return means


def _is_known(metric: str, task: str, entries: Sequence[Entry]) -> bool:
    """Whether a row has a value of the metric on the task."""
    means = [entry.mean(metric, task) for entry in entries]
    # A mean over no values is NaN.
    return not all(map(math.isnan, means))


def _escaped(cells: Sequence[str]) -> list[str]:
    """Cells for a row of a Markdown table, where an unescaped bar would end a cell."""
    return [plain_markdown(cell).replace("|", "\\|") for cell in cells]


def plain_markdown(text: str) -> str:
    """A text in one line that Markdown shows as it is, without HTML, links or pictures."""
    for character, shown in _IN_MARKDOWN.items():
        text = text.replace(character, shown)
    return " ".join(text.split())


def _plain(title: str, cell: Cell) -> dict[str, Any]:
    """The fields of a CSV row that a cell fills, by column; an unknown value is empty."""
    if isinstance(cell, Estimate):
        low, high = _plain(f"{title}, low", cell.low), _plain(f"{title}, high", cell.high)
        return _plain(title, cell.value) | low | high
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return {title: ""}
    return {title: cell}
