"""Likelihoods in nats per token, samples of a policy, and the unigram of sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_env.types import HasLogProb, RolloutPolicy, TokenSpec


def nll_per_token(model: HasLogProb, spec: TokenSpec, tokens: Tensor) -> float:
    """-log p over the sequences `tokens` (B, T), in nats per written token."""
    return float(-model.log_prob(tokens).double().sum() / spec.lengths(tokens).sum())


def sample_sequences(
    policy: RolloutPolicy, spec: TokenSpec, num: int, rng: torch.Generator
) -> Tensor:
    """`num` whole sequences (num, T): completions of the empty prefix."""
    empty = torch.full((num, spec.seq_len), spec.pad_token, device=rng.device)
    return policy.complete(empty, empty.new_zeros(num), rng)


def unigram_metrics(spec: TokenSpec, tokens: Tensor) -> dict[str, float]:
    """`effective_vocabulary`, exp of the entropy of the unigram, and `unique_tokens` of `tokens`
    (B, T).
    """
    # The padding, which is the last number, is counted too and left out: quicker than masking it.
    with_padding = torch.bincount(tokens.flatten(), minlength=spec.pad_token + 1)
    counts = with_padding[: spec.pad_token].double()
    share = counts[counts > 0] / counts.sum()
    return {
        "effective_vocabulary": float((-(share * share.log()).sum()).exp()),
        "unique_tokens": float((counts > 0).sum()),
    }
