"""The benchmark that repeats a run over seeds: its command, and how long it takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from seqgan_env import registry

# How many seeds a benchmark is advised to have.
SEEDS = 5
# What a job of a benchmark takes before it reads its data: a process starts and loads torch.
START_SECONDS = 4.0

_OF_A_GRID = ("agent", "task", "reward", "source")  # of which a benchmark takes several
_LENGTHS = ("mle_epochs", "rounds")  # which a reader looks for


def command_over_seeds(settings: Mapping[str, Any]) -> str:
    """The command line that runs these settings over `SEEDS` seeds, with their controls.

    Args:
        settings: of a run, as its `config.json` has them; agent, task and source are there.
    """
    words = ["seqgan", "bench", "--agents", settings["agent"], "--tasks", settings["task"]]
    words += ["--sources", settings["source"]]
    if settings["source"] != "constant":
        words.append("constant")
    words += ["--seeds", SEEDS]
    if "reward" in settings:
        words += ["--rewards", settings["reward"]]
    for name, value in _changed(settings).items():
        words += _flags(name, value)
    return shlex.join(map(str, words))


def time_over_seeds(spent: Mapping[str, float], num_policies: int) -> str:
    """How long that takes, one job at a time, in words; "" where the run has no seconds.

    Every job reads the data and pre-trains for itself.

    Args:
        spent: seconds of the run, by phase.
        num_policies: how many policies were evaluated in them.
    """
    if not spent:
        return ""
    judging = (spent.get("evaluate", 0.0) + spent.get("referee", 0.0)) / max(1, num_policies)
    shared = START_SECONDS + spent.get("data", 0.0) + spent.get("pretrain", 0.0) + judging
    # The reference with its knobs, the agent, and the agent under a constant reward.
    seconds = shared + spent.get("knobs", 0.0)
    if "adversarial" in spent:
        control = spent.get("constant", spent["adversarial"])
        seconds += 2 * shared + spent["adversarial"] + control
    told = f"{duration(SEEDS * seconds)} by the seconds of this run"
    if "knobs" not in spent:
        told += " and the time of measuring knobs, which it did not do"
    return told


def duration(seconds: float) -> str:
    """A time that is known roughly, in the unit that fits."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a benchmark of the same agent and task would not have by itself.

    Nothing is imported for it that is not of this package: what a file names is not trusted.
    """
    from seqgan_env.plugins import training_settings  # loads torch, as the next
    from seqgan_env.tasks import presets_of
    from seqgan_env.training.settings import DECIDED_BY_THE_HARNESS, TrainSettings

    own: dict[str, Any] = {}
    if settings["task"] in registry.TASKS.builtin:
        own |= presets_of(settings["task"]).get("tiny", {})
    if settings["agent"] in registry.AGENTS.builtin:
        own |= training_settings(settings["agent"])
    changed = {}
    for each in fields(TrainSettings):
        name = each.name
        if name in (*DECIDED_BY_THE_HARNESS, *_OF_A_GRID) or settings.get(name) is None:
            continue
        are_options = "flag" in each.metadata  # which are merged key by key
        if are_options and not isinstance(settings[name], Mapping):
            continue  # a file may tell anything
        if are_options or name in _LENGTHS or settings[name] != own.get(name, each.default):
            changed[name] = settings[name]
    return changed


def _flags(name: str, value: Any) -> list[str]:
    """A setting as words of a command line."""
    from seqgan_env.training.settings import TrainSettings

    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if not isinstance(value, Mapping):
        return [flag, str(value)]
    flag = TrainSettings.__dataclass_fields__[name].metadata.get("flag", flag)
    words = []
    for key, option in value.items():
        words += [flag, f"{key}={_as_option(option)}"]
    return words


def _as_option(value: Any) -> str:
    """A value as it stands behind KEY=, where what is JSON is read as such."""
    try:
        json.loads(value)
    except TypeError:
        return json.dumps(value)  # no text
    except ValueError:
        return str(value)  # a text that is no JSON needs no quotes
    return json.dumps(value)
