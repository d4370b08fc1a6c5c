"""Ranks the rows of a benchmark by their scores and says in a sentence what each row has shown.

The score of a policy is how much nearer to the truth it is than the best knob of the reference,
which is maximum likelihood with the same seed: see `seqgan_env.metrics.score`. The best knob is the
zero of that scale and has a row of its own; maximum likelihood without a knob has another.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE
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

INFINITE = "infinite"  # mark of a run that gives real sequences no probability

ORACLE, JUDGED, REAL = "oracle tasks", "oracle tasks, by the referee", "tasks with real data"


@dataclass(frozen=True)
class Kind:
    """Tasks that are scored in the same unit and share a leaderboard.

    Attributes:
        name: name of the kind, as titles have it.
        score: the score that ranks the rows.
        quality: name of the metric of quality that papers usually report.
        quality_high_is_good: whether a high `quality` is good.
        diversity: name of the metric that `quality` is traded for; a low value is diverse.
        beside: names of the metrics that always stand beside the score.
    """

    name: str
    score: Score
    quality: str
    quality_high_is_good: bool
    diversity: str
    beside: tuple[str, ...]


def _kind(name: str, score: Score, of: Family, beside: tuple[str, ...]) -> Kind:
    """The kind whose tasks are of a family and are ranked by `score`."""
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
        result: the result without values that are not finite.
        metrics: its metrics and its scores, by name.
        mark: `INFINITE` if it gives some real sequence no probability, otherwise "".
    """

    result: Result
    metrics: dict[str, float]
    mark: str


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard, over all tasks of a kind.

    Attributes:
        label: label of the row.
        role: "reference" (the best knob), "control" (a reward that says nothing), "ceiling" (one
            that sees the truth) or "".
        runs: the runs of each task, in the order of their seeds.
        scores: (runs, tasks), of as many runs as the task with the fewest has; None where a task
            has no score or a run is infinitely far from the truth.
        against: the scores of all runs, tested against 0.
        beside: the scores of all runs in one divergence alone, by name, tested against 0.
        quality: the kind's `quality` minus that of maximum likelihood, signed so that positive is
            better.
        improvement: probability that a run has a score above 0, the best knob's; None for the
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
        """The mean score with its interval.

        The interval has the level of the row's test, so that it excludes 0 if and only if the
        verdict says better or worse.
        """
        if self.scores is None:
            return None
        if self.decision is None:  # without a test there is no level, and so no interval
            return Estimate(self.against.mean, math.nan, math.nan)
        return Estimate(self.against.mean, *self.against.interval(self.decision.level))

    @property
    def is_marked(self) -> bool:
        """Whether a run of it is infinitely far from the truth."""
        return _any_marked(self.all_runs)

    @property
    def mark(self) -> str:
        """The word beside its name: `INFINITE` where that keeps it from a rank, else its role."""
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
        """Checks the results and finds the kind and the knobs of every task.

        Args:
            results: the results; every (label, task, seed) is there at most once.

        Raises:
            ValueError: one is there twice, or every task is of no kind or has no run of the
                reference with its knobs.
        """
        _check_unique(results)
        self.results = list(map(_finite, results))
        # Marks are read from the results as given: `self.results` has lost the infinite values.
        self._marks: dict[tuple[str, str, int], str] = {}
        for result in results:
            self._marks[_place(result)] = _mark(result)

        # A task that cannot be ranked costs no other one its leaderboard.
        self.kind_of: dict[str, str] = {}
        self.left_out: dict[str, str] = {}  # why, by task
        self._knobs: dict[str, dict[int, dict[str, Row]]] = {}  # by task, seed and name
        for task in sorted({result.task for result in self.results}):
            try:
                kind = self._kind(task)
                self._knobs[task] = self._knobs_of(task, KINDS[kind].score)
                self.kind_of[task] = kind
            except ValueError as problem:
                self.left_out[task] = str(problem)
        if not self.kind_of:
            raise ValueError("; ".join(self.left_out.values()))

        self.results = [result for result in self.results if result.task in self.kind_of]
        self.tasks = list(self.kind_of)
        labels = {result.label for result in self.results}
        self.labels = [BEST_KNOB, REFERENCE, *sorted(labels - {REFERENCE})]

    @property
    def kinds(self) -> list[str]:
        """The kinds that have a task, in the order of `KINDS`."""
        return list(filter(self.tasks_of, KINDS))

    def tasks_of(self, kind: str) -> list[str]:
        """The tasks of a kind.

        An oracle task is of the kind `JUDGED` too if the referee judged a row besides the
        reference on it.
        """
        if kind == JUDGED:
            return list(filter(self._is_judged, self.tasks_of(ORACLE)))
        return [task for task in self.tasks if self.kind_of[task] == kind]

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Run]]:
        """The runs by label and task, in the order of their seeds.

        Among them are those of the best knob, chosen by the score of the task's own kind.
        """
        everything = list(self.results)
        for task in self.tasks:
            everything += self._best_knobs(task, KINDS[self.kind_of[task]].score)

        # The order of insertion is the order of the keys, and tables follow it.
        everything.sort(key=self._order)
        found: dict[tuple[str, str], list[Run]] = {}
        for result in everything:
            found.setdefault((result.label, result.task), []).append(self._run(result))
        return found

    def _order(self, result: Result) -> tuple[int, str, int]:
        """Sorts results by row (in the order of `labels`), task and seed."""
        return self.labels.index(result.label), result.task, result.seed

    def knobs(self, task: str, less_best: bool = False) -> dict[str, Row]:
        """The metrics of the reference's knobs on a task, by the knob's name, as means over seeds.

        Args:
            task: name of the task.
            less_best: whether the metrics of the best knob of each seed are subtracted first.
        """
        by_name: dict[str, list[Row]] = {}
        for seed, knobs in self._knobs[task].items():
            for name, row in knobs.items():
                if less_best:
                    row = self.less_best_knob(task, seed, row)
                by_name.setdefault(name, []).append(row)
        means = map(_mean_row, by_name.values())
        return dict(zip(by_name, means, strict=True))

    def less_best_knob(self, task: str, seed: int, metrics: Row) -> Row:
        """Metrics minus those of the best knob with the same seed.

        Where the reference was not run with the seed, the mean over its seeds is subtracted.
        Metrics that the best knob lacks are left out.
        """
        best = self.runs[BEST_KNOB, task]
        of_seed = [run for run in best if run.result.seed == seed]
        rival = _mean_row([run.metrics for run in of_seed or best])
        differences = {}
        for name, value in metrics.items():
            if name in rival:
                differences[name] = value - rival[name]
        return differences

    def scores(self, result: Result, metrics: Mapping[str, float], prefix: str = "") -> Row:
        """The scores of a run's metrics against the best knob with the same seed.

        Where the reference was not run with the seed, they are the mean of the scores against the
        best knobs of all its seeds.

        Args:
            result: the run, of which the task and the seed count.
            metrics: metrics of the run, at its end or at a point of its curve.
            prefix: what the names of `metrics` begin with.
        """
        knobs = self._knobs[result.task]
        rivals = list(knobs.values())
        if result.seed in knobs:
            rivals = [knobs[result.seed]]
        rows = []
        for rival in rivals:
            rows.append(scores(rival, metrics, prefix))
        return _mean_row(rows)

    @cached_property
    def _boards(self) -> dict[str, list[Entry]]:
        """The rows of every kind, ranked.

        The verdicts of all kinds are corrected together, for a reader of the page sees them
        together.
        """
        # Collect the p-values of all kinds, and where each of them belongs.
        entries: dict[str, list[Entry]] = {}
        places, p_values = [], []
        for kind in self.kinds:
            entries[kind] = self._undecided(kind)
            for i, entry in enumerate(entries[kind]):
                if _has_test(entry):
                    places.append((kind, i))
                    p_values.append(entry.against.p_value)

        # Correct them at once, and give each row its own decision.
        for (kind, i), decision in zip(places, holm(p_values), strict=True):
            entries[kind][i] = replace(entries[kind][i], decision=decision)

        # Only now can the rows be ranked: the words of a verdict need the decision.
        boards = {}
        for kind, of_kind in entries.items():
            boards[kind] = _ranked(of_kind, KINDS[kind], self.tasks_of(kind))
        return boards

    def entries(self, kind: str) -> list[Entry]:
        """The rows of a kind of task, the best first.

        Infinite rows stand behind those with a score, and rows without a score behind all.
        """
        return self._boards[kind]

    def _undecided(self, kind: str) -> list[Entry]:
        """The rows of a kind before their verdicts."""
        tasks = self.tasks_of(kind)
        entries = []
        for label in self.labels:
            entry = self._entry(label, kind, tasks)
            if entry.runs:
                entries.append(entry)
        return entries

    def _runs_on(self, kind: str, label: str, task: str) -> list[Run]:
        """The runs of a row on a task that a kind's board shows.

        The referee's board shows the runs that the referee judged.
        """
        if label == BEST_KNOB:
            # Which knob is the best depends on the score, and so on the board.
            return list(map(self._run, self._best_knobs(task, KINDS[kind].score)))
        runs = self.runs.get((label, task), [])
        if kind == JUDGED:
            return [run for run in runs if REFEREED.divergence in run.metrics]
        return runs

    def _entry(self, label: str, kind: str, tasks: list[str]) -> Entry:
        """A row of a kind's board, before its verdict; without runs if no task shows any."""
        of = KINDS[kind]
        runs = {}
        for task in tasks:
            of_task = self._runs_on(kind, label, task)
            if of_task:
                runs[task] = of_task

        # The mean over the finite runs of a row would hide the infinite ones.
        infinite = of.score is RANKING and _any_marked(_flat(runs))
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
            # Only seeds that both have make a pair.
            for run in of_task:
                other = reference.get(run.result.seed, {})
                if metric in run.metrics and metric in other:
                    pairs.append((run.metrics[metric], other[metric]))
        if not pairs:
            return _NO_PAIRS
        own, others = np.array(pairs).T  # (pairs,) each
        return paired(own, others)

    def _run(self, result: Result) -> Run:
        """The result with its scores and its mark."""
        found = self.scores(result, result.metrics)
        return Run(result, result.metrics | found, self._marks.get(_place(result), ""))

    def _best_knobs(self, task: str, score: Score) -> list[Result]:
        """The reference's best knob of every seed, as if somebody had run it.

        The setting `knob` is its name.
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

    def _knobs_of(self, task: str, score: Score) -> dict[int, dict[str, Row]]:
        """The knobs of the reference by seed, of which the score has a best; raises a ValueError
        where there are none.
        """
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
        if not self._best_knobs(task, REFEREED):
            return False
        for result in self.results:
            is_other = result.task == task and result.label != REFERENCE
            if is_other and REFEREED.divergence in result.metrics:
                return True
        return False

    def _kind(self, task: str) -> str:
        """The name of the kind that a task's metrics show; raises a ValueError where none fits."""
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
    """The row, task and seed of a result, which no two results of a page share."""
    return result.label, result.task, result.seed


