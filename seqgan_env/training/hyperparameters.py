"""Files of hyperparameters in the style of rl-zoo3: YAML, one section for each environment.

    SeqGAN/Oracle-v0:
      n_envs: 256
      n_timesteps: !!float 409600
      policy: MlpPolicy
      policy_kwargs: {net_arch: [64, 64]}
      learning_rate: 3.0e-5
      clip_range: 0.2

A section is data and nothing in it is executed: what rl-zoo3 evaluates as Python is refused, with
the form that says the same. Whatever cannot be honoured is refused by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gymnasium as gym

from seqgan_env.extras import load
from seqgan_env.files import MIB, naming, read_text
from seqgan_env.names import allowed
from seqgan_env.plugins import accepts, load_agent_class, option_names_of
from seqgan_env.tasks import check_settings, seq_len_of
from seqgan_env.training.settings import (
    OPTIONS_OF_PLUG_INS,
    TrainSettings,
    options_under,
    settings_from,
    with_task,
)
from seqgan_env.trust import Trust, check_names

DEFAULT = "default"  # the section of whatever task has none of its own

_MOST_BYTES, _MOST_VALUES, _MOST_DEPTH = MIB, 10_000, 50

# What the command line says, and a file about hyperparameters does not.
_OF_THE_COMMAND = ("task", "task_options", "agent", "seed", "threads", "device")
# `batch_size` is Stable-Baselines3's, a minibatch; the run's own is `n_envs`.
_OF_A_RUN = [
    each.name
    for each in fields(TrainSettings)
    if each.name not in (*_OF_THE_COMMAND, *OPTIONS_OF_PLUG_INS, "batch_size", "policy")
]
# rl-zoo3's names of policies, and which of ours computes the same.
_POLICIES = {"MlpPolicy": "sb3"}

# What rl-zoo3 takes besides the algorithm's keywords and has no meaning here, with the reason.
_REFUSED = {
    "normalize": "observations are tokens, and rewards are values that must keep their scale",
    "frame_stack": "an observation is the whole prefix already",
    "env_wrapper": "agents learn in the task's own environment",
    "vec_env_wrapper": "agents learn in the task's own environment",
    "env_kwargs": "settings of the task are flags of `seqgan train`",
    "callback": "in code an agent of Stable-Baselines3 has the attribute callback",
    "noise_type": "actions are tokens",
    "noise_std": "actions are tokens",
    "use_sde": "it is for continuous actions",
    "sde_sample_freq": "it is for continuous actions",
    "replay_buffer_class": "it names code that rl-zoo3 evaluates",
    "keep_lr_on_resume": "a run goes on with the settings that it has",
}
_SCHEDULE = re.compile(r"[a-z]+_(\d[0-9.eE+-]*)")  # rl-zoo3's `lin_3e-4`
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def settings_with_file(
    preset: str, given: Mapping[str, Any], file: Path, trust: Trust = False
) -> TrainSettings:
    """The settings of a run as `settings_from`, with those of a file of hyperparameters under what
    was given.

    Args:
        preset: name.
        given: settings that go over the file's, options key by key.
        file: of hyperparameters.
        trust: whether plug-ins that are not installed may be named in it, or the names of those
            that may.

    Raises:
        ValueError: the file cannot be read, has no section for the task, or holds what cannot be
            honoured.
    """
    task, agent = with_task(preset, given)["task"], given.get("agent", TrainSettings.agent)
    of_file = read_hyperparameters(file, task, agent, trust)
    with naming(f"hyperparameters {file}"):
        merged = of_file.under(given)
        if "rounds" not in given:
            merged |= of_file.budget(settings_from(preset, merged))
        return settings_from(preset, merged)


@dataclass(frozen=True)
class Hyperparameters:
    """What a file says for one task and one agent.

    Attributes:
        settings: settings of a run.
        num_steps: its `n_timesteps`, which become rounds once the other settings are known.
    """

    settings: Mapping[str, Any]
    num_steps: float | None

    def under(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The file's settings with those `given` over them, options key by key."""
        return {**self.settings, **given, **options_under(self.settings, given)}

    def budget(self, settings: TrainSettings) -> dict[str, int]:
        """The rounds that take `num_steps` steps at least, as a setting; empty without these.

        Args:
            settings: what says how many steps a round has.

        Raises:
            ValueError: the length of sequences is not known before the data are read.
        """
        if self.num_steps is None:
            return {}
        return {"rounds": math.ceil(self.num_steps / _steps_of_a_round(settings))}


