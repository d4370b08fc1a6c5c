"""Agents with a critic: advantages by hand, values by enumeration, and what PPO adds to them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agents.actor_critic import ActorCritic
from agents.policy_gradient import PolicyGradient
from agents.reinforce import Reinforce
from agents.sequence_level import RLOO
from agents.sequence_ppo import SequencePPO
from seqgan_env.testing import check_agent
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, WeightedSum, all_sequences, random_model
from .test_reinforce import gradient
from .test_sequence_level import made

AGENTS: list[type[PolicyGradient]] = [ActorCritic, SequencePPO]
STILL: dict[str, Any] = {"learning_rate": 0.0, "max_grad_norm": 1e9}


@pytest.mark.parametrize("cls", AGENTS)
def test_every_agent_passes_the_checker(cls: type[PolicyGradient], spec: TokenSpec) -> None:
    check_agent(cls)
    check_agent(made(cls, spec), spec)


@pytest.mark.parametrize("cls", AGENTS)
def test_every_agent_raises_the_score_that_it_is_paid(cls: type[PolicyGradient]) -> None:
    agent = made(cls, FIXED, 256, learning_rate=0.02)
    rewards = [agent.update()["reward"] for _ in range(15)]
    assert rewards[-1] > rewards[0] + 0.05


@pytest.mark.parametrize("cls", [*AGENTS, Reinforce])
def test_a_batch_of_one_token_has_no_spread(cls: type[PolicyGradient], spec: TokenSpec) -> None:
    agent = made(cls, spec, 1)
    tokens = torch.full((1, spec.seq_len), spec.pad_token)
    tokens[0, 0] = 1
    written = tokens != spec.pad_token
    found = agent.learn(tokens, written * 2.0, written)
    assert found["advantage_std"] == 0
    assert all(math.isfinite(value) for value in found.values())
    assert all(parameter.isfinite().all() for parameter in agent.policy.parameters())


@pytest.mark.parametrize("form", ["rollout", "difference", "terminal"])
def test_advantages_are_those_of_the_plain_loop(spec: TokenSpec, form: str) -> None:
    agent = made(ActorCritic, spec, 16, settings={"reward": form}, gae_lambda=0.7)
    torch.nn.init.normal_(agent.critic.network.output.weight)
    tokens, rewards, written = agent._collect()
    found, returns = agent._advantages(agent._features(tokens), rewards, written)
    values = agent.critic(agent.policy.inputs(tokens)).detach()
    discount = agent.env.discount
    for row, length in enumerate(written.sum(1).tolist()):
        advantage = 0.0
        for t in range(length - 1, -1, -1):
            following = float(values[row, t + 1]) if t + 1 < length else 0.0
            delta = float(rewards[row, t]) + discount * following - float(values[row, t])
            advantage = delta + discount * 0.7 * advantage
            assert float(found[row, t]) == pytest.approx(advantage, abs=1e-4)
        assert found[row, length:].abs().sum() == 0
    torch.testing.assert_close(returns[written], (found + values)[written], rtol=0, atol=1e-4)


def test_before_the_critic_has_learned_the_baseline_is_the_mean_of_the_first_batch() -> None:
    critic, plain = made(ActorCritic, FIXED, gae_lambda=1.0, **STILL), made(RLOO, FIXED, **STILL)
    critic.update()
    tokens, rewards, written = plain._collect()
    returns = rewards.sum(1, keepdim=True).expand_as(rewards)
    plain._step(plain.policy.weighted_nll(tokens, returns - returns.mean()) / written.sum())
    torch.testing.assert_close(gradient(critic), gradient(plain), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cls", AGENTS)
def test_the_critic_learns_the_mean_score_of_the_completions_of_a_prefix(
    cls: type[PolicyGradient],
) -> None:
    options = STILL | {"gae_lambda": 1.0, "critic_learning_rate": 1e-2, "critic_epochs": 10}
    if cls is SequencePPO:
        options |= {"kl_coefficient": 0.0, "num_epochs": 1}
    agent = made(cls, FIXED, 256, **options)
    for _ in range(40):
        agent.update()
    everything = all_sequences(FIXED)
    probs, scores = agent.policy.log_prob(everything).exp(), WeightedSum(FIXED).score(everything)
    values = agent.critic(agent._features(everything)).detach()
    for t in (1, 2):
        same = (everything[:, None, :t] == everything[None, :, :t]).all(2).float()  # (M, M)
        exact = (same @ (probs * scores)) / (same @ probs)
        spread = (probs * (exact - (probs * exact).sum()).square()).sum().sqrt()
        error = (probs * (exact - values[:, t]).square()).sum().sqrt()
        assert error < 0.6 * spread  # 1 before the critic has learned


# ---- PPO ----


def test_one_epoch_of_ppo_follows_whitened_advantages() -> None:
    options = STILL | {"gae_lambda": 1.0}
    ppo = made(SequencePPO, FIXED, num_epochs=1, kl_coefficient=0.0, **options)
    assert ppo.update()["clipped_share"] == 0
    plain = made(RLOO, FIXED, **STILL)
    tokens, rewards, written = plain._collect()
    returns = rewards.sum(1, keepdim=True).expand_as(rewards)
    whitened = (returns - returns.mean()) / returns.std()
    plain._step(plain.policy.weighted_nll(tokens, whitened) / written.sum())
    torch.testing.assert_close(gradient(ppo), gradient(plain), rtol=1e-3, atol=1e-5)


def away_from_its_reference(spec: TokenSpec, num_envs: int, **options: Any) -> Any:
    """An agent whose reference is another model than its policy."""
    agent = made(SequencePPO, spec, num_envs, **options)
    agent.reference = random_model(spec, seed=11)
    return agent


def test_the_divergence_that_it_tells_is_the_enumerated_one(spec: TokenSpec) -> None:
    agent = away_from_its_reference(spec, 20_000, **STILL)
    everything = all_sequences(spec)
    log_p, log_ref = (m.log_prob(everything).double() for m in (agent.policy, agent.reference))
    exact = float((log_p.exp() * (log_p - log_ref)).sum())
    assert agent.update()["kl"] == pytest.approx(exact, rel=0.05)


def test_without_anything_to_win_it_returns_to_its_reference() -> None:
    agent = away_from_its_reference(
        EOS,
        256,
        settings={"source": "constant"},
        kl_coefficient=1.0,
        kl_target=None,
        learning_rate=0.01,
    )
    told = [agent.update()["kl"] for _ in range(40)]
    assert told[-1] < 0.6 * told[0]


@pytest.mark.parametrize(
    ("divergence", "factor"), [(10.0, 1.02), (2.0, 1.0), (2.2, 1.01), (1.9, 0.995), (0.0, 0.98)]
)
def test_the_coefficient_follows_the_divergence(divergence: float, factor: float) -> None:
    agent = made(SequencePPO, FIXED, kl_coefficient=0.5, kl_target=2.0)
    agent._steer(divergence)
    assert agent.kl_coefficient == pytest.approx(0.5 * factor)


def test_without_a_target_the_coefficient_stays() -> None:
    agent = away_from_its_reference(FIXED, 64, kl_coefficient=0.5, kl_target=None)
    agent.update()
    assert agent.kl_coefficient == 0.5


def test_it_leaves_out_what_has_moved_too_far() -> None:
    agent = made(SequencePPO, FIXED, num_epochs=30, learning_rate=0.05)
    assert agent.update()["clipped_share"] > 0.1


BAD = [
    (ActorCritic, {"gae_lambda": 1.5}, "gae_lambda is 1.5; allowed is 0..1"),
    (ActorCritic, {"critic_epochs": 0}, "critic_epochs is 0"),
    (SequencePPO, {"clip_range": 1.0}, "clip_range is 1.0"),
    (SequencePPO, {"kl_coefficient": -1.0}, "kl_coefficient is -1.0; allowed is 0 or more"),
    (SequencePPO, {"kl_target": 0.0}, "kl_target is 0.0; allowed is above 0, or None"),
]


@pytest.mark.parametrize(("cls", "options", "message"), BAD)
def test_bad_options_are_refused(
    cls: type[PolicyGradient], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(cls, FIXED, **options)
