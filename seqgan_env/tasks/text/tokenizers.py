"""How a line of text becomes words, and how words are read again."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from seqgan_env.extras import load
from seqgan_env.files import MIB, read_text
from seqgan_env.names import choose
from seqgan_env.registry import import_object
from seqgan_env.tasks.text.graphemes import graphemes

_MOST_BYTES = 64 * MIB  # of a tokenizer's file
_MOST_GROWTH = 64  # characters that a tokenizer may make of one

LEVELS = ("word", "char")


@runtime_checkable
class Tokenizer(Protocol):
    """Splits lines and joins words. One line always gives the same words."""

    def __call__(self, line: str) -> Sequence[str]:
        """The words of a line, none of a blank one."""
        ...

    def join(self, words: Sequence[str]) -> str:
        """Words as a person reads them."""
        ...


class WhiteSpace:
    """Words as white space separates them, whatever the script."""

    def __call__(self, line: str) -> list[str]:
        return line.split()

    def join(self, words: Sequence[str]) -> str:
        return " ".join(words)


class Characters:
    """Every character, with its combining marks, is a word."""

    def __call__(self, line: str) -> list[str]:
        return graphemes(line.strip())

    def join(self, words: Sequence[str]) -> str:
        return "".join(words)


class English:
    """Words and punctuation marks; joined, a mark stands at its word and a sentence begins with a
    capital letter.
    """

    _WORD = re.compile(r"<\w+>|\w+(?:[-'’.]\w+)*|[^\w\s]")
    _NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?%)\]}…]|n't\b|'(?:s|re|ve|ll|d|m)\b)")
    _NO_SPACE_BEHIND = re.compile(r"(?<=[(\[{$]) ")
    _FIRST_LETTER = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")

    def __call__(self, line: str) -> list[str]:
        return self._WORD.findall(line)

    def join(self, words: Sequence[str]) -> str:
        text = self._NO_SPACE_BEHIND.sub("", self._NO_SPACE_BEFORE.sub("", " ".join(words)))
        return self._FIRST_LETTER.sub(lambda match: match[0].upper(), text)


class HuggingFace:
    """A tokenizer of the library `tokenizers`, from its JSON file; special tokens are not added.

    Attributes:
        text: what stands in the file.
    """

    def __init__(self, path: str, text: str | None = None) -> None:
        """Loads `path`, or `tokenizer.json` where that is a folder, such as those of models of
        `transformers`.

        Args:
            path: of the file or the folder.
            text: what stood in the file, where it is not to be read.

        Raises:
            ValueError: the library is missing, or the file is missing or damaged.
        """
        tokenizers = load("tokenizers", f"tokenizer {path}")
        if text is None:
            if Path(path).is_dir():
                path = str(Path(path) / "tokenizer.json")
            text = read_text(Path(path), f"tokenizer {path}", _MOST_BYTES)
        self.text = text
        try:
            _check_growth(json.loads(text))
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as problem:  # the library raises nothing narrower
            raise ValueError(
                f"tokenizer {path} is no tokenizer of the library tokenizers: {problem}"
            ) from problem
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, line: str) -> list[str]:
        words: list[str] = self._tokenizer.encode(line, add_special_tokens=False).tokens
        return words

    def join(self, words: Sequence[str]) -> str:
        decoder = self._tokenizer.decoder
        text = " ".join(words)
        if decoder is not None:
            text = decoder.decode(list(words))
        return text.strip()


def _check_growth(content: Any) -> None:
    """Raises a ValueError for a tokenizer that makes much of little: replacements multiply."""
    growth = 1
    left = list(map(content.get, ("normalizer", "pre_tokenizer", "decoder")))
    # `left` is what is still to look at, however deep it stands.
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            growth *= max(1, len(str(each.get("content", ""))), len(str(each.get("prepend", ""))))
            left += each.values()
        elif isinstance(each, list):
            left += each
    if growth > _MOST_GROWTH:
        raise ValueError(f"it may make {growth:.3g} characters of one; allowed are {_MOST_GROWTH}")


class _JoinedBySpaces:
    """A bare function from lines to words."""

    def __init__(self, split: Callable[[str], Sequence[str]]) -> None:
        self._split = split

    def __call__(self, line: str) -> Sequence[str]:
        return self._split(line)

    def join(self, words: Sequence[str]) -> str:
        return " ".join(words)


BY_NAME: dict[str, Callable[[], Tokenizer]] = {"english": English}
BY_LEVEL: dict[str, Callable[[], Tokenizer]] = {"word": WhiteSpace, "char": Characters}


def make_tokenizer(
    level: str,
    tokenizer: str | Callable[[str], Sequence[str]] | None = None,
    text: str | None = None,
) -> Tokenizer:
    """The tokenizer that a user asked for.

    Args:
        level: "word" or "char", where `tokenizer` is None.
        tokenizer: "english", the path of a JSON file of the library `tokenizers` or of a folder
            with one called `tokenizer.json`, "package.module:name" of a tokenizer, or a tokenizer:
            a `Tokenizer`, or any function from a line to its words.
        text: what stood in the JSON file, where `tokenizer` is one that is not to be read.

    Raises:
        ValueError: it cannot be found, loaded or called.
    """
    if tokenizer is None:
        return BY_LEVEL[choose(LEVELS, level, "level")]()
    if text is not None:
        return HuggingFace(str(tokenizer), text)
    found: Any = tokenizer
    if isinstance(tokenizer, str):
        found = _named(tokenizer)
    if not callable(found):
        raise ValueError(
            f"tokenizer {tokenizer!r} is a {type(found).__name__}; expected a function from a line "
            "to its words"
        )
    if isinstance(found, Tokenizer):
        return found
    return _JoinedBySpaces(found)


def _named(name: str) -> Any:
    """The tokenizer that a text names; of an import, whatever is found there."""
    if name in BY_NAME:
        return BY_NAME[name]()
    if name.endswith(".json") or Path(name).exists():
        return HuggingFace(name)
    if ":" not in name:
        choose([*BY_NAME, "FILE.json", "FOLDER", "package.module:name"], name, "tokenizer")
    return _imported(name)


def _imported(name: str) -> Any:
    """The object `package.module:name`; of a class, an instance."""
    found = import_object(name, f"tokenizer {name!r}")
    if not inspect.isclass(found):
        return found
    try:
        return found()
    except (TypeError, ValueError) as problem:
        raise ValueError(f"tokenizer {name!r} cannot be made: {problem}") from problem


def words_of(tokenizer: Tokenizer, line: str, where: str) -> tuple[str, ...]:
    """The words of a line, checked: a tokenizer may be anyone's.

    Raises:
        ValueError: it failed, or gave something other than a sequence of strings; the message says
            `where`.
    """
    try:
        words = tokenizer(line)
    except Exception as problem:
        raise ValueError(
            f"the tokenizer failed in {where}: {type(problem).__name__}: {problem}"
        ) from problem
    if (
        isinstance(words, str)
        or not isinstance(words, Sequence)
        or not all(isinstance(word, str) for word in words)
    ):
        raise ValueError(
            f"the tokenizer gave {_short(words)} for {where}; expected a list of strings"
        )
    return tuple(words)


def _short(value: object) -> str:
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return text
