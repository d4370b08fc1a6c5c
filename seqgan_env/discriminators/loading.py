"""New discriminators by the name of their class, with options that are checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from seqgan_env.building import undisturbed
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.names import arguments_of, check_options
from seqgan_env.registry import DISCRIMINATORS
from seqgan_env.types import TokenSpec

_GIVEN = ("spec", "rng")  # arguments that are no options


def load_discriminator(thing: Any) -> Callable[..., Discriminator]:
    """What makes a discriminator of `spec`, `rng` and options: a class, or a function.

    Args:
        thing: the name of an installed one, `package.module:Class`, or the class itself.

    Raises:
        ValueError: there is none, or it cannot be imported.
    """
    made = DISCRIMINATORS.load(thing)
    is_one = issubclass(made, Discriminator) if inspect.isclass(made) else callable(made)
    if not is_one:
        raise ValueError(
            f"discriminator {thing!r} is no subclass of seqgan_env.Discriminator; derive it from "
            "that and give it a forward"
        )
    make: Callable[..., Discriminator] = made
    return make


@undisturbed()
def make_by(
    make: Callable[..., Discriminator], spec: TokenSpec, rng: torch.Generator, **options: Any
) -> Discriminator:
    """What `make` makes. Until it returns, torch's global generator draws what `rng` would: layers
    that initialise themselves follow `rng` too.
    """
    torch.set_rng_state(rng.get_state())
    return make(spec, rng, **options)


def check_discriminator_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises a ValueError for a discriminator that is not there, for an option that it does not
    take, or a value that cannot be.
    """
    check_options(load_discriminator(name), options, f"discriminator {name}", given=_GIVEN)


def make_discriminator(
    name: str,
    spec: TokenSpec,
    rng: torch.Generator,
    options: Mapping[str, Any],
    score_as: str = "probability",
) -> Discriminator:
    """A new discriminator: `Class(spec, rng, **options)`.

    Args:
        name: as `load_discriminator` takes it.
        spec: of its sequences.
        rng: of its first parameters.
        options: arguments of its class.
        score_as: what its `score` returns, "probability" or "logit".

    Raises:
        ValueError: it does not take an option, cannot be made, or is none.
    """
    make = load_discriminator(name)
    check_discriminator_options(name, options)
    made = make_by(make, spec, rng, **arguments_of(make, options))
    if not isinstance(made, Discriminator):
        raise ValueError(
            f"discriminator {name!r} made a {type(made).__name__}; expected a "
            "seqgan_env.Discriminator"
        )
    made.score_as = score_as
    return made
