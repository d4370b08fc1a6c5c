"""Score sources other than the CNN: the exact optimal discriminator, the oracle's likelihood, and
the controls.

A source is a `SequenceScorer`, rolled out by `RolloutValue`, or directly a `PrefixValue` where
rolling out would be waste.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_env.rowwise import sigmoid
from seqgan_env.streams import RowStreams
from seqgan_env.types import HasLogProb, RolloutPolicy, TokenSpec, token_log_probs


class OptimalScorer:
    """The exact optimal discriminator, D*(Y) = p_oracle / (p_oracle + p_policy) (Goodfellow et al.
    2014, eq. 2).

    As a logit it is log p_oracle(Y) - log p_policy(Y), with the live policy.
    """

    def __init__(
        self, oracle: HasLogProb, policy: RolloutPolicy, score_as: str = "probability"
    ) -> None:
        self.oracle, self.policy, self.score_as = oracle, policy, score_as

    def bind(self, policy: RolloutPolicy) -> None:
        """Makes `policy` the one that is compared with the oracle."""
        self.policy = policy

    def score(self, tokens: Tensor) -> Tensor:
        if not isinstance(self.policy, HasLogProb):
            raise TypeError(
                f"source 'optimal' needs the policy's likelihoods; {type(self.policy).__name__} "
                "has no log_prob(tokens)"
            )
        log_ratio = self.oracle.log_prob(tokens) - self.policy.log_prob(tokens)
        if self.score_as == "logit":
            return log_ratio
        return sigmoid(log_ratio)

    def token_scores(self, tokens: Tensor) -> Tensor:
        """log p_oracle - log p_policy of every token of prefixes (B, T), (B, T), in nats.

        Raises:
            ValueError: it scores as a probability, which is no sum over tokens.
            TypeError: the oracle or the policy has no likelihoods of tokens.
        """
        if self.score_as != "logit":
            raise ValueError("a probability is no sum over tokens; set score_as to 'logit'")
        return token_log_probs(self.oracle, tokens) - token_log_probs(self.policy, tokens)


class OracleScorer:
    """log p_oracle(Y) per token, in nats: a known reward, exploitable on purpose (one likely
    sentence for ever).
    """

    def __init__(self, oracle: HasLogProb, spec: TokenSpec) -> None:
        self.oracle, self.spec = oracle, spec

    def score(self, tokens: Tensor) -> Tensor:
        return self.oracle.log_prob(tokens) / self.spec.lengths(tokens)


class ConstantValue:
    """1 for every prefix. A control: what an agent gains from it is no merit of the reward."""

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        return torch.ones(len(tokens), device=tokens.device, dtype=torch.float32)


class RandomValue:
    """Uniform noise for every prefix, in [0, 1) or around zero in [-1, 1), drawn afresh for every
    episode. A control.
    """

    def __init__(self, zero_mean: bool = False) -> None:
        self.zero_mean = zero_mean

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        noise = RowStreams.draw(rng, len(tokens)).fold_in(lengths).uniform(1).squeeze(1)
        if self.zero_mean:
            return 2 * noise - 1
        return noise
