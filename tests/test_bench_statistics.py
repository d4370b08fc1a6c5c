"""Statistics over seeds: the laws they obey, and the numbers of an independent implementation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seqgan_env.bench.statistics import (
    Decision,
    estimate,
    holm,
    improvement,
    iqm,
    mean,
    median,
    optimality_gap,
    paired,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
)
from seqgan_env.types import Estimate

RNG = np.random.Generator(np.random.PCG64(1))
X = RNG.normal(0, 1, (7, 3)).round(3)
Y = RNG.normal(0.4, 1.5, (5, 3)).round(3)
Y[0, 0] = X[0, 0]

SCORES = st.integers(1, 6).flatmap(
    lambda tasks: st.lists(
        st.lists(st.floats(-100, 100), min_size=tasks, max_size=tasks), min_size=1, max_size=8
    ).map(np.array)
)


# ---- against rliable 1.2.0 (arch 7.2.0, pandas 2.3.3, numpy 2.4.6), on X and Y ----
# np.random.seed(0), then with reps=20000, in this order: get_interval_estimates of the four
# aggregates together and of
# P(improvement), create_performance_profile, get_interval_estimates of the curve


def test_point_values_are_those_of_rliable() -> None:
    assert float(iqm(X)) == pytest.approx(0.1040909090909091)
    assert float(median(X)) == pytest.approx(0.13171428571428573)
    assert float(mean(X)) == pytest.approx(0.036142857142857164)
    assert float(optimality_gap(0.5)(X)) == pytest.approx(0.5092857142857142)
    assert float(improvement(X, Y)) == pytest.approx(0.34761904761904755)


def agrees(ours: Estimate, low: float, high: float) -> None:
    """The ends are quantiles of 20,000 resamples there and here: each has a standard error of about
    0.6 % of the width.
    """
    tolerance = 0.05 * (high - low)
    assert abs(ours.low - low) < tolerance
    assert abs(ours.high - high) < tolerance


def test_curves_are_those_of_rliable() -> None:
    curve = sample_efficiency(np.stack([X, X + 1, 2 * X], axis=-1), num_resamples=20_000)
    assert [point.value for point in curve] == pytest.approx([0.10409091, 1.10409091, 0.20818182])
    for point, low, high in zip(
        curve,
        [-0.17591136, 0.82027273, -0.35510455],
        [0.35672955, 1.35900455, 0.72110455],
        strict=True,
    ):
        agrees(point, low, high)


def test_intervals_are_those_of_rliable() -> None:
    agrees(estimate(X, iqm, 20_000), -0.17181818, 0.355275)
    agrees(estimate(X, mean, 20_000), -0.18048214, 0.25181548)
    agrees(estimate(X, median, 20_000), -0.13645, 0.336)
    agrees(estimate(X, optimality_gap(0.5), 20_000), 0.31437619, 0.70657143)
    agrees(probability_of_improvement(X, Y, 20_000), 0.14285714, 0.56190476)
    profile = performance_profile(X, np.array([-1, -0.25, 0.0, 0.5, 2.0]), 20_000)
    assert [point.value for point in profile] == pytest.approx(
        [0.95238095, 0.66666667, 0.61904762, 0.23809524, 0]
    )
    for point, low, high in zip(
        profile, [18, 10, 9, 2, 0], [21, 18, 17, 9, 0], strict=True
    ):  # of 21 runs
        assert (point.low, point.high) == pytest.approx((low / 21, high / 21))


# ---- laws ----


@settings(max_examples=100, deadline=None)
@given(SCORES, st.floats(-50, 50), st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_aggregates_follow_shift_and_scale_and_forget_the_order_of_runs(
    scores: np.ndarray, shift: float, scale: float, random: object
) -> None:
    shuffled = np.stack([random.sample(list(column), len(column)) for column in scores.T], axis=1)  # type: ignore[attr-defined]
    for aggregate in (mean, median, iqm):
        moved = float(aggregate(scores * scale + shift))
        assert moved == pytest.approx(float(aggregate(scores)) * scale + shift, abs=1e-6)
        assert float(aggregate(shuffled)) == pytest.approx(float(aggregate(scores)), abs=1e-9)
        assert scores.min() - 1e-9 <= float(aggregate(scores)) <= scores.max() + 1e-9


@settings(max_examples=100, deadline=None)
@given(SCORES, SCORES)
def test_one_of_two_is_better_or_they_tie(x: np.ndarray, y: np.ndarray) -> None:
    tasks = min(x.shape[1], y.shape[1])
    x, y = x[:, :tasks], y[:, :tasks]
    assert float(improvement(x, y)) + float(improvement(y, x)) == pytest.approx(1)
    assert float(improvement(x, x)) == pytest.approx(0.5)
    by_hand = [
        stats.mannwhitneyu(x[:, k], y[:, k], alternative="greater").statistic / (len(x) * len(y))
        for k in range(tasks)
    ]
    assert float(improvement(x, y)) == pytest.approx(np.mean(by_hand))


def test_the_gap_is_what_is_missing_and_never_negative() -> None:
    assert float(optimality_gap(1.0)(np.array([[0.0, 0.5], [2.0, 1.0]]))) == pytest.approx(
        (1 + 0.5) / 4
    )
    assert float(optimality_gap(-5.0)(X)) == 0


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    covered = 0
    for seed in range(400):
        found = estimate(rng.normal(0, 1, (20, 2)), mean, 400, seed)
        covered += found.low <= 0 <= found.high
    # a percentile bootstrap of 20 runs covers a little less than 95 %: Student's t would need
    # intervals 6 % wider
    assert 0.90 < covered / 400 < 0.97


def test_tasks_are_resampled_by_themselves() -> None:
    scores = np.array([[0.0, 100.0], [0.0, 100.0], [0.0, 100.0]])
    found = estimate(scores, mean)
    assert (found.value, found.low, found.high) == (50, 50, 50)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert estimate(X, seed=3) == estimate(X, seed=3)
    assert estimate(X, seed=3) != estimate(X, seed=4)
    assert probability_of_improvement(X, Y, seed=1) == probability_of_improvement(X, Y, seed=1)


def test_a_probability_of_improvement_lies_in_its_interval_and_that_in_0_to_1() -> None:
    found = probability_of_improvement(X, Y)
    assert 0 <= found.low < found.value < found.high <= 1
    certain = probability_of_improvement(X + 100, X)
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)


def test_a_profile_falls_from_all_to_none() -> None:
    thresholds = np.linspace(X.min() - 1, X.max() + 1, 30)
    profile = performance_profile(X, thresholds)
    values = [point.value for point in profile]
    assert (values[0], values[-1]) == (1, 0)
    assert values == sorted(values, reverse=True)
    assert all(point.low <= point.value <= point.high for point in profile)
    assert values[13] == np.mean([x > thresholds[13] for x in X.flatten()])


def test_a_curve_is_an_estimate_at_every_point() -> None:
    curves = np.stack([X, X + 1, 2 * X], axis=-1)
    assert sample_efficiency(curves) == [estimate(X), estimate(X + 1), estimate(2 * X)]
    assert sample_efficiency(curves, mean) == [
        estimate(X, mean),
        estimate(X + 1, mean),
        estimate(2 * X, mean),
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=12))
def test_paired_differences_are_students(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    found = paired(x, y)
    assert found.mean == pytest.approx(float((x - y).mean()), abs=1e-12)
    if np.ptp(x - y) > 1e-6:
        test = stats.ttest_rel(x, y)
        interval = test.confidence_interval(0.95)
        assert (found.low, found.high, found.p_value) == pytest.approx(
            (interval.low, interval.high, test.pvalue)
        )


def test_one_pair_has_no_interval_and_no_difference_is_none() -> None:
    one = paired(np.array([2.0]), np.array([1.0]))
    assert (one.mean, one.num_pairs) == (1, 1)
    assert all(map(math.isnan, (one.low, one.high, one.p_value)))
    same = paired(np.ones(4), np.ones(4))
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12), st.floats(1e-4, 0.5))
def test_an_interval_excludes_0_where_the_test_of_its_level_rejects(
    differences: list[float], level: float
) -> None:
    found = paired(np.array(differences), np.zeros(len(differences)))
    low, high = found.interval(level)
    assert low <= found.mean <= high
    if abs(found.p_value - level) > 1e-6:
        assert (low > 0 or high < 0) == (found.p_value < level)
    back = found.negated()
    assert back.interval(level) == pytest.approx((-high, -low))
    assert back.mean == pytest.approx(-found.mean)
    assert back.p_value == found.p_value


# ---- Holm's correction ----


def test_holm_by_hand() -> None:
    # 0.01 < 0.05 / 4; 0.04 > 0.05 / 3, whose level all that are higher keep
    found = holm([0.04, 0.01, 0.2, 0.045])
    assert [decision.level for decision in found] == pytest.approx(
        [0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3]
    )
    assert [decision.adjusted for decision in found] == pytest.approx(
        [3 * 0.04, 4 * 0.01, 0.2, 3 * 0.04]
    )
    # the example of R's p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert [d.adjusted for d in holm([0.01, 0.02, 0.03, 0.04, 0.05])] == pytest.approx(
        [0.05, 0.08, 0.09, 0.09, 0.09]
    )
    assert [d.level for d in holm([0.001, 0.002, 0.003])] == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05]
    )


def test_holm_of_one_test_is_that_test_and_of_none_is_nothing() -> None:
    assert holm([0.03]) == [Decision(0.03, 0.05)]
    assert holm([]) == []
    assert [d.adjusted for d in holm([0.9, 0.8])] == [1.0, 1.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_rejects_between_bonferroni_and_no_correction_and_forgets_the_order(
    p_values: list[float], random: object
) -> None:
    found = holm(p_values)
    for p_value, decision in zip(p_values, found, strict=True):
        assert p_value <= decision.adjusted <= min(1.0, len(p_values) * p_value)
        assert 0.05 / len(p_values) <= decision.level <= 0.05
        if abs(decision.adjusted - 0.05) > 1e-12:
            assert (p_value < decision.level) == (decision.adjusted < 0.05)
    order = list(range(len(p_values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = holm([p_values[i] for i in order])
    assert [d.adjusted for d in again] == [found[i].adjusted for i in order]


def test_where_nothing_is_true_holm_finds_something_once_in_twenty_pages() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    p_values = rng.random((4_000, 8))
    wrong = sum(any(d.adjusted < 0.05 for d in holm(row)) for row in p_values.tolist())
    assert wrong / 4_000 == pytest.approx(
        1 - (1 - 0.05 / 8) ** 8, abs=0.012
    )  # 3 1/2 standard errors; 0.34 without correction


@pytest.mark.parametrize(
    "scores", [np.zeros(3), np.zeros((0, 2)), np.zeros((2, 0)), np.array([[1.0, math.nan]])]
)
def test_scores_that_are_no_matrix_of_numbers_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"scores (have shape|hold)"):
        estimate(scores)


def test_rows_on_different_tasks_or_seeds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="on 3 and on 2 tasks"):
        probability_of_improvement(X, Y[:, :2])
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        paired(np.zeros(2), np.zeros(3))
