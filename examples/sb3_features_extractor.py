"""A features extractor under Stable-Baselines3's PPO, with nothing but stock SB3 around the
registered environment.

SB3 makes its environments one by one, so these share one reward model, that is one discriminator.
Needs `pip install 'seqgan-env[sb3]'`. Run `python examples/sb3_features_extractor.py [--quick]`.
"""

import argparse
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor

import seqgan_env  # noqa: F401  registers the ids
from seqgan_env.agents import PrefixExtractor
from seqgan_env.rewards.model import RewardModel
from seqgan_env.types import TokenSpec


class SB3Policy:
    """The `RolloutPolicy` in a trained SB3 model, so that the task can judge it."""

    def __init__(self, model: PPO, spec: TokenSpec) -> None:
        self.model, self.spec = model, spec

    @torch.no_grad()
    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        tokens = tokens.clone()
        for t in range(self.spec.seq_len):
            rows = (
                (~self.spec.is_complete(tokens, self.spec.lengths(tokens)) & (lengths <= t))
                .nonzero()
                .squeeze(1)
            )
            next_token = self.model.policy.get_distribution(tokens[rows].float()).distribution
            assert isinstance(next_token, torch.distributions.Categorical)
            probs = next_token.probs
            tokens[rows, t] = torch.multinomial(probs, 1, generator=rng).squeeze(1)
        return tokens


def nll_oracle(model: PPO, rewards: RewardModel) -> float:
    policy = SB3Policy(model, rewards.spec)
    return dict(rewards.task.evaluate(policy, torch.Generator().manual_seed(0)))["nll_oracle"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 tokens")
    total_timesteps = 10_000 if parser.parse_args().quick else 100_000
    env_id = "SeqGAN/Oracle-v0"
    # Without rollouts, which are slow one by one.
    first = gym.make(env_id, reward="terminal", warm_up=200, d_interval=500)
    rewards = first.get_wrapper_attr("rewards")
    envs = make_vec_env(env_id, n_envs=16, seed=0, env_kwargs={"rewards": rewards})
    extractor: dict[str, Any] = {
        "features_extractor_class": PrefixExtractor,
        "features_extractor_kwargs": {"embedding_dim": 32},
    }
    model = PPO(
        "MlpPolicy",
        envs,
        policy_kwargs=extractor,
        gamma=rewards.discount,  # the one that fits the reward form
        n_steps=4 * rewards.spec.seq_len,  # whole episodes
        batch_size=160,
        learning_rate=1e-3,
        seed=0,
    )
    print(f"nll_oracle {nll_oracle(model, rewards):.3f} at the start")
    model.learn(total_timesteps)
    print(f"nll_oracle {nll_oracle(model, rewards):.3f} after {total_timesteps} tokens")
    print({key: round(value, 3) for key, value in rewards.online_metrics().items()})


if __name__ == "__main__":
    main()
