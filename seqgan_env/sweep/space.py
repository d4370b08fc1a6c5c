"""What a sweep may change: ranges and choices for settings of a row.

In a suite file a setting with `low` and `high`, or with `choices`, is what a sweep draws:

    learning_rate = { low = 1e-5, high = 1e-2, log = true }
    g_steps = { low = 1, high = 4 }
    reward = { choices = ["rollout", "terminal"] }
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from seqgan_env.names import choose

OPTIONS = ("agent_options", "policy_options", "discriminator_options")  # groups of settings

_OF_A_RANGE = ("low", "high", "step", "log")


class Suggests(Protocol):
    """What draws values, an `optuna.Trial`."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """A whole number from `low` to `high`."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from `low` to `high`."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""
        ...


@dataclass(frozen=True)
class Parameter:
    """One setting that a sweep draws.

    Attributes:
        path: to the setting, ("batch_size",) or ("agent_options", "learning_rate").
        low: the least value; a range of two whole numbers has whole numbers alone.
        high: the largest value.
        step: between values; None for none.
        log: whether orders of magnitude are equally likely.
        choices: in place of a range, the values.
    """

    path: tuple[str, ...]
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The path with dots, as a study keeps it."""
        return ".".join(self.path)

    @property
    def label(self) -> str:
        """The last part of the path, as it stands in tables."""
        return self.path[-1]

    def suggest(self, trial: Suggests) -> Any:
        """A value for a trial."""
        if self.choices:
            # A study keeps texts, numbers and truth values. Of lists and tables it gets the text.
            names = [self._name_of(choice) for choice in self.choices]
            return self.value_of(trial.suggest_categorical(self.name, names))
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(
            self.name, float(self.low), float(self.high), step=self.step, log=self.log
        )

    def value_of(self, drawn: Any) -> Any:
        """The value of the setting for what a trial keeps under `name`."""
        for choice in self.choices:
            if self._name_of(choice) == drawn:
                return choice
        return drawn

    def _name_of(self, choice: Any) -> Any:
        """A choice as a study keeps it."""
        if all(isinstance(each, (str, int, float)) for each in self.choices):
            return choice
        return json.dumps(choice)

    def extremes(self) -> tuple[Any, ...]:
        """The values that are tried out before a sweep begins: all choices, or the two ends."""
        return self.choices or (self.low, self.high)

    def described(self) -> dict[str, Any]:
        """The parameter as values of JSON."""
        return {
            "path": list(self.path),
            "low": self.low,
            "high": self.high,
            "step": self.step,
            "log": self.log,
            "choices": list(self.choices),
        }


Space = dict[tuple[str, ...], Parameter]


def read_space(settings: Any, where: str) -> Space:
    """The parameters in a table of a suite file, by path.

    Args:
        settings: the table.
        where: it stands, for messages.

    Raises:
        ValueError: an entry is neither a range nor choices, or cannot be drawn from.
    """
    found: Space = {}
    for path, entry in _leaves(settings, where):
        found[path] = _parameter(path, entry, f"{'.'.join(path)} in {where}")
    return found


def changed(settings: Mapping[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Settings of a row with some set anew, by path; the others and the arguments stay as they
    are.
    """
    found = dict(settings)
    for path, value in values.items():
        if len(path) == 1:
            found[path[0]] = value
        else:
            group, option = path
            found[group] = {**found.get(group, {}), option: value}
    return found


def _leaves(settings: Any, where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and entries of a table; groups of options are looked into."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"{where} is {settings!r}; expected a table of settings")
    for name, entry in settings.items():
        if name not in OPTIONS:
            yield (name,), entry
            continue
        if not isinstance(entry, Mapping):
            raise ValueError(f"{name} in {where} is {entry!r}; expected a table of options")
        for option, of_option in entry.items():
            yield (name, option), of_option


def _parameter(path: tuple[str, ...], entry: Any, what: str) -> Parameter:
    if not isinstance(entry, Mapping) or ("choices" in entry) == ("low" in entry):
        raise ValueError(
            f"{what} is {entry!r}; a sweep needs {{ low = ..., high = ... }}, with log = true or "
            "step = ... if need be, or { choices = [...] }"
        )
    if "choices" in entry:
        return _choices(path, entry, what)
    for name in entry:
        choose(_OF_A_RANGE, name, f"entry of {what}")
    low, high, step, log = (entry.get(name) for name in _OF_A_RANGE)
    for number in (low, high):
        _check_number(number, what)
    assert low is not None
    assert high is not None
    if not low < high:
        raise ValueError(f"{what} has low {low} and high {high}; low must be below high")
    if log not in (None, True, False):
        raise ValueError(f"{what} has log {log!r}; allowed are true and false")
    if log and low <= 0:
        raise ValueError(f"{what} has low {low}; with log it must be above 0")
    if step is not None:
        _check_number(step, what)
        is_whole = isinstance(low, int) and isinstance(high, int)
        if log or step <= 0 or (is_whole and not isinstance(step, int)):
            raise ValueError(
                f"{what} has step {step}; allowed is a number above 0, a whole one between whole "
                "numbers, and none with log"
            )
    return Parameter(path, low, high, step, bool(log))


def _choices(path: tuple[str, ...], entry: Mapping[str, Any], what: str) -> Parameter:
    for name in entry:
        choose(["choices"], name, f"entry of {what}")
    choices = entry["choices"]
    if not isinstance(choices, list) or len(choices) < 2:
        raise ValueError(f"{what} has choices {choices!r}; expected a list of 2 or more")
    for place, choice in enumerate(choices):
        if choice in choices[:place]:
            raise ValueError(f"{what} has the choice {choice!r} twice")
    return Parameter(path, choices=tuple(choices))


def _check_number(value: Any, what: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise ValueError(f"{what} has {value!r} where a finite number is expected")
