"""Who is better: the ranking score of a task, the rows in order, and what can be said of each in a sentence.

The score of an oracle task is the frontier gain in (nll_gen, nll_oracle), that of a task with real data the one in (Self-BLEU-4,
BLEU-4): how far a policy lies beyond what the reference, maximum likelihood, reaches on the same seed when only its temperature
changes. The reference at its best temperature is the zero of that scale, and so is its row. Two kinds of run are marked, and rows
with one rank behind all others: those that collapse, their effective vocabulary under a tenth of the real data's, and those off
the frontier, less diverse than the reference at its lowest temperature, where nothing can be compared with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from seqgan_env.bench.jobs import REFERENCE
from seqgan_env.bench.results import Result, Row
from seqgan_env.bench.statistics import Paired, estimate, paired, probability_of_improvement
from seqgan_env.metrics.frontier import Frontiers, denser
from seqgan_env.rewards import CONTROLS
from seqgan_env.types import Estimate

COLLAPSED_BELOW = 0.1  # of the effective vocabulary of real data
TRUTH = ("optimal", "oracle")  # sources that see what a policy is to learn

COLLAPSED, OFF = "collapsed", "off the frontier"  # marks of a run

ORACLE, REAL = "oracle tasks", "tasks with real data"  # kinds: scores of one kind have one unit


@dataclass(frozen=True)
class Kind:
    """Tasks that are scored in the same unit.

    Attributes:
        name: of the kind.
        score: the metric that ranks.
        unit: of it.
        quality: the metric that is usually reported.
        quality_high_is_good: whether it should be high.
        diversity: what it is bought with; the lower, the more diverse.
        beside: what stands beside the score always.
    """

    name: str
    score: str
    unit: str
    quality: str
    quality_high_is_good: bool
    diversity: str
    beside: tuple[str, ...]


KINDS = {
    ORACLE: Kind(
        name=ORACLE,
        score="frontier_gain",
        unit="nats per token",
        quality="nll_oracle",
        quality_high_is_good=False,
        diversity="nll_gen",
        beside=("nll_oracle", "nll_gen", "effective_vocabulary"),
    ),
    REAL: Kind(
        name=REAL,
        score="bleu_frontier_gain",
        unit="BLEU-4",
        quality="bleu4",
        quality_high_is_good=True,
        diversity="self_bleu4",
        beside=("bleu4", "self_bleu4", "nll_gen", "effective_vocabulary"),
    ),
}


@dataclass(frozen=True)
class Run:
    """A result with its gains over the frontier.

    Attributes:
        result: as it was written, less what is not finite.
        metrics: its metrics and the gains.
        mark: `COLLAPSED`, `OFF` or "".
    """

    result: Result
    metrics: dict[str, float]
    mark: str


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard, over all tasks of a kind.

    Attributes:
        label: of the row.
        role: "reference", "control" (a reward that says nothing), "ceiling" (a reward that sees the truth) or "".
        runs: by task, by seed in order.
        scores: (runs, tasks), of as many runs as the task with the fewest has; None where a task has no score.
        score: IQM over runs and tasks, with its interval; None where `scores` is.
        improvement: probability that a run has a score above 0, the reference's; None of the reference and of marked rows.
        against: the scores of all runs, tested against 0.
        quality: what is usually reported minus the reference's, signed so that positive is better.
        outcome: "reference", "collapsed", "off the frontier", "better", "worse", "same", "one run" or "no score".
        verdict: the outcome in words.
    """

    label: str
    role: str
    runs: dict[str, list[Run]]
    scores: np.ndarray | None
    score: Estimate | None
    improvement: Estimate | None
    against: Paired
    quality: Paired
    outcome: str
    verdict: str

    @property
    def all_runs(self) -> list[Run]:
        """Of all tasks."""
        return [run for runs in self.runs.values() for run in runs]

    @property
    def is_marked(self) -> bool:
        """Whether a run of it collapsed or is off the frontier."""
        return any(run.mark for run in self.all_runs)

    @property
    def mark(self) -> str:
        """What is said beside its name: why it cannot rank, or its role."""
        return self.outcome if self.is_marked else self.role

    def mean(self, metric: str, task: str) -> float:
        """Of a task over the runs that have this metric; not a number where none has."""
        values = [run.metrics[metric] for run in self.runs.get(task, []) if metric in run.metrics]
        return float(np.mean(values)) if values else math.nan