def read_hyperparameters(
    file: Path, task: str, agent: str, trust: Trust = False
) -> Hyperparameters:
    """What a file says for a task and an agent.

    Args:
        file: YAML.
        task: name.
        agent: name.
        trust: as in `settings_with_file`.

    Raises:
        ValueError: the file cannot be read, has no section for the task, or holds what cannot be
            honoured.
    """
    section = read_section(file, task)
    with naming(f"hyperparameters {file}"):
        found, num_steps = _translated(section, agent)
    check_names(found, f"hyperparameters {file}", trust)
    return Hyperparameters(found, num_steps)


def read_section(file: Path, task: str) -> dict[str, Any]:
    """The section of a file that is about a task: that of its Gym id, of its name, or `DEFAULT`.

    Args:
        file: YAML.
        task: name.

    Raises:
        ValueError: the file is missing or damaged, holds more than plain data, or has no section
            for the task or two of them.
    """
    content = _read(file)
    names = [*_ids_of(task), task]
    found = [name for name in names if name in content]
    if len(found) > 1:
        raise ValueError(
            f"hyperparameters {file} have sections {' and '.join(found)}, which are one task; "
            "give one"
        )
    if not found and DEFAULT in content:
        found = [DEFAULT]
    if not found:
        raise ValueError(
            f"hyperparameters {file} have no section for task {task}; it would be called "
            f"{', '.join(names)} or {DEFAULT}. There are {', '.join(map(str, content))}"
        )
    section = content[found[0]]
    if not isinstance(section, dict):
        raise ValueError(
            f"section {found[0]} of hyperparameters {file} is {section!r}; expected names with "
            "values"
        )
    with naming(f"hyperparameters {file}"):
        plain: dict[str, Any] = _plain(section, found[0], _Count())
    return plain


def _ids_of(task: str) -> list[str]:
    """The ids of Gymnasium whose environments have a task."""
    ids = []
    for name, spec in gym.registry.items():
        if name.startswith("SeqGAN/") and spec.kwargs.get("task") == task:
            ids.append(name)
    return ids


def _read(file: Path) -> dict[Any, Any]:
    """The content of a YAML file of sections."""
    yaml = load("yaml", "a file of hyperparameters")
    text = read_text(file, f"hyperparameters {file}", _MOST_BYTES)
    try:
        content = yaml.load(text, _loader(yaml))
    except yaml.YAMLError as problem:
        said = " ".join(str(problem).split())
        raise ValueError(f"hyperparameters {file} are no plain YAML: {said}") from problem
    except (RecursionError, ValueError) as problem:  # a number or a date that is none
        raise ValueError(f"hyperparameters {file} are no plain YAML: {problem}") from problem
    if not isinstance(content, dict):
        raise ValueError(
            f"hyperparameters {file} hold a {type(content).__name__}; expected sections, each with "
            "the id of an environment, the name of a task or default before it"
        )
    return content


def _loader(yaml: Any) -> type:
    """PyYAML's safe loader, which makes nothing but data, with an error for a name that stands
    twice.
    """

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            # Here, for later what `<<` brings in stands among the names of the mapping itself.
            seen = set()
            for key, _ in node.value:
                if not isinstance(key.value, str):  # a list or a mapping
                    continue
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
            return node

    return Loader


class _Count:
    """Of the values that were looked at: a few anchors can stand for billions."""

    number = 0

    def one_more(self, depth: int) -> None:
        self.number += 1
        if self.number > _MOST_VALUES or depth > _MOST_DEPTH:
            raise ValueError(
                f"a section has more than {_MOST_VALUES:,} values, or is nested more than "
                f"{_MOST_DEPTH} deep"
            )


def _plain(value: Any, where: str, count: _Count, depth: int = 0) -> Any:
    """A value of YAML as settings have them.

    Numbers like 1e-3, which YAML 1.1 takes for texts because they lack a point, become numbers.
    """
    count.one_more(depth)
    if isinstance(value, dict):
        found = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{where} has the name {name!r}; expected a text")
            found[name] = _plain(item, f"{where}.{name}", count, depth + 1)
        return found
    if isinstance(value, list):
        return [_plain(item, where, count, depth + 1) for item in value]
    if isinstance(value, str) and _FLOAT.fullmatch(value):
        return float(value)
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(f"{where} is a {type(value).__name__}; expected a text or a number")
    return value


