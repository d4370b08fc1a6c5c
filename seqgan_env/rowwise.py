"""Arithmetic whose result for a row does not depend on the rows beside it, bit by bit.

Libraries multiply a few rows by other means than many, and work on numbers in vectors but on the
last few one by one; either way rounds otherwise. Both are the same again for numbers of rows that
are whole vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

# from which on products of all sizes are alike; measured over sizes 1 to 1024, kinds of numbers and
# threads
_ROWS = 16
_DEVICES = ("cpu", "cuda")
NUMBERS = 64  # as many as any processor works on at once


@contextmanager
def full_precision() -> Iterator[None]:
    """Numbers keep their type, within `torch.autocast` too: what is computed does not depend on
    where it is asked for.
    """
    if not any(map(torch.is_autocast_enabled, _DEVICES)):
        yield
        return
    with ExitStack() as stack:
        for device in _DEVICES:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_whole_blocks(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`function` of rows (B, ...), with rows of zeros behind them up to a whole number of blocks,
    whose results are dropped.
    """
    missing = -len(rows) % _ROWS
    if not missing:
        return function(rows)
    padded = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
    return function(padded)[: len(rows)]


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) of numbers (B,)."""
    missing = -len(x) % NUMBERS
    return torch.sigmoid(F.pad(x, (0, missing)))[: len(x)]
