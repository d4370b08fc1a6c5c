"""The checker of policies that are rolled out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env.building import undisturbed
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.streams import RowStreams
from seqgan_env.testing.completions import check_completions
from seqgan_env.testing.shared import call, device_of, prefixes, random_sequences
from seqgan_env.types import TokenSpec


def check_policy(policy: object, spec: TokenSpec | None = None) -> None:
    """Verifies a `RolloutPolicy`, and its `log_prob` if it has one.

    Of a `LanguageModel` also that a hidden state depends on what was read so far alone, and that
    `start` and `advance` give the same as `hidden_states`.

    Examples:
        >>> from seqgan_env import GRULanguageModel
        >>> check_policy(GRULanguageModel)

    Args:
        policy: anything with `complete(tokens, lengths, rng)`; or a class, of which one is made as
            `seqgan train --policy` would: `Class(spec)`.
        spec: of its sequences; by default its own, or a small one.

    Raises:
        AssertionError: as `check_agent`.
    """
    if inspect.isclass(policy):
        spec = spec or TokenSpec(6, 5)
        with undisturbed():
            policy = call(policy.__name__, policy, spec)
    name = type(policy).__name__
    spec = spec or getattr(policy, "spec", None)
    assert isinstance(spec, TokenSpec), f"{name} has no spec; give check_policy one"
    if isinstance(policy, LanguageModel):
        _check_output(policy)
        _check_states(policy)
    complete = getattr(policy, "complete", None)
    assert callable(complete), f"the policy, a {name}, has no complete(tokens, lengths, rng)"
    tokens, lengths = (
        part.to(device_of(policy)) for part in prefixes(spec, torch.Generator().manual_seed(1))
    )
    for rows in (slice(None), slice(0, 1)):
        check_completions(complete, tokens[rows], lengths[rows], spec)
    _check_randomness(complete, spec, device_of(policy))
    log_prob = getattr(policy, "log_prob", None)
    if log_prob is not None:
        _check_log_prob(
            log_prob,
            random_sequences(spec, 8, torch.Generator().manual_seed(2)).to(device_of(policy)),
        )


def _check_output(model: LanguageModel) -> None:
    """All else reads `output`, if only to know where the model lives."""
    name, num_tokens = type(model).__name__, model.spec.vocab_size
    expected = (
        f"give it self.output, a torch.nn.Linear with a bias, from hidden states to the "
        f"{num_tokens} tokens"
    )
    output = getattr(model, "output", None)
    assert output is not None, f"{name} has no output layer; {expected}"
    plain = isinstance(output, nn.Linear) and output.bias is not None
    assert plain, f"{name}.output is {output!r}; {expected}"
    assert output.out_features == num_tokens, (
        f"{name}.output has {output.out_features} rows; {expected}"
    )


@torch.no_grad()
def _check_states(model: LanguageModel) -> None:
    """Hidden states look at nothing that comes later, and are the same token by token."""
    rng, name, spec = torch.Generator().manual_seed(3), type(model).__name__, model.spec
    tokens, others = (random_sequences(spec, 8, rng).to(model.device) for _ in range(2))
    inputs, half = model.inputs(tokens), spec.seq_len // 2
    later = torch.cat([inputs[:, :half], model.inputs(others)[:, half:]], dim=1)
    hidden = call(f"{name}.hidden_states", model.hidden_states, inputs)
    expected = (8, spec.seq_len, model.output.in_features)
    assert isinstance(hidden, Tensor), (
        f"{name}.hidden_states returned a {type(hidden).__name__}; expected a torch.Tensor"
    )
    assert tuple(hidden.shape) == expected, (
        f"{name}.hidden_states returned shape {tuple(hidden.shape)} for inputs "
        f"{tuple(inputs.shape)}; expected {expected}"
    )
    causal = torch.allclose(model.hidden_states(later)[:, :half], hidden[:, :half], atol=1e-4)
    assert causal, (
        f"{name}.hidden_states looks ahead: other inputs from position {half} on changed states "
        "before it; mask what comes later"
    )
    state = call(f"{name}.start", model.start, len(tokens))
    for t in range(spec.seq_len):
        advanced = call(f"{name}.advance", model.advance, state, inputs[:, t])
        is_pair = isinstance(advanced, tuple) and len(advanced) == 2
        assert is_pair, (
            f"{name}.advance returned a {type(advanced).__name__}; expected a tuple of the hidden "
            "states and the next state"
        )
        here, state = advanced
        assert getattr(here, "shape", None) == hidden[:, t].shape, (
            f"{name}.advance returned hidden states that are no tensor of shape "
            f"{tuple(hidden[:, t].shape)}"
        )
        same = torch.allclose(here, hidden[:, t], atol=1e-4)
        assert same, (
            f"{name}.advance gives another state than hidden_states at position {t}; both must "
            "encode the inputs up to there"
        )


def _check_randomness(complete: Callable[..., Any], spec: TokenSpec, device: torch.device) -> None:
    empty = torch.full((64, spec.seq_len), spec.pad_token, device=device)

    def sample(rng: torch.Generator) -> Tensor:
        result: Tensor = complete(empty, empty.new_zeros(64), rng)
        return result

    def plain(seed: int) -> torch.Generator:
        return torch.Generator(device=device).manual_seed(seed)

    def rows(seed: int) -> RowStreams:
        return RowStreams(torch.arange(64, device=device) + 64 * seed)

    for streams in (plain, rows):
        again = torch.equal(sample(streams(0)), sample(streams(0)))
        assert again, (
            "policy.complete ignores rng: the same seed gave other completions; draw from rng and "
            "from nothing else"
        )
        other = torch.equal(sample(streams(0)), sample(streams(1)))
        assert not other, (
            "policy.complete ignores rng: different seeds gave the same completions; draw tokens "
            "from rng"
        )


def _check_log_prob(log_prob: Callable[..., Any], tokens: Tensor) -> None:
    given = tokens.clone()
    result = call("policy.log_prob", log_prob, tokens)
    assert torch.equal(tokens, given), (
        "policy.log_prob changed the caller's arrays; it must leave them as they are"
    )
    assert isinstance(result, Tensor), (
        f"policy.log_prob returned a {type(result).__name__}; expected a torch.Tensor"
    )
    shape, expected = tuple(result.shape), (len(tokens),)
    assert shape == expected, (
        f"policy.log_prob returned shape {shape} for {len(tokens)} sequences; expected {expected}"
    )
    assert result.is_floating_point(), (
        f"policy.log_prob returned dtype {result.dtype}; expected floating point, in nats"
    )
    proper = bool((result <= 1e-4).all())  # not true of a number that is none
    assert proper, f"policy.log_prob returned {result.max():.4g}; a log-probability is at most 0"
