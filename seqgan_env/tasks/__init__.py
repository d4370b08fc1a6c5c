"""Tasks by name: the one place where a task's name and settings become the task."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from seqgan_env.names import choose
from seqgan_env.tasks.music.task import MusicSettings, MusicTask
from seqgan_env.tasks.oracle.task import ORACLE_PRESETS, OracleSettings, OracleTask
from seqgan_env.tasks.text.task import CorpusSettings, CorpusTask
from seqgan_env.types import Task

TASKS: dict[str, OracleSettings | CorpusSettings | MusicSettings] = {
    **ORACLE_PRESETS,
    "text": CorpusSettings(),
    "music": MusicSettings(),
}


def setting_names(name: str) -> list[str]:
    """The settings that the task `name` takes."""
    return [field.name for field in fields(TASKS[choose(TASKS, name, "task")])]


def make_task(name: str, **changes: Any) -> Task:
    """The task `name` with some of its settings changed.

    Raises:
        ValueError: an unknown name, an unknown setting, or a setting that cannot be; with the
            nearest valid name.
    """
    valid = setting_names(name)
    for key in changes:
        choose(valid, key, f"setting of task {name}")
    settings = replace(TASKS[name], **changes)
    if isinstance(settings, OracleSettings):
        return OracleTask(settings, name)
    return MusicTask(settings) if isinstance(settings, MusicSettings) else CorpusTask(settings)