def _translated(section: Mapping[str, Any], agent: str) -> tuple[dict[str, Any], float | None]:
    """Settings of a run that say what a section says, and its `n_timesteps`."""
    found: dict[str, Any] = {"agent_options": {}}
    num_steps = None
    for name, value in section.items():
        _check_honoured(name, value)
        if name == "n_timesteps":
            num_steps = _whole(name, value)
        elif name == "n_envs":
            found["batch_size"] = _whole(name, value)
        elif name == "policy":
            found["policy"] = _policy(value)
        elif name in OPTIONS_OF_PLUG_INS:
            found.setdefault(name, {}).update(_table(name, value))
        elif name in _OF_A_RUN:
            found[name] = value
        elif name == "policy_kwargs" and "policy" in section:
            found.setdefault("policy_options", {}).update(_table(name, value))
        elif name not in _REFUSED:
            _check_option(agent, name)
            found["agent_options"][name] = value
    if num_steps is not None and "rounds" in found:
        raise ValueError("n_timesteps and rounds were both given; give one")
    return found, num_steps


def _check_honoured(name: str, value: Any) -> None:
    """Raises a ValueError for what rl-zoo3 takes and a run cannot do."""
    if name in _OF_THE_COMMAND:
        flag = name.replace("_", "-")
        raise ValueError(f"{name} is for the command line (--{flag}), not for hyperparameters")
    # What is off, or a stack of one frame, asks for nothing.
    is_off = value is None or value is False or (name == "frame_stack" and value == 1)
    if name in _REFUSED and not is_off:
        raise ValueError(f"{name} cannot be honoured: {_REFUSED[name]}")
    if not isinstance(value, str):
        return
    schedule = _SCHEDULE.fullmatch(value)
    if schedule and name not in (*_OF_A_RUN, "policy"):
        raise ValueError(
            f"{name} is {value!r}, a schedule; an agent does not know how many updates will come. "
            f"Give a number, like {schedule[1]}; agents of this package have learning_rate_decay"
        )
    is_table = name.endswith(("_kwargs", "_options"))
    if is_table or value.startswith(("dict(", "{")):
        raise ValueError(
            f"{name} is the text {value[:40]!r}, which rl-zoo3 evaluates as Python; nothing in a "
            f"file is executed here. Write a mapping: {name}: {{net_arch: [64, 64]}}"
        )


def _check_option(agent: str, name: str) -> None:
    if accepts(agent, name):
        return
    known = [*option_names_of(agent), "n_envs", "n_timesteps", "policy", *_OF_A_RUN]
    raise ValueError(f"unknown hyperparameter of agent {agent} {name!r}; {allowed(known, name)}")


def _policy(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"policy is {value!r}; expected a name")
    if value.endswith("Policy") and ":" not in value and value not in _POLICIES:
        raise ValueError(
            f"policy {value!r} of Stable-Baselines3 reads what no task shows; there are MlpPolicy "
            "and the names of `seqgan list policies`"
        )
    return _POLICIES.get(value, value)


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; expected names with values")
    return value


def _whole(name: str, value: Any) -> int:
    """A count; YAML files write large ones as `!!float 1e6`."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 1 or value != int(value):
        raise ValueError(f"{name} is {value!r}; allowed is a whole number from 1")
    return int(value)


def _steps_of_a_round(settings: TrainSettings) -> int:
    """Steps of the environments in a round, all envs and g-steps together.

    Raises:
        ValueError: the length of sequences is not known before the data are read.
    """
    of_task = check_settings(settings.task, settings.task_options)
    steps = seq_len_of(settings.task, of_task)
    collected = getattr(load_agent_class(settings.agent), "collected", None)
    if collected is not None and collected in settings.agent_options:
        steps = settings.agent_options[collected]
    if steps is None:
        raise ValueError(
            f"n_timesteps cannot be counted in rounds: how long the sequences of task "
            f"{settings.task} are is known when its data are read; give rounds"
        )
    return settings.batch_size * max(1, settings.g_steps) * steps
