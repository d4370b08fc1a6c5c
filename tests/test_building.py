"""What is built leaves no trace in the state that torch shares, and does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import seqgan_env  # noqa: F401 (registers the ids)
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.plugins import make_agent
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.tasks import make_task

from .conftest import rng

SMALL: dict[str, Any] = {"num_real": 64, "num_held_out": 20, "num_validation": 20, "num_eval": 20}
AGENTS = ("reinforce", "mle", "scheduled_sampling", "ppo", "dqn", "trpo", "recurrent_ppo")


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def rewards_of_one_step() -> np.ndarray:
    envs = gym.make_vec("SeqGAN/Oracle-v0", num_envs=3, num_rollouts=2, **SMALL)
    envs.reset(seed=0)
    rewards: np.ndarray = envs.step(np.array([1, 2, 3]))[1]
    return rewards


def test_making_a_task_rewards_an_env_or_an_agent_draws_from_nobodys_generator() -> None:
    state = torch.random.get_rng_state()
    env = TokenVectorEnv(
        4, build_rewards(make_task("oracle-tiny", **SMALL), RewardSettings(num_rollouts=1))
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("reinforce", "mle"):
        make_agent(name, env, 0, {})
        assert torch.equal(torch.random.get_rng_state(), state), name


def test_an_environment_made_in_inference_mode_can_be_stepped_and_its_discriminator_trained() -> (
    None
):
    with torch.inference_mode():
        envs = gym.make_vec("SeqGAN/Oracle-v0", num_envs=3, num_rollouts=2, **SMALL)
    envs.reset(seed=0)
    assert np.isfinite(envs.step(np.array([1, 2, 3]))[1]).all()
    rewards = envs.unwrapped.rewards  # type: ignore[attr-defined]
    real = rewards.task.real_sequences[:16]
    loss = DiscriminatorTrainer(rewards.discriminator).fit(real, real.flip(0), 1, rng())["loss"]
    assert loss == pytest.approx(0.69, abs=0.3)


def test_steps_pay_the_same_under_another_default_type(double: None) -> None:
    torch.set_default_dtype(torch.float32)
    expected = rewards_of_one_step()
    torch.set_default_dtype(torch.float64)
    np.testing.assert_allclose(rewards_of_one_step(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_learns_under_another_default_type(name: str, double: None) -> None:
    if name not in ("reinforce", "mle", "scheduled_sampling"):
        pytest.importorskip("sb3_contrib")
    task = make_task("oracle-tiny", **SMALL)
    rewards = build_rewards(task, RewardSettings(num_rollouts=1))
    agent = make_agent(name, TokenVectorEnv(8, rewards), 0, {})
    rewards.bind(agent.policy)
    agent.pretrain(task.real_sequences, 1)
    agent.update()
    assert all(parameter.dtype == torch.float32 for parameter in agent.policy.parameters())  # type: ignore[attr-defined]
