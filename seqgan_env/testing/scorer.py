"""The checker of score sources."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqgan_env.rewards.sources import make_source
from seqgan_env.rewards.values import checked
from seqgan_env.streams import RowStreams
from seqgan_env.testing.shared import call, prefixes, random_sequences, small_env
from seqgan_env.types import AdditiveScorer, PrefixValue, SequenceScorer, TokenSpec, ToldOfPolicy


def check_scorer(scorer: object, spec: TokenSpec | None = None) -> None:
    """Verifies a score source: a `SequenceScorer`, or the value of a prefix.

    Examples:
        >>> class FirstToken:
        ...     def score(self, tokens):  # (B, T) -> (B,)
        ...         return (tokens[:, 0] == 0).float()
        >>> check_scorer(FirstToken())

    Args:
        scorer: an object; or a class, of which one is made on a small oracle task as `seqgan train
            --source` would.
        spec: of its sequences; by default that of a small oracle task.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    rewards = small_env().unwrapped.rewards  # type: ignore[attr-defined]
    source = call("the source", make_source, scorer, rewards.task, rewards.policy)
    if isinstance(source, ToldOfPolicy):
        call(f"{type(source).__name__}.bind", source.bind, rewards.policy)
    spec = spec or rewards.spec
    rng = torch.Generator().manual_seed(0)
    if isinstance(source, SequenceScorer):
        tokens = random_sequences(spec, 24, rng)
        _check_source(f"{type(source).__name__}.score", source, source.score, (tokens,))
        if isinstance(source, AdditiveScorer):
            _check_parts(source, tokens, spec)
        return
    tokens, lengths = prefixes(spec, rng)

    def value(tokens: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        found: Tensor = source(tokens, lengths, RowStreams(keys))
        return found

    keys = torch.arange(len(tokens))
    _check_source(type(source).__name__, source, value, (tokens, lengths, keys))


def _check_parts(source: AdditiveScorer, tokens: Tensor, spec: TokenSpec) -> None:
    """The parts of a score sum to it, and none looks ahead."""
    what = f"{type(source).__name__}.token_scores"
    try:
        parts = source.token_scores(tokens)
    except ValueError:  # it says itself that its score is no sum as it is set up
        return
    assert isinstance(parts, Tensor), f"{what} returned a {type(parts).__name__}; expected a Tensor"
    assert parts.shape == tokens.shape, (
        f"{what} returned shape {tuple(parts.shape)} for tokens {tuple(tokens.shape)}; expected "
        "one number a token"
    )
    score = source.score(tokens).double()
    assert torch.allclose(parts.double().sum(1), score, rtol=1e-4, atol=1e-4), (
        f"the parts of {what} do not sum to the score; expected that of a finished sequence they do"
    )
    half = tokens.clone()
    half[:, spec.seq_len // 2 :] = spec.pad_token
    before = half != spec.pad_token
    assert torch.allclose(source.token_scores(half)[before], parts[before], rtol=1e-4, atol=1e-4), (
        f"{what} of a token changes with what comes behind it; it may depend on the token and on "
        "those before it alone"
    )


def _check_source(
    what: str,
    source: SequenceScorer | PrefixValue,
    score: Callable[..., Tensor],
    arrays: tuple[Tensor, ...],
) -> None:
    """What a source says of rows `arrays`, (B, ...) each, is a number a row, and the row's own."""
    tokens = arrays[0]
    given, state = [each.clone() for each in arrays], torch.get_rng_state()
    result = call(what, score, *arrays)
    call(what, checked, source, result, tokens)
    assert all(map(torch.equal, arrays, given)), (
        f"{what} changed the caller's arrays; it must work on copies"
    )
    assert torch.equal(torch.get_rng_state(), state), (
        f"{what} draws from torch's global generator; a score may not be random, and the value of "
        "a prefix draws from rng"
    )
    assert torch.equal(score(*arrays), result), (
        f"{what} gave other numbers for the same sequences; it must depend on nothing else"
    )
    order = torch.arange(len(tokens) - 1, -1, -1)
    moved = score(*(each[order] for each in arrays))
    assert torch.allclose(moved, result[order], rtol=1e-4, atol=1e-5), (
        f"{what} depends on the order of the batch; a row's number may depend on that row alone"
    )
    alone = score(*(each[:1] for each in arrays))
    assert torch.allclose(alone, result[:1], rtol=1e-4, atol=1e-5), (
        f"{what} depends on the rest of the batch; a row's number may depend on that row alone"
    )
