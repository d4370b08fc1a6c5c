"""Adversarial training by TorchRL's PPO: GymWrapper on the native vector environment, its
collector, GAE and ClipPPOLoss.

The environment trains its discriminator; nothing here knows of one. Needs `pip install torchrl`.
Run `python examples/clients/torchrl_ppo.py [--seed 1] [--single] [--quick]`.
"""

import argparse
from typing import Any

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, GymEnv, GymWrapper
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE
from verdict import as_tensor, report, verdict

import seqgan_env  # noqa: F401  registers the ids

SETTINGS: dict[str, Any] = {"observation": "one_hot"}
NUM_EPOCHS, NUM_MINIBATCHES = 4, 4


def make_env(single: bool, num_envs: int) -> tuple[EnvBase, float]:
    """The environment in TorchRL's coat, and the discount that fits its rewards."""
    if single:  # without rollouts, which pay where many sequences share them
        env = GymEnv(
            "SeqGAN/Oracle-v0", categorical_action_encoding=True, reward="terminal", **SETTINGS
        )
        return env, env._env.unwrapped.discount
    envs = gym.make_vec("SeqGAN/Oracle-v0", num_envs=num_envs, num_rollouts=4, **SETTINGS)
    unwrapped: Any = envs.unwrapped
    return GymWrapper(envs, categorical_action_encoding=True), unwrapped.discount


def network(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_inputs, 128), nn.Tanh(), nn.Linear(128, num_outputs))


def train(
    seed: int = 1, total_tokens: int = 300_000, single: bool = False, num_envs: int = 256
) -> tuple[dict[str, float], dict[str, float]]:
    """The verdicts before and after."""
    torch.manual_seed(seed)
    env, discount = make_env(single, num_envs)
    env.set_seed(seed)
    num_inputs = env.observation_spec["observation"].shape[-1]
    policy = network(num_inputs, env.action_spec.space.n)
    actor = ProbabilisticActor(
        TensorDictModule(policy, in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(network(num_inputs, 1), in_keys=["observation"])
    gae = GAE(gamma=discount, lmbda=0.95, value_network=critic, average_gae=True)
    loss_of = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.02, critic_coeff=0.5)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=3e-3, eps=1e-5)
    before = verdict(lambda obs: policy(as_tensor(obs)), **SETTINGS)
    frames = 10 * num_envs
    collector = Collector(env, actor, frames_per_batch=frames, total_frames=total_tokens)
    num_updates = -(-total_tokens // frames)
    for update, data in enumerate(collector):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - update / num_updates)
        for _ in range(NUM_EPOCHS):
            with torch.no_grad():
                gae(data)
            flat = data.reshape(-1)
            for rows in torch.randperm(len(flat)).chunk(NUM_MINIBATCHES):
                losses = loss_of(flat[rows])
                loss = sum(value for key, value in losses.items() if key.startswith("loss_"))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(loss_of.parameters(), 0.5)
                optimizer.step()
        if (update + 1) % max(1, num_updates // 5) == 0:
            reward = data["next", "reward"].mean()
            print(f"{(update + 1) * frames:>8} tokens  reward {float(reward):.3f}")
    collector.shutdown()
    return before, verdict(lambda obs: policy(as_tensor(obs)), **SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--single", action="store_true", help="GymEnv on one environment")
    parser.add_argument("--quick", action="store_true", help="5,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    total_tokens = 5_000 if given.quick else 300_000
    num_envs = 64 if given.quick else 256
    report("TorchRL", *train(given.seed, total_tokens, given.single, num_envs))


if __name__ == "__main__":
    main()
