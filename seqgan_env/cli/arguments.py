"""What the flags of the command line are made of."""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, NoReturn

from seqgan_env import registry
from seqgan_env.checks import check_seed
from seqgan_env.tasks import default_settings, presets_of
from seqgan_env.training.settings import TrainSettings
from seqgan_env.trust import Trust, names_of_code


class Parser(argparse.ArgumentParser):
    """Errors in one line on stderr, with the nearest valid flag or command for a typo.

    Attributes:
        refused: by flag, why this command does not take what another one does.
        siblings: the other commands, by name.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.refused: dict[str, str] = {}
        self.siblings: dict[str, argparse.ArgumentParser] = {}

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse has it, but a command refuses what it does not know by itself, so that the
        error names it and its own flags.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        # argparse tells what is wrong in its message alone.
        flag = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        command = re.match(r"argument COMMAND: invalid choice: '(.*?)'", message)
        if flag:
            message += self._about_flag(flag[1])
        if command:
            message += _suggestion(command[1], self._commands())
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)

    def _about_flag(self, flag: str) -> str:
        """Why a flag is not taken, who takes it, or the nearest one that is taken."""
        if flag in self.refused:
            return f". {self.refused[flag]}"
        takers = []
        for name, other in self.siblings.items():
            if flag in _flags(other):
                takers.append(f"seqgan {name}")
        if takers:
            return f". It is a flag of {_among(takers)}"
        return _suggestion(flag, _flags(self))

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        commands: dict[str, argparse.ArgumentParser] = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                commands |= action.choices
        return commands

    def introduce_commands(self) -> None:
        """Tells the commands of each other, once they are all there."""
        commands = self._commands()
        for command in commands.values():
            if isinstance(command, Parser):
                command.siblings = commands


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    flags: list[str] = []
    for action in parser._actions:
        flags += action.option_strings  # empty for what is given by its place
    return flags


def _suggestion(given: str, allowed: Iterable[str]) -> str:
    """A question that suggests the nearest of what is allowed, as the next sentence."""
    close = difflib.get_close_matches(given, list(allowed), n=1)
    if not close:
        return ""
    return f". Did you mean {close[0]}?"


def _among(names: Sequence[str]) -> str:
    """Names as part of a sentence: "a", "a and b", "a, b and c"."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def later(name: str) -> Callable[[argparse.Namespace], int]:
    """What a command does, `package.module:function`, imported when it is called."""

    def run(arguments: argparse.Namespace) -> int:
        module, _, function = name.partition(":")
        code: int = getattr(importlib.import_module(module), function)(arguments)
        return code

    return run


def add_settings(parser: argparse._ActionsContainer, names: Iterable[str]) -> None:
    """Adds a flag for each of these fields of `TrainSettings`.

    The parsed arguments hold only what was given, so that a preset can tell its own values apart.
    """
    hints = typing.get_type_hints(TrainSettings)
    for name in names:
        setting = _field(TrainSettings, name)
        text = setting.metadata["help"] + _defaults_of_run(name, setting.default)
        if "flag" in setting.metadata:
            parser.add_argument(
                setting.metadata["flag"],
                dest=name,
                type=_option,
                action="append",
                default=argparse.SUPPRESS,
                metavar="KEY=VALUE",
                help=text,
            )
        else:
            _add_flag(parser, name, hints[name], setting.metadata["metavar"], text)


