"""The checker of discriminators."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor

from seqgan_env.building import undisturbed
from seqgan_env.discriminators.base import Discriminator, in_mode, silent
from seqgan_env.discriminators.loading import make_by
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.testing.shared import call, check_metrics, random_sequences
from seqgan_env.types import TokenSpec


def check_discriminator(discriminator: object, spec: TokenSpec | None = None) -> None:
    """Verifies a plug-in `Discriminator`.

    It is trained a little, and told of a small policy: check a fresh one.

    Examples:
        >>> from seqgan_env.discriminators.lstm import LSTMDiscriminator
        >>> check_discriminator(LSTMDiscriminator)

    Args:
        discriminator: an object; or a class or function, of which one is made as `seqgan train`
            would: `Class(spec, rng)`.
        spec: of its sequences; by default its own, or a small one.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    if not isinstance(discriminator, torch.nn.Module):
        spec = spec or TokenSpec(6, 5)
        discriminator = _made_discriminator(discriminator, spec)
    name = type(discriminator).__name__
    assert isinstance(discriminator, Discriminator), (
        f"{name} is no seqgan_env.Discriminator; derive it from that and give it a forward(tokens, "
        "dropout_rng=None)"
    )
    spec = spec or discriminator.spec
    policy = LSTMLanguageModel.initialised(spec, torch.Generator().manual_seed(0), 4, 4)
    policy = policy.to(discriminator.device)
    call("bind", discriminator.bind, policy)
    own = set(map(id, discriminator.parameters()))
    assert own.isdisjoint(map(id, policy.parameters())), (
        f"{name} has the policy's parameters among its own and would train them; hold the policy "
        "in something that is no torch.nn.Module"
    )
    rng = torch.Generator().manual_seed(1)
    real = random_sequences(spec, 48, rng).to(discriminator.device)
    generated = random_sequences(spec, 48, rng).to(discriminator.device)
    learned = call(
        "pretrain",
        discriminator.pretrain,
        real.to(torch.int32),  # a large corpus is no int64
        generated,
        _generator(discriminator, 2),
        silent,
    )
    check_metrics("pretrain", learned)
    _check_logits(discriminator, real)
    _check_scores(discriminator, real)
    _check_dropout(discriminator, real)
    _check_state(discriminator, real)
    if discriminator.learns_from_negatives:
        _check_training(discriminator, real, generated)


def _made_discriminator(make: object, spec: TokenSpec) -> object:
    """A discriminator by its class; made twice, for it must depend on nothing but `rng`."""
    name = getattr(make, "__name__", type(make).__name__)
    assert callable(make), (
        f"{name} is neither a discriminator nor a class of them; expected a subclass of "
        "seqgan_env.Discriminator"
    )
    first = call(name, make_by, make, spec, torch.Generator().manual_seed(0))
    second = call(name, make_by, make, spec, torch.Generator().manual_seed(0))
    if not isinstance(first, torch.nn.Module):
        return first  # which the caller refuses
    again = second.state_dict()
    for key, value in first.state_dict().items():
        assert torch.equal(value, again[key]), (
            f"{name} begins with other parameters ({key}) for the same rng; draw them from rng, or "
            "from torch's generator, which follows rng while it is made"
        )
    return first


def _generator(discriminator: Discriminator, seed: int) -> torch.Generator:
    return torch.Generator(device=discriminator.device).manual_seed(seed)


def _check_logits(discriminator: Discriminator, tokens: Tensor) -> None:
    given = tokens.clone()
    modes = _modes(discriminator)
    result = call("logits", discriminator.logits, tokens)
    _check_numbers("logits", result, len(tokens))
    assert torch.equal(tokens, given), "logits changed the caller's sequences; work on a copy"
    assert not result.requires_grad, "logits returned a graph; expected no gradient"
    assert modes == _modes(discriminator), (
        "logits left the discriminator in another mode (train, eval); it must put it back"
    )
    again = torch.equal(discriminator.logits(tokens), result)
    assert again, "logits gave other numbers the second time; without dropout_rng nothing is random"
    alone = torch.cat([discriminator.logits(row.unsqueeze(0)) for row in tokens])  # (B,)
    assert torch.allclose(alone, result, rtol=1e-4, atol=1e-4), (
        "the logit of a sequence depends on the others in its batch, by up to "
        f"{float((alone - result).abs().max()):.3g}; it must be a function of the sequence"
    )


