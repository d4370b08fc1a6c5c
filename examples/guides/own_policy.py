"""A policy of your own: a language model that says what it thinks of a prefix, and no more.

`LanguageModel` writes, completes, measures and differentiates; `hidden_states` is all it needs.
"""

import argparse

import torch
from torch import Tensor, nn

from seqgan_env import (
    LanguageModel,
    RewardSettings,
    Schedule,
    TokenSpec,
    TokenVectorEnv,
    build_rewards,
    make_task,
    pretrain_policy,
    train_adversarial,
)
from seqgan_env.agents import Reinforce, ReinforceConfig
from seqgan_env.testing import check_policy


class Convolutional(LanguageModel):
    """Looks back over the last few tokens by a causal convolution."""

    def __init__(self, spec: TokenSpec, width: int = 64, reach: int = 4) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.vocab_size, width)
        self.before = nn.ZeroPad1d((reach - 1, 0))  # nothing stands before the first token
        self.convolution = nn.Conv1d(width, width, reach)
        self.output = nn.Linear(width, spec.vocab_size)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """(B, T') tokens to (B, T', H): state t knows tokens 1..t alone."""
        embedded = self.embedding(inputs).transpose(1, 2)  # (B, H, T')
        states: Tensor = torch.relu(self.convolution(self.before(embedded))).transpose(1, 2)
        return states


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="too little training to learn from")
    quick = parser.parse_args().quick

    task = make_task("oracle-tiny")
    torch.manual_seed(0)  # layers of torch draw their first weights from its global generator
    policy = Convolutional(task.spec)
    check_policy(policy)  # an AssertionError says what to mend

    rewards = build_rewards(task, RewardSettings(score_as="logit", num_rollouts=4), policy)
    config = ReinforceConfig(mle_learning_rate=1e-2, learning_rate=1e-3)
    agent = Reinforce(TokenVectorEnv(32 if quick else 256, rewards), policy, config=config)

    for row in pretrain_policy(agent, task, num_epochs=2 if quick else 30, keep_best=True):
        print(f"epoch {row['epoch']:.0f}: {row['nll_validation']:.3f} nats per token")
    schedule = Schedule(rounds=2, d_pretrain_epochs=1, num_negatives=200) if quick else Schedule()
    for row in train_adversarial(agent, rewards, schedule):
        if "task/kl_mean" in row:
            print(f"round {row['round']:.0f}: {row['task/kl_mean']:.4f} nats per token")


if __name__ == "__main__":
    main()
