"""A policy of no neural network at all: n-gram counts, and a table of logits that the policy
gradient adds to.

p(y_t | context) = softmax(log(count + smoothing) + table)[y_t], where the context is the last two
tokens. A complete `GeneratorAgent`. Run `python examples/ngram_policy.py [--quick]`, or `seqgan
train --agent examples.ngram_policy:NgramAgent`.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env import (
    RewardSettings,
    Schedule,
    TokenVectorEnv,
    build_rewards,
    make_task,
    train_adversarial,
)
from seqgan_env.agents import returns_to_go
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.streams import RowStreams, uniforms
from seqgan_env.types import TokenSpec


class NgramPolicy:
    """A `RolloutPolicy` over trigrams; `log_prob` is an extra that lets the task measure its
    likelihoods.
    """

    def __init__(self, spec: TokenSpec, smoothing: float = 0.1) -> None:
        self.spec = spec
        num_contexts = (spec.vocab_size + 1) ** 2  # V stands for "before the first token"
        self.counts = torch.full((num_contexts, spec.vocab_size), smoothing)
        self.table = torch.zeros(num_contexts, spec.vocab_size)

    def logits(self, contexts: Tensor, positions: Tensor) -> Tensor:
        """Logits (R, V) for contexts (R,) at positions (R,); minus infinity where the end token is
        masked.
        """
        logits = self.counts[contexts].log() + self.table[contexts]
        if self.spec.min_length:
            logits[positions < self.spec.min_length, self.spec.eos_token] = -torch.inf
        return logits

    def contexts(self, tokens: Tensor) -> Tensor:
        """The index (B, T) of the two tokens before every position of `tokens` (B, T)."""
        before = F.pad(tokens, (2, 0), value=self.spec.vocab_size)
        return before[:, :-2] * (self.spec.vocab_size + 1) + before[:, 1:-1]

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        tokens = tokens.clone()
        ended = self.spec.is_complete(tokens, lengths)
        draws = uniforms(rng, len(tokens), self.spec.seq_len)
        for t in range(self.spec.seq_len):
            rows = (~ended & (lengths <= t)).nonzero().squeeze(1)
            probs = self.logits(self.contexts(tokens)[rows, t], torch.full_like(rows, t)).softmax(1)
            cumulative = probs.cumsum(1)
            target = draws[rows, t : t + 1] * cumulative[:, -1:]
            tokens[rows, t] = (
                torch.searchsorted(cumulative, target, right=True)
                .squeeze(1)
                .clamp(max=self.spec.vocab_size - 1)
            )
            if self.spec.eos_token is not None:
                ended |= tokens[:, t] == self.spec.eos_token
        return tokens

    def log_prob(self, tokens: Tensor) -> Tensor:
        contexts, positions, chosen, written = self.flat(tokens)
        log_probs = (
            self.logits(contexts, positions)
            .log_softmax(1)
            .gather(1, chosen.unsqueeze(1))
            .squeeze(1)
        )
        return torch.zeros(tokens.shape).masked_scatter_(written, log_probs).sum(1)

    def flat(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Context, position and token (R,) of every written token of `tokens` (B, T), and where
        they are (B, T).
        """
        written = tokens != self.spec.pad_token
        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        return self.contexts(tokens)[written], positions[written], tokens[written], written


class NgramAgent:
    """Counts in pre-training, the policy gradient afterwards."""

    def __init__(self, env: TokenVectorEnv, seed: int = 0, learning_rate: float = 3.0) -> None:
        self.env: TokenVectorEnv = env.unwrapped
        self.policy = NgramPolicy(self.env.task.spec)
        self.rng, self.learning_rate = torch.Generator().manual_seed(seed), learning_rate
        self.env.reset(seed=seed)

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Counts the trigrams.

        A second epoch would only count them twice, so that a later call changes nothing.
        """
        contexts, _, tokens, _ = self.policy.flat(sequences)
        if not self.policy.counts.max() > 1:
            self.policy.counts.index_put_(
                (contexts, tokens), torch.ones(len(tokens)), accumulate=True
            )
        return {"mle_loss": float(-self.policy.log_prob(sequences).sum() / len(tokens))}

    def update(self) -> dict[str, float]:
        """One step of REINFORCE: the gradient of log p(y | context) with respect to the table is
        onehot(y) - p.
        """
        streams = RowStreams.draw(self.rng, self.env.num_envs)
        tokens = sample_sequences(self.policy, self.env.task.spec, self.env.num_envs, streams)
        rewards = self.env.play(tokens)
        contexts, positions, chosen, written = self.policy.flat(tokens)
        returns = returns_to_go(rewards, self.env.discount)
        baseline = (returns * written).sum(0) / written.sum(0).clamp(min=1)
        advantages = (returns - baseline)[written]
        direction = F.one_hot(chosen, self.env.task.spec.vocab_size) - self.policy.logits(
            contexts, positions
        ).softmax(1)
        self.policy.table.index_add_(
            0, contexts, self.learning_rate / len(tokens) * advantages.unsqueeze(1) * direction
        )
        return {"reward": float(rewards[written].mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sequences and rounds")
    quick = parser.parse_args().quick
    task = make_task("oracle-tiny")
    rewards = build_rewards(task, RewardSettings(score_as="logit", num_rollouts=4))
    agent = NgramAgent(TokenVectorEnv(256, rewards))
    print(agent.pretrain(task.real_sequences, 1))
    schedule = Schedule(rounds=5, d_pretrain_epochs=2, num_negatives=500) if quick else Schedule()
    for row in train_adversarial(agent, rewards, schedule):
        if "task/nll_oracle" in row:
            print(
                f"round {row['round']:.0f}: nll_oracle {row['task/nll_oracle']:.3f}, nll_gen "
                f"{row['task/nll_gen']:.3f}"
            )


if __name__ == "__main__":
    main()