def add_task_settings(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each setting of the tasks of this package.

    The parsed arguments hold only what was given, as with `add_settings`.
    """
    group = parser.add_argument_group(
        "settings of the task", "A flag that the task does not take is refused."
    )
    for name, takers in _settings_of_tasks().items():
        # Tasks that share a setting agree on its type; their defaults and meanings may differ.
        first = default_settings(takers[0])
        setting = _field(first, name)
        hint = typing.get_type_hints(type(first))[name]
        _add_flag(group, name, hint, setting.metadata["metavar"], _help(name, takers))


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The flags that let a file name code."""
    group = parser.add_argument_group(
        "trust",
        "A run or a suite may name plug-ins that are not installed, package.module:Name; loading "
        "one runs its code.",
    )
    group.add_argument(
        "--trust", action="store_true", help="load every plug-in that the file names"
    )
    group.add_argument(
        "--trust-name",
        action="append",
        default=[],
        metavar="package.module:Name",
        help="load this plug-in if the file names it; may be given several times",
    )


def trust_of(arguments: argparse.Namespace) -> Trust:
    """What these flags allow, and whatever is named elsewhere on the command line."""
    if arguments.trust:
        return True
    named: set[str] = set()
    for word in arguments.command_line:
        named.update(names_of_code(word))
    return named


def _add_flag(
    parser: argparse._ActionsContainer, name: str, hint: Any, metavar: str | None, text: str
) -> None:
    """The flag of a setting of this type."""
    flag, suppress = "--" + name.replace("_", "-"), argparse.SUPPRESS
    text = text.replace("%", "%%")  # argparse formats a help text by the % operator
    if hint is bool:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=suppress, help=text
        )
        return
    # Of `int | None`, a flag takes the int; None is what holds without the flag.
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not types.NoneType]
    parser.add_argument(flag, type=kinds[0], default=suppress, metavar=metavar, help=text)


def _field(owner: Any, name: str) -> Field[Any]:
    """The field of a dataclass, or of an object of one, by its name."""
    found: Field[Any] = owner.__dataclass_fields__[name]
    return found


def _defaults_of_run(name: str, default: Any) -> str:
    """The default of a setting of a run, and those of the tasks that have another."""
    if default in (None, MISSING) or name == "task":
        return ""
    by_value: dict[str, list[str]] = {}
    for task in registry.TASKS.builtin:
        of_task = presets_of(task).get("tiny", {})
        if name in of_task:
            by_value.setdefault(str(of_task[name]), []).append(task)
    text = str(default)
    for value, tasks in by_value.items():
        text += f"; {value} for {_among(tasks)}"
    return f" (default: {text})"


@cache
def _settings_of_tasks() -> dict[str, list[str]]:
    """The settings of this package's tasks that have a flag, each with the tasks that take it."""
    found: dict[str, list[str]] = {}
    for task in registry.TASKS.builtin:
        for setting in fields(default_settings(task)):
            if setting.metadata["flag"]:
                found.setdefault(setting.name, []).append(task)
    return found


def _help(name: str, takers: Sequence[str]) -> str:
    """What a setting means to each task that takes it, and its default there."""
    meanings: dict[str, list[str]] = {}
    values: dict[str, list[str]] = {}
    for task in takers:
        defaults = default_settings(task)
        setting = _field(defaults, name)
        meanings.setdefault(setting.metadata["help"], []).append(task)
        if getattr(defaults, name) is not None:
            values.setdefault(str(getattr(defaults, name)), []).append(task)
    text = _by_tasks(meanings)
    if not values:
        return text
    if len(values) == 1:
        return f"{text} (default: {next(iter(values))})"
    return f"{text} (defaults: {_by_tasks(values)})"


def _by_tasks(tasks_by_text: Mapping[str, Sequence[str]]) -> str:
    """Texts, each behind the tasks that it is true of."""
    told = []
    for text, tasks in tasks_by_text.items():
        told.append(f"{', '.join(tasks)}: {text}")
    return "; ".join(told)


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given by flags of `add_settings` and `add_task_settings`."""
    given: dict[str, Any] = {}
    for setting in fields(TrainSettings):
        if not hasattr(arguments, setting.name):
            continue
        value = getattr(arguments, setting.name)
        # A setting with a flag of its own, such as --set, was given as pairs of KEY=VALUE.
        given[setting.name] = dict(value) if "flag" in setting.metadata else value
    for name in _settings_of_tasks():
        if hasattr(arguments, name):
            given[name] = getattr(arguments, name)
    return given


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def seed_value(text: str) -> int:
    """A seed that every generator takes."""
    value = int(text)
    try:
        check_seed(value)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return value


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key.replace("-", "_"), json.loads(value)
    except ValueError:
        return key.replace("-", "_"), value  # a text needs no quotes
