"""Values that users give, checked at the door: one line says what was given and what is allowed."""

from __future__ import annotations

import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

MOST_SEED = 2**63 - 1  # of torch's generators, with room for what is added to a seed
MOST_VOCAB_SIZE, MOST_SEQ_LEN = 2**20, 2**16
MOST_DIM = 65_536  # of a layer
MOST_TOKENS = 2**27  # of a set of sequences, a gigabyte
MOST_PARAMETERS = 2**29  # of a model, two gigabytes

# Of the types that options have: what is allowed in words, and whether a value is of it.
_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: _is_number(value, Integral)),
    float: ("a finite number", lambda value: _is_number(value, Real) and _is_finite(value)),
    str: ("a text", lambda value: isinstance(value, str)),
    types.NoneType: ("None", lambda value: value is None),
    list: ("a list", lambda value: isinstance(value, (list, tuple))),
    tuple: ("a list", lambda value: isinstance(value, (list, tuple))),
    Sequence: ("a list", lambda value: isinstance(value, (list, tuple))),
    dict: ("a dict", lambda value: isinstance(value, Mapping)),
    Mapping: ("a dict", lambda value: isinstance(value, Mapping)),
    Callable: ("a function", callable),
    type: ("a class", lambda value: isinstance(value, type)),
}

# What of these can stand in a file, in the words of files.
_IN_FILES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    dict: "names with values",
    types.NoneType: "nothing",
}


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raises a ValueError if a value is certainly none of the annotation `hint`.

    A number is finite and no bool. The items of a list are looked at, and the names in a dict whose
    annotation says that they are texts.

    Args:
        name: of the value, as the message begins with it.
        value: as it was given.
        hint: annotation. Of kinds that are not known here everything is allowed.
    """
    if not _fits(value, hint):
        # A dict keeps the order and drops words that two members share.
        words = dict.fromkeys(map(_word, _members(hint)))
        raise ValueError(f"{name} is {value!r}; allowed is {' or '.join(words)}")


def check_fields(config: Any) -> None:
    """Raises a ValueError for a field of a dataclass that is certainly not of its annotation."""
    hints = hints_of(type(config))
    for each in fields(config):
        check_type(each.name, getattr(config, each.name), hints.get(each.name, Any))


def check_kinds(cls: type, values: Mapping[str, Any]) -> None:
    """Raises a ValueError for a value out of a file or of a command line that is not of its field.

    Args:
        cls: a dataclass. Fields that may be something else than numbers, texts, truth values,
            mappings and None are not checked.
        values: by name of the field.
    """
    hints = hints_of(cls)
    for name, value in values.items():
        hint = hints.get(name, Any)
        kinds = list(map(_plain, _members(hint)))
        can_stand_in_file = _IN_FILES.keys() >= set(kinds)
        if can_stand_in_file and not _fits(value, hint):
            expected = " or ".join(_IN_FILES[kind] for kind in kinds)
            raise ValueError(f"{name} is {_short(value)}; expected {expected}")


def hints_of(thing: Any) -> dict[str, Any]:
    """The annotations of a class's fields or of a function's arguments, by name.

    One that names what is not there when the program runs is left out alone, where
    `typing.get_type_hints` would have none at all.
    """
    if not isinstance(thing, type):
        function = inspect.unwrap(thing)
        return _resolved(function, getattr(function, "__globals__", {}))
    found: dict[str, Any] = {}
    # From the most general base down: a class may annotate a field of its base anew.
    for base in reversed(thing.__mro__):
        found |= _resolved(base, vars(sys.modules[base.__module__]))
    return found


def _resolved(thing: Any, names: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(thing, (type, types.FunctionType)):  # what is written in C has none
        return {}
    found = {}
    for name, hint in inspect.get_annotations(thing).items():
        try:
            found[name] = eval(hint, names) if isinstance(hint, str) else hint
        except NameError:
            continue
    return found


def check_least(owner: Any, least: float, *names: str) -> None:
    """Raises a ValueError for an attribute of `owner` that is below `least`; None is none."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and not value >= least:  # written so as to refuse NaN, too
            raise ValueError(f"{name} is {value!r}; allowed is {least} or more")


def check_above(owner: Any, bound: float, *names: str) -> None:
    """Raises a ValueError for an attribute of `owner` that is not above `bound`; None is none."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and not value > bound:
            raise ValueError(f"{name} is {value!r}; allowed is any number above {bound}")


def check_count(name: str, value: Any) -> None:
    """Raises a ValueError unless `value` is a whole number from 1."""
    if not _is_number(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; allowed is a whole number from 1")


def check_share(name: str, value: float) -> None:
    """Raises a ValueError unless `value` is 0 or more and below 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}; allowed is 0 or more, below 1")


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


def check_seed(seed: Any, name: str = "seed") -> None:
    """Raises a ValueError if `seed` is none that every generator takes."""
    if not _is_number(seed, Integral) or not 0 <= seed <= MOST_SEED:
        raise ValueError(f"{name} is {seed!r}; allowed are whole numbers 0..{MOST_SEED}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may be of an annotation."""
    for member in _members(hint):
        kind = _KINDS.get(_plain(member))
        if kind is None or (kind[1](value) and _items_fit(value, member)):
            return True
    return False


def _items_fit(value: Any, hint: Any) -> bool:
    if isinstance(value, Mapping):
        has_names = typing.get_args(hint)[:1] == (str,)
        return not has_names or all(isinstance(name, str) for name in value)
    item = _item(hint)
    if item is None:
        return True  # the annotation says nothing of the items
    return all(_fits(each, item) for each in value)


def _word(hint: Any) -> str:
    word, item = _KINDS[_plain(hint)][0], _item(hint)
    if item is None:
        return word
    for member in _members(item):
        if _plain(member) not in _KINDS:  # without words of its own
            return word
    return f"{word}, each {' or '.join(map(_word, _members(item)))}"


def _members(hint: Any) -> tuple[Any, ...]:
    """The parts of a union; any other annotation is its only part."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _item(hint: Any) -> Any:
    """The annotation of every item of a list; None where it says nothing of them, or not one
    thing.
    """
    of_items = typing.get_args(hint)
    is_list = _plain(hint) in (list, tuple, Sequence)
    return of_items[0] if is_list and (len(of_items) == 1 or of_items[1:] == (...,)) else None


def _plain(hint: Any) -> Any:
    """`list[int]` is a list."""
    return typing.get_origin(hint) or hint


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
