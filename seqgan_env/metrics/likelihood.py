"""Likelihood metrics of an oracle task, all in nats per token.

With p the policy and o the oracle: `nll_oracle` = -E_p log o, `nll_gen` = -E_o log p on held-out data, `entropy` = -E_p log p,
KL(p||o) = nll_oracle - entropy, KL(o||p) = nll_gen + E_o log o.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_env.scorers import HasLogProb
from seqgan_env.types import RolloutPolicy, TokenSpec


def nll_per_token(model: HasLogProb, spec: TokenSpec, tokens: Tensor) -> float:
    """-log p over the sequences `tokens` (B, T), in nats per written token."""
    return float(-model.log_prob(tokens).double().sum() / spec.lengths(tokens).sum())


def sample_sequences(policy: RolloutPolicy, spec: TokenSpec, num: int, rng: torch.Generator) -> Tensor:
    """`num` whole sequences (num, T): completions of the empty prefix."""
    empty = torch.full((num, spec.seq_len), spec.pad_token, device=rng.device)
    return policy.complete(empty, empty.new_zeros(num), rng)


def unigram_metrics(spec: TokenSpec, tokens: Tensor) -> dict[str, float]:
    """`effective_vocabulary`, exp of the entropy of the unigram, and `unique_tokens` of `tokens` (B, T)."""
    counts = torch.bincount(tokens[tokens != spec.pad_token], minlength=spec.vocab_size).double()
    share = counts[counts > 0] / counts.sum()
    return {"effective_vocabulary": float((-(share * share.log()).sum()).exp()), "unique_tokens": float((counts > 0).sum())}


def oracle_metrics(
    policy: RolloutPolicy, oracle: HasLogProb, spec: TokenSpec, held_out: Tensor, num_samples: int, rng: torch.Generator
) -> dict[str, float]:
    """Every likelihood metric; those that need the policy's own likelihoods are left out where it has no `log_prob`.

    Args:
        policy: sampled, and asked for `log_prob(tokens)` if it has it.
        oracle: the true distribution.
        spec: of the sequences.
        held_out: (M, T) samples of the oracle that the policy was never trained on.
        num_samples: sequences drawn from the policy.
        rng: for these.
    """
    samples = sample_sequences(policy, spec, num_samples, rng)
    metrics = {"nll_oracle": nll_per_token(oracle, spec, samples)}
    if isinstance(policy, HasLogProb):
        metrics["nll_gen"] = nll_per_token(policy, spec, held_out)
        metrics["entropy"] = nll_per_token(policy, spec, samples)
        metrics["kl_reverse"] = metrics["nll_oracle"] - metrics["entropy"]
        metrics["kl_forward"] = metrics["nll_gen"] - nll_per_token(oracle, spec, held_out)
    return metrics | unigram_metrics(spec, samples)
