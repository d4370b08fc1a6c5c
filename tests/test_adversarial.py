import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.reinforce import Reinforce
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.rewards.values import LaggedPolicy
from seqgan_env.training.adversarial import Schedule, pretrain_policy, train_adversarial

from .conftest import EOS, SpecTask, random_model, rng

QUICK = Schedule(
    rounds=3,
    g_steps=2,
    d_steps=2,
    d_epochs=1,
    num_negatives=50,
    eval_every=2,
    num_heldout=50,
    d_pretrain_epochs=1,
)


def setup(**settings: Any) -> tuple[Reinforce, RewardModel]:
    rewards = build_rewards(SpecTask(EOS), RewardSettings(num_rollouts=2, **settings))
    return Reinforce(TokenVectorEnv(8, rewards), policy=random_model(EOS)), rewards


def test_a_round_is_g_steps_then_sync_then_d_steps_on_fresh_negatives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, rewards = setup(sync_rate=0.5)
    events: list[str] = []

    def recorded(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            events.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    from seqgan_env.discriminators.trainer import DiscriminatorTrainer

    negatives: list[Tensor] = []
    fit = DiscriminatorTrainer.fit

    def recorded_fit(
        self: DiscriminatorTrainer, real: Tensor, generated: Tensor, *rest: Any
    ) -> dict[str, float]:
        events.append("fit")
        negatives.append(generated)
        assert len(real) == len(generated) == 50
        return fit(self, real, generated, *rest)

    recorded(agent, "update")
    recorded(rewards, "sync")
    monkeypatch.setattr(DiscriminatorTrainer, "fit", recorded_fit)
    rows = list(train_adversarial(agent, rewards, QUICK))
    assert events == ["fit"] + ["update", "update", "sync", "fit", "fit"] * 3
    assert [row["round"] for row in rows] == [0, 1, 2, 3]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(negatives))


def test_rollouts_follow_the_agents_policy_live_or_lagged() -> None:
    agent, rewards = setup()
    next(train_adversarial(agent, rewards, QUICK))
    assert rewards.rollout_policy is rewards.policy is agent.policy
    agent, rewards = setup(sync_rate=0.5)
    next(train_adversarial(agent, rewards, QUICK))
    lagged = rewards.rollout_policy
    assert isinstance(lagged, LaggedPolicy)
    live: object = lagged.live
    assert live is agent.policy


@pytest.mark.parametrize("source", ["discriminator", "optimal", "constant", "random", "oracle"])
def test_every_source_trains_and_evaluating_changes_no_training(source: str) -> None:
    states = []
    for eval_every in (1, 3):
        agent, rewards = setup(source=source)
        schedule = Schedule(**{**QUICK.__dict__, "eval_every": eval_every})
        rows = list(train_adversarial(agent, rewards, schedule))
        assert ("discriminator/accuracy_heldout" in rows[-1]) == (source == "discriminator")
        assert "task/nll_oracle" in rows[-1]
        states.append(torch.cat([p.detach().flatten() for p in agent.policy.parameters()]))
    assert torch.equal(*states)


def test_pretraining_keeps_the_epoch_with_the_best_validation_likelihood() -> None:
    agent, rewards = setup(source="constant")
    task = rewards.task
    task.real_sequences = task.real_sequences[:20]  # so few are soon overfitted
    rows = pretrain_policy(agent, task, 40, keep_best=True)
    best = min(row["nll_validation"] for row in rows)
    assert rows[-1]["nll_validation"] > best  # otherwise this tests nothing
    assert nll_per_token(agent.policy, EOS, task.validation) == pytest.approx(best)


def test_the_papers_fixed_number_of_epochs_keeps_the_last() -> None:
    agent, rewards = setup(source="constant")
    task = rewards.task
    rows = pretrain_policy(agent, task, 40, keep_best=False)
    assert nll_per_token(agent.policy, EOS, task.validation) == pytest.approx(
        rows[-1]["nll_validation"]
    )


def test_the_optimal_source_needs_an_oracle_and_likelihoods() -> None:
    class Blind(nn.Module):
        def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
            return random_model(EOS).complete(tokens, lengths, rng)

    rewards = build_rewards(SpecTask(EOS), RewardSettings(source="optimal"), policy=Blind())
    with pytest.raises(TypeError, match="Blind has no log_prob"):
        rewards.rewards(random_model(EOS).sample(2, rng()), rng())
