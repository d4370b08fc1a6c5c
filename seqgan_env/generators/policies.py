"""Language models by name, and how they are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from seqgan_env import registry
from seqgan_env.building import undisturbed
from seqgan_env.checks import check_seed
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.names import arguments_of, check_options, option_names
from seqgan_env.types import Task, TokenSpec

_GIVEN = ("spec", "task")  # arguments that are no options


def load_policy(name: str) -> Callable[..., LanguageModel]:
    """What makes a language model of `spec` and options: a class, or a function.

    Args:
        name: of an installed one, or `package.module:Class`.

    Raises:
        ValueError: there is none, it cannot be imported, or it makes no language model.
    """
    make: Callable[..., LanguageModel] = registry.POLICIES.load(name)
    if not callable(make) or isinstance(make, LanguageModel):
        raise ValueError(f"policy {name!r} is a {type(make).__name__}; expected a class")
    if inspect.isclass(make) and not issubclass(make, LanguageModel):
        raise ValueError(
            f"policy {name!r} is no subclass of seqgan_env.LanguageModel; derive it from that and "
            f"give it {registry.POLICIES.hint}"
        )
    return make


def policy_option_names(name: str) -> list[str] | None:
    """The options that a policy takes; None where it takes any."""
    return option_names(load_policy(name), given=_GIVEN)


def check_policy_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises a ValueError for an option that a policy does not take, or a value that cannot be."""
    check_options(load_policy(name), options, f"policy {name}", given=_GIVEN)


@undisturbed()
def make_policy(
    name: str,
    spec: TokenSpec,
    seed: int,
    options: Mapping[str, Any] | None = None,
    task: Task | None = None,
) -> LanguageModel:
    """A new language model: `Class(spec, **options)`, with `task=task` where the class names it.

    Args:
        name: as `load_policy` takes it.
        spec: of its sequences.
        seed: of its first parameters: layers that initialise themselves draw from it.
        options: arguments of its class.
        task: that is written.

    Raises:
        ValueError: it does not take an option, cannot be made, or is no language model.
    """
    make, options = load_policy(name), dict(options or {})
    check_policy_options(name, options)
    check_seed(seed)
    if "task" in inspect.signature(make).parameters:
        options["task"] = task
    torch.manual_seed(seed)
    made = make(spec, **arguments_of(make, options))
    if not isinstance(made, LanguageModel):
        raise ValueError(
            f"policy {name!r} made a {type(made).__name__}; expected a seqgan_env.LanguageModel"
        )
    return made
