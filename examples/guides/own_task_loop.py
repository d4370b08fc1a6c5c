"""A loop of your own on a task of your own: maximum likelihood, then REINFORCE, in plain torch.

The loop knows `reset`, `step` and the real sequences of the task. The environment trains its
discriminator on the episodes that it sees. Sequences may end early: the task has an end token.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from own_task import Balanced, Brackets, BracketSettings  # type: ignore[import-not-found]
from torch import Tensor, nn
from torch.distributions import Categorical

import seqgan_env  # noqa: F401  registers the ids
from seqgan_env import TokenSpec


def network(spec: TokenSpec, width: int = 128) -> nn.Module:
    """A prefix (B, T), padded, to logits (B, V) of the next token."""
    return nn.Sequential(
        nn.Embedding(spec.vocab_size + 1, 16),  # V is the padding: not written yet
        nn.Flatten(),
        nn.Linear(16 * spec.seq_len, width),
        nn.Tanh(),
        nn.Linear(width, spec.vocab_size),
    )


def fit(policy: nn.Module, real: Tensor, spec: TokenSpec, num_epochs: int) -> None:
    """Maximum likelihood on real sequences (M, T)."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(num_epochs):
        for batch in real[torch.randperm(len(real))].split(64):
            losses = []
            for t in range(spec.seq_len):
                prefix = batch.clone()
                prefix[:, t:] = spec.pad_token
                loss = nn.functional.cross_entropy(
                    policy(prefix),
                    batch[:, t],
                    ignore_index=spec.pad_token,  # nothing is written behind the end
                    reduction="sum",
                )
                losses.append(loss / len(batch))
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()


def learn(policy: nn.Module, envs: Any, num_updates: int) -> None:
    """REINFORCE. Under the default form of reward, `rollout`, what a step pays is the value of its
    token: no return is summed, so that episodes may have any length.
    """
    task = envs.unwrapped.task
    optimizer = torch.optim.Adam(policy.parameters(), lr=5e-4)
    observations, infos = envs.reset(seed=0)
    ended: list[np.ndarray] = []
    for update in range(num_updates):
        losses = []
        for _ in range(task.spec.seq_len):
            allowed = torch.as_tensor(infos["action_mask"], dtype=torch.bool)  # when it may end
            logits = policy(torch.as_tensor(observations)).masked_fill(~allowed, -torch.inf)
            distribution = Categorical(logits=logits)
            tokens = distribution.sample()
            observations, paid, terminated, _, infos = envs.step(tokens.numpy())
            advantages = torch.as_tensor(paid - paid.mean(), dtype=torch.float32)
            losses.append(-(distribution.log_prob(tokens) * advantages).mean())
            ended += list(infos["final_obs"][terminated]) if terminated.any() else []
        if envs.unwrapped.online_metrics():  # before, the discriminator is untrained: noise
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
        if update % 50 == 0 or update == num_updates - 1:
            share = Balanced()(torch.as_tensor(np.stack(ended)), task)
            example = task.decode(torch.as_tensor(ended[-1]))
            print(f"update {update}: share that matches {share:.2f}, such as {example}")
            ended.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="too little training to learn from")
    quick = parser.parse_args().quick

    torch.manual_seed(0)
    envs: Any = gym.make_vec(
        "SeqGAN/Task-v0",
        num_envs=16 if quick else 128,
        task=Brackets(BracketSettings(seq_len=8)),
        score_as="logit",
        num_rollouts=4,
    )
    task = envs.unwrapped.task
    policy = network(task.spec)
    fit(policy, task.real_sequences, task.spec, num_epochs=2)
    learn(policy, envs, 3 if quick else 251)
    envs.close()


if __name__ == "__main__":
    main()
