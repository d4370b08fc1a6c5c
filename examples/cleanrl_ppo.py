"""Adversarial training by a loop that has never heard of it: single-file PPO in the manner of
CleanRL (Huang et al. 2022).

The loop makes the vector environment, resets and steps it. The environment trains its discriminator
and fits its own copy of this policy for the rollouts. Run `python examples/cleanrl_ppo.py`, or with
`--quick` for a look.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import seqgan_env  # noqa: F401  registers the ids


@dataclass
class Args:
    """Settings.

    Attributes:
        env_id: of the environment.
        seed: of everything.
        total_timesteps: environment steps, that is tokens.
        learning_rate: of Adam, annealed to 0.
        num_envs: sequences written side by side.
        num_rollouts: completions from which the environment values a prefix.
        num_steps: tokens per env and update.
        num_minibatches: of an update.
        update_epochs: passes over the data of an update.
        gae_lambda: of generalised advantage estimation.
        clip_coef: of the policy ratio.
        ent_coef: of the entropy bonus.
        vf_coef: of the value loss.
        max_grad_norm: gradients are scaled down to this norm.
    """

    env_id: str = "SeqGAN/Oracle-v0"
    seed: int = 1
    total_timesteps: int = 600_000
    learning_rate: float = 5e-3
    num_envs: int = 256
    num_rollouts: int = 4
    num_steps: int = 10
    num_minibatches: int = 4
    update_epochs: int = 4
    gae_lambda: float = 0.95
    clip_coef: float = 0.2
    ent_coef: float = 0.02
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


def layer_init(layer: nn.Linear, std: float = 2**0.5) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, std)
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    """Reads the padded prefix (B, T): an embedding per position, one hidden layer, an actor and a
    critic.
    """

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__()
        actions, observations = envs.single_action_space, envs.single_observation_space
        assert isinstance(actions, gym.spaces.Discrete)
        assert isinstance(observations, gym.spaces.Box)
        vocab_size, seq_len = int(actions.n), observations.shape[0]
        self.embedding = nn.Embedding(vocab_size + 1, 32)  # V is "not written yet"
        self.body = nn.Sequential(nn.Flatten(), layer_init(nn.Linear(32 * seq_len, 128)), nn.Tanh())
        self.actor = layer_init(nn.Linear(128, vocab_size), std=0.01)
        self.critic = layer_init(nn.Linear(128, 1), std=1.0)

    def forward(self, obs: Tensor) -> tuple[Categorical, Tensor]:
        hidden = self.body(self.embedding(obs))
        return Categorical(logits=self.actor(hidden), validate_args=False), self.critic(
            hidden
        ).squeeze(-1)


@dataclass
class Batch:
    """What was collected, (num_steps, num_envs) each; `obs` has T more."""

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    dones: Tensor  # whether the episode ended with this step
    values: Tensor

    def advantages(self, next_value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
        advantages, running = torch.zeros_like(self.rewards), torch.zeros_like(next_value)
        for t in reversed(range(len(self.rewards))):
            going_on = 1.0 - self.dones[t]
            following = self.values[t + 1] if t + 1 < len(self.values) else next_value
            delta = self.rewards[t] + gamma * following * going_on - self.values[t]
            running = delta + gamma * gae_lambda * going_on * running
            advantages[t] = running
        return advantages


@torch.no_grad()
def collect(
    envs: gym.vector.VectorEnv, agent: Agent, obs: np.ndarray, num_steps: int
) -> tuple[Batch, np.ndarray]:
    steps = []
    for _ in range(num_steps):
        seen = torch.from_numpy(obs).long()
        distribution, value = agent(seen)
        action = distribution.sample()
        obs, reward, terminated, truncated, _ = envs.step(action.numpy())
        done = torch.from_numpy(terminated | truncated).float()
        steps.append(
            (
                seen,
                action,
                distribution.log_prob(action),
                torch.from_numpy(reward).float(),
                done,
                value,
            )
        )
    return Batch(*(torch.stack(column) for column in zip(*steps, strict=True))), obs


def ppo_loss(
    agent: Agent, batch: Batch, rows: Tensor, advantages: Tensor, returns: Tensor, args: Args
) -> Tensor:
    distribution, value = agent(batch.obs.flatten(0, 1)[rows])
    ratio = (
        distribution.log_prob(batch.actions.flatten()[rows]) - batch.log_probs.flatten()[rows]
    ).exp()
    advantage = advantages[rows]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
    policy_loss = -torch.min(advantage * ratio, advantage * clipped).mean()
    value_loss = 0.5 * (value - returns[rows]).square().mean()
    entropy = distribution.entropy().mean()
    loss: Tensor = policy_loss - args.ent_coef * entropy + args.vf_coef * value_loss
    return loss


@torch.no_grad()
def measure(envs: gym.vector.VectorEnv, agent: Agent, num: int = 5_000) -> dict[str, float]:
    """The task's verdict on the agent's sequences, for us to see; the loop knows nothing of it."""
    base: Any = envs.unwrapped
    task = base.task
    tokens = torch.full((num, task.spec.seq_len), task.spec.pad_token)
    for t in range(task.spec.seq_len):
        tokens[:, t] = agent(tokens)[0].sample()
    counts = torch.bincount(tokens.flatten(), minlength=task.spec.vocab_size) / tokens.numel()
    return {
        "nll_oracle": float(-task.oracle.log_prob(tokens).mean() / task.spec.seq_len),
        "effective_vocabulary": float(Categorical(probs=counts).entropy().exp()),
    }


def train(args: Args) -> tuple[dict[str, float], dict[str, float]]:
    torch.manual_seed(args.seed)
    envs = gym.make_vec(args.env_id, num_envs=args.num_envs, num_rollouts=args.num_rollouts)
    base: Any = envs.unwrapped
    gamma = base.discount  # the environment says which discount fits its rewards
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    before = measure(envs, agent)
    batch_size = args.num_envs * args.num_steps
    num_updates = max(1, args.total_timesteps // batch_size)
    obs, _ = envs.reset(seed=args.seed)
    for update in range(num_updates):
        optimizer.param_groups[0]["lr"] = (1 - update / num_updates) * args.learning_rate
        batch, obs = collect(envs, agent, obs, args.num_steps)
        with torch.no_grad():
            next_value = agent(torch.from_numpy(obs).long())[1]
        advantages = batch.advantages(next_value, gamma, args.gae_lambda)
        returns = (advantages + batch.values).flatten()
        for _ in range(args.update_epochs):
            for rows in torch.randperm(batch_size).chunk(args.num_minibatches):
                loss = ppo_loss(agent, batch, rows, advantages.flatten(), returns, args)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()
        if (update + 1) % max(1, num_updates // 10) == 0:
            print(
                f"{(update + 1) * batch_size:>8} tokens  reward {float(batch.rewards.mean()):.3f}"
            )
    return before, measure(envs, agent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=Args.total_timesteps)
    parser.add_argument("--seed", type=int, default=Args.seed)
    parser.add_argument("--quick", action="store_true", help="40,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small: threads cost more than they bring
    started = time.perf_counter()
    before, after = train(
        Args(seed=given.seed, total_timesteps=40_000 if given.quick else given.total_timesteps)
    )
    for name in before:
        print(f"{name}: {before[name]:.3f} at the start, {after[name]:.3f} at the end")
    print(f"{time.perf_counter() - started:.0f} s, of which {time.process_time():.0f} s on a CPU")


if __name__ == "__main__":
    main()
