"""Who is better: the ranking score of a task, the rows in order, and what can be said of each in a
sentence.

The score says how much nearer to the truth a policy is than the best knob of the reference, maximum
likelihood on the same seed: see `seqgan_env.metrics.score`. The best knob is the zero of that
scale, and has a row; maximum likelihood as it is has another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from seqgan_env.bench.jobs import REFERENCE
from seqgan_env.bench.results import Result, Row
from seqgan_env.bench.statistics import Decision, Paired, holm, paired, probability_of_improvement
from seqgan_env.metrics.catalogue import (
    FAMILIES,
    JUDGED_BESIDE,
    OF_ORACLES,
    OF_REAL_DATA,
    Family,
)
from seqgan_env.metrics.score import (
    FORWARD,
    RANKING,
    REFEREED,
    REVERSE,
    SCORES,
    SELECT,
    Score,
    best_knob,
    scores,
)
from seqgan_env.rewards.sources import is_control, knows_the_truth
from seqgan_env.types import Estimate

BEST_KNOB = "best knob"  # the row of the reference's best knob, which nobody ran
INFINITE = "infinite"  # mark of a run that gives real sequences no probability

ORACLE, JUDGED, REAL = "oracle tasks", "oracle tasks, by the referee", "tasks with real data"


@dataclass(frozen=True)
class Kind:
    """Tasks that are scored in the same unit.

    Attributes:
        name: of the kind.
        score: what ranks.
        quality: the metric that is usually reported.
        quality_high_is_good: whether it should be high.
        diversity: what it is bought with; the lower, the more diverse.
        beside: metrics that stand beside the score always.
    """

    name: str
    score: Score
    quality: str
    quality_high_is_good: bool
    diversity: str
    beside: tuple[str, ...]


def _kind(name: str, score: Score, of: Family, beside: tuple[str, ...]) -> Kind:
    """Tasks of a family under a score."""
    high_is_good = of.quality_high_is_good
    return Kind(name, score, of.quality.name, high_is_good, of.diversity.name, beside)


KINDS = {
    ORACLE: _kind(ORACLE, RANKING, OF_ORACLES, OF_ORACLES.beside),
    JUDGED: _kind(JUDGED, REFEREED, OF_ORACLES, JUDGED_BESIDE),
    REAL: _kind(REAL, REFEREED, OF_REAL_DATA, OF_REAL_DATA.beside),
}


@dataclass(frozen=True)
class Run:
    """A result with its scores.

    Attributes:
        result: as it was written, less what is not finite.
        metrics: its metrics and the scores.
        mark: `INFINITE` or "".
    """

    result: Result
    metrics: dict[str, float]
    mark: str


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard, over all tasks of a kind.

    Attributes:
        label: of the row.
        role: "reference" (the best knob), "control" (a reward that says nothing), "ceiling" (one
            that sees the truth) or "".
        runs: by task, by seed in order.
        scores: (runs, tasks), of as many runs as the task with the fewest has; None where a task or
            a run has no score.
        against: the scores of all runs, tested against 0.
        beside: by name the scores of all runs in one divergence alone, tested against 0.
        quality: what is usually reported minus maximum likelihood's, signed so that positive is
            better.
        improvement: probability that a run has a score above 0, the best knob's; None of the
            reference.
        decision: whether the score differs from 0, corrected for all verdicts of the page; None
            where there is no test.
        outcome: "reference", "infinite", "better", "worse", "same", "one run" or "no score".
        verdict: the outcome in words.
    """

    label: str
    role: str
    runs: dict[str, list[Run]]
    scores: np.ndarray | None
    against: Paired
    beside: dict[str, Paired]
    quality: Paired
    improvement: Estimate | None
    decision: Decision | None = None
    outcome: str = ""
    verdict: str = ""

    @property
    def all_runs(self) -> list[Run]:
        """The runs of all tasks."""
        return _flat(self.runs)

    @property
    def score(self) -> Estimate | None:
        """The mean score with the interval at the level of its test, so that it excludes 0 if and
        only if the verdict does.
        """
        if self.scores is None:
            return None
        if self.decision is None:  # without a test there is no level, and so no interval
            return Estimate(self.against.mean, math.nan, math.nan)
        return Estimate(self.against.mean, *self.against.interval(self.decision.level))

    @property
    def is_marked(self) -> bool:
        """Whether a run of it is infinitely far from the truth."""
        return any(run.mark for run in self.all_runs)

    @property
    def mark(self) -> str:
        """What is said beside its name: why it cannot rank, or its role."""
        if self.is_marked and self.outcome == INFINITE:
            return INFINITE
        return self.role

    def mean(self, metric: str, task: str) -> float:
        """The mean of a metric on a task, over the runs that have it; not a number if none has."""
        values = _values_of(self.runs.get(task, []), metric)
        if not values:
            return math.nan
        return float(np.mean(values))


