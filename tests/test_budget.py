"""What is spent is counted once, whoever spends it."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from seqgan_env.budget import Budget
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.adversarial import Schedule, train_adversarial
from seqgan_env.types import TokenSpec

from .conftest import FIXED, TINY, reward_model, rng


def test_an_episode_of_one_length_costs_what_can_be_counted_by_hand() -> None:
    rewards = reward_model(FIXED, num_rollouts=5)
    envs = TokenVectorEnv(4, rewards)
    envs.reset(seed=0)
    for _ in range(FIXED.seq_len):
        envs.step(np.ones(4, dtype=int))
    # T 3: completions of 2 and 1 tokens behind the first and second, none behind the last
    assert rewards.budget == Budget(
        env_steps=12, rollout_tokens=4 * 5 * (2 + 1), sequences_scored=4 * (5 + 5 + 1)
    )


def test_playing_costs_what_stepping_costs(spec: TokenSpec) -> None:
    played, stepped = reward_model(spec), reward_model(spec)
    tokens = played.policy.complete(
        torch.full((6, spec.seq_len), spec.pad_token), torch.zeros(6, dtype=torch.int64), rng()
    )
    envs = TokenVectorEnv(6, played)
    envs.reset(seed=3)
    envs.play(tokens)
    for i, row in enumerate(tokens.tolist()):
        single = TokenVectorEnv(1, stepped)
        single.reset(seed=3 + i)
        for token in [token for token in row if token != spec.pad_token]:
            single.step(np.array([token]))
    assert asdict(played.budget) == asdict(stepped.budget)


def test_a_terminal_reward_rolls_nothing_out() -> None:
    rewards = reward_model(FIXED, reward="terminal")
    envs = TokenVectorEnv(4, rewards)
    envs.reset(seed=0)
    envs.play(torch.ones(4, 3, dtype=torch.int64))
    assert rewards.budget == Budget(env_steps=12, sequences_scored=4)


@pytest.mark.parametrize(
    ("d_steps", "trained"), [(0, 2 * 3 * 2 * 50), (2, 2 * 3 * 2 * 50 + 4 * 2 * 1 * 2 * 50)]
)
def test_algorithm_1_tells_what_it_has_spent(d_steps: int, trained: int) -> None:
    class Idle:
        def __init__(self, policy: object) -> None:
            self.policy = policy

        def pretrain(self, sequences: torch.Tensor, num_epochs: int) -> dict[str, float]:
            return {}

        def update(self) -> dict[str, float]:
            return {}

    rewards = build_rewards(OracleTask(TINY), RewardSettings(num_rollouts=1))
    schedule = Schedule(
        rounds=4,
        d_steps=d_steps,
        d_pretrain_steps=2,
        d_pretrain_epochs=3,
        num_negatives=50,
        num_heldout=20,
    )
    rows = list(train_adversarial(Idle(rewards.policy), rewards, schedule))  # type: ignore[arg-type]
    assert rows[0]["budget/sequences_trained"] == 2 * 3 * 2 * 50
    assert rows[-1]["budget/sequences_trained"] == trained
    assert rows[-1]["budget/env_steps"] == 0
