"""What `seqgan evaluate` does: the metrics of a run's policy, or of samples, beside real data."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from seqgan_env import faults
from seqgan_env.bench import commands as bench_commands
from seqgan_env.bench.flags import chose_samples
from seqgan_env.cli.arguments import trust_of
from seqgan_env.cli.output import metrics_table, of_which_parts, told_if_slow, warn
from seqgan_env.metrics.bootstrap import interval_of_set
from seqgan_env.metrics.catalogue import (
    MORE,
    MeasuresMore,
    described,
    load_metrics,
    measure_more,
    metric_named,
)
from seqgan_env.metrics.score import REFEREED
from seqgan_env.screen import plain_console
from seqgan_env.training import run_directory
from seqgan_env.training.adversarial import evaluate_task
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import load_run, real_metrics, samples_for_more
from seqgan_env.types import Estimate, HasEstimates, HasReferee, RolloutPolicy, Task

NUM_RESAMPLES = 200  # of a metric of the user's own
MOST_SECONDS = 0.02  # of one evaluation of it, so that all of them take a few seconds


@dataclass
class Measured:
    """What was measured of a policy.

    Attributes:
        estimates: by metric; bounds that are not known are NaN.
        notes: what is to be said of them.
    """

    estimates: dict[str, Estimate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def evaluate(arguments: argparse.Namespace) -> int:
    """`seqgan evaluate`: of a run, or of samples."""
    if chose_samples(arguments):
        with told_if_slow("reading the data and measuring the samples ..."):
            return bench_commands.evaluate_samples(arguments)
    path: Path = arguments.run_path
    with told_if_slow(f"reading the data of {path} ..."):
        settings, task, agent = load_run(path, trust_of(arguments))
    measured = Measured()
    with told_if_slow("measuring fresh samples ..."):
        if arguments.judge_anew:
            _judge_anew(measured, task, agent.policy, arguments.seed, settings.device)
        else:
            _judged_by_run(measured, path)
        measured.estimates |= _of_task(task, agent.policy, arguments.seed, settings.device)
        _measure_more(measured, settings, task, agent.policy, arguments.seed)
        real = real_column(settings, task)
    console = plain_console()
    console.print(_table(str(path), settings, measured, real, arguments.keys))
    for note in [of_which_parts(real), *measured.notes]:
        if note:
            console.print(note, highlight=False, soft_wrap=True)
    return 0


def real_column(settings: TrainSettings, task: Task) -> dict[str, float]:
    """The metrics of real sequences. Where a plug-in fails on these there are none, for they are
    no reason to lose a run.
    """
    try:
        return real_metrics(settings, task)
    except Exception as problem:
        warn(f"real data are not measured: {faults.told(problem)}")
        return {}


def _table(
    title: str,
    settings: TrainSettings,
    measured: Measured,
    real: Mapping[str, float],
    by_keys: bool,
) -> Table:
    """A row for every metric, by its label or, where scripts read it, by its key."""
    own = {MORE + metric.name: described(metric) for metric in load_metrics(settings.more_metrics)}
    labels, values, intervals = {}, {}, {}
    for name, estimate in measured.estimates.items():
        labels[name] = name if by_keys else (own.get(name) or metric_named(name)).row.strip()
        values[name] = f"{estimate.value:.4f}"
        intervals[name] = _interval(estimate)
    return metrics_table(title, {"value": values, "95 % interval": intervals}, labels, real)


def _interval(estimate: Estimate) -> str:
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"{estimate.low:.4f} to {estimate.high:.4f}"


def _of_task(task: Task, policy: RolloutPolicy, seed: int, device: str) -> Mapping[str, Estimate]:
    """The task's metrics of fresh samples, with their intervals where it knows errors."""
    if isinstance(task, HasEstimates):
        rng = torch.Generator(device=device).manual_seed(seed + 1)
        return task.estimates(policy, rng)
    metrics = evaluate_task(policy, task, seed, device)
    found = {}
    for name, value in metrics.items():
        if not name.endswith("_error"):  # an error stands in the interval of what it is of
            found[name] = _of_mean(value, metrics.get(f"{name}_error"))
    return found


def _of_mean(value: float, error: float | None) -> Estimate:
    """The 95 % interval of a mean with this standard error."""
    if error is None:
        error = math.nan
    return Estimate(value, value - 1.96 * error, value + 1.96 * error)


def _judge_anew(
    measured: Measured, task: Task, policy: RolloutPolicy, seed: int, device: str
) -> None:
    """The referee's row, of fresh samples.

    Raises:
        ValueError: the task has no referee.
    """
    if not isinstance(task, HasReferee) or task.referee is None:
        raise ValueError(f"--referee was given; task {task.name} has no referee, or too few data")
    rng = torch.Generator(device=device).manual_seed(seed + 1)
    verdict = task.referee.of_policy(policy, rng)
    measured.estimates |= _row_of_referee(verdict)


def _judged_by_run(measured: Measured, path: Path) -> None:
    """The referee's row as the run has it, which costs nothing; none where it has none."""
    if not (path / run_directory.RESULT).is_file():
        return
    agent: Any = run_directory.read_json(path / run_directory.RESULT).get("agent")
    row = _row_of_referee(agent if isinstance(agent, Mapping) else {})
    if row:
        measured.estimates |= row
        measured.notes.append(
            "the referee's row is the run's own; --referee judges fresh samples, in about a minute"
        )


def _row_of_referee(verdict: Mapping[str, Any]) -> dict[str, Estimate]:
    value = verdict.get(REFEREED.divergence)
    if value is None:
        return {}
    return {REFEREED.divergence: _of_mean(value, verdict.get(f"{REFEREED.divergence}_error"))}


def _measure_more(
    measured: Measured, settings: TrainSettings, task: Task, policy: RolloutPolicy, seed: int
) -> None:
    """The user's own metrics, with bootstrap intervals where these are quickly had."""
    metrics = load_metrics(settings.more_metrics)
    if not metrics:
        return
    samples = samples_for_more(settings, task, policy, seed)
    for metric in metrics:
        estimate, reason = _own(metric, samples, task)
        measured.estimates[MORE + metric.name] = estimate
        if reason:
            measured.notes.append(f"no interval for {described(metric).label}: {reason}")


def _own(metric: MeasuresMore, samples: Tensor, task: Task) -> tuple[Estimate, str]:
    """A metric of the user's own, and why it has no interval; "" where it has one."""

    def value_of(sequences: Tensor) -> float:
        return measure_more([metric], sequences, task)[MORE + metric.name]

    seconds = math.inf
    for _ in range(2):  # the first one may have to load a library
        if seconds > MOST_SECONDS:
            started = time.perf_counter()
            value = value_of(samples)
            seconds = time.perf_counter() - started
    unknown = Estimate(value, math.nan, math.nan)
    if seconds > MOST_SECONDS:
        told = f"one evaluation takes {1000 * seconds:.0f} ms"
        return unknown, f"{told}, and only those of {1000 * MOST_SECONDS:.0f} ms are resampled"
    rng = torch.Generator().manual_seed(0)
    try:
        low, high = interval_of_set(value_of, samples, rng, NUM_RESAMPLES)
    except Exception as problem:  # a set with repeats may be none that it knows
        return unknown, f"on a resample it raised {type(problem).__name__}"
    if not low <= value <= high:
        return unknown, "it counts repeats, of which resamples have more"
    return Estimate(value, low, high), ""
