"""The settings of a task: fields of a frozen dataclass that carry their own help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from seqgan_env.checks import check_range


@dataclass(frozen=True)
class Defaults:
    """What a task's settings are where none is given, known before its class is imported.

    Attributes:
        settings: where none is given, an instance of the task's frozen dataclass.
        presets: what presets of a run change for it, by preset.
    """

    settings: Any
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def option(
    default: Any,
    text: str,
    metavar: str | None = None,
    *,
    path: bool | None = None,
    flag: bool = True,
) -> Any:
    """A field of a task's settings.

    Args:
        default: of the setting.
        text: what it is, for `seqgan train --help`.
        metavar: how its value is called there.
        path: whether a text in it is the path of a file or folder, whose contents then belong to a
            benchmark job. None: it is one where such a file or folder exists.
        flag: whether a task of this package gets a flag of that name; others are given by
            `--set-task NAME=VALUE`.
    """
    return field(
        default=default, metadata={"help": text, "metavar": metavar, "path": path, "flag": flag}
    )


class SplitSettings(Protocol):
    """The settings that all tasks with a fixed set of real data share."""

    @property
    def split_seed(self) -> int: ...
    @property
    def validation_share(self) -> float: ...
    @property
    def held_out_share(self) -> float: ...
    @property
    def num_eval(self) -> int: ...


def check_split_settings(settings: SplitSettings) -> None:
    """Raises a ValueError unless the shares and the number of evaluated sequences can be."""
    for name in ("validation_share", "held_out_share"):
        if not 0 < getattr(settings, name) < 0.5:
            raise ValueError(
                f"{name} is {getattr(settings, name)}; allowed is above 0 and below 0.5"
            )
    check_range("num_eval", settings.num_eval, 2, 2**24)  # Self-BLEU compares samples


def map_paths(
    settings: Any,
    values: Mapping[str, Any],
    change: Callable[[Path], str],
    folder: Path = Path(),
) -> dict[str, Any]:
    """The `values` of some settings with every path in them changed.

    Args:
        settings: of a task, a dataclass; it says which of its fields are paths. A field that says
            nothing holds one where a text in it names what exists, so that no file that a task
            reads is overlooked.
        values: by name of the setting.
        change: from a path to what takes its place.
        folder: in which texts name what exists.
    """
    declared: dict[str, bool | None] = {}
    if is_dataclass(settings):
        declared = {each.name: each.metadata.get("path") for each in fields(settings)}
    found = dict(values)
    for name, value in values.items():
        if value is not None:
            found[name] = _mapped(value, declared.get(name), change, folder)
    return found


def _mapped(value: Any, is_path: bool | None, change: Callable[[Path], str], folder: Path) -> Any:
    """A value with every path in it changed, however deep in lists and mappings."""
    if isinstance(value, (list, tuple)):
        items = []
        for item in value:
            items.append(_mapped(item, is_path, change, folder))
        return items
    if isinstance(value, Mapping):
        entries = {}
        for key, item in value.items():
            entries[key] = _mapped(item, is_path, change, folder)
        return entries
    if not isinstance(value, (str, Path)) or is_path is False:
        return value
    # "" would name the folder itself.
    if is_path or isinstance(value, Path) or (value and exists(folder / value)):
        return change(Path(value))
    return value


def exists(path: Path) -> bool:
    """Whether there is something at a path; nothing is where no path can be."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False
