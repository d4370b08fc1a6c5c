"""Tasks without their real data, as a run carries them: they write and read sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Self

from seqgan_env.checks import MOST_VOCAB_SIZE, check_type
from seqgan_env.names import choose
from seqgan_env.types import TokenSpec


class NoDataError(ValueError, AttributeError):
    """Something needs the real data of a task that was made without them.

    As an `AttributeError` it leaves `hasattr` and `getattr` with a default as they are.
    """


class MayLackData:
    """A task that can be made without its real data.

    What it lacks then raises a `NoDataError`.

    Attributes:
        name: of the task.
        spec: of its sequences.
        no_data: why there are none; None where they are there.
    """

    name: str
    spec: TokenSpec
    no_data: str | None = None

    @classmethod
    def bare(cls, name: str, spec: TokenSpec) -> Self:
        """A task of this class with nothing but a name and a spec.

        A `without_data` (`seqgan_env.types.Portable`) begins with it.
        """
        task = cls.__new__(cls)
        task.name = name
        task.spec = spec
        task.no_data = "it was made without them"
        return task

    if not TYPE_CHECKING:  # a type checker would take every name for one of a task

        def __getattr__(self, name: str) -> NoReturn:
            if self.no_data is None or name.startswith("__"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise NoDataError(
                f"task {self.__dict__.get('name')} has no {name.strip('_')}, which needs its real "
                f"data: {self.no_data}"
            )


def check_parts(essentials: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raises a ValueError unless what a file tells of a task is what it should tell.

    Args:
        essentials: as they stand in the file.
        kinds: the annotation of each part.
    """
    for name in essentials:
        choose(kinds, name, "part")
    for name, kind in kinds.items():
        if name not in essentials:
            raise ValueError(f"{name} is missing")
        check_type(name, essentials[name], kind)


def checked_words(words: list[Any], first: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a vocabulary that stands in a file.

    Args:
        words: as they stand there.
        first: those that it begins with.

    Raises:
        ValueError: they are too many, no texts, or not all different.
    """
    if len(words) > MOST_VOCAB_SIZE:
        raise ValueError(f"vocabulary has {len(words)} words; allowed are {MOST_VOCAB_SIZE}")
    for word in words:
        check_type("a word of vocabulary", word, str)
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ValueError(f"vocabulary has {word!r}; half a character is none")
    if len(set(words)) < len(words):
        raise ValueError("vocabulary has a word twice")
    if tuple(words[: len(first)]) != first:
        raise ValueError(f"vocabulary begins with {words[: len(first)]!r}; expected {list(first)}")
    return tuple(words)
