"""A reward of your own, on data of your own: captions that should be long, and still look real.

A score source is an object with `score(tokens)`. Added to the discriminator, it makes the
objective-reinforced GAN of Guimaraes et al. (2017).
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgan_env import (
    RewardSettings,
    Schedule,
    Task,
    TokenVectorEnv,
    WeightedSum,
    build_rewards,
    make_task,
    pretrain_policy,
    train_adversarial,
)
from seqgan_env.agents import Reinforce, ReinforceConfig
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.streams import RowStreams
from seqgan_env.testing import check_scorer


class Length:
    """The share of the longest sequence that is written."""

    def __init__(self, task: Task) -> None:
        self.spec = task.spec

    def score(self, tokens: Tensor) -> Tensor:
        """(B, T) finished sequences, padded, to (B,)."""
        return self.spec.lengths(tokens) / self.spec.seq_len


class MeanLength:
    """The same as a metric, so that tables show it."""

    name = "length"
    label = "length, share of the longest"

    def __call__(self, samples: Tensor, task: Task) -> Tensor:
        """The mean over finished sequences (B, T)."""
        return Length(task).score(samples).mean()


def captions(folder: Path) -> Path:
    """A file as you would bring it, a sentence a line."""
    lines = [
        f"a {size} {animal} {verb} {place}"
        for size in ("small", "big", "brown", "black and white", "very old")
        for animal in ("dog", "cat", "horse", "bird", "cow")
        for verb in ("runs", "sleeps", "eats", "looks around")
        for place in ("in the grass", "on a road", "near a house", "there", "in the warm sun")
    ]
    path = folder / "captions.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", help="a text file, a sentence a line")
    parser.add_argument("--quick", action="store_true", help="too little training to learn from")
    arguments = parser.parse_args()
    quick = arguments.quick

    with tempfile.TemporaryDirectory() as folder:
        task: Any = make_task("text", corpus=arguments.corpus or str(captions(Path(folder))))
    print(task.summary)

    length = Length(task)
    check_scorer(length, task.spec)  # an AssertionError says what to mend
    source = WeightedSum(((1.0, "discriminator"), (2.0, length)))
    rewards = build_rewards(task, RewardSettings(source=source, num_rollouts=4))
    config = ReinforceConfig(learning_rate=1e-3, mle_learning_rate=2e-2)
    agent = Reinforce(TokenVectorEnv(32 if quick else 128, rewards), config=config)

    pretrain_policy(agent, task, num_epochs=2 if quick else 30, keep_best=True)
    print(f"mean length after maximum likelihood: {mean_length(agent, length):.3f}")
    schedule = Schedule(rounds=2 if quick else 60, d_pretrain_epochs=2, num_negatives=200)
    for _ in train_adversarial(agent, rewards, schedule):
        pass
    print(f"mean length after the adversarial phase: {mean_length(agent, length):.3f}")
    for row in samples(agent, 5):
        print("   ", task.decode(row))


def samples(agent: Reinforce, num: int) -> Tensor:
    """Sequences (num, T) that the policy writes."""
    streams = RowStreams.draw(torch.Generator().manual_seed(0), num)
    return sample_sequences(agent.policy, agent.env.task.spec, num, streams)


def mean_length(agent: Reinforce, length: Length) -> float:
    """The mean score of a thousand samples."""
    return float(length.score(samples(agent, 1_000)).mean())


if __name__ == "__main__":
    main()
