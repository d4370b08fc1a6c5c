"""When training has gone so wrong that going on, or saving anything of it, makes no sense."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

# Writing every token with the same probability costs log V nats a token. Whoever is worse than
# that a hundredfold has not learned badly; its numbers have run away.
WORSE_THAN_UNIFORM = 100.0

_LIKELIHOODS = ("nll_validation", "nll_gen")
_OF_DISCRIMINATOR = "learning_rate of the discriminator (--set-discriminator)"
_RATE = {
    "pre-train policy": "mle_learning_rate",
    "pre-train discriminator": _OF_DISCRIMINATOR,
    "adversarial": "learning_rate",
    "constant-reward control": "learning_rate",
}


class DivergenceError(ValueError):
    """Training has diverged; the message names phase, step, quantity and the setting to lower."""


def check_health(
    phase: str,
    done: int,
    metrics: Mapping[str, float],
    vocab_size: int,
    policy: object,
    discriminator: object = None,
) -> None:
    """Checks losses, likelihoods and weights after an epoch or a round.

    Args:
        phase: of the run, as its progress names it.
        done: epochs or rounds of this phase.
        metrics: of the last one.
        vocab_size: V.
        policy: whose weights are looked at, where it is a `torch.nn.Module`.
        discriminator: the same.

    Raises:
        DivergenceError: a loss or a weight is not finite, or a likelihood is worse than that of
            uniform tokens by a factor of `WORSE_THAN_UNIFORM`.
    """
    limit = WORSE_THAN_UNIFORM * math.log(max(2, vocab_size))
    for key, value in metrics.items():
        name = key.split("/")[-1]
        if ("loss" in name or name == "grad_norm") and not math.isfinite(value):
            raise _diverged(phase, done, f"{key} is {value}")
        if name in _LIKELIHOODS and (math.isnan(value) or limit < value < math.inf):
            raise _diverged(
                phase,
                done,
                f"{key} is {value:.3g} nats per token; uniform tokens have "
                f"{math.log(max(2, vocab_size)):.3g}",
            )
    if isinstance(policy, nn.Module) and not _is_finite(policy):
        raise _diverged(phase, done, "a weight of the policy is not finite")
    if isinstance(discriminator, nn.Module) and not _is_finite(discriminator):
        what = "a weight of the discriminator is not finite"
        raise _diverged(phase, done, what, _OF_DISCRIMINATOR)


@torch.no_grad()
def _is_finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def _diverged(phase: str, done: int, what: str, rate: str | None = None) -> DivergenceError:
    """The error; `rate` is the setting to lower, by default that of the phase."""
    step = "epoch"
    if phase in ("adversarial", "constant-reward control"):
        step = "round"
    hint = ""
    rate = rate or _RATE.get(phase)
    if rate is not None:
        hint = f"; try a smaller {rate}"
    return DivergenceError(f"training diverged in phase {phase!r}, {step} {done}: {what}{hint}")
