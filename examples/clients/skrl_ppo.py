"""Adversarial training by skrl's PPO, on the native vector environment through skrl's own wrapper.

The environment trains its discriminator; nothing here knows of one. Needs `pip install skrl`.
Run `python examples/clients/skrl_ppo.py [--seed 1] [--quick]`.
"""

import argparse
import tempfile
from typing import Any

import gymnasium as gym
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from torch import Tensor, nn
from verdict import as_tensor, report, verdict

import seqgan_env  # noqa: F401  registers the ids

SETTINGS: dict[str, Any] = {"observation": "one_hot"}
NUM_STEPS, NUM_EPOCHS = 10, 4


def network(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_inputs, 128), nn.Tanh(), nn.Linear(128, num_outputs))


class Policy(CategoricalMixin, Model):
    """Logits of the next token."""

    def __init__(self, **of_env: Any) -> None:
        Model.__init__(self, **of_env)
        CategoricalMixin.__init__(self, unnormalized_log_prob=True)
        self.net = network(self.num_observations, self.num_actions)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        return self.net(inputs["observations"]), {}


class Value(DeterministicMixin, Model):
    """Value of the prefix."""

    def __init__(self, **of_env: Any) -> None:
        Model.__init__(self, **of_env)
        DeterministicMixin.__init__(self)
        self.net = network(self.num_observations, 1)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        return self.net(inputs["observations"]), {}


def train(
    seed: int = 1, total_tokens: int = 300_000, num_envs: int = 256
) -> tuple[dict[str, float], dict[str, float]]:
    """The verdicts before and after."""
    set_seed(seed)
    envs = gym.make_vec("SeqGAN/Oracle-v0", num_envs=num_envs, num_rollouts=4, **SETTINGS)
    unwrapped: Any = envs.unwrapped
    env = wrap_env(envs)
    of_env = {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "device": env.device,
    }
    policy, value = Policy(**of_env), Value(**of_env)
    folder = tempfile.mkdtemp()
    cfg = PPO_CFG(
        rollouts=NUM_STEPS,
        learning_epochs=NUM_EPOCHS,
        mini_batches=4,
        discount_factor=unwrapped.discount,
        learning_rate=3e-3,
        learning_rate_scheduler=torch.optim.lr_scheduler.LinearLR,
        learning_rate_scheduler_kwargs={
            "start_factor": 1.0,
            "end_factor": 0.0,
            "total_iters": NUM_EPOCHS * -(-total_tokens // (num_envs * NUM_STEPS)),
        },
        entropy_loss_scale=0.02,
        value_loss_scale=0.5,
    )
    cfg.experiment.directory, cfg.experiment.write_interval = folder, 0
    cfg.experiment.checkpoint_interval = 0
    agent = PPO(
        models={"policy": policy, "value": value},
        memory=RandomMemory(memory_size=NUM_STEPS, num_envs=num_envs, device=env.device),
        cfg=cfg,
        **of_env,
    )
    before = verdict(lambda obs: policy.net(as_tensor(obs)), **SETTINGS)
    num_steps = -(-total_tokens // num_envs)
    options = {"timesteps": num_steps, "headless": True, "disable_progressbar": True}
    SequentialTrainer(cfg=options, env=env, agents=agent).train()
    return before, verdict(lambda obs: policy.net(as_tensor(obs)), **SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="5,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    sizes = (5_000, 64) if given.quick else (300_000, 256)
    report("skrl", *train(given.seed, *sizes))


if __name__ == "__main__":
    main()
