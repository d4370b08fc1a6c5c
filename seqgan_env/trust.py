"""Which names in a file may become code: those that its reader has named himself, or all of them.

Names of what is built in or installed are always allowed. `package.module:Name` imports a module,
which runs it: in a file that someone sent, that is the sender's choice and not the reader's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# True: every name. A collection: these names, written `package.module:Name`.
Trust = bool | Collection[str]

PATHS = ("corpus", "weights")  # settings that are files or folders, never code

_BETWEEN_TERMS = re.compile(r"[\s+*=]+")  # of a sum of sources, or of KEY=VALUE


def check_names(settings: Any, file: object, trust: Trust = False) -> None:
    """Checks the settings in a file before anything is made of them.

    Every text with a colon, however deep, counts as a name of code: plug-ins have options that are
    names, too.

    Args:
        settings: as they stand in the file.
        file: for the message.
        trust: what the reader allows.

    Raises:
        ValueError: they name code that the reader does not trust.
    """
    if trust is True:
        return
    allowed = trust or ()
    foreign = set()
    for text in texts_in(settings):
        foreign |= set(names_of_code(text)).difference(allowed)
    if foreign:
        # A file from a stranger may hold a "name" of any length; the message stays readable.
        names = ", ".join(name[:80] for name in sorted(foreign))
        raise ValueError(
            f"{file} names code that is neither built in nor installed: {names}. Loading it would "
            "run that code; if you know it, add --trust, or --trust-name for each name (in Python, "
            "trust=True or trust=[NAME])"
        )


def names_of_code(text: str) -> list[str]:
    """The names `package.module:Name` in a text, which may be a sum of sources."""
    names = []
    for part in _BETWEEN_TERMS.split(text):
        if ":" in part:
            names.append(part.lstrip("-"))  # a leading minus is no part of a name
    return names


def texts_in(value: Any) -> Iterator[str]:
    """The texts in nested settings that may name code, however deep; `PATHS` are none."""
    left = [value]  # no recursion, since files nest deeply
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            for key, item in each.items():
                if not _is_path(key, item):  # a path such as C:\corpus.txt has a colon, too
                    left.append(item)
        elif isinstance(each, (list, tuple)):
            left += each


def _is_path(key: object, value: object) -> bool:
    return key in PATHS and isinstance(value, str)