def _check_unique(results: Sequence[Result]) -> None:
    """Raises a ValueError for two results in one place and for a label that is taken."""
    seen: dict[tuple[str, str, int], str] = {}  # keys
    for result in results:
        if _place(result) in seen:
            of_what = "from other settings, data or code"
            if seen[_place(result)] == result.key:
                of_what = "with other numbers"
            raise ValueError(
                f"{result.label!r} on {result.task}, seed {result.seed}, is there twice, "
                f"{of_what}; give one of them"
            )
        if result.label == BEST_KNOB:
            raise ValueError(
                f"a row is labelled {BEST_KNOB!r}, which is the name of the reference's; give it "
                "another label"
            )
        seen[_place(result)] = result.key


def _mark(result: Result) -> str:
    """`INFINITE` where a divergence was measured and is not finite: JSON has it as null."""
    if _is_finite(result.metrics.get(FORWARD.divergence, 0.0)):
        return ""
    return INFINITE


def _finite(result: Result) -> Result:
    """The result without values that are not finite, such as infinite divergences."""
    knobs = {}
    for name, row in result.knobs.items():
        knobs[name] = _finite_row(_whole(row))
    return replace(
        result,
        metrics=_finite_row(result.metrics),
        curve=list(map(_finite_row, result.curve)),
        knobs=knobs,
        real=_finite_row(result.real),
        budget=_finite_row(result.budget),
        costs=_finite_row(result.costs),
    )


