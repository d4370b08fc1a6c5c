"""What the flags of the command line are made of."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, NoReturn

from seqgan_env.training.settings import TrainSettings


class Parser(argparse.ArgumentParser):
    """Errors in one line on stderr, with the nearest valid flag or command for a typo."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(
            r"unrecognized arguments: (--[\w-]+)|argument COMMAND: invalid choice: '(.*?)'", message
        )
        if unknown:
            options = [option for action in self._all_actions() for option in action.option_strings]
            close = difflib.get_close_matches(
                unknown[1] or unknown[2], options if unknown[1] else self._commands(), n=1
            )
            message += f". Did you mean {close[0]}?" if close else ""
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)

    def _subparsers_of(self) -> dict[str, argparse.ArgumentParser]:
        nested = [
            action for action in self._actions if isinstance(action, argparse._SubParsersAction)
        ]
        return {name: parser for action in nested for name, parser in action.choices.items()}

    def _commands(self) -> list[str]:
        return list(self._subparsers_of())

    def _all_actions(self) -> list[argparse.Action]:
        return self._actions + [
            action for parser in self._subparsers_of().values() for action in parser._actions
        ]


def add_settings(parser: argparse._ActionsContainer, names: Iterable[str]) -> None:
    """A flag for each of these fields of `TrainSettings`; of what is not given, the parsed
    arguments hold nothing.
    """
    hints = typing.get_type_hints(TrainSettings)
    by_name = {field.name: field for field in fields(TrainSettings)}
    for name in names:
        setting, hint = by_name[name], hints[name]
        flag, suppress = "--" + name.replace("_", "-"), argparse.SUPPRESS
        text = setting.metadata["help"] + (
            "" if setting.default in (None, MISSING) else f" (default: {setting.default})"
        )
        if hint is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=suppress, help=text
            )
        elif "flag" in setting.metadata:
            parser.add_argument(
                setting.metadata["flag"],
                dest=name,
                type=_option,
                action="append",
                default=suppress,
                metavar="KEY=VALUE",
                help=text,
            )
        else:
            kind = next(t for t in (typing.get_args(hint) or (hint,)) if t is not types.NoneType)
            parser.add_argument(
                flag, type=kind, default=suppress, metavar=setting.metadata["metavar"], help=text
            )


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given by flags of `add_settings`."""
    given = {
        field.name: getattr(arguments, field.name)
        for field in fields(TrainSettings)
        if hasattr(arguments, field.name)
    }
    options = [field.name for field in fields(TrainSettings) if "flag" in field.metadata]
    return given | {name: dict(given[name]) for name in options if name in given}


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key.replace("-", "_"), json.loads(value)
    except ValueError:
        return key.replace("-", "_"), value
