"""Agents by name: entry points of the group `seqgan_env.agents`, or `package.module:Class`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.knobs import Knob
from seqgan_env.names import choose
from seqgan_env.types import GeneratorAgent

GROUP = "seqgan_env.agents"
_NEEDED = ("policy", "pretrain", "update")


def agent_names() -> dict[str, str]:
    """The installed agents: name to `package.module:Class`."""
    return {point.name: point.value for point in sorted(entry_points(group=GROUP))}


def load_agent_class(name: str) -> type:
    """The class of an installed agent, or of `package.module:Class`.

    Raises:
        ValueError: there is none, it cannot be imported, or it lacks a method that Algorithm 1
            calls.
    """
    value = name if ":" in name else agent_names()[choose(agent_names(), name, "agent")]
    module_name, _, class_name = value.partition(":")
    try:
        cls = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as problem:
        extra = (
            " (pip install 'seqgan-env[sb3]')"
            if (problem.name or "").split(".")[0] in ("stable_baselines3", "sb3_contrib")
            else ""
        )
        raise ValueError(f"agent {name!r} cannot be imported: {problem}{extra}") from problem
    if not inspect.isclass(cls):
        raise ValueError(f"agent {name!r}: {module_name} has no class {class_name}")
    missing = [
        method
        for method in _NEEDED
        if method != "policy" and not callable(getattr(cls, method, None))
    ]
    if missing:
        raise ValueError(
            f"agent {name!r} has no {' and no '.join(missing)}; an agent needs {', '.join(_NEEDED)}"
        )
    return cls


def load_knobs(name: str | None) -> list[Knob]:
    """The knobs that `package.module:NAME` is, one or a sequence of them; none for None.

    Raises:
        ValueError: there is no such object, or it is no knob.
    """
    if name is None:
        return []
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except (ImportError, ValueError) as problem:
        raise ValueError(f"knob {name!r} cannot be imported: {problem}") from problem
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
        raise ValueError(f"agent {name!r} has no policy; an agent needs {', '.join(_NEEDED)}")
    return agent