def _whole(row: Row) -> Row:
    """A knob's metrics without divergences that are infinite on some of its draws.

    A divergence is measured twice, on draws that choose the knob and on draws that value it. One
    infinite measurement shows that the divergence is infinite, so that both are left out.
    """
    whole, finite = dict(row), _finite_row(row)
    for score in SCORES:
        measured = {score.divergence, SELECT + score.divergence} & row.keys()
        if finite.keys() >= measured:
            continue
        for name in measured:
            whole.pop(name, None)
    return whole


def _finite_row(row: Row) -> Row:
    """The finite values of a row."""
    return {name: value for name, value in row.items() if _is_finite(value)}


def _is_finite(value: float | None) -> bool:
    """Whether a value is a finite number; null of JSON is not."""
    return value is not None and math.isfinite(value)


def _mean_row(rows: Sequence[Row]) -> Row:
    """The means of the metrics that all rows have, in the order of the first row."""
    shared = set(rows[0]).intersection(*rows)
    means = {}
    for name in rows[0]:
        if name in shared:
            means[name] = float(np.mean([row[name] for row in rows]))
    return means


def _matrix(runs: Mapping[str, list[Run]], tasks: Sequence[str], metric: str) -> np.ndarray | None:
    """A metric of the runs, (runs, tasks), of as many runs as the task with the fewest has.

    None where a task has no run with the metric.
    """
    columns = []
    for task in tasks:
        columns.append(_values_of(runs.get(task, []), metric))
    # Bootstraps resample the runs of every task, so that the matrix has to be rectangular.
    num = min(map(len, columns))
    if not num:
        return None
    return np.array([column[:num] for column in columns]).T  # (runs, tasks)