def _modes(discriminator: Discriminator) -> list[bool]:
    """For every part, whether it is in training."""
    return [part.training for part in discriminator.modules()]


def _check_scores(discriminator: Discriminator, tokens: Tensor) -> None:
    before = discriminator.score_as
    logits = discriminator.logits(tokens)
    for kind, expected in (("logit", logits), ("probability", torch.sigmoid(logits))):
        discriminator.score_as = kind
        scores = call("score", discriminator.score, tokens)
        _check_numbers("score", scores, len(tokens))
        assert torch.allclose(scores, expected, atol=1e-4), (
            f"score is not the {kind} where score_as is {kind!r}; leave score as it is, and "
            "override forward"
        )
    discriminator.score_as = before


def _check_dropout(discriminator: Discriminator, tokens: Tensor) -> None:
    """What is random in training comes from `dropout_rng`."""

    def forward(global_seed: int) -> Tensor:
        with undisturbed(), in_mode(discriminator, training=True):
            torch.manual_seed(global_seed)
            result = call("forward", discriminator, tokens, _generator(discriminator, 3))
        _check_numbers("forward", result, len(tokens))
        numbers: Tensor = result.detach()
        return numbers

    assert torch.equal(forward(0), forward(1)), (
        "forward draws from torch's global generator (as torch.nn.Dropout does); draw from "
        "dropout_rng"
    )


def _check_state(discriminator: Discriminator, tokens: Tensor) -> None:
    """What is scored follows the parameters, whoever wrote them, and is all in them."""
    copy = call("copy.deepcopy", deepcopy, discriminator)
    # A copy with other parameters scores otherwise: nothing was kept from before.
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in copy.parameters():
            noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float32)
            parameter.add_(noise.to(parameter.device, parameter.dtype))
    before = discriminator.logits(tokens)
    followed = not torch.equal(copy.logits(tokens), before)
    assert followed, "logits stay as they were when parameters change; caches must follow them"
    # With the old parameters it scores as before: nothing is kept elsewhere.
    copy.load_state_dict(deepcopy(discriminator.state_dict()))
    same = torch.allclose(copy.logits(tokens), before)
    assert same, (
        "a copy with the same state_dict scores otherwise; what forward reads must be parameters "
        "or buffers"
    )


def _check_training(discriminator: Discriminator, real: Tensor, generated: Tensor) -> None:
    # The same steps twice, on a copy and on the discriminator itself.
    before = deepcopy(list(discriminator.parameters()))
    losses = []
    for model in (deepcopy(discriminator), discriminator):
        trainer = DiscriminatorTrainer(model)
        rng = _generator(discriminator, 4)
        losses.append(call("a d-step", trainer.fit, real, generated, 2, rng)["loss"])
    assert math.isfinite(losses[0]), f"a d-step lost {losses[0]} nats; expected a finite loss"
    assert losses[0] == losses[1], (
        "d-steps from the same parameters and rng lost different numbers of nats; draw from "
        "dropout_rng and from nothing else"
    )
    moved = not all(map(torch.equal, before, discriminator.parameters()))
    assert moved, "a d-step moved no parameter; if that is meant, say learns_from_negatives = False"


def _check_numbers(what: str, result: object, num: int) -> None:
    assert isinstance(result, Tensor), (
        f"{what} returned a {type(result).__name__}; expected a torch.Tensor"
    )
    assert tuple(result.shape) == (num,), (
        f"{what} returned shape {tuple(result.shape)} for {num} sequences; expected ({num},)"
    )
    assert result.is_floating_point(), (
        f"{what} returned dtype {result.dtype}; expected floating point"
    )
    assert bool(torch.isfinite(result).all()), f"{what} returned numbers that are not finite"
