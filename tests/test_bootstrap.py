"""Intervals against scipy's bootstrap, against theory, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seqgan_env.metrics.bootstrap import DeleteOne, Mean, Ratio, Statistic, Transformed, intervals
from seqgan_env.types import Estimate

from .conftest import rng

SCORES = np.random.default_rng(0).gamma(2.0, 1.0, 400)
LENGTHS = np.random.default_rng(1).integers(1, 20, 400).astype(float)


def interval(statistic: Statistic, num: int = 400, num_resamples: int = 5_000) -> Estimate:
    return intervals({"it": statistic}, num, rng(), num_resamples)["it"]


def test_means_and_ratios_have_the_intervals_of_scipys_bootstrap() -> None:
    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        result: np.ndarray = a.sum(axis) / b.sum(axis)
        return result

    options = {"n_resamples": 5_000, "method": "percentile", "rng": np.random.default_rng(2)}
    of_mean = stats.bootstrap((SCORES,), np.mean, **options).confidence_interval
    of_ratio = stats.bootstrap((SCORES, LENGTHS), ratio, paired=True, **options).confidence_interval
    for ours, theirs in (
        (interval(Mean(SCORES)), of_mean),
        (interval(Ratio(SCORES, LENGTHS)), of_ratio),
    ):
        width = theirs.high - theirs.low
        assert ours.low == pytest.approx(
            theirs.low, abs=0.05 * width
        )  # quantiles of 5,000 draws: a standard error of 2 %
        assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_of_a_mean_leaving_one_out_is_the_bootstrap_itself() -> None:
    without = (SCORES.sum() - SCORES) / (len(SCORES) - 1)
    ours, direct = (
        interval(DeleteOne(float(SCORES.mean()), lambda: without)),
        interval(Mean(SCORES)),
    )
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (direct.value, direct.low, direct.high)
    )


def test_a_function_of_a_statistic_has_the_function_of_its_interval() -> None:
    plain, transformed = interval(Mean(SCORES)), interval(Transformed(np.exp, Mean(SCORES)))
    assert np.log([transformed.value, transformed.low, transformed.high]) == pytest.approx(
        [plain.value, plain.low, plain.high], abs=1e-4
    )


def test_what_never_varies_has_no_width() -> None:
    same = interval(Mean(np.full(400, 0.3)))
    assert (same.low, same.high) == pytest.approx((0.3, 0.3))


def test_an_interval_stays_where_the_statistic_can_be() -> None:
    estimate = interval(
        DeleteOne(0.999, lambda: np.random.default_rng(0).normal(1, 0.01, 400), most=1)
    )
    assert 0 <= estimate.low < estimate.value < estimate.high == 1


def test_statistics_share_their_resamples_and_the_seed_decides() -> None:
    both = intervals({"a": Mean(SCORES), "b": Mean(2 * SCORES)}, 400, rng(3))
    assert both["b"].low == pytest.approx(2 * both["a"].low)
    assert both == intervals({"a": Mean(SCORES), "b": Mean(2 * SCORES)}, 400, rng(3))
    assert both != intervals({"a": Mean(SCORES), "b": Mean(2 * SCORES)}, 400, rng(4))


def test_resamples_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = interval(Mean(SCORES))
    monkeypatch.setattr("seqgan_env.metrics.bootstrap._CHUNK", 40_000)
    assert interval(Mean(SCORES)) == whole


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    generator, draws = np.random.default_rng(5), 400
    held = 0
    for seed in range(draws):
        found = intervals({"mean": Mean(generator.gamma(2.0, 1.0, 200))}, 200, rng(seed))["mean"]
        held += found.low <= 2.0 <= found.high
    assert held / draws == pytest.approx(
        0.95, abs=0.035
    )  # three standard errors, and the percentile method's small bias
