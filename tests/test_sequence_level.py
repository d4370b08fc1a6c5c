"""Agents that weigh whole sequences: their weights by hand, and the gradient that they estimate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents.grpo import GRPO
from agents.policy_gradient import PolicyGradient
from agents.reinforce import Reinforce
from agents.sequence_level import RAFT, RLOO, MaliGAN, Rank, SequenceLevel
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.names import arguments_of
from seqgan_env.rewards.forms import FORMS
from seqgan_env.testing import check_agent
from seqgan_env.types import TokenSpec

from .conftest import FIXED, random_model, reward_model
from .test_reinforce import gradient

AGENTS: list[type[SequenceLevel]] = [RLOO, RAFT, MaliGAN, Rank, GRPO]


def made(
    cls: type[PolicyGradient],
    spec: TokenSpec,
    num_envs: int = 64,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    model = reward_model(spec, **({"reward": "terminal"} | (settings or {})))
    envs = TokenVectorEnv(num_envs, model)
    agent = cls(envs, policy=random_model(spec), **arguments_of(cls, options))
    model.bind(agent.policy)
    return agent


@pytest.mark.parametrize("cls", AGENTS)
def test_every_agent_passes_the_checker(cls: type[SequenceLevel], spec: TokenSpec) -> None:
    check_agent(cls)
    check_agent(made(cls, spec), spec)


def test_the_weights_are_those_of_the_papers() -> None:
    scores = torch.tensor([[1.0, 2.0, 6.0, 3.0]])
    rloo = made(RLOO, FIXED, 4).weights(scores)
    torch.testing.assert_close(rloo, torch.tensor([[1 - 11 / 3, 2 - 10 / 3, 6 - 2, 3 - 3.0]]))
    assert made(RAFT, FIXED, 4).weights(scores).tolist() == [[0, 0, 4, 0]]
    mali = made(MaliGAN, FIXED, 4).weights(scores)
    torch.testing.assert_close(mali, 4 * scores.exp() / scores.exp().sum() - 1)
    rank = made(Rank, FIXED, 4).weights(scores)
    torch.testing.assert_close(rank, torch.tensor([[-1.0, -1 / 3, 1.0, 1 / 3]]))
    grpo = made(GRPO, FIXED, 4).weights(scores)
    assert float(grpo.mean()) == pytest.approx(0, abs=1e-6)
    assert float(grpo.std()) == pytest.approx(1, abs=1e-4)


def test_ranks_know_nothing_of_the_scale_and_share_where_scores_are_equal() -> None:
    agent = made(Rank, FIXED, 8, group_size=4)
    scores = torch.tensor([[1.0, 2.0, 6.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    found = agent.weights(scores)
    torch.testing.assert_close(found, agent.weights((5 * scores - 3).exp()))
    torch.testing.assert_close(found[0], torch.tensor([-1.0, 0.0, 1.0, 0.0]))
    assert found[1].abs().sum() == 0


@pytest.mark.parametrize("form", list(FORMS))
def test_the_score_of_a_sequence_is_the_same_under_every_form(spec: TokenSpec, form: str) -> None:
    def weights(reward: str) -> torch.Tensor:
        agent = made(RLOO, spec, settings={"reward": reward})
        _, rewards, written = agent._collect()
        result: torch.Tensor = agent._weights_of(rewards, written)
        return result

    torch.testing.assert_close(weights(form), weights("terminal"), rtol=1e-4, atol=1e-4)


def test_rloo_is_reinforce_with_a_leave_one_out_baseline() -> None:
    """With the whole batch as a group its gradient is that of the batch mean times B / (B - 1)."""
    options: dict[str, Any] = {"learning_rate": 0.0, "max_grad_norm": 1e9}
    rloo = made(RLOO, FIXED, 32, **options)
    mean = made(Reinforce, FIXED, 32, baseline="batch_mean", **options)
    rloo.update()
    mean.update()
    torch.testing.assert_close(gradient(rloo), gradient(mean) * 32 / 31, rtol=1e-3, atol=1e-5)


def test_with_the_optimal_score_maligan_follows_the_gradient_of_maximum_likelihood() -> None:
    options: dict[str, Any] = {"learning_rate": 0.0, "max_grad_norm": 1e9}
    settings = {"source": "optimal", "score_as": "logit"}
    agent = made(MaliGAN, FIXED, 20_000, settings=settings, **options)
    agent.update()
    found = gradient(agent)
    real = agent.env.task.oracle.sample(20_000, torch.Generator().manual_seed(3))
    agent.policy.zero_grad()
    loss = agent.policy.weighted_nll(real, torch.ones(real.shape)) / real.numel()
    loss.backward()
    wanted = gradient(agent)
    assert float(torch.nn.functional.cosine_similarity(found, wanted, dim=0)) > 0.97
    assert float(found.norm() / wanted.norm()) == pytest.approx(1, abs=0.15)


def test_grpo_with_one_epoch_is_rloo_up_to_a_factor() -> None:
    options: dict[str, Any] = {"learning_rate": 0.0, "max_grad_norm": 1e9}
    grpo = made(GRPO, FIXED, 64, num_epochs=1, kl_weight=0.0, **options)
    rloo = made(RLOO, FIXED, 64, **options)
    assert grpo.update()["clipped_share"] == 0
    rloo.update()
    cosine = torch.nn.functional.cosine_similarity(gradient(grpo), gradient(rloo), dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-4)


def test_grpo_leaves_out_what_has_moved_too_far() -> None:
    agent = made(GRPO, FIXED, 64, num_epochs=30, learning_rate=0.05, kl_weight=0.0)
    assert agent.update()["clipped_share"] > 0.1


@pytest.mark.parametrize("cls", AGENTS)
def test_every_agent_raises_the_score_that_it_is_paid(cls: type[SequenceLevel]) -> None:
    agent = made(cls, FIXED, 256, learning_rate=0.02)
    rewards = [agent.update()["reward"] for _ in range(15)]
    assert rewards[-1] > rewards[0] + 0.05


@pytest.mark.parametrize("cls", [RLOO, GRPO, Rank])
def test_a_constant_score_leaves_nothing_to_follow(cls: type[SequenceLevel]) -> None:
    agent = made(cls, FIXED, settings={"source": "constant"})
    assert agent.update()["grad_norm"] == pytest.approx(0, abs=1e-4)


BAD = [
    ({"group_size": 1}, "group_size is 1; allowed is 2 or more"),
    ({"group_size": 0}, "group_size is 0"),
    ({"group_size": 7}, "group_size is 7"),
    ({"num_epochs": 0}, "num_epochs is 0"),
    ({"clip_range": 1.0}, "clip_range is 1.0"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(GRPO, FIXED, **options)
