"""A discriminator of your own: one that looks at pairs of neighbouring tokens and nothing else.

A `Discriminator` needs a `forward`. Training, scoring and held-out accuracies follow.
"""

import argparse

import torch
from torch import Tensor, nn

from seqgan_env import (
    Discriminator,
    RewardSettings,
    Schedule,
    TokenSpec,
    TokenVectorEnv,
    build_rewards,
    make_task,
    pretrain_policy,
    train_adversarial,
)
from seqgan_env.agents import Reinforce
from seqgan_env.testing import check_discriminator


class Pairs(Discriminator):
    """The sum over positions of a bilinear form of two neighbours."""

    def __init__(self, spec: TokenSpec, rng: torch.Generator, embedding_dim: int = 32) -> None:
        super().__init__(spec)
        self.left = nn.Embedding(spec.vocab_size + 1, embedding_dim)  # token V is the padding
        self.right = nn.Embedding(spec.vocab_size + 1, embedding_dim)
        for embedding in (self.left, self.right):
            nn.init.normal_(embedding.weight, std=0.1, generator=rng)

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        """(B, T) finished sequences to logits (B,)."""
        products = self.left(tokens[:, :-1]) * self.right(tokens[:, 1:])
        logits: Tensor = products.sum((1, 2))
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="too little training to learn from")
    quick = parser.parse_args().quick

    check_discriminator(Pairs)  # an AssertionError says what to mend
    task = make_task("oracle-tiny")
    discriminator = Pairs(task.spec, torch.Generator().manual_seed(0))
    settings = RewardSettings(score_as="logit", num_rollouts=4)
    rewards = build_rewards(task, settings, discriminator=discriminator)
    agent = Reinforce(TokenVectorEnv(32 if quick else 256, rewards))

    pretrain_policy(agent, task, num_epochs=2 if quick else 40, keep_best=True)
    schedule = Schedule(rounds=2, d_pretrain_epochs=1, num_negatives=200) if quick else Schedule()
    for row in train_adversarial(agent, rewards, schedule):
        if "task/kl_mean" in row:
            accuracy = row["discriminator/accuracy_heldout"]
            print(
                f"round {row['round']:.0f}: {row['task/kl_mean']:.4f} nats per token, the "
                f"discriminator is right about {accuracy:.0%} of unseen sequences"
            )


if __name__ == "__main__":
    main()
