"""The ids that are registered with Gymnasium; what makes their environments is imported later."""

from __future__ import annotations

import re

import gymnasium as gym

from seqgan_env import registry


def _camel_case(name: str) -> str:
    """The part of an id that stands for a task's name: "my-task" is "MyTask"."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", name))


def register_envs() -> None:
    """Registers every id with Gymnasium, those of tasks from installed packages too. Called on
    import, without importing these.
    """
    ids: dict[str, str | None] = {"Oracle": "oracle-tiny"}
    ids |= {name.capitalize(): name for name in ("text", "music", "molecule", "peptide")}
    # Any other task by `gym.make("SeqGAN/Task-v0", task="package.module:Class")`.
    ids |= {"Task": None} | {
        _camel_case(name): name
        for name in registry.TASKS.names()
        if name not in registry.TASKS.builtin
    }
    for name, task in ids.items():
        gym.register(
            id=f"SeqGAN/{name}-v0",
            entry_point="seqgan_env.envs.registration:make_env",
            vector_entry_point="seqgan_env.envs.registration:make_vector_env",
            kwargs={"task": task},
        )
