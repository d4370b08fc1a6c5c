"""Statistics over seeds (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
statistical precipice").

Scores are (R, K): R runs on each of K tasks, high is good. Intervals are percentile bootstraps in
which the runs of every task are drawn again by themselves (stratified).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from seqgan_env.types import Estimate

NUM_RESAMPLES = 2_000
QUANTILES = (0.025, 0.975)
ALPHA = 0.05  # errors of all verdicts of a page together

Aggregate = Callable[[np.ndarray], np.ndarray]  # (..., R, K) -> (...)


def mean(scores: np.ndarray) -> np.ndarray:
    """The mean over all runs and tasks, (...) of scores (..., R, K)."""
    result: np.ndarray = scores.mean((-2, -1))
    return result


def median(scores: np.ndarray) -> np.ndarray:
    """The median over tasks of their means over runs, (...) of scores (..., R, K)."""
    result: np.ndarray = np.median(scores.mean(-2), axis=-1)
    return result


def iqm(scores: np.ndarray) -> np.ndarray:
    """The interquartile mean, (...) of scores (..., R, K).

    The lowest and the highest quarter of all R K scores are left out, rounded down.
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)  # (..., R K)
    cut = flat.shape[-1] // 4
    result: np.ndarray = flat[..., cut : flat.shape[-1] - cut].mean(-1)
    return result


def optimality_gap(best: float) -> Aggregate:
    """By how much scores fall short of `best` on average; a score above it falls short by 0."""

    def gap(scores: np.ndarray) -> np.ndarray:
        result: np.ndarray = best - np.minimum(scores, best).mean((-2, -1))
        return result

    return gap