class Standings:
    """Everything that is compared, from results of any number of benchmarks."""

    def __init__(self, results: Sequence[Result]) -> None:
        """Args: results: of which every (label, task, seed) is there once.

        Raises:
            ValueError: one is there twice, a task has no run of the reference, or is of no kind.
        """
        self.results = [_finite(result) for result in results]
        seen: set[tuple[str, str, int]] = set()
        for result in self.results:
            place = (result.label, result.task, result.seed)
            if place in seen:
                raise ValueError(f"{result.label!r} on {result.task}, seed {result.seed}, is there twice; give one of them")
            seen.add(place)
        self.tasks = sorted({result.task for result in self.results})
        self.labels = sorted({result.label for result in self.results}, key=lambda label: (label != REFERENCE, label))
        self.kind_of = {task: self._kind(task) for task in self.tasks}
        self._frontiers = {task: self._frontiers_of(task) for task in self.tasks}

    @property
    def kinds(self) -> list[str]:
        """The kinds of task there are."""
        return [kind for kind in KINDS if self.tasks_of(kind)]

    def tasks_of(self, kind: str) -> list[str]:
        """The tasks of a kind."""
        return [task for task in self.tasks if self.kind_of[task] == kind]

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Run]]:
        """By label and task, by seed in order."""
        found: dict[tuple[str, str], list[Run]] = {}
        for result in sorted(self.results, key=lambda result: (self.labels.index(result.label), result.task, result.seed)):
            found.setdefault((result.label, result.task), []).append(self._run(result))
        return found

    def frontier(self, task: str, less_reference: bool = False) -> list[Row]:
        """The reference by temperature on a task, the mean over seeds; on demand less what it is at temperature 1."""
        by_temperature: dict[float, list[Row]] = {}
        for result in self._references(task):
            for row in denser(result.frontier):
                found = self.less_reference(result, row) if less_reference else row
                by_temperature.setdefault(round(row["temperature"], 6), []).append(found | {"temperature": row["temperature"]})
        return [
            {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if all(name in row for row in rows)}
            for _, rows in sorted(by_temperature.items())
        ]

    def gains(self, result: Result, metrics: Mapping[str, float], prefix: str = "") -> Row:
        """Gains of metrics of a run over the reference's frontier of its seed; without one, the mean over those of all seeds.

        The score is there where diversity is known by both measures, and not positive where they have a mark.
        """
        plain = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
        if "effective_vocabulary" not in plain:
            return {}
        found = [frontiers.gains(plain) for frontiers in self._frontiers_for(result)]
        gains = {name: float(np.mean([of_one[name] for of_one in found])) for name in set.intersection(*map(set, found))}
        score = KINDS[self.kind_of[result.task]].score
        if score in gains and self.mark(result.task, plain):
            gains[score] = min(gains[score], 0.0)
        return {prefix + name: value for name, value in gains.items()}

    def mark(self, task: str, metrics: Mapping[str, float]) -> str:
        """`COLLAPSED`, `OFF` or "", by metrics of a policy on a task."""
        kind, references = KINDS[self.kind_of[task]], self._references(task)
        real = [other.real["effective_vocabulary"] for other in references if "effective_vocabulary" in other.real]
        if metrics.get("effective_vocabulary", math.inf) < COLLAPSED_BELOW * max(real, default=0.0):
            return COLLAPSED
        least_diverse = max(row[kind.diversity] for other in references for row in other.frontier)
        return OFF if metrics.get(kind.diversity, -math.inf) > least_diverse else ""

    def less_reference(self, result: Result, metrics: Row) -> Row:
        """Metrics of a run less the reference's on its seed; without one, less the reference's mean."""
        references = self._references(result.task)
        others = [other.metrics for other in references if other.seed == result.seed] or [other.metrics for other in references]
        shared = [name for name in metrics if all(name in other for other in others)]
        return {name: metrics[name] - float(np.mean([other[name] for other in others])) for name in shared}

    @cached_property
    def _boards(self) -> dict[str, list[Entry]]:
        return {kind: self._ranked(kind) for kind in self.kinds}

    def entries(self, kind: str) -> list[Entry]:
        """The rows of a kind of task, the best first; marked ones, then those without a score, behind the others."""
        return self._boards[kind]

    def _ranked(self, kind: str) -> list[Entry]:
        tasks = self.tasks_of(kind)
        labels = [label for label in self.labels if any((label, task) in self.runs for task in tasks)]
        found = [self._entry(label, kind, tasks) for label in labels]
        return sorted(found, key=lambda e: (e.score is None, e.is_marked, -e.score.value if e.score else 0.0))

    def _entry(self, label: str, kind: str, tasks: list[str]) -> Entry:
        of = KINDS[kind]
        runs = {task: self.runs[label, task] for task in tasks if (label, task) in self.runs}
        own = _matrix(runs, tasks, of.score)
        gained = self._paired(runs, of.quality)
        marked = any(run.mark for of_task in runs.values() for run in of_task)
        entry = Entry(
            label=label,
            role=_role(label, runs),
            runs=runs,
            scores=own,
            score=None if own is None else _without_interval_of_one(estimate(own), own),
            improvement=None if own is None or label == REFERENCE or marked else _improvement(own),
            against=_against_zero(runs, of.score),
            quality=gained if of.quality_high_is_good else _negated(gained),
            outcome="",
            verdict="",
        )
        entry = replace(entry, outcome=_outcome(entry))
        return replace(entry, verdict=_verdict(entry, of, tasks))

    def _paired(self, runs: Mapping[str, list[Run]], metric: str) -> Paired:
        """A metric minus that of the reference on the same task and seed."""
        pairs = []
        for task, of_task in runs.items():
            reference = {run.result.seed: run.metrics for run in self.runs[REFERENCE, task]}
            for run in of_task:
                other = reference.get(run.result.seed, {})
                if metric in run.metrics and metric in other:
                    pairs.append((run.metrics[metric], other[metric]))
        if not pairs:
            return _NO_PAIRS
        own, others = np.array(pairs).T
        return paired(own, others)

    def _run(self, result: Result) -> Run:
        gains = self.gains(result, result.metrics)
        if result.label == REFERENCE:
            gains[KINDS[self.kind_of[result.task]].score] = 0.0
        return Run(result, result.metrics | gains, self.mark(result.task, result.metrics))

    def _frontiers_for(self, result: Result) -> list[Frontiers]:
        frontiers = self._frontiers[result.task]
        return [frontiers[result.seed]] if result.seed in frontiers else list(frontiers.values())

    def _references(self, task: str) -> list[Result]:
        return [result for result in self.results if (result.label, result.task) == (REFERENCE, task)]

    def _frontiers_of(self, task: str) -> dict[int, Frontiers]:
        needed = {"temperature", KINDS[self.kind_of[task]].diversity, KINDS[self.kind_of[task]].quality}
        found = {}
        for result in self._references(task):
            if result.frontier and all(needed <= set(row) for row in result.frontier):
                found[result.seed] = Frontiers(result.frontier)
        if not found:
            raise ValueError(
                f"task {task!r} has no run of the row {REFERENCE!r} with a temperature frontier; nothing can be compared without"
            )
        return found

    def _kind(self, task: str) -> str:
        metrics = {name for result in self.results if result.task == task for name in result.metrics}
        for name, kind in KINDS.items():
            if kind.quality in metrics:
                return name
        raise ValueError(f"task {task!r} has neither {' nor '.join(kind.quality for kind in KINDS.values())} among its metrics")


