"""A loop that knows only `reset` and `step`: REINFORCE in plain torch, on no class of this package.

The environment trains its discriminator on the episodes that it sees, and fits a copy of the policy
to finish sequences.
"""

import argparse
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical

import seqgan_env  # noqa: F401  registers the ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="too little training to learn from")
    quick = parser.parse_args().quick

    num_envs = 32 if quick else 128
    envs: Any = gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=num_envs,
        reward="difference",  # an episode sums to the score: discount 1
        score_as="logit",
        num_rollouts=4,
        observation="one_hot",
        observation_window=3,
        warm_up=100 if quick else 1_000,
        d_interval=100 if quick else 500,
    )
    length = envs.unwrapped.task.spec.seq_len  # every episode of this task has T tokens
    width = envs.single_observation_space.shape[0]
    num_tokens = int(envs.single_action_space.n)

    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, num_tokens))
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    observations, _ = envs.reset(seed=0)
    for update in range(4 if quick else 400):
        log_probs, rewards = [], []
        for _ in range(length):
            distribution = Categorical(logits=policy(torch.as_tensor(observations)))
            tokens = distribution.sample()
            log_probs.append(distribution.log_prob(tokens))
            observations, paid, *_ = envs.step(tokens.numpy())
            rewards.append(torch.as_tensor(paid, dtype=torch.float32))
        # What is still to come from each token on, less the mean over the batch.
        returns = torch.stack(rewards).flip(0).cumsum(0).flip(0)  # (T, num_envs)
        advantages = returns - returns.mean(1, keepdim=True)
        loss = -(torch.stack(log_probs) * advantages).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metrics = envs.unwrapped.online_metrics()
        if update % 50 == 49 and metrics:
            print(f"update {update + 1}: nll_oracle {metrics['task/nll_oracle']:.3f}")
    print(f"the discriminator was trained {metrics.get('online/updates', 0):.0f} times on the way")
    envs.close()


if __name__ == "__main__":
    main()