def estimate(
    scores: np.ndarray,
    aggregate: Aggregate = iqm,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """An aggregate of scores (R, K) with its 95 % interval.

    Args:
        scores: (R, K) finite numbers.
        aggregate: makes one number of the scores.
        num_resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Raises:
        ValueError: the scores are no such array of numbers.
    """
    scores = _checked(scores)
    drawn = _resampled(scores, num_resamples, _rng(seed))  # (num_resamples, R, K)
    return _interval(float(aggregate(scores)), aggregate(drawn))


def improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The probability that a run of X beats one of Y on the same task, a tie half; the mean over
    tasks, (...).

    Args:
        x: (..., R, K) scores.
        y: (..., R', K) scores.
    """
    difference = x[..., :, None, :] - y[..., None, :, :]  # (..., R, R', K)
    result: np.ndarray = ((difference > 0) + 0.5 * (difference == 0)).mean((-3, -2, -1))
    return result


def probability_of_improvement(
    x: np.ndarray, y: np.ndarray, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Estimate:
    """`improvement` of X (R, K) over Y (R', K) with its 95 % interval.

    Raises:
        ValueError: the scores are no such arrays of numbers.
    """
    x, y = _checked(x), _checked(y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"scores are on {x.shape[1]} and on {y.shape[1]} tasks; they must be on the same ones"
        )
    rng = _rng(seed)
    return _interval(
        float(improvement(x, y)),
        improvement(_resampled(x, num_resamples, rng), _resampled(y, num_resamples, rng)),
    )


def performance_profile(
    scores: np.ndarray, thresholds: np.ndarray, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[Estimate]:
    """The share of scores (R, K) above each of `thresholds` (J,), with its 95 % interval."""
    scores, thresholds = _checked(scores), np.asarray(thresholds, dtype=float)
    # All thresholds share the resamples: the profile of each of them falls from left to right.
    drawn = _resampled(scores, num_resamples, _rng(seed)).reshape(num_resamples, -1)
    shares = []
    for at in thresholds.tolist():
        shares.append(_interval(float((scores > at).mean()), (drawn > at).mean(1)))
    return shares


def sample_efficiency(
    curves: np.ndarray,
    aggregate: Aggregate = iqm,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """An aggregate at each of J points of curves (R, K, J), with its 95 % interval.

    Every point is resampled with the same seed, so that whole runs are drawn along the curve.
    """
    points = np.moveaxis(np.asarray(curves, dtype=float), -1, 0)  # (J, R, K)
    estimates = []
    for scores in points:
        estimates.append(estimate(scores, aggregate, num_resamples, seed))
    return estimates


@dataclass(frozen=True)
class Paired:
    """The difference of two rows on shared seeds, by Student's t.

    Attributes:
        mean: mean of the differences.
        error: standard error of the mean; NaN for one pair.
        p_value: p-value of the two-sided paired t-test; 1 where all differences are 0, NaN for one
            pair.
        num_pairs: number of seeds (and tasks) that both rows have.
    """

    mean: float
    error: float
    p_value: float
    num_pairs: int

    def interval(self, level: float = ALPHA) -> tuple[float, float]:
        """The interval of the mean by Student's t, with confidence 1 - `level`.

        Both ends are NaN for one pair.
        """
        if self.num_pairs < 2:
            return math.nan, math.nan
        half = 0.0
        if self.error:
            half = float(stats.t.ppf(1 - level / 2, self.num_pairs - 1)) * self.error
        return self.mean - half, self.mean + half

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.interval()[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.interval()[1]

    def negated(self) -> Paired:
        """The difference the other way round."""
        # Subtracting from 0 keeps a difference of 0 from becoming -0.
        return Paired(0.0 - self.mean, self.error, self.p_value, self.num_pairs)


def paired(x: np.ndarray, y: np.ndarray) -> Paired:
    """X minus Y, (M,) each, entry by entry.

    Raises:
        ValueError: there are none, or not as many of both.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"paired scores have shapes {x.shape} and {y.shape}; expected (M,) twice, M 1 or more"
        )
    difference = x - y
    middle = float(difference.mean())
    if len(x) == 1:
        return Paired(middle, math.nan, math.nan, 1)
    # Without any spread the t-statistic is 0/0, or infinite; both are decided here.
    if not difference.any():
        return Paired(0.0, 0.0, 1.0, len(x))
    error = float(difference.std(ddof=1)) / math.sqrt(len(x))
    p_value = 0.0
    if error:
        p_value = 2 * float(stats.t.sf(abs(middle) / error, len(x) - 1))
    return Paired(middle, error, p_value, len(x))


@dataclass(frozen=True)
class Decision:
    """What Holm's correction makes of one test among several.

    Attributes:
        adjusted: p-value that can be compared with 0.05 as if it were the only one.
        level: level of the test. An interval of this level excludes 0 if and only if the test
            rejects.
    """

    adjusted: float
    level: float


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[Decision]:
    """Holm's step-down correction (Holm 1979), one decision for each p-value in their order.

    The probability that any of the rejections is wrong is at most `alpha`. The p-values are tested
    in rising order, the k-th of m at alpha / (m - k + 1), until one is not rejected. That one's
    level holds for all that follow. Their p-values are higher still, so that their intervals
    include 0 too.
    """
    decisions = [Decision(1.0, alpha)] * len(p_values)
    level, rejecting, highest = alpha, True, 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        left = len(p_values) - rank
        if rejecting:
            level = alpha / left
            rejecting = p_values[i] < level
        # An adjusted p-value is never below that of a test taken earlier.
        highest = max(highest, min(1.0, left * p_values[i]))
        decisions[i] = Decision(highest, level)
    return decisions


def _checked(scores: np.ndarray) -> np.ndarray:
    """The scores (R, K) in floating point; raises a ValueError for others than finite numbers."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            f"scores have shape {scores.shape}; expected (runs, tasks), one or more of both"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"scores hold {scores[~np.isfinite(scores)][0]}; expected finite numbers")
    return scores


def _resampled(scores: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(num_resamples, R, K): the runs of every task drawn again, with replacement."""
    # Each entry of `rows` is a run; drawing them per task is what makes the bootstrap stratified.
    rows = rng.integers(len(scores), size=(num_resamples, *scores.shape))  # (num_resamples, R, K)
    return np.take_along_axis(scores[None], rows, axis=1)


def _interval(value: float, resampled: np.ndarray) -> Estimate:
    """A value with the percentile interval of its resamples (num_resamples,)."""
    low, high = np.quantile(resampled, QUANTILES).tolist()
    return Estimate(value, low, high)


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
