"""The ids that are registered with Gymnasium; what makes their environments is imported later."""

from __future__ import annotations

import re

import gymnasium as gym

from seqgan_env import registry


def _camel_case(name: str) -> str:
    """The part of an id that stands for a task's name: "my-task" is "MyTask"."""
    # Not `str.capitalize`: "myTask" keeps its second capital.
    camel = ""
    for part in re.split(r"\W|_", name):
        camel += part[:1].upper() + part[1:]
    return camel


def register_envs() -> None:
    """Registers every id with Gymnasium, those of tasks from installed packages too.

    Called on import of the package, without importing these packages.
    """
    ids: dict[str, str | None] = {
        "Oracle": "oracle-tiny",
        "Text": "text",
        "Music": "music",
        "Molecule": "molecule",
        "Peptide": "peptide",
        # Any other task by `gym.make("SeqGAN/Task-v0", task="package.module:Class")`.
        "Task": None,
    }
    for installed in registry.TASKS.names():
        if installed not in registry.TASKS.builtin:
            ids[_camel_case(installed)] = installed
    for name, task in ids.items():
        gym.register(
            id=f"SeqGAN/{name}-v0",
            entry_point="seqgan_env.envs.registration:make_env",
            vector_entry_point="seqgan_env.envs.registration:make_vector_env",
            kwargs={"task": task},
        )
