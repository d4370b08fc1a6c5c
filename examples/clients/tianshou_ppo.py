"""Adversarial training by Tianshou 2's PPO, on its DummyVectorEnv of single environments.

Tianshou steps environments one by one, so these share one reward model, that is one discriminator;
and they are paid at the end, for which nothing is rolled out. Needs `pip install 'tianshou>=2'`;
see docs/compatibility.md. Run `python examples/clients/tianshou_ppo.py [--seed 1] [--quick]`.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from verdict import as_tensor, report, verdict

import seqgan_env  # noqa: F401  registers the ids

SETTINGS: dict[str, Any] = {"observation": "one_hot"}


def train(
    seed: int = 1, total_tokens: int = 200_000, num_envs: int = 64
) -> tuple[dict[str, float], dict[str, float]]:
    """The verdicts before and after."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  from which Tianshou draws its minibatches
    first = gym.make("SeqGAN/Oracle-v0", reward="terminal", score_as="logit", **SETTINGS)
    rewards, discount = first.get_wrapper_attr("rewards"), first.get_wrapper_attr("discount")
    envs = DummyVectorEnv(
        [
            lambda: gym.make(
                "SeqGAN/Oracle-v0", rewards=rewards, episode_statistics=False, **SETTINGS
            )
        ]
        * num_envs
    )
    envs.seed(seed)
    observations, actions = first.observation_space, first.action_space
    assert isinstance(observations, gym.spaces.Box)
    assert isinstance(actions, gym.spaces.Discrete)
    num_inputs, num_tokens = observations.shape[0], int(actions.n)
    body = Net(state_shape=num_inputs, hidden_sizes=[128], activation=torch.nn.Tanh)
    actor = DiscreteActor(preprocess_net=body, action_shape=num_tokens, softmax_output=False)
    critic = DiscreteCritic(
        preprocess_net=Net(state_shape=num_inputs, hidden_sizes=[128], activation=torch.nn.Tanh)
    )
    algorithm = PPO(
        policy=DiscreteActorPolicy(actor=actor, action_space=first.action_space),
        critic=critic,
        optim=AdamOptimizerFactory(lr=3e-3),
        gamma=discount,
        ent_coef=0.02,
        max_grad_norm=0.5,
    )
    before = verdict(lambda obs: actor(as_tensor(obs))[0], **SETTINGS)
    per_batch = 40 * num_envs
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector(algorithm, envs, VectorReplayBuffer(per_batch, num_envs)),
            max_epochs=1,
            epoch_num_steps=total_tokens,
            collection_step_num_env_steps=per_batch,
            update_step_num_repetitions=4,
            batch_size=640,
            test_collector=None,
            test_in_training=False,
            show_progress=False,
        )
    )
    return before, verdict(lambda obs: actor(as_tensor(obs))[0], **SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="3,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    sizes = (3_000, 16) if given.quick else (200_000, 64)
    report("Tianshou", *train(given.seed, *sizes))


if __name__ == "__main__":
    main()
