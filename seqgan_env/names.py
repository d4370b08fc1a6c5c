"""Names that users type, and the nearest valid one for a typo."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
