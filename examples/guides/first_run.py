"""A whole run in Python: maximum likelihood, a discriminator, adversarial rounds, and what came of
it.
"""

import argparse

from seqgan_env import (
    RewardSettings,
    Schedule,
    TokenVectorEnv,
    build_rewards,
    make_task,
    pretrain_policy,
    train_adversarial,
)
from seqgan_env.agents import Reinforce, ReinforceConfig

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="too little training to learn from")
quick = parser.parse_args().quick

# What is written, and what is paid for it.
task = make_task("oracle-tiny")
settings = RewardSettings(source="discriminator", score_as="logit", num_rollouts=4)
rewards = build_rewards(task, settings)

# Who writes.
envs = TokenVectorEnv(32 if quick else 256, rewards)
agent = Reinforce(envs, config=ReinforceConfig(learning_rate=2e-3))

# Algorithm 1 of the paper.
pretrain_policy(agent, task, num_epochs=2 if quick else 40, keep_best=True)
schedule = Schedule(rounds=2, d_pretrain_epochs=1, num_negatives=200) if quick else Schedule()
for row in train_adversarial(agent, rewards, schedule):
    if "task/kl_mean" in row:
        mean, error = row["task/kl_mean"], row["task/kl_mean_error"]
        print(f"round {row['round']:.0f}: {mean:.4f} ± {error:.4f} nats per token from the truth")
