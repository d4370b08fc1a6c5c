"""The checker of knobs."""

from __future__ import annotations

import inspect
import math
from copy import deepcopy

import torch
from torch import Tensor

from seqgan_env import registry
from seqgan_env.generators.knobs import Knob, LikelihoodPolicy
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.testing.completions import check_completions
from seqgan_env.testing.shared import call, prefixes
from seqgan_env.types import TokenSpec

_NUM_DRAWS = 20_000
_NORMALISED = 0.03  # how far the sum of all probabilities may be from 1; some are estimates


def check_knob(knob: object, policy: LanguageModel | None = None) -> None:
    """Verifies a `Knob`: that what it makes of a policy writes what it says is likely.

    Examples:
        >>> from seqgan_env.generators.knobs import Temperature
        >>> check_knob(Temperature(0.5))

    Args:
        knob: an object; or a class without arguments, of which one is made.
        policy: that is turned; by default a small language model. Every sequence of its spec is
            looked at: there may be some thousands.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    if inspect.isclass(knob):
        knob = call(knob.__name__, knob)
    name = type(knob).__name__
    assert isinstance(knob, Knob), f"{name} is no knob; a knob needs {registry.KNOBS.hint}"
    named = isinstance(knob.name, str) and knob.name != ""
    assert named, f"{name}.name is {knob.name!r}; expected text, as it stands in tables"
    same = call(f"hash of {name}", hash, deepcopy(knob)) == hash(knob) and deepcopy(knob) == knob
    assert same, f"{name} is not equal to its copy; compare by value, as a frozen dataclass does"
    assert call(f"{name}.fits", knob.fits, object()) in (True, False), (
        f"{name}.fits must answer True or False of any object"
    )
    policy = policy or _random_model(TokenSpec(4, 4, eos_token=0, min_length=1))
    assert knob.fits(policy) is True, f"{name} does not fit {type(policy).__name__}; give one"
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    turned = call(name, knob, policy)
    assert callable(getattr(turned, "complete", None)), f"{name} makes no policy: no complete"
    assert callable(getattr(turned, "log_prob", None)), (
        f"{name} makes a policy without log_prob(tokens); its divergences could not be measured"
    )
    tokens, lengths = prefixes(policy.spec, torch.Generator().manual_seed(1))
    check_completions(turned.complete, tokens, lengths, policy.spec)
    _check_distribution(name, turned, policy.spec)
    kept = all(torch.equal(before[key], value) for key, value in policy.state_dict().items())
    assert kept, f"{name} changed the policy that it was given; turn a copy"


def _check_distribution(name: str, policy: LikelihoodPolicy, spec: TokenSpec) -> None:
    """The probabilities of all sequences sum to 1, and are the shares of what is written."""
    everything = _all_sequences(spec)
    log_probs = call(f"{name}: log_prob", policy.log_prob, everything)
    assert tuple(log_probs.shape) == (len(everything),), (
        f"{name}: log_prob returned shape {tuple(log_probs.shape)} for {len(everything)} "
        f"sequences; expected ({len(everything)},)"
    )
    probs = log_probs.double().exp()
    total = float(probs.sum())
    assert abs(total - 1) < _NORMALISED, (
        f"{name}: the probabilities of all sequences sum to {total:.4g}; log_prob must be "
        "normalised, or every divergence of it is wrong"
    )
    empty = torch.full((_NUM_DRAWS, spec.seq_len), spec.pad_token)
    rng = torch.Generator().manual_seed(2)
    samples = policy.complete(empty, empty.new_zeros(_NUM_DRAWS), rng)
    for row in probs.topk(min(8, len(probs))).indices.tolist():
        expected = float(probs[row] / total)
        share = float((samples == everything[row]).all(1).double().mean())
        error = 5 * math.sqrt(expected * (1 - expected) / _NUM_DRAWS) + _NORMALISED * expected
        assert abs(share - expected) <= error, (
            f"{name}: {everything[row].tolist()} is a share {share:.4f} of what is written; "
            f"log_prob says {expected:.4f}"
        )


def _all_sequences(spec: TokenSpec) -> Tensor:
    """Every finished sequence (M, T) of a small spec."""
    axes = [torch.arange(spec.vocab_size)] * spec.seq_len
    tokens = torch.cartesian_prod(*axes).view(-1, spec.seq_len)
    if spec.eos_token is None:
        return tokens
    ends = (tokens == spec.eos_token).cumsum(1) - (tokens == spec.eos_token).long()
    early = (tokens[:, : spec.min_length] == spec.eos_token).any(1)
    finished: Tensor = tokens[~early].masked_fill(ends[~early] > 0, spec.pad_token)
    different: Tensor = torch.unique(finished, dim=0)
    return different


def _random_model(spec: TokenSpec) -> LanguageModel:
    """A small language model whose probabilities differ."""
    rng = torch.Generator().manual_seed(0)
    model = LSTMLanguageModel.initialised(spec, rng, 4, 4)
    with torch.no_grad():
        model.output.weight.mul_(20)
        model.output.bias.copy_(torch.randn(spec.vocab_size, generator=rng))
    return model