class Standings:
    """Everything that is compared, from results of any number of benchmarks."""

    def __init__(self, results: Sequence[Result]) -> None:
        """Args: results: of which every (label, task, seed) is there once.

        Raises:
            ValueError: one is there twice, a task has no run of the reference with its knobs, or is
                of no kind.
        """
        _check_unique(results)
        self.results = [_finite(result) for result in results]
        self._marks = {_place(result): _mark(result) for result in results}
        self.tasks = sorted({result.task for result in self.results})
        labels = {result.label for result in self.results}
        self.labels = [BEST_KNOB, REFERENCE, *sorted(labels - {REFERENCE})]
        self.kind_of = {task: self._kind(task) for task in self.tasks}
        self._knobs = {task: self._knobs_of(task) for task in self.tasks}

    @property
    def kinds(self) -> list[str]:
        """The kinds of task there are."""
        return [kind for kind in KINDS if self.tasks_of(kind)]

    def tasks_of(self, kind: str) -> list[str]:
        """The tasks of a kind; oracle tasks are judged by the referee too where somebody besides
        the reference was.
        """
        if kind == JUDGED:
            return [task for task in self.tasks_of(ORACLE) if self._is_judged(task)]
        return [task for task in self.tasks if self.kind_of[task] == kind]

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Run]]:
        """The runs by label and task, in the order of seeds; among them those of the best knob, as
        the task's own kind has it.
        """
        everything = list(self.results)
        for task in self.tasks:
            everything += self._best_knobs(task, KINDS[self.kind_of[task]].score)
        everything.sort(key=self._order)
        found: dict[tuple[str, str], list[Run]] = {}
        for result in everything:
            found.setdefault((result.label, result.task), []).append(self._run(result))
        return found

    def _order(self, result: Result) -> tuple[int, str, int]:
        """Sorts results by row, task and seed."""
        return self.labels.index(result.label), result.task, result.seed

    def knobs(self, task: str, less_best: bool = False) -> dict[str, Row]:
        """What the knobs of the reference reach on a task, by name, the mean over seeds; on demand
        less the best of each seed.
        """
        by_name: dict[str, list[Row]] = {}
        for seed, knobs in self._knobs[task].items():
            for name, row in knobs.items():
                if less_best:
                    row = self.less_best_knob(task, seed, row)
                by_name.setdefault(name, []).append(row)
        return {name: _mean_row(rows) for name, rows in by_name.items()}

    def less_best_knob(self, task: str, seed: int, metrics: Row) -> Row:
        """Metrics less those of the best knob of a seed; of other seeds than the reference's, less
        the mean over its seeds.
        """
        best = self.runs[BEST_KNOB, task]
        of_seed = [run for run in best if run.result.seed == seed]
        rival = _mean_row([run.metrics for run in of_seed or best])
        return {name: value - rival[name] for name, value in metrics.items() if name in rival}

    def scores(self, result: Result, metrics: Mapping[str, float], prefix: str = "") -> Row:
        """Scores of metrics of a run against the best knob of its seed; without one, the mean over
        those of all seeds.
        """
        knobs = self._knobs[result.task]
        rivals = list(knobs.values())
        if result.seed in knobs:
            rivals = [knobs[result.seed]]
        return _mean_row([scores(rival, metrics, prefix) for rival in rivals])

    @cached_property
    def _boards(self) -> dict[str, list[Entry]]:
        """The rows of every kind, ranked. The verdicts of all kinds are corrected together, for a
        reader of the page sees them together.
        """
        entries = {kind: self._undecided(kind) for kind in self.kinds}
        tested: list[tuple[str, int]] = []
        for kind, of_kind in entries.items():
            tested += [(kind, i) for i, entry in enumerate(of_kind) if _has_test(entry)]
        decisions = holm([entries[kind][i].against.p_value for kind, i in tested])
        for (kind, i), decision in zip(tested, decisions, strict=True):
            entries[kind][i] = replace(entries[kind][i], decision=decision)
        boards = {}
        for kind, of_kind in entries.items():
            boards[kind] = _ranked(of_kind, KINDS[kind], self.tasks_of(kind))
        return boards

    def entries(self, kind: str) -> list[Entry]:
        """The rows of a kind of task, the best first; infinite ones, then those without a score,
        behind the others.
        """
        return self._boards[kind]

    def _undecided(self, kind: str) -> list[Entry]:
        """The rows of a kind before their verdicts."""
        tasks = self.tasks_of(kind)
        entries = []
        for label in self.labels:
            if any(self._runs_on(kind, label, task) for task in tasks):
                entries.append(self._entry(label, kind, tasks))
        return entries

    def _runs_on(self, kind: str, label: str, task: str) -> list[Run]:
        """The runs of a row that a kind shows; the referee's board has those that it judged."""
        if label == BEST_KNOB:
            return [self._run(result) for result in self._best_knobs(task, KINDS[kind].score)]
        runs = self.runs.get((label, task), [])
        if kind == JUDGED:
            return [run for run in runs if REFEREED.divergence in run.metrics]
        return runs

    def _entry(self, label: str, kind: str, tasks: list[str]) -> Entry:
        of = KINDS[kind]
        runs = {}
        for task in tasks:
            of_task = self._runs_on(kind, label, task)
            if of_task:
                runs[task] = of_task

        # The mean over the finite runs of a row would hide the infinite ones.
        infinite = of.score is RANKING and any(run.mark for run in _flat(runs))
        own, against = None, _NO_PAIRS
        if not infinite:
            own = _matrix(runs, tasks, of.score.name)
            against = _against_zero(runs, of.score.name)

        beside = {}
        if kind == ORACLE:
            beside[REVERSE.name] = _against_zero(runs, REVERSE.name)
            if not infinite:  # an infinite row has no divergence in this direction
                beside[FORWARD.name] = _against_zero(runs, FORWARD.name)

        gained = self._paired(runs, of.quality)
        if not of.quality_high_is_good:
            gained = gained.negated()

        improvement = None
        if own is not None and label != BEST_KNOB:
            improvement = _improvement(own)
        return Entry(
            label=label,
            role=_role(label, runs),
            runs=runs,
            scores=own,
            against=against,
            beside=beside,
            quality=gained,
            improvement=improvement,
        )

    def _paired(self, runs: Mapping[str, list[Run]], metric: str) -> Paired:
        """A metric minus that of maximum likelihood on the same task and seed."""
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
        found = self.scores(result, result.metrics)
        return Run(result, result.metrics | found, self._marks.get(_place(result), ""))

    def _best_knobs(self, task: str, score: Score) -> list[Result]:
        """The reference's best knob of every seed as if somebody had run it; the sample is its
        name.
        """
        found = []
        for seed, knobs in sorted(self._knobs[task].items()):
            best = best_knob(knobs, score)
            if best is not None:
                metrics = dict(knobs[best])
                for name in knobs[best]:
                    if name.startswith(SELECT):  # it was chosen by these, and is valued by others
                        del metrics[name]
                found.append(Result(BEST_KNOB, task, seed, metrics, settings={"knob": best}))
        return found

    def _knobs_of(self, task: str) -> dict[int, dict[str, Row]]:
        """The knobs of the reference by seed."""
        score = KINDS[self.kind_of[task]].score
        found = {}
        for result in self.results:
            is_reference = result.label == REFERENCE and result.task == task
            if is_reference and best_knob(result.knobs, score):
                found[result.seed] = result.knobs
        if not found:
            raise ValueError(
                f"task {task!r} has no run of the row {REFERENCE!r} with its knobs; nothing can be "
                "compared without"
            )
        return found

    def _is_judged(self, task: str) -> bool:
        """Whether the referee has judged a row other than the reference, and one of its knobs."""
        if not any(best_knob(of_seed, REFEREED) for of_seed in self._knobs[task].values()):
            return False
        for result in self.results:
            is_other = result.task == task and result.label != REFERENCE
            if is_other and REFEREED.divergence in result.metrics:
                return True
        return False

    def _kind(self, task: str) -> str:
        metrics: set[str] = set()
        for result in self.results:
            if result.task == task:
                metrics |= result.metrics.keys()
        for kind in (KINDS[ORACLE], KINDS[REAL]):
            if kind.quality in metrics:
                return kind.name
        neither = " nor ".join(of.quality.name for of in FAMILIES)
        raise ValueError(f"task {task!r} has neither {neither} among its metrics")


