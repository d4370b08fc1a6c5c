"""What the parts of a trained run think of every token: its policy, its reward, its discriminator,
and the truth where that is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgan_env.discriminators.base import Discriminator
from seqgan_env.rewards.model import RewardModel
from seqgan_env.rewards.values import RolloutValue, action_values
from seqgan_env.rowwise import sigmoid
from seqgan_env.streams import RowStreams
from seqgan_env.types import HasTokenLogProbs, RolloutPolicy, Task, TokenSpec

NUM_DRAWN = 512  # next tokens of a policy that does not tell its probabilities


@dataclass(frozen=True)
class Quantity:
    """Something that is thought of a token.

    Attributes:
        name: under which `Judges` tell it.
        label: as a person reads it.
        meaning: in a sentence.
        middle: what is neither good nor bad; None where only a comparison says that.
    """

    name: str
    label: str
    meaning: str
    middle: float | None = None


QUANTITIES = (
    Quantity("value", "value", "The mean score of completions of the prefix that ends here, Q."),
    Quantity("reward", "reward", "What the environment pays for this token.", middle=0.0),
    Quantity(
        "discriminator",
        "D's opinion",
        "The mean probability that D gives completions of the prefix of being real.",
        middle=0.5,
    ),
    Quantity("policy", "policy", "log p, how likely the trained policy is to write this token."),
    Quantity("truth", "truth", "log o, how likely the oracle is to write this token."),
    Quantity(
        "truth_ratio",
        "truth against policy",
        "log o - log p, what a perfect discriminator would say of this token.",
        middle=0.0,
    ),
)


@dataclass(frozen=True)
class Candidate:
    """A token that may be written next.

    Attributes:
        token: 0..V-1.
        probability: of it, under the policy.
        opinions: of the prefix that ends with it, by the name of the quantity.
    """

    token: int
    probability: float
    opinions: dict[str, float]


class Judges:
    """A policy and what pays it, asked about single tokens.

    Attributes:
        task: what is written.
        policy: whose probabilities are told.
        rewards: whose values are told, and whose discriminator is asked; None where there is
            nothing that was trained to pay.
    """

    def __init__(self, task: Task, policy: RolloutPolicy, rewards: RewardModel | None) -> None:
        self.task, self.policy, self.rewards = task, policy, rewards
        self._discriminator_value: RolloutValue | None = None
        if rewards is not None and rewards.discriminator is not None:
            self._discriminator_value = RolloutValue(
                task.spec,
                rewards.rollout_policy,
                _ProbabilityOfReal(rewards.discriminator),
                rewards.settings.num_rollouts,
            )

    def of_sequences(self, tokens: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """What is thought of every token of finished sequences (B, T): (B, T) by quantity, 0 behind
        the end. Quantities that nobody can tell are left out.
        """
        spec, streams = self.task.spec, RowStreams.draw(rng, len(tokens))
        found: dict[str, Tensor] = {}
        if self.rewards is not None:
            found["value"] = action_values(self.rewards.value, spec, tokens, streams)
            found["reward"] = self.rewards.rewards(tokens, streams)
        if self._discriminator_value is not None:
            found["discriminator"] = action_values(self._discriminator_value, spec, tokens, streams)
        return found | self._likelihoods(tokens)

    def of_prefixes(
        self, tokens: Tensor, lengths: Tensor, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """What is thought of the last token of prefixes (B, T), (B,) with one token or more: (B,)
        by quantity, all but the reward, which the environment pays.
        """
        found: dict[str, Tensor] = {}
        streams = RowStreams.draw(rng, len(tokens))
        if self.rewards is not None:
            found["value"] = self.rewards.value(tokens, lengths, streams)
        if self._discriminator_value is not None:
            found["discriminator"] = self._discriminator_value(tokens, lengths, streams)
        last = (lengths - 1).unsqueeze(1)
        likelihoods = self._likelihoods(tokens).items()
        return found | {name: values.gather(1, last).squeeze(1) for name, values in likelihoods}

    def suggestions(
        self, tokens: Tensor, length: int, num: int, rng: RowStreams
    ) -> list[Candidate]:
        """The `num` tokens that the policy is likeliest to write behind an unfinished prefix (T,),
        the likeliest first; fewer where it writes no others.

        Args:
            tokens: of the prefix, padded.
            length: tokens in it.
            num: of suggestions.
            rng: one stream, that of the episode.
        """
        log_probs = next_log_probs(self.policy, self.task.spec, tokens, length, rng)
        order = log_probs.argsort(descending=True, stable=True)[:num]
        return self._judged(tokens, length, order[log_probs[order] > -torch.inf], log_probs, rng)

    def candidate(self, tokens: Tensor, length: int, token: int, rng: RowStreams) -> Candidate:
        """What is thought of one token behind an unfinished prefix; arguments as `suggestions`."""
        log_probs = next_log_probs(self.policy, self.task.spec, tokens, length, rng)
        chosen = torch.tensor([token], device=tokens.device)
        return self._judged(tokens, length, chosen, log_probs, rng)[0]

    def _judged(
        self, tokens: Tensor, length: int, chosen: Tensor, log_probs: Tensor, rng: RowStreams
    ) -> list[Candidate]:
        """The candidates `chosen` (M,) behind a prefix (T,); all have the stream of the episode."""
        prefixes = tokens.repeat(len(chosen), 1)
        prefixes[:, length] = chosen
        lengths = torch.full((len(chosen),), length + 1, device=tokens.device)
        opinions = self.of_prefixes(prefixes, lengths, rng.select(torch.zeros_like(chosen)))
        candidates = []
        for row, token in enumerate(chosen):
            of_token = {name: float(values[row]) for name, values in opinions.items()}
            probability = float(log_probs[token].exp())
            candidates.append(Candidate(int(token), probability, of_token))
        return candidates

    def _likelihoods(self, tokens: Tensor) -> dict[str, Tensor]:
        """log p, log o and their difference (B, T), those that are known."""
        found = {}
        if isinstance(self.policy, HasTokenLogProbs):
            found["policy"] = self.policy.token_log_probs(tokens)
        oracle = getattr(self.task, "oracle", None)
        if isinstance(oracle, HasTokenLogProbs):
            found["truth"] = oracle.token_log_probs(tokens)
        if len(found) == 2:
            found["truth_ratio"] = found["truth"] - found["policy"]
        return found


class _ProbabilityOfReal:
    """D(Y) whatever the discriminator's `score` returns."""

    def __init__(self, discriminator: Discriminator) -> None:
        self.discriminator = discriminator

    def score(self, tokens: Tensor) -> Tensor:
        """P(real) of sequences (B, T): (B,)."""
        return sigmoid(self.discriminator.logits(tokens))


