"""Likelihood metrics and the frontier against exact enumeration of all 27 sequences."""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgan_env.metrics.frontier import PLANES, TEMPERATURES, Frontier, Frontiers, planes
from seqgan_env.metrics.likelihood import oracle_metrics, unigram_metrics
from seqgan_env.metrics.real_data import RealDataMetrics

from .conftest import EOS, FIXED, all_sequences, random_model, rng

ORACLE = random_model(FIXED, 2)
POLICY = random_model(FIXED, 2).with_temperature(1.4)  # knows the oracle roughly: colder is more likely, down to a point
with torch.no_grad():
    for parameter in POLICY.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=rng(8))
NUM = 40_000


def exact(temperature: float = 1.0) -> dict[str, float]:
    """Every metric by the definition, summed over all sequences."""
    everything = all_sequences(FIXED)
    log_p, log_o = POLICY.log_prob(everything, temperature).double(), ORACLE.log_prob(everything).double()
    p, o = log_p.exp(), log_o.exp()
    unigram = torch.stack([(p * (everything == token).sum(1)).sum() for token in range(3)]) / 3
    nats = {
        "nll_oracle": -(p * log_o).sum(),
        "nll_gen": -(o * log_p).sum(),
        "entropy": -(p * log_p).sum(),
        "kl_reverse": (p * (log_p - log_o)).sum(),
        "kl_forward": (o * (log_o - log_p)).sum(),
    }
    return {k: float(v) / 3 for k, v in nats.items()} | {"effective_vocabulary": float((-(unigram * unigram.log()).sum()).exp())}


def estimated(temperature: float = 1.0) -> dict[str, float]:
    policy = POLICY.with_temperature(temperature)
    return oracle_metrics(policy, ORACLE, FIXED, ORACLE.sample(NUM, rng(3)), NUM, rng(4))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_every_metric_meets_its_enumeration(temperature: float) -> None:
    truth, estimate = exact(temperature), estimated(temperature)
    assert estimate.keys() == truth.keys() | {"unique_tokens"}
    for name, value in truth.items():
        assert estimate[name] == pytest.approx(value, abs=0.02), name  # four standard errors of the widest one
    assert estimate["unique_tokens"] == 3


def test_divergences_of_the_oracle_from_itself_are_zero() -> None:
    held_out = ORACLE.sample(500, rng())
    metrics = oracle_metrics(ORACLE, ORACLE, FIXED, held_out, 500, rng(1))
    assert metrics["kl_reverse"] == metrics["kl_forward"] == 0


def test_a_policy_without_likelihoods_is_measured_by_its_samples_alone() -> None:
    class Blind:
        def complete(self, *args: torch.Tensor) -> torch.Tensor:
            return POLICY.complete(*args)  # type: ignore[arg-type]

    metrics = oracle_metrics(Blind(), ORACLE, FIXED, ORACLE.sample(10, rng()), 100, rng())
    assert metrics.keys() == {"nll_oracle", "effective_vocabulary", "unique_tokens"}


def test_one_token_for_ever_is_a_vocabulary_of_one() -> None:
    assert unigram_metrics(FIXED, torch.ones(5, 3, dtype=torch.int64)) == {"effective_vocabulary": 1, "unique_tokens": 1}


def trace(
    evaluate: Callable[[float], dict[str, float]], temperatures: Iterable[float]
) -> tuple[Frontier, list[dict[str, float]]]:
    rows = [{"temperature": t} | evaluate(t) for t in temperatures]
    return Frontier.from_rows(rows, planes(rows[0])[0]), rows


def test_the_frontier_and_the_gain_meet_their_enumeration() -> None:
    temperatures = tuple(np.geomspace(1.3, 0.3, 12))
    truth, _ = trace(exact, temperatures)
    estimate, _ = trace(estimated, temperatures)
    for x in np.linspace(truth.diversity_cost[0] + 0.03, truth.diversity_cost[-1] - 0.05, 7):
        assert estimate.quality_cost_at(x) == pytest.approx(truth.quality_cost_at(x), abs=0.06)


@pytest.mark.parametrize("temperature", [0.35, 0.5, 0.7])
def test_changing_only_the_temperature_gains_nothing(temperature: float) -> None:
    frontier, _ = trace(exact, np.geomspace(1.3, 0.3, 40))
    point = exact(temperature)
    assert frontier.gain(point["nll_gen"], point["nll_oracle"]) == pytest.approx(0, abs=2e-3)
    assert frontier.temperature_at(point["nll_gen"]) == pytest.approx(temperature, abs=0.01)


