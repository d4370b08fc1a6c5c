"""Adversarial training by an actor-critic in plain PyTorch, on Gymnasium's own vector wrappers
stacked on the native environment.

Gymnasium's observation wrappers want next-step autoreset: the step after an episode's end only
begins the next one, and is left out of the loss. The environment trains its discriminator; nothing
here knows of one. Run `python examples/clients/gymnasium_wrappers.py [--seed 1] [--quick]`.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import vector as wrappers
from torch import Tensor, nn
from torch.distributions import Categorical
from verdict import as_tensor, report, verdict

import seqgan_env  # noqa: F401  registers the ids

SETTINGS: dict[str, Any] = {"observation": "dict", "autoreset_mode": "next_step"}
NUM_STEPS = 11  # an episode of 10 tokens, and the step that begins the next one


def see(envs: VectorEnv) -> VectorEnv:
    """What the policy sees of the dict: its tokens."""
    return wrappers.FilterObservation(envs, filter_keys=["tokens"])


def network(space: gym.spaces.Box, num_outputs: int) -> nn.Sequential:
    """An embedding per position of tokens (B, T), and one hidden layer."""
    num_tokens, length = int(space.high.max()) + 1, space.shape[0]
    return nn.Sequential(
        nn.Embedding(num_tokens, 32),
        nn.Flatten(),
        nn.Linear(32 * length, 128),
        nn.Tanh(),
        nn.Linear(128, num_outputs),
    )


def tokens_of(obs: dict[str, np.ndarray]) -> Tensor:
    return torch.as_tensor(obs["tokens"], dtype=torch.int64)


def train(
    seed: int = 1, total_tokens: int = 400_000, num_envs: int = 64
) -> tuple[dict[str, float], dict[str, float]]:
    """The verdicts before and after."""
    torch.manual_seed(seed)
    base = gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=num_envs,
        num_rollouts=4,
        episode_statistics=False,  # Gymnasium's wrapper keeps them here
        **SETTINGS,
    )
    envs = wrappers.RecordEpisodeStatistics(see(base), buffer_length=20 * num_envs)
    unwrapped: Any = base.unwrapped
    discount = unwrapped.discount
    assert discount == 0.0  # under form "rollout" a reward is the action value: no return to sum
    shown, actions = envs.single_observation_space, envs.single_action_space
    assert isinstance(shown, gym.spaces.Dict)
    assert isinstance(actions, gym.spaces.Discrete)
    space = shown["tokens"]
    assert isinstance(space, gym.spaces.Box)
    actor, critic = network(space, int(actions.n)), network(space, 1)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    before = verdict(lambda obs: actor(tokens_of(obs)), see, **SETTINGS)
    obs, _ = envs.reset(seed=seed)
    num_updates = total_tokens // (num_envs * NUM_STEPS)
    begins = torch.zeros(num_envs, dtype=torch.bool)  # where this step only begins an episode
    for update in range(num_updates):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - update / num_updates)
        errors, log_probs, entropies = [], [], []
        for _ in range(NUM_STEPS):
            seen = tokens_of(obs)
            distribution, value = Categorical(logits=actor(seen)), critic(seen).squeeze(1)
            action = distribution.sample()
            obs, rewards, terminated, truncated, _ = envs.step(action.numpy())
            errors.append((as_tensor(rewards) - value)[~begins])
            log_probs.append(distribution.log_prob(action)[~begins])
            entropies.append(distribution.entropy()[~begins])
            begins = torch.from_numpy(terminated | truncated)
        error = torch.cat(errors)
        advantage = (error - error.mean()).detach() / error.detach().std()
        policy_loss = -(advantage * torch.cat(log_probs)).mean()
        loss = policy_loss + 0.5 * error.square().mean() - 0.05 * torch.cat(entropies).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        if (update + 1) % max(1, num_updates // 5) == 0:
            tokens = (update + 1) * num_envs * NUM_STEPS
            print(f"{tokens:>8} steps  return {np.mean(envs.return_queue):.3f}")
    return before, verdict(lambda obs: actor(tokens_of(obs)), see, **SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="5,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    report("Gymnasium", *train(given.seed, 5_000 if given.quick else 400_000))


if __name__ == "__main__":
    main()
