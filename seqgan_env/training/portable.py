"""What lets a run be used elsewhere: where its files were, and its task without the real data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqgan_env.building import undisturbed
from seqgan_env.files import MIB, naming
from seqgan_env.registry import POLICIES
from seqgan_env.tasks import check_settings, default_settings, load_task
from seqgan_env.tasks.options import exists, map_paths
from seqgan_env.training import run_directory
from seqgan_env.training.settings import OPTIONS_OF_PLUG_INS, TrainSettings
from seqgan_env.types import KeepsData, Portable, Task

TASK = "task.json"

_SCHEMA = 1
_MOST_BYTES = 256 * MIB  # a vocabulary, and perhaps the file of a tokenizer


def working_folder(config: Mapping[str, Any], file: Path) -> Path:
    """The folder in which a run was begun; the present one where its configuration does not tell.

    Raises:
        ValueError: the configuration `file` tells no path.
    """
    folder = config.get("folder", "")
    if not isinstance(folder, str):
        raise ValueError(f"{file}: folder is {folder!r:.60}; expected a text")
    return Path(folder)


def options_with(
    settings: TrainSettings, change: Callable[[Path], str], folder: Path = Path()
) -> dict[str, Any]:
    """All options of a run, of the task and of plug-ins, with every path in them changed.

    Args:
        settings: settings of the run.
        change: gives what stands in place of a path.
        folder: in which texts name what exists.
    """
    of_task = map_paths(default_settings(settings.task), settings.task_options, change, folder)
    return {"task_options": of_task} | options_of_plug_ins_with(settings, change, folder)


def options_of_plug_ins_with(
    settings: TrainSettings, change: Callable[[Path], str], folder: Path = Path()
) -> dict[str, Any]:
    """The options of a run's plug-ins with every path in them changed, as `options_with` has them.

    An option holds a path where its text names what exists. The name of a policy is none, whatever
    lies there: a discriminator may be made of policies.
    """
    names = POLICIES.names()

    def unless_a_name(path: Path) -> str:
        return str(path) if str(path) in names else change(path)

    changed = {}
    for name in OPTIONS_OF_PLUG_INS:
        changed[name] = map_paths(None, getattr(settings, name), unless_a_name, folder)
    return changed


def located(settings: TrainSettings, folder: Path) -> TrainSettings:
    """The settings with the files that they name as they lie in `folder`, those that are there."""

    def place(path: Path) -> str:
        there = folder / path
        # A text that is right here stays as it is: it may be no path at all.
        if exists(there) and not (exists(path) and there.samefile(path)):
            return str(there)
        return str(path)

    return replace(settings, **options_with(settings, place, folder=folder))


def missing_files(settings: TrainSettings, folder: Path) -> str:
    """What the task reads and cannot be found, and where it was looked for; empty if it is all
    there.

    Args:
        settings: as `located` gives them.
        folder: in which the run was begun.
    """
    told = []
    for name, value in settings.task_options.items():
        absent: list[Path] = []

        def note(path: Path, absent: list[Path] = absent) -> str:
            if not exists(path):
                absent.append(path)
            return str(path)

        map_paths(default_settings(settings.task), {name: value}, note)
        for path in absent:
            places = dict.fromkeys([str(folder / path), str(path.absolute())])
            told.append(f"{name} {path} is gone; looked for {' and '.join(places)}")
    return "; ".join(told)


def write_task(task: Task, path: Path) -> None:
    """Writes what a task is without its real data into a run directory, if it can tell, and what
    spares it reading large data anew.
    """
    if isinstance(task, Portable):
        content = {"schema": _SCHEMA, "essentials": dict(task.essentials())}
        run_directory.write_json(path / TASK, content)
    if isinstance(task, KeepsData):
        task.keep_data(path)


@undisturbed()
def task_without_data(settings: TrainSettings, path: Path, why: str) -> Any:
    """The task that a run directory carries; None where it carries none.

    Args:
        settings: of the run.
        path: of the run directory.
        why: there are no real data.

    Raises:
        ValueError: the file is damaged.
    """
    file = path / TASK
    cls = load_task(settings.task)
    if not isinstance(cls, Portable) or not file.exists():
        return None
    content = run_directory.read_json(file, _MOST_BYTES)
    with naming(file):
        if content.get("schema") != _SCHEMA:
            raise ValueError(
                f"it has schema {content.get('schema')!r:.60}; this version reads {_SCHEMA}"
            )
        essentials = content.get("essentials")
        if not isinstance(essentials, Mapping):
            raise ValueError("it tells nothing of a task; expected essentials")
        of_task = check_settings(settings.task, settings.task_options)
        task = cls.without_data(of_task, settings.task, essentials)
        task.no_data = why
        return task.to(settings.device)
