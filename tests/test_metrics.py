"""Likelihood metrics and the frontier against exact enumeration of all 27 sequences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgan_env.metrics.frontier import Frontier, trace_frontier
from seqgan_env.metrics.likelihood import oracle_metrics, unigram_metrics

from .conftest import FIXED, all_sequences, random_model, rng

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


def nll_oracle(metrics: dict[str, float]) -> float:
    return metrics["nll_oracle"]


def test_the_frontier_and_the_gain_meet_their_enumeration() -> None:
    temperatures = tuple(np.geomspace(1.3, 0.3, 12))
    truth, _ = trace_frontier(exact, nll_oracle, temperatures)
    estimate, rows = trace_frontier(estimated, nll_oracle, temperatures)
    assert len(rows) == 12
    for x in np.linspace(truth.diversity_cost[0] + 0.03, truth.diversity_cost[-1] - 0.05, 7):
        assert estimate.quality_cost_at(x) == pytest.approx(truth.quality_cost_at(x), abs=0.06)


@pytest.mark.parametrize("temperature", [0.35, 0.5, 0.7])
def test_changing_only_the_temperature_gains_nothing(temperature: float) -> None:
    frontier, _ = trace_frontier(exact, nll_oracle, tuple(np.geomspace(1.3, 0.3, 40)))
    point = exact(temperature)
    assert frontier.gain(point["nll_gen"], point["nll_oracle"]) == pytest.approx(0, abs=2e-3)
    assert frontier.temperature_at(point["nll_gen"]) == pytest.approx(temperature, abs=0.01)


@given(
    st.lists(st.tuples(st.floats(0.1, 2), st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=12, unique_by=lambda p: p[0])
)
def test_a_frontier_never_rises_and_no_point_on_its_cold_side_lies_below_it(points: list[tuple[float, float, float]]) -> None:
    temperatures, diversity, quality = zip(*points, strict=True)
    frontier = Frontier.from_points(temperatures, diversity, quality)
    assert (np.diff(frontier.quality_cost) <= 0).all()
    assert (np.diff(frontier.diversity_cost) >= 0).all()
    best = max(t for t, d in zip(temperatures, diversity, strict=True) if d == min(diversity))
    for t, d, q in points:
        if t <= best and d >= frontier.diversity_cost[-1]:
            assert frontier.quality_cost_at(d) <= q


def test_beyond_its_ends_the_frontier_is_its_nearest_end() -> None:
    frontier = Frontier.from_points([1.0, 0.5], [2.0, 3.0], [4.0, 1.0])
    assert frontier.gain(1.0, 3.5) == pytest.approx(0.5)
    assert frontier.gain(9.0, 0.5) == pytest.approx(0.5)
