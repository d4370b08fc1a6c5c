"""The words of a whole corpus in little memory: every distinct word once, its lines as numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from seqgan_env.tasks.real_data import Words, digest

_LINES_AT_ONCE = 2**14


class NumberedLines:
    """Lines of words, M of them, as numbers of their distinct words in the order of appearance.

    Attributes:
        words: the distinct ones by number.
        numbers: (N,) int32, of all lines one behind the other.
        starts: (M + 1,) int64, where in `numbers` each line begins, and where the last one ends.
    """

    def __init__(self, lines: Iterable[Sequence[str]]) -> None:
        """Reads them, each once.

        Args:
            lines: that may be made while they are read.
        """
        number_of = _Numbers()
        numbers, starts = array("i"), array("q", [0])  # 4 and 8 bytes each, where lists have 36
        for line in lines:
            numbers.extend(map(number_of.__getitem__, line))
            starts.append(len(numbers))
        self.words: Words = tuple(number_of)
        # One number at least, so that a place in it can be asked for where all lines are blank.
        self.numbers = np.frombuffer(numbers or array("i", [0]), dtype=np.int32)
        self.starts = np.frombuffer(starts, dtype=np.int64)
        self._lengths: np.ndarray = np.diff(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """The words in each line, (M,)."""
        return self._lengths

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[list[str]]:
        """The words of every line."""
        return map(self.line, range(len(self)))

    def line(self, index: int, most: int | None = None) -> list[str]:
        """The words of a line, the first `most` of them."""
        start, end = int(self.starts[index]), int(self.starts[index + 1])
        if most is not None:
            end = min(end, start + most)
        return list(map(self.words.__getitem__, self.numbers[start:end].tolist()))

    def keys(self, indices: np.ndarray, most: int, seed: int) -> np.ndarray:
        """A hash of a seed and the first `most` words of each of these lines (K,): (K,) uint64.

        They are the first eight bytes of a longer hash, and have its order. That two different
        lines have one of them happens once in some hundred thousand corpora of ten million lines,
        and puts both on one side of a split.
        """
        salt, hashes = str(seed), bytearray()
        for index in indices.tolist():
            hashes += digest(salt, *self.line(index, most))[:8]
        return np.frombuffer(hashes, dtype=">u8")  # the first byte counts most

    def counts(self, indices: np.ndarray, most: int) -> np.ndarray:
        """How often each distinct word stands among the first `most` of these lines, (W,)."""
        counts = np.zeros(len(self.words), dtype=np.int64)
        steps = np.arange(most)
        for part in _blocks(indices):
            places = self.starts[part][:, None] + steps  # (K', most), beyond the lines too
            written = places[steps < self.lengths[part][:, None]]  # (words of the block,)
            counts += np.bincount(self.numbers[written], minlength=len(counts))
        return counts

    def matrix(
        self, indices: np.ndarray, tokens: np.ndarray, eos: int, pad: int, rows: np.ndarray
    ) -> None:
        """Fills `rows` (K, T) with these lines (K,): tokens, the end where there is room for it,
        padding.

        Args:
            indices: of the lines.
            tokens: (W,), of each distinct word.
            eos: token of the end.
            pad: token behind it.
            rows: that are written.
        """
        steps, first = np.arange(rows.shape[1]), 0
        for part in _blocks(indices):
            lengths = self.lengths[part][:, None]  # (K', 1)
            # Behind a line stands the next one, behind the last one nothing: it is overwritten.
            places = np.minimum(self.starts[part][:, None] + steps, len(self.numbers) - 1)
            block = tokens[self.numbers[places]]  # (K', T)
            block[steps >= lengths] = pad
            block[steps == lengths] = eos  # in no column of a line of T words or more
            rows[first : first + len(part)] = block
            first += len(part)


class _Numbers(dict[str, int]):
    """Numbers of words; a new word gets the next."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def _blocks(indices: np.ndarray) -> Iterator[np.ndarray]:
    """Some of the indices at a time, so that what is computed of their lines stays small."""
    for first in range(0, len(indices), _LINES_AT_ONCE):
        yield indices[first : first + _LINES_AT_ONCE]
