"""The checker of agents."""

from __future__ import annotations

import inspect
from dataclasses import fields

import torch

from seqgan_env.plugins import traits_of
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.testing.policy import check_policy
from seqgan_env.testing.shared import call, check_metrics, device_of, random_sequences, small_env
from seqgan_env.types import TokenSpec

_METHODS = ("pretrain", "update")
# What of the settings that an agent asks for is about its environment.
_OF_REWARDS = (
    *(each.name for each in fields(RewardSettings)),
    "discriminator",
    "discriminator_options",
)


def check_agent(agent: object, spec: TokenSpec | None = None) -> None:
    """Verifies a plug-in `GeneratorAgent`, as Gymnasium's `check_env` verifies an environment.

    The agent is trained a little: check a fresh one.

    Examples:
        >>> from seqgan_env.agents import Reinforce
        >>> check_agent(Reinforce)
        >>> check_agent(object())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        AssertionError: object has no pretrain() and no update(); an agent needs ...

    Args:
        agent: an agent, or a class, of which one is made as `seqgan train` would, by `Class(env,
            seed=0)`, in a small environment that pays as the class asks.
        spec: of its sequences; by default that of `agent.env` or of `agent.policy`.

    Raises:
        AssertionError: a method is missing or misbehaves; the sentence says which, how, and what is
            expected.
    """
    if inspect.isclass(agent):
        _check_methods(agent, f"the class {agent.__name__}")
        traits = call(agent.__name__, traits_of, agent)
        wanted = {k: v for k, v in traits.training_settings.items() if k in _OF_REWARDS}
        env = call(f"an environment for {agent.__name__}", small_env, **wanted)
        agent = call(agent.__name__, agent, env, seed=0)
    _check_methods(agent, type(agent).__name__)
    policy = getattr(agent, "policy", None)
    assert policy is not None, (
        f"{type(agent).__name__} has no policy; an agent needs policy, {', '.join(_METHODS)}"
    )
    spec = spec or _spec_of(agent)
    check_policy(policy, spec)
    sequences = random_sequences(spec, 64, torch.Generator().manual_seed(0)).to(device_of(policy))
    given = sequences.clone()
    pretrained = call("pretrain", agent.pretrain, sequences, 1)  # type: ignore[attr-defined]
    check_metrics("pretrain", pretrained)
    assert torch.equal(sequences, given), (
        "pretrain changed the caller's sequences; it must leave them as they are"
    )
    check_metrics("update", call("update", agent.update))  # type: ignore[attr-defined]
    same = agent.policy is policy  # type: ignore[attr-defined]
    assert same, (
        "agent.policy is another object after training; it is bound by handle once and must be "
        "trained in place"
    )
    check_policy(policy, spec)


def _check_methods(agent: object, name: str) -> None:
    missing = [f"{method}()" for method in _METHODS if not callable(getattr(agent, method, None))]
    assert not missing, (
        f"{name} has no {' and no '.join(missing)}; an agent needs policy, {', '.join(_METHODS)}"
    )


def _spec_of(agent: object) -> TokenSpec:
    env = getattr(agent, "env", None)
    task = getattr(getattr(env, "unwrapped", env), "task", None)
    for owner in (task, getattr(agent, "policy", None)):
        spec = getattr(owner, "spec", None)
        if isinstance(spec, TokenSpec):
            return spec
    raise AssertionError(
        f"{type(agent).__name__} has neither env nor policy.spec to tell its sequences; give "
        "check_agent a spec"
    )
