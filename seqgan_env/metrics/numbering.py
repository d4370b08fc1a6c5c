"""N-grams as numbers: an n-gram is the number of its shorter part and one more word, looked up in a
sorted table.
"""

from __future__ import annotations

import numpy as np

# In place of a word: nothing is written here; of an n-gram's number: the table does not hold it.
ABSENT = -1


def extend(numbers: np.ndarray, words: np.ndarray, base: int) -> np.ndarray:
    """Keys of numbered n-grams with one more of `words` (below `base`), the same for the same only;
    `ABSENT` where one is.
    """
    return np.where((numbers != ABSENT) & (words != ABSENT), numbers * base + words, ABSENT)


def find(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Positions of `keys` in the sorted `table`, in the shape of `keys`; `ABSENT` for one that is
    not there.
    """
    if len(table) == 0:
        return np.full_like(keys, ABSENT)
    position = np.searchsorted(table, keys).clip(max=len(table) - 1)
    return np.where(table[position] == keys, position, ABSENT)
