"""Checks of finished sequences that a policy has written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqgan_env.testing.shared import call
from seqgan_env.types import TokenSpec


def check_completions(
    complete: Callable[..., Any], tokens: Tensor, lengths: Tensor, spec: TokenSpec
) -> None:
    """Asserts that `complete` finishes the prefixes (B, T) of lengths (B,), keeps them, and leaves
    the caller's arrays as they are.
    """
    what = "policy.complete"
    given = tokens.clone(), lengths.clone()
    result = call(
        what, complete, tokens, lengths, torch.Generator(device=tokens.device).manual_seed(0)
    )
    unchanged = torch.equal(tokens, given[0]) and torch.equal(lengths, given[1])
    assert unchanged, f"{what} changed the caller's arrays; it must work on a copy (tokens.clone())"
    assert isinstance(result, Tensor), (
        f"{what} returned a {type(result).__name__}; expected a torch.Tensor"
    )
    shape, expected = tuple(result.shape), tuple(tokens.shape)
    assert shape == expected, (
        f"{what} returned shape {shape} for {len(tokens)} prefixes; expected {expected}"
    )
    assert result.dtype == torch.int64, (
        f"{what} returned dtype {result.dtype}; expected torch.int64"
    )
    assert result.device == tokens.device, (
        f"{what} returned a tensor on {result.device}; expected {tokens.device}"
    )
    outside = (result < 0) | (result > spec.pad_token)
    assert not outside.any(), (
        f"{what} wrote token {int(result[outside][0])}, out of range; allowed are "
        f"0..{spec.vocab_size - 1}, and {spec.pad_token} behind the end of a sequence"
    )
    _check_prefixes_kept(result, tokens, lengths, spec)
    _check_finished(result, spec)


def _check_prefixes_kept(result: Tensor, tokens: Tensor, lengths: Tensor, spec: TokenSpec) -> None:
    finished = spec.is_complete(tokens, lengths)
    same = (result == tokens)[finished].all()
    assert same, (
        "policy.complete changed a finished prefix; it must come back as it was given, padding "
        "included"
    )
    written = torch.arange(spec.seq_len, device=tokens.device) < lengths.unsqueeze(1)
    kept = ((result == tokens) | ~written).all(1)
    row = int((~kept).int().argmax())
    assert kept.all(), (
        f"policy.complete ignores the given prefix: {tokens[row, : lengths[row]].tolist()} became "
        f"{result[row, : lengths[row]].tolist()}; a completion begins with its prefix"
    )


def _check_finished(result: Tensor, spec: TokenSpec) -> None:
    try:
        spec.check_sequences(result, "what policy.complete returned")
    except ValueError as problem:
        raise AssertionError(str(problem)) from problem
    early = spec.eos_token is not None and bool(
        (result[:, : spec.min_length] == spec.eos_token).any()
    )
    assert not early, (
        f"policy.complete ended a sequence before {spec.min_length} tokens (min_length), where the "
        "end is masked"
    )
