"""Whether settings are of the kinds that their dataclass says."""

from __future__ import annotations

import math
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

MOST_VOCAB_SIZE, MOST_SEQ_LEN = 2**20, 2**16
MOST_DIM = 65_536  # of a layer
MOST_TOKENS = 2**27  # of a set of sequences, a gigabyte
MOST_PARAMETERS = 2**29  # of a model, two gigabytes


def check_kinds(cls: type, values: Mapping[str, Any]) -> None:
    """Raises a ValueError for a value that is not of the kind of its field.

    Args:
        cls: a dataclass. Fields of kinds other than numbers, texts, truth values, mappings and
            None are not checked.
        values: by name of the field.
    """
    hints = _hints(cls)
    for name, value in values.items():
        kinds = _kinds_of(hints.get(name))
        if kinds and not any(_is(value, kind) for kind in kinds):
            expected = " or ".join(_IN_WORDS[kind] for kind in kinds)
            raise ValueError(f"{name} is {_short(value)}; expected {expected}")


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Raises a ValueError unless a number is within bounds."""
    if value < least:
        raise ValueError(f"{name} is {value}; allowed is {least} or more")
    if value > most:
        raise ValueError(f"{name} is {value}; allowed is up to {most}")


def check_layers(vocab_size: int, embedding_dim: int, hidden_dim: int) -> None:
    """Raises a ValueError for a recurrent language model that no memory holds."""
    check_range("embedding_dim", embedding_dim, 1, MOST_DIM)
    check_range("hidden_dim", hidden_dim, 1, MOST_DIM)
    width = embedding_dim + hidden_dim
    num_parameters = (vocab_size + 4 * hidden_dim) * width
    if num_parameters > MOST_PARAMETERS:
        raise ValueError(
            f"embedding_dim {embedding_dim} and hidden_dim {hidden_dim} with {vocab_size} tokens "
            f"make {num_parameters:,} parameters; allowed are {MOST_PARAMETERS:,}"
        )


_IN_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    dict: "names with values",
    types.NoneType: "nothing",
}


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except NameError:  # a name that a user's module imports for type checkers only
        return {}


def _kinds_of(hint: Any) -> list[type]:
    """The kinds of a hint; none where it allows anything else, which is not checked."""
    origin = typing.get_origin(hint)
    parts = typing.get_args(hint) if origin in (typing.Union, types.UnionType) else (hint,)
    kinds = [typing.get_origin(part) or part for part in parts]
    return kinds if all(kind in _IN_WORDS for kind in kinds) else []


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind is float:
        return isinstance(value, numbers.Real) and _is_finite(value)
    if kind is dict:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return isinstance(value, kind)


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
