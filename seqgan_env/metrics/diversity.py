"""How many different things sentences hold (words, n-grams, whole sentences), and what each
sentence adds to that.
"""

from __future__ import annotations

import numpy as np

from seqgan_env.metrics.numbering import ABSENT


class TypeCounts:
    """Occurrences of numbered things in sentences: how many are different, and how evenly they are
    used.
    """

    def __init__(self, ids: np.ndarray) -> None:
        """
        Args:
            ids: (B, K) the things in each sentence, numbered from 0; `ABSENT` (-1) where there is
                none.
        """
        self.num_sentences = len(ids)
        rows, columns = np.nonzero(ids != ABSENT)
        types = ids[rows, columns]
        self._counts = np.bincount(types)  # by type
        self._per_row = np.bincount(rows, minlength=len(ids))  # (B,)
        # Every different pair of a sentence and a type, and how often the one holds the other.
        width = len(self._counts)
        pairs, self._pair_counts = np.unique(rows * width + types, return_counts=True)
        self._pair_rows, self._pair_types = np.divmod(pairs, max(width, 1))

    @property
    def num_types(self) -> int:
        """Different things."""
        return int((self._counts > 0).sum())

    @property
    def share(self) -> float:
        """Different things as a share of all; 0 where there are none."""
        total = int(self._per_row.sum())
        if total:
            return self.num_types / total
        return 0.0

    @property
    def effective(self) -> float:
        """exp of the entropy of the shares of the different things; 1 where there are none."""
        log_sum = _log_sum(self._counts).sum(keepdims=True)  # (1,)
        total = self._per_row.sum(keepdims=True)  # (1,)
        return float(_effective(log_sum, total)[0])

    def num_types_without_each(self) -> np.ndarray:
        """`num_types` (B,) of all sentences but one."""
        # A type whose every occurrence is in one sentence is lost with it.
        only_here = self._pair_counts == self._counts[self._pair_types]
        return self.num_types - self._by_row(only_here.astype(float))

    def share_without_each(self) -> np.ndarray:
        """`share` (B,) of all sentences but one."""
        total = self._per_row.sum() - self._per_row
        shares: np.ndarray = np.where(
            total > 0, self.num_types_without_each() / np.maximum(total, 1), 0.0
        )
        return shares

    def effective_without_each(self) -> np.ndarray:
        """`effective` (B,) of all sentences but one."""
        count = self._counts[self._pair_types]
        lost = self._by_row(_log_sum(count) - _log_sum(count - self._pair_counts))
        return _effective(_log_sum(self._counts).sum() - lost, self._per_row.sum() - self._per_row)

    def _by_row(self, values: np.ndarray) -> np.ndarray:
        """Sums (B,) of values that stand with the pairs of a sentence and a type."""
        return np.bincount(self._pair_rows, weights=values, minlength=self.num_sentences)


def _log_sum(counts: np.ndarray) -> np.ndarray:
    """c log c, 0 for 0: the entropy of counts that sum to N is log N - sum(c log c) / N."""
    terms: np.ndarray = counts * np.log(np.maximum(counts, 1))
    return terms


def _effective(log_sum: np.ndarray, total: np.ndarray) -> np.ndarray:
    """exp of the entropy (R,) of counts with these sums of c log c (R,) and of c (R,)."""
    total = np.maximum(total, 1)
    types: np.ndarray = np.exp(np.log(total) - log_sum / total)
    return types
