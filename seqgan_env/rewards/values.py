"""Monte Carlo values of prefixes, Q(Y_1:t) = E[score(completion)], the heart of the package (Yu et
al. 2017, eq. 4).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env.budget import Budget
from seqgan_env.streams import RowStreams
from seqgan_env.types import (
    AdditiveScorer,
    PrefixValue,
    RolloutPolicy,
    SequenceScorer,
    TokenSpec,
)

_COMPLETIONS_PER_CHUNK = 2**15


class RolloutValue:
    """The mean score of `num_rollouts` completions of a prefix; the score itself where the prefix
    is finished.

    The random stream of a completion is a function of the row's stream, the length of its prefix
    and the number of the rollout. So a value does not depend on the batch it was asked in: stepping
    and offline scoring agree.
    """

    def __init__(
        self,
        spec: TokenSpec,
        policy: RolloutPolicy,
        scorer: SequenceScorer,
        num_rollouts: int,
        budget: Budget | None = None,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            policy: rolled out.
            scorer: of finished sequences.
            num_rollouts: N.
            budget: counts what is spent; a new one if not given.
        """
        if num_rollouts < 1:
            raise ValueError(f"num_rollouts is {num_rollouts}; allowed is 1 or more")
        self.spec, self.policy, self.scorer, self.num_rollouts = spec, policy, scorer, num_rollouts
        self.budget = budget or Budget()

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Values (B,) of the prefixes `tokens` (B, T), `lengths` (B,)."""
        streams = RowStreams.draw(rng, len(tokens)).fold_in(lengths)
        values = torch.zeros(len(tokens), device=tokens.device, dtype=torch.float32)
        finished = self.spec.is_complete(tokens, lengths)
        if bool(finished.any()):
            values[finished] = self._score(tokens[finished])
        for rows in (
            (~finished)
            .nonzero()
            .squeeze(1)
            .split(max(1, _COMPLETIONS_PER_CHUNK // self.num_rollouts))
        ):
            if len(rows):
                values[rows] = self._mean_score(tokens[rows], lengths[rows], streams.select(rows))
        return values

    def _mean_score(self, tokens: Tensor, lengths: Tensor, streams: RowStreams) -> Tensor:
        repeated = tokens.repeat_interleave(self.num_rollouts, dim=0)  # (B * N, T)
        completions = self.policy.complete(
            repeated,
            lengths.repeat_interleave(self.num_rollouts),
            streams.repeat(self.num_rollouts),
        )
        check_completions(self.policy, completions, repeated)
        self.budget.rollout_tokens += int(
            self.spec.lengths(completions).sum() - self.num_rollouts * lengths.sum()
        )
        return (
            self._score(completions).view(-1, self.num_rollouts).mean(1)
        )  # (B * N,) -> (B, N) -> (B,)

    def _score(self, tokens: Tensor) -> Tensor:
        scores = checked(self.scorer, self.scorer.score(tokens), tokens)
        self.budget.sequences_scored += len(tokens)
        return scores


class EarnedValue:
    """What the tokens of a prefix have earned so far, of a score that is a sum over tokens.

    It asks for no rollouts. Its differences, the parts of the tokens, sum to the score of the
    sequence; and in expectation over what follows, the parts still to come are the rest of the
    Monte Carlo value.
    """

    def __init__(self, scorer: SequenceScorer, budget: Budget | None = None) -> None:
        """
        Args:
            scorer: an `AdditiveScorer`.
            budget: counts what is spent; a new one if not given.

        Raises:
            ValueError: its score is no sum over tokens.
        """
        self.scorer, self.budget = additive(scorer), budget or Budget()

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        """Values (B,) of the prefixes `tokens` (B, T), `lengths` (B,), 1 or more."""
        return self.along(tokens).gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)

    def along(self, tokens: Tensor) -> Tensor:
        """The values of every prefix of sequences (B, T), (B, T): what stands behind position t is
        that of the first t + 1 tokens.
        """
        name = f"{type(self.scorer).__name__}.token_scores"
        parts = _checked(name, self.scorer.token_scores(tokens), tokens.shape, tokens)
        self.budget.sequences_scored += len(tokens)
        return parts.double().cumsum(1).to(torch.float32)


def additive(scorer: SequenceScorer) -> AdditiveScorer:
    """`scorer` as it is, if its score is a sum over tokens.

    Raises:
        ValueError: it has no `token_scores`.
    """
    if not isinstance(scorer, AdditiveScorer):
        raise ValueError(
            "reward form 'token' pays every token its part of a score that is a sum over tokens; "
            f"{type(scorer).__name__} has no token_scores(tokens). Allowed are the other forms, or "
            "a source such as 'optimal' or the discriminator 'ratio'"
        )
    return scorer


def check_completions(policy: RolloutPolicy, found: Any, tokens: Tensor) -> None:
    """Raises a ValueError, with the class of `policy`, unless what it made of prefixes (B, T) has
    their shape, number type and device. What it wrote is not looked at, for that would take time:
    see `seqgan_env.testing.check_policy`.
    """
    name = f"{type(policy).__name__}.complete"
    if not isinstance(found, Tensor):
        raise ValueError(f"{name} returned a {type(found).__name__}; expected a torch.Tensor")
    if found.shape != tokens.shape:
        raise ValueError(
            f"{name} returned shape {tuple(found.shape)} for prefixes {tuple(tokens.shape)}; "
            "expected the same"
        )
    if found.dtype != torch.int64:
        raise ValueError(f"{name} returned dtype {found.dtype}; expected torch.int64")
    if found.device != tokens.device:
        raise ValueError(
            f"{name} returned a tensor on {found.device} for tokens on {tokens.device}; expected "
            "the same device"
        )


def checked(source: SequenceScorer | PrefixValue, found: Tensor, tokens: Tensor) -> Tensor:
    """What `source` said of `tokens` (B, T), as (B,) float32.

    Raises:
        ValueError: it is not one finite number a row, without a graph; names the class.
    """
    scores = isinstance(source, SequenceScorer)
    name = type(source).__name__ + (".score" if scores else "")
    return _checked(name, found, (len(tokens),), tokens).to(torch.float32)


def _checked(name: str, found: Any, shape: tuple[int, ...], tokens: Tensor) -> Tensor:
    """`found` as it is, if it is of `shape`, a finite number for each row of `tokens` (B, T) or for
    each token, and without a graph.

    Raises:
        ValueError: it is something else; begins with `name`.
    """
    if not isinstance(found, Tensor):
        raise ValueError(f"{name} returned a {type(found).__name__}; expected a torch.Tensor")
    if found.shape != shape:
        raise ValueError(
            f"{name} returned shape {tuple(found.shape)} for {len(tokens)} sequences; expected "
            f"{tuple(shape)}"
        )
    if not found.is_floating_point():
        raise ValueError(f"{name} returned dtype {found.dtype}; expected floating point")
    if found.device != tokens.device:
        raise ValueError(
            f"{name} returned a tensor on {found.device} for tokens on {tokens.device}; expected "
            "the same device"
        )
    if found.requires_grad:
        raise ValueError(
            f"{name} returned a tensor with a graph; score under torch.no_grad(), a reward is a "
            "number"
        )
    bad = ~torch.isfinite(found)
    if bool(bad.any()):
        first = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name} returned {float(found[first])} for {tokens[first[0]].tolist()}; scores must "
            "be finite"
        )
    return found


def action_values(
    value: PrefixValue, spec: TokenSpec, tokens: Tensor, rng: torch.Generator
) -> Tensor:
    """Q of every token of finished sequences, (B, T), in one call; 0 behind the end.

    Args:
        value: of prefixes.
        spec: of the sequences.
        tokens: (B, T) int64, finished.
        rng: row streams, or any generator.
    """
    if isinstance(value, EarnedValue):
        return value.along(tokens).masked_fill(tokens == spec.pad_token, 0.0)
    batch, steps = tokens.shape
    streams = RowStreams.draw(rng, batch)
    position = torch.arange(steps, device=tokens.device)
    written = (position < spec.lengths(tokens).unsqueeze(1)).flatten()  # (B * T,)
    prefixes = (
        tokens.unsqueeze(1)
        .expand(batch, steps, steps)
        .masked_fill(position > position.unsqueeze(1), spec.pad_token)
    )
    rows = torch.arange(batch, device=tokens.device).repeat_interleave(steps)[written]
    lengths = (position + 1).repeat(batch)[written]
    values = torch.zeros(batch * steps, device=tokens.device, dtype=torch.float32)
    values[written] = value(prefixes.flatten(0, 1)[written], lengths, streams.select(rows))
    return values.view(batch, steps)


class LaggedPolicy:
    """The rollout policy as the paper describes it: a copy that moves towards the live policy at
    every `sync`.

    beta <- sync_rate * theta + (1 - sync_rate) * beta, for `sync_rate` in (0, 1).
    """

    def __init__(self, policy: RolloutPolicy, sync_rate: float) -> None:
        if not isinstance(policy, nn.Module):
            raise TypeError(
                f"sync_rate {sync_rate} needs a policy that is a torch.nn.Module; "
                f"{type(policy).__name__} is not"
            )
        self.live, self.sync_rate = policy, sync_rate
        self.copy = copy.deepcopy(policy)

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        return self.copy.complete(tokens, lengths, rng)

    @torch.no_grad()
    def sync(self) -> None:
        """Moves the copy towards the live policy."""
        assert isinstance(self.live, nn.Module)
        for lagged, live in zip(self.copy.parameters(), self.live.parameters(), strict=True):
            lagged.lerp_(live, self.sync_rate)