def next_log_probs(
    policy: RolloutPolicy, spec: TokenSpec, tokens: Tensor, length: int, rng: RowStreams
) -> Tensor:
    """log p of every next token (V,) behind an unfinished prefix `tokens` (T,) of `length` tokens.

    Of a policy without `token_log_probs` it is the logarithm of the shares among `NUM_DRAWN` draws.
    """
    if isinstance(policy, HasTokenLogProbs):
        candidates = tokens.repeat(spec.vocab_size, 1)
        candidates[:, length] = torch.arange(spec.vocab_size, device=tokens.device)
        return policy.token_log_probs(candidates)[:, length]
    prefixes = tokens.repeat(NUM_DRAWN, 1)
    lengths = torch.full((NUM_DRAWN,), length, device=tokens.device)
    written = policy.complete(prefixes, lengths, rng.repeat(NUM_DRAWN))[:, length]
    return (torch.bincount(written, minlength=spec.vocab_size) / NUM_DRAWN).log()


def token_name(task: Task, token: int) -> str:
    """A token as the task writes it alone; "<end>" for the one that ends a sequence."""
    if token == task.spec.eos_token:
        return "<end>"
    row = torch.full((task.spec.seq_len,), task.spec.pad_token)
    row[0] = token
    return task.decode(row) or f"<{token}>"
