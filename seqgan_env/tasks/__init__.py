"""Tasks by name: the one place where a task's name and settings become the task.

A task is made by a class that is called with settings and a name. Its `defaults` are an instance of
a frozen dataclass of settings. Its `presets`, if it has any, are what presets of `seqgan train`
change for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from seqgan_env import registry
from seqgan_env.checks import check_kinds
from seqgan_env.names import choose
from seqgan_env.registry import DEFAULT_TASK
from seqgan_env.tasks.molecule import settings as molecule
from seqgan_env.tasks.music.settings import SUFFIXES
from seqgan_env.tasks.options import Defaults
from seqgan_env.tasks.peptide import settings as peptide
from seqgan_env.types import Task

# Files whose names say what they hold.
_FILES = {"molecule": molecule.SUFFIXES, "peptide": peptide.SUFFIXES}


def task_names() -> list[str]:
    """The tasks that are built in, and those of installed packages."""
    return list(registry.TASKS.names())


def load_task(task: Any) -> Any:
    """The class of a task.

    Args:
        task: a name, `package.module:Class`, or the class.

    Raises:
        ValueError: there is none, it cannot be imported, lacks a method, or has no settings.
    """
    cls = registry.TASKS.load(task)
    if not is_dataclass(getattr(cls, "defaults", None)) or isinstance(cls.defaults, type):
        raise ValueError(
            f"task {_name(task)!r} has no defaults; give its class the settings that it has by "
            "default, an instance of a frozen dataclass, under this name"
        )
    return cls


def default_settings(task: Any) -> Any:
    """The settings of a task where none is given, a dataclass."""
    return _defaults_of(task).settings


def setting_names(task: Any) -> list[str]:
    """The names of the settings that a task takes, in the order of its dataclass."""
    return [field.name for field in fields(default_settings(task))]


def presets_of(task: Any) -> Mapping[str, Mapping[str, Any]]:
    """What presets of a run change for a task, by preset."""
    return _defaults_of(task).presets


def _defaults_of(task: Any) -> Defaults:
    """What is known of a task before its class is imported; other packages' classes are."""
    # Classes of this package import torch, and flags are to be had without it.
    if isinstance(task, str) and task in registry.TASK_DEFAULTS.builtin:
        found: Defaults = registry.TASK_DEFAULTS.load(task)
        return found
    cls = load_task(task)
    return Defaults(cls.defaults, getattr(cls, "presets", {}))


def check_settings(task: Any, changes: Mapping[str, Any]) -> Any:
    """The settings of a task with some changed.

    Raises:
        ValueError: the task does not take one of them, with the tasks that do, or a value cannot
            be.
    """
    valid = setting_names(task)
    for name in changes:
        if name in valid:
            continue
        others = takers([name])
        if others:
            raise ValueError(
                f"task {_name(task)} does not take {name} ({_flag(name)}); it is a setting of "
                f"{', '.join(others)}"
            )
        choose(valid, name, f"setting of task {_name(task)}")
    defaults = default_settings(task)
    check_kinds(type(defaults), changes)
    return replace(defaults, **changes)


def seq_len_of(task: str, settings: Any) -> int | None:
    """T of the sequences of a task with these settings; None where only the data tells, and for
    tasks from elsewhere.
    """
    if task not in registry.TASK_DEFAULTS.builtin:
        return None
    length: int | None = getattr(settings, "seq_len", getattr(settings, "max_length", None))
    return length


def takers(names: Iterable[str]) -> list[str]:
    """The tasks that take all of these settings. Those that cannot be imported take none."""
    wanted, found = set(names), []
    for task in task_names():
        if wanted <= _taken_by(task):
            found.append(task)
    return found


def _taken_by(task: str) -> set[str]:
    """The settings of a task; none of one that cannot be imported."""
    try:
        return set(setting_names(task))
    except ValueError:
        return set()


def infer_task(given: Mapping[str, Any]) -> str:
    """The task that is meant where none is named, from the settings of a task that are given.

    A *.smi file is for molecule, a FASTA file for peptide, any other file for the task text, a
    folder with MIDI files for music; otherwise it is the default task if that takes them, or the
    only one that does.

    Raises:
        ValueError: no task takes them all, or more than one does.
    """
    # A typo first: its error names the nearest setting of any task.
    known = sorted(set().union(*map(_taken_by, task_names())))
    for name in given:
        choose(known, name, "setting")
    # A file says more than the settings beside it, which are checked against its task later.
    if given.get("corpus") is not None:
        return _task_of_corpus(Path(given["corpus"]))
    possible = takers(given)
    if DEFAULT_TASK in possible:
        return DEFAULT_TASK
    if len(possible) == 1:
        return possible[0]
    flags = " and ".join(map(_flag, given))
    if possible:
        raise ValueError(
            f"{flags} is for {' or '.join(possible)}; say which by --task (task {DEFAULT_TASK}, "
            "the default, does not take it)"
        )
    told = []
    for name in given:
        told.append(f"{_flag(name)} is a setting of {', '.join(takers([name]))}")
    raise ValueError(f"no task takes {flags}: {'; '.join(told)}")


def _task_of_corpus(path: Path) -> str:
    """The task for which a file or folder is a corpus."""
    if not path.exists():
        raise ValueError(f"corpus {path} cannot be read: No such file or directory")
    if not path.is_dir():
        # Any suffix counts, for a file may be called helices.fasta.gz.
        its_suffixes = set(map(str.lower, path.suffixes))
        for task, suffixes in _FILES.items():
            if not its_suffixes.isdisjoint(suffixes):
                return task
        if path.suffix.lower() in SUFFIXES:
            raise ValueError(
                f"corpus {path} is one MIDI file; task music reads a folder of them, task text a "
                "text: give one, or name the task by --task"
            )
        return "text"
    if any(entry.suffix.lower() in SUFFIXES for entry in path.rglob("*")):
        return "music"
    raise ValueError(
        f"corpus {path} is a folder without MIDI files (*{', *'.join(SUFFIXES)}); task text reads "
        "a file, task music a folder of these: name the task by --task"
    )


def make_task(task: Any, **changes: Any) -> Task:
    """A task with some of its settings changed.

    Examples:
        >>> task = make_task("oracle-tiny", seq_len=5, num_real=100)
        >>> task.real_sequences.shape
        torch.Size([100, 5])
        >>> make_task("oracle-tiny", seq_length=5)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: unknown setting of task oracle-tiny 'seq_length'; ... Did you mean 'seq_len'?

    Args:
        task: a name, `package.module:Class`, the class, or a task as it is.
        changes: of its settings.

    Raises:
        ValueError: an unknown name, an unknown setting, or a setting that cannot be; with the
            nearest valid name.
    """
    if not isinstance(task, str) and not inspect.isclass(task) and isinstance(task, Task):
        if changes:
            raise ValueError(f"{', '.join(changes)} was given for a task that is made already")
        return task
    made: Task = load_task(task)(check_settings(task, changes), _name(task))
    return made


def _name(task: Any) -> str:
    if isinstance(task, str):
        return task
    return str(getattr(task, "__name__", task))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
