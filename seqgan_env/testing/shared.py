"""What several checkers need: a small environment, sequences to ask about, how a call is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from seqgan_env.types import TokenSpec


def small_env(**settings: Any) -> VectorEnv:
    """An oracle environment that is quickly made and stepped; its episodes teach nothing.

    Args:
        settings: of its rewards and its discriminator.
    """
    return gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=8,
        online=False,
        vocab_size=6,
        seq_len=5,
        num_real=100,
        num_held_out=100,
        **{"num_rollouts": 2} | settings,
    )


def random_sequences(spec: TokenSpec, num: int, rng: torch.Generator) -> Tensor:
    """Finished sequences (num, T) of uniform tokens."""
    tokens = torch.randint(spec.vocab_size, (num, spec.seq_len), generator=rng)
    if spec.eos_token is None:
        return tokens
    early = tokens[:, : spec.min_length]
    early[early == spec.eos_token] = (spec.eos_token + 1) % spec.vocab_size
    ends = (tokens == spec.eos_token).cumsum(1) - (tokens == spec.eos_token).long()
    return tokens.masked_fill(ends > 0, spec.pad_token)


def prefixes(spec: TokenSpec, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Prefixes (B, T) and lengths (B,): empty ones, ragged ones and finished ones."""
    tokens = random_sequences(spec, 48, rng)
    lengths = (torch.rand(48, generator=rng) * spec.lengths(tokens)).long()
    lengths[:16] = 0
    lengths[32:] = spec.lengths(tokens)[32:]
    return tokens.masked_fill(
        torch.arange(spec.seq_len) >= lengths.unsqueeze(1), spec.pad_token
    ), lengths


def device_of(policy: object) -> torch.device:
    """Where a policy lives; the CPU where it does not say."""
    return torch.device(getattr(policy, "device", "cpu"))


def call(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `function` returns; an AssertionError that begins with `what` if it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as problem:
        hint = ""
        if isinstance(problem, AttributeError) and "'EnvSpec' object" in str(problem):
            hint = "; env.spec is Gymnasium's, the TokenSpec is env.unwrapped.task.spec"
        said = f"{what} raised {type(problem).__name__}: {problem}{hint}"
        raise AssertionError(said) from problem


def check_metrics(what: str, metrics: object) -> None:
    """Asserts that `what` returned numbers by name."""
    expected = "expected dict[str, float]"
    assert isinstance(metrics, dict), f"{what} returned a {type(metrics).__name__}; {expected}"
    for key, value in metrics.items():
        assert isinstance(key, str), (
            f"{what} returned the key {key!r}, a {type(key).__name__}; {expected}"
        )
        number = isinstance(value, (float, int)) and not isinstance(value, bool)
        assert number, f"{what} returned {key!r} as a {type(value).__name__}; {expected}"
