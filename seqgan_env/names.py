"""Names that users type, the nearest valid one for a typo, and the options that things take."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any


def choose(valid: Iterable[str], name: str, what: str) -> str:
    """`name` if it is one of `valid`.

    Raises:
        ValueError: it is not; the message lists the valid names and suggests the nearest.
    """
    valid = list(valid)
    if name in valid:
        return name
    raise ValueError(f"unknown {what} {name!r}; {allowed(valid, name)}")


def allowed(valid: Iterable[str], name: str) -> str:
    """The end of a sentence about a wrong `name`: what is allowed, and the nearest of it."""
    valid = list(valid)
    return f"allowed are {', '.join(valid)}.{nearest(valid, name)}"


def nearest(valid: Iterable[str], name: str) -> str:
    """A question that suggests the nearest of `valid`, with a space before it; "" if none is
    near.
    """
    close = difflib.get_close_matches(str(name), list(valid), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def option_names(make: Callable[..., Any], given: Collection[str] = ()) -> list[str] | None:
    """The options with which something is made; None where it takes any.

    Args:
        make: class or function.
        given: arguments that it gets in any case, which are no options.
    """
    parameters = inspect.signature(make).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.name not in ("self", *given)]


def check_options(
    make: Callable[..., Any], options: Iterable[str], what: str, given: Collection[str] = ()
) -> None:
    """Raises a ValueError for an option that `make` does not take, with the nearest that it does.

    Args:
        make: class or function.
        options: names.
        what: of which they are options, as in "agent reinforce".
        given: as of `option_names`.
    """
    valid = option_names(make, given)
    if valid is None:
        return
    for option in options:
        choose(valid, option, f"option of {what}")