def _finite(result: Result) -> Result:
    """Without values that are not finite, as the likelihood of what a policy never writes; in a frontier the whole row goes."""
    return replace(
        result,
        metrics=_finite_row(result.metrics),
        curve=list(map(_finite_row, result.curve)),
        frontier=[row for row in result.frontier if all(map(_is_finite, row.values()))],
        real=_finite_row(result.real),
        budget=_finite_row(result.budget),
        costs=_finite_row(result.costs),
    )


def _finite_row(row: Row) -> Row:
    return {name: value for name, value in row.items() if _is_finite(value)}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _matrix(runs: Mapping[str, list[Run]], tasks: Sequence[str], metric: str) -> np.ndarray | None:
    columns = [[run.metrics[metric] for run in runs.get(task, []) if metric in run.metrics] for task in tasks]
    num = min(map(len, columns))
    return np.array([column[:num] for column in columns]).T if num else None


def _against_zero(runs: Mapping[str, list[Run]], metric: str) -> Paired:
    scores = [run.metrics[metric] for of_task in runs.values() for run in of_task if metric in run.metrics]
    return paired(np.array(scores), np.zeros(len(scores))) if scores else _NO_PAIRS


def _improvement(own: np.ndarray) -> Estimate:
    return _without_interval_of_one(probability_of_improvement(own, np.zeros((1, own.shape[1]))), own)


