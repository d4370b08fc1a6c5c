"""Likelihood metrics against exact enumeration of all 27 sequences."""

import pytest
import torch

from seqgan_env.metrics.likelihood import unigram_metrics
from seqgan_env.metrics.oracle import OracleMetrics

from .conftest import FIXED, all_sequences, random_model, rng

ORACLE = random_model(FIXED, 2)
POLICY = random_model(FIXED, 2).with_temperature(
    1.4
)  # knows the oracle roughly: colder is more likely, down to a point
with torch.no_grad():
    for parameter in POLICY.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng(8)))
NUM = 40_000


def exact(temperature: float = 1.0) -> dict[str, float]:
    """Every metric by the definition, summed over all sequences."""
    everything = all_sequences(FIXED)
    log_p, log_o = (
        POLICY.log_prob(everything, temperature).double(),
        ORACLE.log_prob(everything).double(),
    )
    p, o = log_p.exp(), log_o.exp()
    unigram = torch.stack([(p * (everything == token).sum(1)).sum() for token in range(3)]) / 3
    nats = {
        "nll_oracle": -(p * log_o).sum(),
        "nll_gen": -(o * log_p).sum(),
        "entropy": -(p * log_p).sum(),
        "kl_reverse": (p * (log_p - log_o)).sum(),
        "kl_forward": (o * (log_o - log_p)).sum(),
    }
    return {k: float(v) / 3 for k, v in nats.items()} | {
        "effective_vocabulary": float((-(unigram * unigram.log()).sum()).exp())
    }


def estimated(temperature: float = 1.0) -> dict[str, float]:
    policy = POLICY.with_temperature(temperature)
    return OracleMetrics(ORACLE, FIXED, ORACLE.sample(NUM, rng(3))).of_policy(policy, NUM, rng(4))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_every_metric_meets_its_enumeration(temperature: float) -> None:
    truth, estimate = exact(temperature), estimated(temperature)
    assert estimate.keys() >= truth.keys() | {"unique_tokens"}
    for name, value in truth.items():
        assert estimate[name] == pytest.approx(value, abs=0.02), (
            name
        )  # four standard errors of the widest one
    assert estimate["unique_tokens"] == 3


def test_a_policy_without_likelihoods_is_measured_by_its_samples_alone() -> None:
    class Blind:
        def complete(
            self, tokens: torch.Tensor, lengths: torch.Tensor, rng: torch.Generator
        ) -> torch.Tensor:
            return POLICY.complete(tokens, lengths, rng)

    metrics = OracleMetrics(ORACLE, FIXED, ORACLE.sample(10, rng())).of_policy(Blind(), 100, rng())
    assert metrics.keys() == {"nll_oracle", "effective_vocabulary", "unique_tokens"}


def test_one_token_for_ever_is_a_vocabulary_of_one() -> None:
    assert unigram_metrics(FIXED, torch.ones(5, 3, dtype=torch.int64)) == {
        "effective_vocabulary": 1,
        "unique_tokens": 1,
    }
