"""Agents and knobs by name, and what the class of an agent says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from seqgan_env import registry
from seqgan_env.checks import check_seed
from seqgan_env.names import arguments_of, check_options, option_names
from seqgan_env.types import GeneratorAgent

# What loads torch is imported where it is used: the command line asks for names before.
if TYPE_CHECKING:
    from seqgan_env.envs.vector_env import TokenVectorEnv
    from seqgan_env.generators.knobs import Knob
    from seqgan_env.generators.language_model import LanguageModel

_GIVEN = ("env", "seed", "policy")  # arguments that are no options


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

    A class without arguments is called to make one.

    Raises:
        ValueError: there is no such object, it is no knob, two have one name, or one has the name
            of another knob that is built in.
    """
    if name is None:
        return []
    from seqgan_env.generators.knobs import FEW_KNOBS, KNOBS, Knob

    knobs = registry.KNOBS.load_several(name)
    for knob in knobs:
        if not isinstance(knob, Knob):
            raise ValueError(f"knob {name!r} is {knob!r}; a knob needs {registry.KNOBS.hint}")
    # What is measured of a knob is kept by its name: one would overwrite the other.
    builtin = {knob.name: knob for knob in (*KNOBS, *FEW_KNOBS)}
    names = [knob.name for knob in knobs]
    for knob in knobs:
        if names.count(knob.name) > 1:
            raise ValueError(
                f"knob {name!r} holds two knobs with the name {knob.name!r}; give each its own"
            )
        if builtin.get(knob.name, knob) != knob:
            raise ValueError(
                f"knob {name!r} holds a knob with the name {knob.name!r}, which is that of another "
                "one that is built in (`seqgan list knobs`); give it its own"
            )
    return knobs


def accepts(name: str, option: str) -> bool:
    """Whether an agent takes an option."""
    taken = option_names(load_agent_class(name))
    return taken is None or option in taken


def option_names_of(name: str) -> list[str]:
    """The options that an agent names."""
    return option_names(load_agent_class(name), given=_GIVEN) or []


@dataclass(frozen=True)
class AgentTraits:
    """What the class of an agent may say about itself, each as a class attribute of this name.

    Attributes:
        training_settings: settings of the run that the agent asks for, name to value, among them
            its own `agent_options`; what the user says goes before it.
        options_from_settings: options of the agent that follow a setting of the run, option to
            setting.
        learns_from_reward: False where updates do nothing, so that rounds would be waste.
        control_options: options that must be changed for the constant-reward control to mean
            something, such as a baseline that would leave nothing of a constant.
    """

    training_settings: Mapping[str, Any] = field(default_factory=dict)
    options_from_settings: Mapping[str, str] = field(default_factory=dict)
    learns_from_reward: bool = True
    control_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("training_settings", "options_from_settings", "control_options"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} is a {type(value).__name__}; expected a dict")
        if not isinstance(self.learns_from_reward, bool):
            raise ValueError(
                f"learns_from_reward is {self.learns_from_reward!r}; allowed are True and False"
            )


def traits_of(cls: type) -> AgentTraits:
    """What the class of an agent says about itself.

    Raises:
        ValueError: an attribute is of the wrong kind.
    """
    names = (each.name for each in fields(AgentTraits))
    said = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
    try:
        return AgentTraits(**said)
    except ValueError as problem:
        raise ValueError(f"agent {cls.__name__}: {problem}") from None


def training_settings(name: str) -> dict[str, Any]:
    """The settings that an agent asks for, among them its `agent_options`."""
    return dict(traits_of(load_agent_class(name)).training_settings)


def options_from_settings(name: str) -> dict[str, str]:
    """Options of an agent that follow a setting of the run, option to setting."""
    return dict(traits_of(load_agent_class(name)).options_from_settings)


def learns_from_reward(name: str) -> bool:
    """Whether an agent's updates do anything."""
    return traits_of(load_agent_class(name)).learns_from_reward


def control_options(name: str) -> dict[str, Any]:
    """What an agent changes for the constant-reward control, those options that it takes."""
    options = traits_of(load_agent_class(name)).control_options
    return {key: value for key, value in options.items() if accepts(name, key)}


def takes_policy(name: str) -> bool:
    """Whether an agent trains a language model that it is given: its class takes `policy`."""
    return accepts(name, "policy")


def check_agent_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises a ValueError for an option that an agent does not take, or a value that cannot be."""
    if options:
        cls = load_agent_class(name)
        check_options(cls, options, f"agent {name}", given=_GIVEN)


def check_agent_environment(
    name: str, options: Mapping[str, Any], num_envs: int, seq_len: int | None
) -> None:
    """Raises a ValueError where the class of an agent says that it cannot learn in such an
    environment, by a classmethod `check_environment(options, num_envs, seq_len)`, if it has one.

    Args:
        name: of the agent.
        options: of the agent.
        num_envs: B, sequences of a batch.
        seq_len: T; None where only the data will tell.
    """
    check = getattr(load_agent_class(name), "check_environment", None)
    if check is None:
        return
    try:
        check(options, num_envs, seq_len)
    except ValueError as problem:
        raise ValueError(f"agent {name}: {problem}") from problem


def make_agent(
    name: str,
    env: TokenVectorEnv,
    seed: int,
    options: dict[str, Any],
    policy: LanguageModel | None = None,
) -> GeneratorAgent:
    """An agent that learns in `env`: `Class(env, seed=seed, **options)`, with `policy=policy` where
    one is given. Options that are fields of the class's config reach it in the config.

    Raises:
        ValueError: the agent does not take an option or a policy, or lacks a part of the protocol.
    """
    cls = load_agent_class(name)
    check_seed(seed)
    check_agent_options(name, options)
    if policy is not None and not takes_policy(name):
        raise ValueError(
            f"agent {name!r} takes no policy; its class needs an argument `policy`, the language "
            "model that it trains"
        )
    arguments = arguments_of(cls, options)
    if policy is not None:
        arguments["policy"] = policy
    agent = cls(env, seed=seed, **arguments)
    if not isinstance(agent, GeneratorAgent):
        raise ValueError(f"agent {name!r} lacks policy; an agent needs {registry.AGENTS.hint}")
    return agent