def _without_interval_of_one(found: Estimate, scores: np.ndarray) -> Estimate:
    """An interval over runs says nothing where a task has one, or where all are 0 by definition."""
    return found if len(scores) > 1 and scores.any() else Estimate(found.value, math.nan, math.nan)


def _negated(found: Paired) -> Paired:
    return replace(found, mean=0.0 - found.mean, low=0.0 - found.high, high=0.0 - found.low)


def _role(label: str, runs: Mapping[str, list[Run]]) -> str:
    if label == REFERENCE:
        return "reference"
    sources = {run.result.settings.get("source") for of_task in runs.values() for run in of_task}
    if sources <= set(TRUTH):
        return "ceiling"
    return "control" if sources <= set(CONTROLS) else ""


def _outcome(entry: Entry) -> str:
    marks = {run.mark for run in entry.all_runs}
    if entry.role == "reference":
        return "reference"
    for mark in (COLLAPSED, OFF):
        if mark in marks:
            return mark
    if entry.scores is None:
        return "no score"
    if entry.against.num_pairs == 1:
        return "one run"
    return "better" if entry.against.low > 0 else "worse" if entry.against.high < 0 else "same"


def _verdict(entry: Entry, kind: Kind, tasks: Sequence[str]) -> str:
    by = entry.against.mean
    marked = sum(run.mark == entry.outcome for run in entry.all_runs)
    said = {
        "reference": "What the others are measured by, at its best temperature: 0.",
        COLLAPSED: f"Collapsed in {marked} of {len(entry.all_runs)} runs: it writes hardly any different words.",
        OFF: f"In {marked} of {len(entry.all_runs)} runs less diverse than maximum likelihood at its lowest temperature.",
        "better": f"Better than maximum likelihood at any temperature, by {by:.3f} {kind.unit}.",
        "worse": f"Worse than maximum likelihood with a turn of the temperature, by {-by:.3f} {kind.unit}.",
        "same": f"No difference from maximum likelihood with a turn of the temperature, in {len(entry.all_runs)} runs.",
        "one run": f"{by:+.3f} {kind.unit} against maximum likelihood, from one run, which says little.",
        "no score": f"No score without {', '.join(_lacking(entry, kind, tasks))}.",
    }[entry.outcome]
    return said + _AFTER.get(entry.role, "")


def _lacking(entry: Entry, kind: Kind, tasks: Sequence[str]) -> list[str]:
    """Why it has no score: metrics that none of its runs has, and tasks that it was not run on."""
    had = {name for run in entry.all_runs for name in run.metrics}
    needed = (kind.quality, kind.diversity, "effective_vocabulary")
    return [name for name in needed if name not in had] + [f"task {task}" for task in tasks if task not in entry.runs]


_NO_PAIRS = Paired(math.nan, math.nan, math.nan, math.nan, 0)
_AFTER = {
    "control": " Its reward says nothing about a sequence.",
    "ceiling": " Its reward sees the truth: a ceiling, no rival.",
}
