"""An n-gram language model with interpolated Kneser-Ney smoothing (Kneser & Ney 1995; Chen &
Goodman 1999, section 2.7).

p_k(w | h) = (c(h w) - D)+ / c(h .) + D N(h) / c(h .) * p_{k-1}(w | h without its first word), and
p_0 = 1 / V,

where c counts occurrences at the highest order and, below it, the different words that stand before
h w; N(h) is the number of different words behind h. Where h was never seen, p_k = p_{k-1}. No word
has probability 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqgan_env.metrics.numbering import ABSENT, extend, find
from seqgan_env.types import TokenSpec


@dataclass(frozen=True)
class _Order:
    """The k-grams of the training sentences; a context is the k - 1 words before the last.

    Attributes:
        keys: (G,) of the k-grams, sorted: their context's number times V plus their last word.
        counts: (G,) of the k-grams.
        totals: (C,) sum of the counts by context.
        num_types: (C,) different k-grams by context.
    """

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    num_types: np.ndarray


class KneserNey:
    """A language model of sequences, counted from examples: the same numbers for the same
    sequences, without a seed.

    It judges sequences that an LSTM wrote. Another LSTM would share the writer's blind spots, would
    add the noise of its own training and seed to every number, and would cost minutes where this
    takes a fraction of a second. What it cannot see is anything farther than `order` words apart.

    A sequence's end is a word like any other; before a sequence stand `order` - 1 start symbols,
    which are never predicted.
    """

    def __init__(
        self, sequences: np.ndarray, spec: TokenSpec, order: int = 4, discount: float = 0.75
    ) -> None:
        """Counts.

        Args:
            sequences: (M, T) finished sequences of integer tokens, padded.
            spec: of the sequences.
            order: the longest n-grams; a word is predicted from the `order` - 1 before it.
            discount: D, taken from every count and given to shorter contexts. A fixed one keeps
                models of different sets of sequences comparable.

        Raises:
            ValueError: no sequences, an order below 1, a discount outside (0, 1].
        """
        if len(sequences) == 0:
            raise ValueError("a language model needs at least 1 sequence; 0 were given")
        if order < 1:
            raise ValueError(f"order is {order}; allowed is 1 or more")
        if not 0 < discount <= 1:
            raise ValueError(f"discount is {discount}; allowed is above 0 and up to 1")
        self.spec, self.order, self.discount = spec, order, discount
        windows = self._windows(sequences)[1]
        self._context_keys = _context_keys(windows, spec.vocab_size + 1)
        self._orders = self._count(windows)

    def log_prob(self, sequences: np.ndarray) -> np.ndarray:
        """log p(Y), (B,), in nats, of sequences (B, T), the end counted."""
        rows, windows = self._windows(sequences)
        return np.bincount(rows, weights=np.log(self.word_probs(windows)), minlength=len(sequences))

    def perplexity(self, sequences: np.ndarray) -> float:
        """exp of -log p per token of the sequences (B, T), the end counted."""
        return float(
            np.exp(-self.log_prob(sequences).sum() / (sequences != self.spec.pad_token).sum())
        )

    def word_probs(self, windows: np.ndarray) -> np.ndarray:
        """p(w | h), (P,), for windows (P, order): w, the word before it, the one before that and so
        on; V is the start symbol.
        """
        # From p_0 upwards: every order corrects what the shorter one says.
        probs = np.full(len(windows), 1 / self.spec.vocab_size)
        contexts = self._contexts(windows)
        for order, context in zip(self._orders, contexts, strict=True):
            count = _take(order.counts, find(order.keys, self._keys(context, windows)))
            total, num_types = _take(order.totals, context), _take(order.num_types, context)
            own = np.maximum(count - self.discount, 0) + self.discount * num_types * probs
            probs = np.where(total > 0, own / np.maximum(total, 1), probs)
        return probs

    def _windows(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row (P,) of every written token, and the token with what stands before it (P, order),
        nearest first.
        """
        if sequences.ndim != 2 or sequences.shape[1] != self.spec.seq_len:
            raise ValueError(
                f"sequences have shape {sequences.shape}; expected (B, {self.spec.seq_len})"
            )
        start = np.full((len(sequences), self.order - 1), self.spec.vocab_size)
        padded = np.concatenate([start, sequences], axis=1)
        rows, columns = np.nonzero(sequences != self.spec.pad_token)  # (P,) each
        places = columns[:, None] + self.order - 1 - np.arange(self.order)  # (P, order), in padded
        return rows, padded[rows[:, None], places].astype(np.int64)

    def _contexts(self, windows: np.ndarray) -> list[np.ndarray]:
        """The number (P,) of each window's context of 0, 1, ... words; `ABSENT` for one that was
        never seen.
        """
        numbers = [np.zeros(len(windows), dtype=np.int64)]
        for length, keys in enumerate(self._context_keys, start=1):
            numbers.append(
                find(keys, extend(numbers[-1], windows[:, length], self.spec.vocab_size + 1))
            )
        return numbers

    def _keys(self, context: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """A key (P,) of each window's word behind a numbered context."""
        return extend(context, windows[:, 0], self.spec.vocab_size)

    def _count(self, windows: np.ndarray) -> list[_Order]:
        """Counts of every order: occurrences at the highest, different words before the n-gram
        below.
        """
        keys = []
        for context in self._contexts(windows):
            keys.append(self._keys(context, windows))
        orders: list[_Order] = []
        # Positions that count one each: at the highest order all of them, below it one for every
        # different longer n-gram.
        counted = np.arange(len(windows))
        for key in reversed(keys):
            different, first, counts = np.unique(
                key[counted], return_index=True, return_counts=True
            )
            context = different // self.spec.vocab_size
            orders.append(
                _Order(different, counts, np.bincount(context, counts), np.bincount(context))
            )
            counted = counted[first]
        return orders[::-1]  # the shortest first, as `word_probs` goes


def _context_keys(windows: np.ndarray, base: int) -> list[np.ndarray]:
    """The sorted keys of the different contexts of 1, 2, ... words: the number of a context without
    its first word, joined with that word.
    """
    tables: list[np.ndarray] = []
    number = np.zeros(len(windows), dtype=np.int64)
    for length in range(1, windows.shape[1]):
        different, number = np.unique(extend(number, windows[:, length], base), return_inverse=True)
        tables.append(different)
    return tables


def _take(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`values` at `index`; 0 at `ABSENT`."""
    return np.where(index == ABSENT, 0, values[index])
