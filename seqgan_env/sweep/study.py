"""The search over the settings of one row: an Optuna study, trial after trial.

What a trial draws is a function of the sweep's seed, of its number and of the trials before it, for
every trial has a sampler of its own. So a sweep that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgan_env.extras import load
from seqgan_env.sweep.lockstep import Measured, TrialDivergedError, TrialFailedError, in_step
from seqgan_env.sweep.plan import Plan, SweepSettings
from seqgan_env.training.run_directory import write_text

Values = dict[tuple[str, ...], Any]  # of settings, by path

# What became of a trial.
COMPLETE, PRUNED, DIVERGED, FAILED = "complete", "pruned", "diverged", "failed"
FAILURES = "failures"  # folder of a sweep, with the tracebacks

# What is kept of a study and of a trial besides what Optuna does.
_KEY, _METRIC, _AS_IT_STANDS = "key", "metric", "as_it_stands"
_OUTCOME = "outcome"


@dataclass(frozen=True)
class Trial:
    """One trial that is over.

    Attributes:
        number: from 1, among those that came to an end; one that was killed is run again.
        outcome: `COMPLETE`, `PRUNED`, `DIVERGED` or `FAILED`.
        values: the settings that were drawn.
        by_round: the mean divergence over the runs, by round.
    """

    number: int
    outcome: str
    values: Values
    by_round: dict[int, float] = field(default_factory=dict)

    @property
    def last(self) -> float:
        """The divergence at the last round that it came to; infinite if it came to none."""
        if not self.by_round:
            return math.inf
        return self.by_round[max(self.by_round)]


@dataclass(frozen=True)
class Searched:
    """What the search over a row has found so far.

    Attributes:
        row: its label.
        metric: the divergence that was measured.
        as_it_stands: the divergence of the row with the settings that the suite gives it.
        trials: that are over.
    """

    row: str
    metric: str
    as_it_stands: float
    trials: list[Trial]

    @property
    def best(self) -> Trial | None:
        """The complete trial with the lowest divergence, the first of equals; None where none is
        lower than the row as it stands.
        """
        best: Trial | None = None
        lowest = self.as_it_stands
        for trial in self.trials:
            if trial.outcome == COMPLETE and trial.last < lowest:
                best, lowest = trial, trial.last
        return best


class RowStudy:
    """The search over the settings of one row, kept in a storage of Optuna."""

    def __init__(
        self,
        plan: Plan,
        row: str,
        storage: str,
        folder: Path,
        num_workers: int = 1,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """
        Args:
            plan: of the sweep.
            row: its label.
            storage: URL of the database.
            folder: of the sweep; tracebacks go there.
            num_workers: runs of a trial that compute at a time.
            tell: is given a line on everything that ends.

        Raises:
            ValueError: Optuna is missing, the storage cannot be opened, or holds a search over this
                row with other settings, code or data.
        """
        self._optuna = load("optuna", "seqgan sweep")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self.plan, self.row, self.folder = plan, row, folder
        self._num_workers, self._tell = num_workers, tell
        self._space = plan.spaces[row]
        name = f"{plan.suite.title} / {row}"
        try:
            self._study = self._optuna.create_study(
                study_name=name,
                storage=storage,
                load_if_exists=True,
                direction="minimize",
                pruner=self._pruner(plan.settings),
            )
        except Exception as problem:  # of a database anything may come
            first = (str(problem) or type(problem).__name__).strip().splitlines()[0]
            raise ValueError(f"the storage of the sweep cannot be opened: {first}") from problem
        key = plan.key(row)
        # Trials of other settings, code or data would be compared with new ones.
        known = self._study.user_attrs.get(_KEY)
        if known is None:
            self._study.set_user_attr(_KEY, key)
        elif known != key:
            raise ValueError(
                f"the storage has a search {name!r} with other settings, code, data or versions; "
                "its trials cannot be compared with new ones. Give another --out"
            )
        self._end_killed_trials()

    def run(self, num_trials: int) -> Searched:
        """Runs the row as it stands, unless that was done, and trials until there are `num_trials`.

        Raises:
            ValueError: the row fails as it stands, or runs cannot be compared.
        """
        self._measure_as_it_stands()
        while len(self._over()) < num_trials:
            self._run_trial(len(self._over()) + 1, num_trials)
        return self.found()

    def found(self) -> Searched:
        """What is there by now."""
        trials = []
        for number, trial in enumerate(self._over(), start=1):
            by_round = dict(sorted(trial.intermediate_values.items()))
            trials.append(
                Trial(number, trial.user_attrs[_OUTCOME], self._values_of(trial.params), by_round)
            )
        of_study = self._study.user_attrs
        as_it_stands = float(of_study.get(_AS_IT_STANDS, math.inf))
        return Searched(self.row, of_study.get(_METRIC, ""), as_it_stands, trials)

    def _over(self) -> list[Any]:
        """The trials of the study that came to an end by themselves."""
        states = self._optuna.trial.TrialState
        over = []
        for trial in self._study.get_trials(deepcopy=False):
            # A trial that was killed is failed without having said so itself.
            outcome = trial.user_attrs.get(_OUTCOME)
            was_killed = trial.state == states.FAIL and outcome != FAILED
            if trial.state.is_finished() and not was_killed:
                over.append(trial)
        return over

    def _end_killed_trials(self) -> None:
        """Marks as failed what another process began and never ended.

        The next trial has the same number and the same trials before it, so it draws the same.
        """
        failed = self._optuna.trial.TrialState.FAIL
        for trial in self._study.get_trials(deepcopy=False):
            if not trial.state.is_finished():
                self._study.tell(trial.number, state=failed)

    def _measure_as_it_stands(self) -> None:
        if _AS_IT_STANDS in self._study.user_attrs:
            return
        so_far = _SoFar(f"{self.row} as it stands", self._tell)
        try:
            jobs = self.plan.jobs(self.row)
            with in_step(jobs, self._num_workers, so_far.tell) as measurements:
                for measured in measurements:
                    self._check_metric(measured.metric)
                    so_far.measured = measured
        except TrialDivergedError as problem:
            self._tell(f"{self.row} as it stands: diverged: {problem}")
        except TrialFailedError as problem:
            path = self._keep_traceback("as-it-stands", str(problem))
            raise ValueError(
                f"row {self.row!r} fails with the settings that the suite gives it: "
                f"{_reason(str(problem))} ({path})"
            ) from problem
        # A text, for not every database has infinity.
        self._study.set_user_attr(_AS_IT_STANDS, repr(so_far.mean))
        self._tell(f"{self.row} as it stands: {so_far.mean:.4f}")

    def _run_trial(self, number: int, total: int) -> None:
        states = self._optuna.trial.TrialState
        self._study.sampler = self._sampler(number)
        trial = self._study.ask()
        values: Values = {}
        for parameter in self._space:
            values[parameter.path] = parameter.suggest(trial)
        name = f"{self.row}, trial {number} of {total}"
        so_far = _SoFar(name, self._tell)
        outcome = self._measure(trial, values, number, so_far)
        # The outcome first: what is killed between the two lines has one that its state belies.
        trial.set_user_attr(_OUTCOME, outcome)
        if outcome == COMPLETE:
            self._study.tell(trial, so_far.mean)
        elif outcome == FAILED:
            self._study.tell(trial, state=states.FAIL)
        else:
            self._study.tell(trial, state=states.PRUNED)
        drawn = ", ".join(f"{path[-1]} {_short(value)}" for path, value in values.items())
        self._tell(f"{name}: {outcome}, {so_far.mean:.4f}; {drawn}")

    def _measure(self, trial: Any, values: Values, number: int, so_far: _SoFar) -> str:
        """What becomes of a trial."""
        try:
            jobs = self.plan.jobs(self.row, values)
        except ValueError as problem:  # settings that can be alone, and not together
            self._keep_traceback(f"trial-{number}", str(problem))
            return FAILED
        try:
            with in_step(jobs, self._num_workers, so_far.tell) as measurements:
                for measured in measurements:
                    self._check_metric(measured.metric)
                    so_far.measured = measured
                    trial.report(measured.mean, measured.round)
                    if trial.should_prune():
                        return PRUNED
        except TrialDivergedError:
            return DIVERGED
        except TrialFailedError as problem:
            self._keep_traceback(f"trial-{number}", str(problem))
            return FAILED
        return COMPLETE

    def _check_metric(self, metric: str) -> None:
        known = self._study.user_attrs.get(_METRIC)
        if known is None:
            self._study.set_user_attr(_METRIC, metric)
        elif known != metric:
            raise ValueError(
                f"row {self.row!r} is measured by {known}, and with other settings by {metric}; "
                "settings that decide whether a policy has likelihoods cannot be swept"
            )

    def _values_of(self, params: Mapping[str, Any]) -> Values:
        values: Values = {}
        for parameter in self._space:
            values[parameter.path] = parameter.value_of(params[parameter.name])
        return values

    def _sampler(self, number: int) -> Any:
        """What draws trial `number`; no state of it outlives the trial."""
        settings, samplers = self.plan.settings, self._optuna.samplers
        text = f"{settings.seed} {self.row} {number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        if settings.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(
            seed=seed, n_startup_trials=settings.random_trials, constant_liar=False
        )

    def _pruner(self, settings: SweepSettings) -> Any:
        pruners = self._optuna.pruners
        if settings.pruner == "none":
            return pruners.NopPruner()
        return pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.warmup_rounds
        )

    def _keep_traceback(self, name: str, text: str) -> Path:
        folder = self.folder / FAILURES
        folder.mkdir(exist_ok=True)
        row = "".join(c if c.isalnum() else "-" for c in self.row)
        path = folder / f"{row}-{name}.txt"
        write_text(path, text + "\n")
        return path


class _SoFar:
    """How far a trial has come, and who is told of it while nothing else can be said.

    Attributes:
        measured: what its runs have reached last; None before anything was measured.
    """

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        self.measured: Measured | None = None
        self._name, self._tell, self._began = name, tell, time.monotonic()

    @property
    def mean(self) -> float:
        """The mean divergence that was measured last; infinity before anything was."""
        return math.inf if self.measured is None else self.measured.mean

    def tell(self) -> None:
        """Says that the trial goes on, for how long, and what it has reached."""
        reached = "nothing measured yet"
        if self.measured is not None:
            reached = f"{self.measured.mean:.4f} in round {self.measured.round}"
        self._tell(f"{self._name}: {time.monotonic() - self._began:.0f} s, {reached}")


def _reason(text: str) -> str:
    """The line of a traceback that says what was wrong."""
    lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
    told = [line for line in lines if not line.startswith("ended with code")]
    return told[-1]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
