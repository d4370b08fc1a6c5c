"""Molecules that look real and are drug-like: a discriminator and a property in one reward.

Scores of chemistry are dear, so the reward is paid at the end alone, without rollouts. Needs the
extra `molecules`.
"""

import argparse

import torch

from seqgan_env import (
    RewardSettings,
    Schedule,
    TokenVectorEnv,
    build_rewards,
    make_task,
    pretrain_policy,
    train_adversarial,
)
from seqgan_env.agents import RLOO, SequenceLevelConfig
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.streams import RowStreams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", help="a .smi file, or a table with a column of SMILES")
    parser.add_argument("--quick", action="store_true", help="too little training to learn from")
    arguments = parser.parse_args()
    quick = arguments.quick

    sizes = {"num_eval": 100, "max_molecules": 600} if quick else {}
    task = make_task("molecule", corpus=arguments.corpus, **sizes)
    settings = RewardSettings(
        source="0.5 * discriminator + 0.5 * qed", score_as="probability", reward="terminal"
    )
    rewards = build_rewards(task, settings)
    config = SequenceLevelConfig(
        learning_rate=1e-3, mle_learning_rate=2e-2, embedding_dim=64, hidden_dim=128
    )
    agent = RLOO(TokenVectorEnv(32 if quick else 64, rewards), config=config)

    pretrain_policy(agent, task, num_epochs=1 if quick else 20, keep_best=True)
    schedule = Schedule(
        rounds=2 if quick else 100,
        d_pretrain_epochs=1 if quick else 6,
        num_negatives=100 if quick else 1_000,
        num_heldout=100 if quick else 1_000,
    )
    for row in train_adversarial(agent, rewards, schedule):
        if "task/validity" in row:
            valid, unique = row["task/validity"], row["task/uniqueness"]
            print(f"round {row['round']:.0f}: {valid:.0%} valid, {unique:.0%} of these different")

    streams = RowStreams.draw(torch.Generator().manual_seed(0), 5)
    for molecule in sample_sequences(agent.policy, task.spec, 5, streams):
        print("   ", task.decode(molecule))


if __name__ == "__main__":
    main()
