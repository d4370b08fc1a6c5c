"""Agents and knobs by name, and what the class of an agent says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from seqgan_env import registry
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.knobs import Knob
from seqgan_env.names import choose
from seqgan_env.types import GeneratorAgent


def agent_names() -> dict[str, str]:
    """The installed agents: name to `package.module:Class`."""
    return registry.AGENTS.names()


def load_agent_class(name: str) -> type:
    """The class of an installed agent, or of `package.module:Class`.

    Raises:
        ValueError: there is none, it cannot be imported, or it lacks a method that Algorithm 1
            calls.
    """
    cls: type = registry.AGENTS.load(name)
    if not inspect.isclass(cls):
        raise ValueError(
            f"agent {name!r} is a {type(cls).__name__}; an agent is named by its class"
        )
    return cls


def load_knobs(name: str | None) -> list[Knob]:
    """The knobs that a name or `package.module:NAME` is, one or a sequence of them; none for None.

    Raises:
        ValueError: there is no such object, or it is no knob.
    """
    if name is None:
        return []
    found = registry.KNOBS.load(name)
    knobs: list[Any] = list(found) if isinstance(found, Sequence) else [found]
    for knob in knobs:
        if not isinstance(knob, Knob):
            raise ValueError(
                f"knob {name!r} is {knob!r}; a knob has a name, fits(policy) and can be called "
                "with a policy"
            )
    return knobs


def accepts(name: str, option: str) -> bool:
    """Whether an agent takes an option."""
    accepted = inspect.signature(load_agent_class(name)).parameters
    return option in accepted or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()
    )


def training_settings(name: str) -> dict[str, Any]:
    """The settings that an agent's class asks for (`training_settings`), among them its
    `agent_options`.
    """
    return dict(getattr(load_agent_class(name), "training_settings", {}))


def options_from_settings(name: str) -> dict[str, str]:
    """Options of an agent that follow a setting of the run, option to setting, as its class says
    (`options_from_settings`).
    """
    return dict(getattr(load_agent_class(name), "options_from_settings", {}))


def learns_from_reward(name: str) -> bool:
    """False where an agent's class says that its updates do nothing (`learns_from_reward`), so that
    rounds would be waste.
    """
    return bool(getattr(load_agent_class(name), "learns_from_reward", True))


def control_options(name: str) -> dict[str, Any]:
    """What an agent's class says must be changed for the constant-reward control to mean something
    (`control_options`).
    """
    options: dict[str, Any] = getattr(load_agent_class(name), "control_options", {})
    return {key: value for key, value in options.items() if accepts(name, key)}


def make_agent(
    name: str, env: TokenVectorEnv, seed: int, options: dict[str, Any]
) -> GeneratorAgent:
    """An agent that learns in `env`: `Class(env, seed=seed, **options)`.

    Raises:
        ValueError: the agent does not take an option, or lacks a part of the protocol.
    """
    cls = load_agent_class(name)
    accepted = inspect.signature(cls).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        for key in options:
            choose(
                [p for p in accepted if p not in ("self", "env", "seed", "policy")],
                key,
                f"option of agent {name}",
            )
    agent = cls(env, seed=seed, **options)
    if not isinstance(agent, GeneratorAgent):
        raise ValueError(f"agent {name!r} lacks policy; an agent needs {registry.AGENTS.hint}")
    return agent