def _against_zero(runs: Mapping[str, list[Run]], metric: str) -> Paired:
    """A metric of all runs, tested against 0."""
    values = _values_of(_flat(runs), metric)
    if not values:
        return _NO_PAIRS
    return paired(np.array(values), np.zeros(len(values)))


def _flat(runs: Mapping[str, list[Run]]) -> list[Run]:
    """The runs of all tasks."""
    return list(itertools.chain.from_iterable(runs.values()))


def _values_of(runs: Sequence[Run], metric: str) -> list[float]:
    """The values of a metric, of those runs that have it."""
    return [run.metrics[metric] for run in runs if metric in run.metrics]


def _improvement(own: np.ndarray) -> Estimate:
    """The probability that a run has a score above 0, the best knob's."""
    found = probability_of_improvement(own, np.zeros((1, own.shape[1])))
    if len(own) == 1:  # one run has no interval
        return Estimate(found.value, math.nan, math.nan)
    return found


def _any_marked(runs: Sequence[Run]) -> bool:
    """Whether a run is infinitely far from the truth."""
    return any(run.mark for run in runs)


def _has_test(entry: Entry) -> bool:
    """Whether the score of a row is tested against 0: a test needs two runs or more."""
    return entry.scores is not None and entry.role != "reference" and entry.against.num_pairs > 1


