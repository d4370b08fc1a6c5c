"""Reading files that anyone may have written: whole, regular and of a size that can be meant."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


def check_regular(path: Path, called: str, most_bytes: int | None = None) -> None:
    """Raises a ValueError unless a file can be read to an end.

    Pipes and devices are refused: reading one may wait, or go on, for ever.

    Args:
        path: of the file; links are followed.
        called: what it is called in messages, with its path.
        most_bytes: the largest size; None for any.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as problem:  # a ValueError for a path with a zero byte
        raise unreadable(called, problem) from problem
    if stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{called} cannot be read: Is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{called} is no regular file; pipes and devices are not read")
    if most_bytes is not None and found.st_size > most_bytes:
        raise ValueError(
            f"{called} is too large: {found.st_size:,} bytes; allowed are {most_bytes:,}"
        )


def read_bytes(path: Path, called: str, most_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        ValueError: it cannot be read, is no regular file, or is larger than `most_bytes`.
    """
    check_regular(path, called, most_bytes)
    try:
        with path.open("rb") as file:
            return file.read(most_bytes)  # it may have grown since
    except OSError as problem:
        raise unreadable(called, problem) from problem


def read_text(path: Path, called: str, most_bytes: int) -> str:
    """The content of a regular file of UTF-8 text.

    Raises:
        ValueError: as of `read_bytes`, or it is not UTF-8.
    """
    content = read_bytes(path, called, most_bytes)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{called} is damaged: {problem}") from problem


@contextmanager
def naming(file: object) -> Iterator[None]:
    """What goes wrong with what a file says is a ValueError that begins with the file; None names
    nothing.
    """
    try:
        yield
    except ValueError as problem:
        if file is None:
            raise
        raise ValueError(f"{file}: {problem}") from problem
    except Exception as problem:  # of plug-ins and of torch, out of memory among them
        if file is None:
            raise
        first = str(problem).partition("\n")[0]
        raise ValueError(
            f"{file}: what it says cannot be: {type(problem).__name__}: {first}"
        ) from problem


def unreadable(called: str, problem: Exception) -> ValueError:
    """The error of a file that cannot be read, with the system's reason."""
    return ValueError(f"{called} cannot be read: {getattr(problem, 'strerror', None) or problem}")
