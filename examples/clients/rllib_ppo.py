"""Adversarial training by RLlib's PPO (new API stack), on the native vector environment.

RLlib's runner wants next-step autoreset and makes the environment by its id. The environment trains
its discriminator; nothing here knows of one. RLlib pins Gymnasium: see docs/compatibility.md.
Run `python examples/clients/rllib_ppo.py [--seed 1] [--single] [--quick]`.
"""

import argparse
from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from verdict import Logits, as_tensor, report, verdict

import seqgan_env  # noqa: F401  registers the ids

ENV_ID = "SeqGAN/Oracle-v0"
SETTINGS: dict[str, Any] = {"observation": "one_hot"}


def configure(
    seed: int, total_tokens: int, single: bool, num_envs: int, discount: float
) -> PPOConfig:
    """PPO in one process: the environment and its discriminator are one object."""
    of_env: dict[str, Any] = {"num_rollouts": 4, **SETTINGS}
    if single:  # SyncVectorEnv of one
        mode, num_envs = gym.VectorizeMode.SYNC, 1
    else:
        mode = gym.VectorizeMode.VECTOR_ENTRY_POINT
        of_env["autoreset_mode"] = "next_step"
    return (
        PPOConfig()
        .environment(ENV_ID, env_config=of_env, disable_env_checking=True)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=num_envs,
            gym_env_vectorize_mode=mode,
        )
        .learners(num_learners=0)
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[128], fcnet_activation="tanh", vf_share_layers=False
            )
        )
        .training(
            gamma=discount,
            lambda_=0.95,
            lr=[[0, 3e-3], [total_tokens, 0.0]],
            entropy_coeff=0.02,
            use_kl_loss=False,
            clip_param=0.2,
            grad_clip=0.5,
            num_epochs=4,
            minibatch_size=10 * num_envs // 4 if not single else 128,
            train_batch_size_per_learner=10 * num_envs if not single else 512,
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def logits_of(algorithm: Any) -> Logits:
    module = algorithm.get_module()
    return lambda obs: module.forward_inference({"obs": as_tensor(obs)})["action_dist_inputs"]


def train(
    seed: int = 1, total_tokens: int = 200_000, single: bool = False, num_envs: int = 128
) -> tuple[dict[str, float], dict[str, float]]:
    """The verdicts before and after."""
    torch.manual_seed(seed)
    discount = gym.make(ENV_ID).get_wrapper_attr("discount")  # that fits the rewards
    algorithm = configure(seed, total_tokens, single, num_envs, discount).build_algo()
    before = verdict(logits_of(algorithm), **SETTINGS)
    tokens = 0
    while tokens < total_tokens:
        runner = algorithm.train()["env_runners"]
        tokens = int(runner["num_env_steps_sampled_lifetime"])
        if "episode_return_mean" in runner:
            print(f"{tokens:>8} tokens  return {runner['episode_return_mean']:.3f}")
    after = verdict(logits_of(algorithm), **SETTINGS)
    algorithm.stop()
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--single", action="store_true", help="one environment")
    parser.add_argument("--quick", action="store_true", help="2,000 tokens")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    total_tokens, num_envs = (2_000, 32) if given.quick else (200_000, 128)
    report("RLlib", *train(given.seed, total_tokens, given.single, num_envs))
    ray.shutdown()


if __name__ == "__main__":
    main()
