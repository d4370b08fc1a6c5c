"""Discriminators by name: entry points of the group `seqgan_env.discriminators`, or
`package.module:Class`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

import torch

from seqgan_env.building import undisturbed
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.names import choose
from seqgan_env.types import TokenSpec

GROUP = "seqgan_env.discriminators"


def discriminator_names() -> dict[str, str]:
    """The installed discriminators: name to `package.module:Class`."""
    return {point.name: point.value for point in sorted(entry_points(group=GROUP))}


def load_discriminator(name: str) -> Callable[..., Discriminator]:
    """What makes a discriminator of `spec`, `rng` and options: a class, or a function.

    Args:
        name: of an installed one, or `package.module:Class`.

    Raises:
        ValueError: there is none, or it cannot be imported.
    """
    names = discriminator_names()
    value = name if ":" in name else names[choose(names, name, "discriminator")]
    module_name, _, attribute = value.partition(":")
    try:
        made: Any = getattr(importlib.import_module(module_name), attribute, None)
    except ImportError as problem:
        raise ValueError(f"discriminator {name!r} cannot be imported: {problem}") from problem
    if not callable(made):
        raise ValueError(f"discriminator {name!r}: {module_name} has no class {attribute}")
    if inspect.isclass(made) and not issubclass(made, Discriminator):
        raise ValueError(
            f"discriminator {name!r} is no subclass of seqgan_env.Discriminator; derive it from "
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
    accepted = inspect.signature(make).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        allowed = [option for option in accepted if option not in ("self", "spec", "rng")]
        for option in options:
            choose(allowed, option, f"option of discriminator {name}")
    made = make_by(make, spec, rng, **options)
    if not isinstance(made, Discriminator):
        raise ValueError(
            f"discriminator {name!r} made a {type(made).__name__}; expected a "
            "seqgan_env.Discriminator"
        )
    made.score_as = score_as
    return made