@given(
    st.lists(st.tuples(st.floats(0.1, 2), st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=12, unique_by=lambda p: p[0])
)
def test_a_frontier_falls_through_measured_points_and_none_lies_below_it(points: list[tuple[float, float, float]]) -> None:
    temperatures, diversity, quality = zip(*points, strict=True)
    frontier = Frontier.from_points(temperatures, diversity, quality)
    assert (np.diff(frontier.quality_cost) < 0).all()
    assert (np.diff(frontier.diversity_cost) > 0).all()
    assert set(zip(frontier.temperatures, frontier.diversity_cost, frontier.quality_cost, strict=True)) <= set(points)
    assert all(frontier.quality_cost_at(d) <= q for _, d, q in points)


def test_beyond_its_ends_the_frontier_is_its_nearest_end() -> None:
    frontier = Frontier.from_points([1.0, 0.5], [2.0, 3.0], [4.0, 1.0])
    assert frontier.gain(1.0, 3.5) == pytest.approx(0.5)
    assert frontier.gain(9.0, 0.5) == pytest.approx(0.5)


# ---- planes ----


REAL_DATA = RealDataMetrics(EOS, random_model(EOS, 2).sample(300, rng(1)), random_model(EOS, 2).sample(100, rng(2)))
TEXT_ROWS = [
    {"temperature": t} | REAL_DATA.of_policy(random_model(EOS, 3).with_temperature(t), 200, rng(4)) for t in (1.2, 0.8, 0.5, 0.3)
]


def test_oracle_tasks_have_the_likelihood_plane_and_real_data_the_bleu_plane_too() -> None:
    def names(metrics: set[str]) -> list[tuple[str, str, str]]:
        return [(plane.gain, plane.diversity, plane.quality) for plane in planes(metrics)]

    bleu = ("bleu_frontier_gain", "self_bleu4", "bleu4")
    assert names({"nll_oracle", "nll_gen", "entropy"}) == [("frontier_gain", "nll_gen", "nll_oracle")]
    assert names({"nll_gen", "bleu4", "self_bleu4"}) == [("frontier_gain", "nll_gen", "bleu4"), bleu]
    assert names({"nll_gen", "nll_oracle", "bleu4"}) == [("frontier_gain", "nll_gen", "nll_oracle")]
    assert names({"bleu4", "self_bleu4"}) == [bleu]
    assert names({"nll_oracle"}) == []


def test_a_frontier_of_rows_is_that_of_their_points() -> None:
    _, rows = trace(exact, (1.0, 0.7, 0.4))
    again = Frontier.from_rows(rows[::-1], planes(rows[0])[0])
    frontier = Frontier.from_points(*([row[name] for row in rows] for name in ("temperature", "nll_gen", "nll_oracle")))
    for name in ("temperatures", "diversity_cost", "quality_cost"):
        np.testing.assert_array_equal(getattr(again, name), getattr(frontier, name))


def test_the_policy_of_the_frontiers_gains_nothing_in_any_plane() -> None:
    frontiers = Frontiers(TEXT_ROWS)
    assert list(frontiers.by_plane) == planes(TEXT_ROWS[0])
    for row in TEXT_ROWS:
        gains = frontiers.gains(row)
        assert max(gains.values()) <= 1e-12
        assert gains["bleu_frontier_gain"] == pytest.approx(0, abs=1e-12)  # colder is better and says less, at every step


def test_a_gain_is_what_is_better_at_the_same_diversity_whichever_way_quality_points() -> None:
    rows = [{"temperature": t, "nll_gen": 3 - t, "bleu4": 1 - t / 2, "self_bleu4": 1 - t} for t in (1.0, 0.5, 0.25)]
    frontiers = Frontiers(rows)
    better = {"nll_gen": 2.5, "bleu4": 0.75 + 0.1, "self_bleu4": 0.75}
    assert frontiers.gains(better) == pytest.approx({"frontier_gain": 0.1, "bleu_frontier_gain": 0.1 - 0.125})
    assert frontiers.matching_temperature(better) == pytest.approx(0.5)


def test_temperatures_between_the_measured_ones_gain_nothing_where_straight_lines_would_give_a_gain() -> None:
    straight, rows = trace(exact, TEMPERATURES)
    frontiers, between = Frontiers(rows), trace(exact, [math.sqrt(a * b) for a, b in pairwise(TEMPERATURES)])[1]
    assert max(frontiers.gains(row)["frontier_gain"] for row in between) < 1e-4
    assert all(abs(frontiers.gains(row)["frontier_gain"]) < 1e-4 for row in between if row["temperature"] < 1)
    assert max(straight.gain(row["nll_gen"], row["nll_oracle"]) for row in between) > 0.01


def test_gains_have_the_prefix_of_the_metrics() -> None:
    row = TEXT_ROWS[1]
    prefixed = {f"task/{name}": value for name, value in row.items()} | {"nll_gen": -99.0, "loss": 1.0}
    plain = Frontiers(TEXT_ROWS).gains(row)
    assert Frontiers(TEXT_ROWS).gains(prefixed, "task/") == {f"task/{name}": value for name, value in plain.items()}


def test_without_likelihoods_there_is_the_bleu_plane_alone() -> None:
    blind = [{name: value for name, value in row.items() if name != "nll_gen"} for row in TEXT_ROWS]
    assert list(Frontiers(blind).by_plane) == [PLANES[2]]
    assert Frontiers(TEXT_ROWS).gains(blind[1]).keys() == {"bleu_frontier_gain"}
    assert Frontiers(blind).gains(TEXT_ROWS[1]).keys() == {"bleu_frontier_gain"}
    assert Frontiers(blind).matching_temperature(blind[2]) == pytest.approx(0.5)


def test_without_temperatures_there_are_no_gains() -> None:
    assert Frontiers([]).gains(TEXT_ROWS[0]) == {}
    assert Frontiers([]).matching_temperature(TEXT_ROWS[0]) is None
