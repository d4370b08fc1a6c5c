"""Adversarial training by an actor-critic in plain PyTorch, on Gymnasium's own vector wrappers
stacked on the native environment.

Gymnasium's observation wrappers want next-step autoreset: the step after an episode's end only
begins the next one, and is left out of the loss. The environment trains its discriminator; nothing
here knows of one. Run `python examples/clients/gymnasium_wrappers.py [--seed 1] [--quick]`.
"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import vector as wrappers
from torch import nn
from torch.distributions import Categorical
from verdict import as_tensor, report, verdict

import seqgan_env  # noqa: F401  registers the ids

SETTINGS = {"observation": "one_hot", "autoreset_mode": "next_step"}


def see(envs: gym.vector.VectorEnv) -> gym.vector.VectorEnv:
    """What the policy sees: inputs around 0."""
    return wrappers.RescaleObservation(envs, min_obs=np.float32(-1.0), max_obs=np.float32(1.0))


def network(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_inputs, 128), nn.Tanh(), nn.Linear(128, num_outputs))


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
    discount = base.unwrapped.discount
    assert discount == 0.0  # under form "rollout" a reward is the action value: no return to sum
    num_inputs = envs.single_observation_space.shape[0]
    actor = network(num_inputs, int(envs.single_action_space.n))
    critic = network(num_inputs, 1)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    before = verdict(lambda obs: actor(as_tensor(obs)), see, **SETTINGS)
    obs, _ = envs.reset(seed=seed)
    begins = torch.zeros(num_envs, dtype=torch.bool)  # where this step only begins an episode
    num_updates = total_tokens // num_envs
    for update in range(num_updates):
        seen = as_tensor(obs)
        distribution, value = Categorical(logits=actor(seen)), critic(seen).squeeze(1)
        action = distribution.sample()
        obs, rewards, terminated, truncated, _ = envs.step(action.numpy())
        if not begins.all():
            advantage = (as_tensor(rewards) - value)[~begins]
            signal = advantage.detach() - advantage.detach().mean()
            policy_loss = -(signal * distribution.log_prob(action)[~begins]).mean()
            entropy = distribution.entropy()[~begins].mean()
            loss = policy_loss + 0.5 * advantage.square().mean() - 0.01 * entropy
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
        begins = torch.from_numpy(terminated | truncated)
        if (update + 1) % max(1, num_updates // 5) == 0:
            returns = torch.tensor(list(envs.return_queue))
            print(f"{(update + 1) * num_envs:>8} steps  return {float(returns.mean()):.3f}")
    return before, verdict(lambda obs: actor(as_tensor(obs)), see, **SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="5,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    report("Gymnasium", *train(given.seed, 5_000 if given.quick else 400_000))


if __name__ == "__main__":
    main()