def _ranked(entries: Sequence[Entry], kind: Kind, tasks: Sequence[str]) -> list[Entry]:
    """The rows with their outcomes and verdicts, the best first."""
    decided = []
    for entry in entries:
        entry = replace(entry, outcome=_outcome(entry, kind))
        decided.append(replace(entry, verdict=_verdict(entry, kind, tasks)))
    return sorted(decided, key=_place_in_ranking)


def _place_in_ranking(entry: Entry) -> tuple[bool, bool, float]:
    """Sorts by the score, then infinite rows, then those without a score."""
    if entry.scores is None:
        return True, entry.outcome != INFINITE, 0.0
    return False, False, -entry.against.mean


def _place(result: Result) -> tuple[str, str, int]:
    return result.label, result.task, result.seed


def _check_unique(results: Sequence[Result]) -> None:
    seen: set[tuple[str, str, int]] = set()
    for result in results:
        if _place(result) in seen:
            raise ValueError(
                f"{result.label!r} on {result.task}, seed {result.seed}, is there twice; give one "
                "of them"
            )
        if result.label == BEST_KNOB:
            raise ValueError(
                f"a row is labelled {BEST_KNOB!r}, which is the name of the reference's; give it "
                "another label"
            )
        seen.add(_place(result))


def _mark(result: Result) -> str:
    """`INFINITE` where a divergence was measured and is not finite: JSON has it as null."""
    if _is_finite(result.metrics.get(FORWARD.divergence, 0.0)):
        return ""
    return INFINITE