def _role(label: str, runs: Mapping[str, list[Run]]) -> str:
    """The role of a row, as `Entry` has it."""
    if label == BEST_KNOB:
        return "reference"
    if label == REFERENCE:
        return ""
    sources = []
    for run in _flat(runs):
        if "source" not in run.result.settings:  # samples from elsewhere
            return ""
        sources.append(run.result.settings["source"])
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
    """The outcome of a row in words, with what qualifies it."""
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
        "same": (
            "No difference shown from the best knob of maximum likelihood, in "
            f"{entry.against.num_pairs} runs."
        ),
        "one run": (
            f"{by:+.4f} {unit} against the best knob of maximum likelihood, from one run, which "
            "says little."
        ),
        "no score": f"No score without {', '.join(_lacking(entry, kind, tasks))}.",
    }[entry.outcome]
    qualified = _one_sided(entry) + _partly(entry, kind) + _elsewhere(entry, kind)
    return said + qualified + _AFTER.get(entry.role, "")


def _one_sided(entry: Entry) -> str:
    """A warning where a win in the mean is a loss in one of the two divergences."""
    if entry.outcome != "better":
        return ""
    for score, name in ((REVERSE, "KL(G‖O)"), (FORWARD, "KL(O‖G)")):
        if entry.beside.get(score.name, _NO_PAIRS).high < 0:
            return f" In {name} alone a knob does better."
    return ""


def _partly(entry: Entry, kind: Kind) -> str:
    """How many runs of a row with a score have none, and what these lack."""
    if entry.scores is None:
        return ""
    num, why = 0, list[str]()
    for task, runs in entry.runs.items():
        unscored = [run for run in runs if kind.score.name not in run.metrics]
        if unscored:
            num += len(unscored)
            why.append(_reason(unscored, kind, task))
    if not num:
        return ""
    has = "has" if num == 1 else "have"
    return f" {num} of its {len(entry.all_runs)} runs {has} no score, without {', '.join(why)}."


def _elsewhere(entry: Entry, kind: Kind) -> str:
    """Where to find a row that has no score because it has no likelihoods.

    The referee's board shows it if the referee judged both the row and the reference's knobs.
    """
    judged = _values_of(entry.all_runs, REFEREED.divergence)
    if entry.outcome != "no score" or kind.score is REFEREED or not judged:
        return ""
    # A judged run has a score only where the knobs were judged too.
    if _values_of(entry.all_runs, REFEREED.name):
        return " The referee has a board for it."
    return f" The referee judged it, but no knob of {REFERENCE}: run that with the setting referee."


def _names_of_knobs(entry: Entry) -> str:
    """The knobs that were the best of a seed, the most frequent first."""
    counts: Counter[str] = Counter()
    for run in entry.all_runs:
        counts[str(run.result.settings.get("knob", ""))] += 1
    if len(counts) == 1:
        return next(iter(counts))
    parts = []
    for name, num in counts.most_common():
        plural = "s" * (num > 1)
        parts.append(f"{name} ({num} run{plural})")
    return ", ".join(parts)


def _lacking(entry: Entry, kind: Kind, tasks: Sequence[str]) -> list[str]:
    """Why it has no score: metrics that none of its runs has, on all tasks or on some, and tasks
    that it was not run on.
    """
    missing = []
    has_none = not _values_of(entry.all_runs, kind.score.divergence)
    if has_none:
        missing.append(kind.score.divergence)
    for task in tasks:
        if task not in entry.runs:
            missing.append(f"task {task}")
        elif not has_none and not _values_of(entry.runs[task], kind.score.name):
            missing.append(_reason(entry.runs[task], kind, task))
    return missing


def _reason(unscored: Sequence[Run], kind: Kind, task: str) -> str:
    """What runs on a task would need for a score."""
    divergence = kind.score.divergence
    # A run that has the divergence has no rival: no knob of its seed was measured by it.
    num_without_rival = len(_values_of(unscored, divergence))
    needed = f"{divergence} or a knob of {REFERENCE} with it"
    if num_without_rival == 0:
        needed = divergence
    elif num_without_rival == len(unscored):
        needed = f"a knob of {REFERENCE} with {divergence}"
    return f"{needed} on {task}"


_NO_PAIRS = Paired(math.nan, math.nan, math.nan, 0)
_AFTER = {
    "control": " Its reward says nothing about a sequence.",
    "ceiling": " Its reward sees the truth: a ceiling, no rival.",
}
