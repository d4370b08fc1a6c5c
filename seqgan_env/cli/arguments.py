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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields
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
        takers = [name for name, other in self.siblings.items() if flag in _flags(other)]
        if takers:
            return f". It is a flag of {_among([f'seqgan {name}' for name in takers])}"
        return _suggestion(flag, _flags(self))

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        nested = [
            action for action in self._actions if isinstance(action, argparse._SubParsersAction)
        ]
        return {name: parser for action in nested for name, parser in action.choices.items()}

    def introduce_commands(self) -> None:
        """Tells the commands of each other, once they are all there."""
        commands = self._commands()
        for command in commands.values():
            if isinstance(command, Parser):
                command.siblings = commands


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]


def _suggestion(given: str, allowed: Iterable[str]) -> str:
    """A question that suggests the nearest of what is allowed, as the next sentence."""
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f". Did you mean {close[0]}?" if close else ""


def _among(names: Sequence[str]) -> str:
    """Names as part of a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def later(name: str) -> Callable[[argparse.Namespace], int]:
    """What a command does, `package.module:function`, imported when it is called."""

    def run(arguments: argparse.Namespace) -> int:
        module, _, function = name.partition(":")
        code: int = getattr(importlib.import_module(module), function)(arguments)
        return code

    return run


def add_settings(parser: argparse._ActionsContainer, names: Iterable[str]) -> None:
    """A flag for each of these fields of `TrainSettings`; of what is not given, the parsed
    arguments hold nothing.
    """
    hints = typing.get_type_hints(TrainSettings)
    by_name = {field.name: field for field in fields(TrainSettings)}
    for name in names:
        setting = by_name[name]
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
    """A flag for each setting of the tasks of this package; of what is not given, the parsed
    arguments hold nothing.
    """
    group = parser.add_argument_group(
        "settings of the task", "A flag that the task does not take is refused."
    )
    for name, takers in _settings_of_tasks().items():
        first = default_settings(takers[0])
        setting = next(each for each in fields(first) if each.name == name)
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
    named = {name for word in arguments.command_line for name in names_of_code(word)}
    return arguments.trust or named


def _add_flag(
    parser: argparse._ActionsContainer, name: str, hint: Any, metavar: str | None, text: str
) -> None:
    """The flag of a setting of this type."""
    flag, suppress = "--" + name.replace("_", "-"), argparse.SUPPRESS
    text = text.replace("%", "%%")
    if hint is bool:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=suppress, help=text
        )
        return
    kind = next(t for t in (typing.get_args(hint) or (hint,)) if t is not types.NoneType)
    parser.add_argument(flag, type=kind, default=suppress, metavar=metavar, help=text)


def _defaults_of_run(name: str, default: Any) -> str:
    """What holds where a setting of a run is not given: by itself, and for tasks that say else."""
    if default in (None, MISSING) or name == "task":
        return ""
    by_value: dict[str, list[str]] = {}
    for task in registry.TASKS.builtin:
        of_task = presets_of(task).get("tiny", {})
        if name in of_task:
            by_value.setdefault(str(of_task[name]), []).append(task)
    others = "".join(f"; {value} for {_among(tasks)}" for value, tasks in by_value.items())
    return f" (default: {default}{others})"


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
        setting = next(each for each in fields(defaults) if each.name == name)
        meanings.setdefault(setting.metadata["help"], []).append(task)
        if getattr(defaults, name) is not None:
            values.setdefault(str(getattr(defaults, name)), []).append(task)
    text = "; ".join(f"{', '.join(these)}: {meaning}" for meaning, these in meanings.items())
    if len(values) == 1:
        return f"{text} (default: {next(iter(values))})"
    told = "; ".join(f"{', '.join(these)}: {value}" for value, these in values.items())
    return f"{text} (defaults: {told})" if told else text


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given by flags of `add_settings` and `add_task_settings`."""
    names = [*(field.name for field in fields(TrainSettings)), *_settings_of_tasks()]
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    options = [field.name for field in fields(TrainSettings) if "flag" in field.metadata]
    return given | {name: dict(given[name]) for name in options if name in given}


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
        return key.replace("-", "_"), value