def _finite(result: Result) -> Result:
    """The result without values that are not finite, such as infinite divergences."""
    return replace(
        result,
        metrics=_finite_row(result.metrics),
        curve=list(map(_finite_row, result.curve)),
        knobs={name: _finite_row(_whole(row)) for name, row in result.knobs.items()},
        real=_finite_row(result.real),
        budget=_finite_row(result.budget),
        costs=_finite_row(result.costs),
    )


def _whole(row: Row) -> Row:
    """A knob without divergences that are infinite on some of its draws: they are infinite,
    whatever the other draws say.
    """
    lost: set[str] = set()
    for score in SCORES:
        names = {score.divergence, SELECT + score.divergence}
        if not all(_is_finite(row[name]) for name in names & row.keys()):
            lost |= names
    return {name: value for name, value in row.items() if name not in lost}


def _finite_row(row: Row) -> Row:
    return {name: value for name, value in row.items() if _is_finite(value)}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _mean_row(rows: Sequence[Row]) -> Row:
    """The mean of what all rows have."""
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in shared}


def _matrix(runs: Mapping[str, list[Run]], tasks: Sequence[str], metric: str) -> np.ndarray | None:
    """A metric of the runs, (runs, tasks), of as many runs as the task with the fewest has; None
    where a task has none.
    """
    columns = [_values_of(runs.get(task, []), metric) for task in tasks]
    num = min(map(len, columns))
    if not num:
        return None
    return np.array([column[:num] for column in columns]).T


def _against_zero(runs: Mapping[str, list[Run]], metric: str) -> Paired:
    """A metric of all runs, tested against 0."""
    values = _values_of(_flat(runs), metric)
    if not values:
        return _NO_PAIRS
    return paired(np.array(values), np.zeros(len(values)))


def _flat(runs: Mapping[str, list[Run]]) -> list[Run]:
    """The runs of all tasks."""
    return [run for of_task in runs.values() for run in of_task]


def _values_of(runs: Sequence[Run], metric: str) -> list[float]:
    """A metric of those runs that have it."""
    return [run.metrics[metric] for run in runs if metric in run.metrics]


def _improvement(own: np.ndarray) -> Estimate:
    """The probability that a run has a score above 0, the best knob's."""
    found = probability_of_improvement(own, np.zeros((1, own.shape[1])))
    if len(own) == 1:  # one run has no interval
        return Estimate(found.value, math.nan, math.nan)
    return found


def _has_test(entry: Entry) -> bool:
    return entry.scores is not None and entry.role != "reference" and entry.against.num_pairs > 1


def _role(label: str, runs: Mapping[str, list[Run]]) -> str:
    """The role of a row, as `Entry` has it."""
    if label == BEST_KNOB:
        return "reference"
    if label == REFERENCE:
        return ""
    settings = [run.result.settings for run in _flat(runs)]
    sources = [row["source"] for row in settings if "source" in row]
    if len(sources) < len(settings):  # samples from elsewhere
        return ""
    if all(map(knows_the_truth, sources)):
        return "ceiling"
    if all(map(is_control, sources)):
        return "control"
    return ""


def _outcome(entry: Entry, kind: Kind) -> str:
    """The outcome of a row, as `Entry` has it."""
    if entry.role == "reference":
        return "reference"
    if entry.is_marked and kind.score is RANKING:
        return INFINITE
    if entry.scores is None:
        return "no score"
    if entry.decision is None:
        return "one run"
    low, high = entry.against.interval(entry.decision.level)
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "same"


def _verdict(entry: Entry, kind: Kind, tasks: Sequence[str]) -> str:
    by, num, unit = entry.against.mean, len(entry.all_runs), kind.score.unit
    marked = sum(bool(run.mark) for run in entry.all_runs)
    said = {
        "reference": f"What the others are measured by: {_names_of_knobs(entry)}.",
        INFINITE: (
            f"In {marked} of {num} runs it gives some real sequences no probability, so that "
            "KL(O‖G) is infinite."
        ),
        "better": f"Nearer to the truth than every knob of maximum likelihood, by {by:.4f} {unit}.",
        "worse": (
            f"Further from the truth than the best knob of maximum likelihood, by {-by:.4f} {unit}."
        ),
        "same": f"No difference shown from the best knob of maximum likelihood, in {num} runs.",
        "one run": (
            f"{by:+.4f} {unit} against the best knob of maximum likelihood, from one run, which "
            "says little."
        ),
        "no score": f"No score without {', '.join(_lacking(entry, kind, tasks))}.",
    }[entry.outcome]
    return said + _one_sided(entry) + _elsewhere(entry, kind) + _AFTER.get(entry.role, "")


def _one_sided(entry: Entry) -> str:
    """A warning where a win in the mean is a loss in one of the two divergences."""
    if entry.outcome != "better":
        return ""
    for score, name in ((REVERSE, "KL(G‖O)"), (FORWARD, "KL(O‖G)")):
        if entry.beside.get(score.name, _NO_PAIRS).high < 0:
            return f" In {name} alone a knob does better."
    return ""


def _elsewhere(entry: Entry, kind: Kind) -> str:
    """Where a row without likelihoods stands: every run of it needs a judgement, and so do the
    reference's knobs.
    """
    judged = any(REFEREED.divergence in run.metrics for run in entry.all_runs)
    if entry.outcome != "no score" or kind.score is REFEREED or not judged:
        return ""
    if any(REFEREED.name in run.metrics for run in entry.all_runs):
        return " The referee has a board for it."
    return f" The referee judged it, but no knob of {REFERENCE}: run that with the setting referee."


def _names_of_knobs(entry: Entry) -> str:
    counts = Counter(str(run.result.settings.get("knob", "")) for run in entry.all_runs)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} ({num} run{'s' * (num > 1)})" for name, num in counts.most_common())


def _lacking(entry: Entry, kind: Kind, tasks: Sequence[str]) -> list[str]:
    """Why it has no score: metrics that none of its runs has, and tasks that it was not run on."""
    had = {name for run in entry.all_runs for name in run.metrics}
    missing = []
    if kind.score.divergence not in had:
        missing.append(kind.score.divergence)
    return missing + [f"task {task}" for task in tasks if task not in entry.runs]


_NO_PAIRS = Paired(math.nan, math.nan, math.nan, 0)
_AFTER = {
    "control": " Its reward says nothing about a sequence.",
    "ceiling": " Its reward sees the truth: a ceiling, no rival.",
}
