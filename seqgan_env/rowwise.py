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
# from which on a product rounds alike with any number of threads; on Intel with two threads, wide
# products of up to 368 rows round otherwise
_ROWS_OF_THREADS = 512
_ROWS_OF_HALVES = 64  # of a product in bfloat16, always
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


def in_parts(function: Callable[[Tensor], Tensor], rows: Tensor, num: int) -> Tensor:
    """`function` of rows (B, ...), at most `num` at a time, so that memory stays bounded."""
    return torch.cat(list(map(function, rows.split(num))))


def in_whole_blocks(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`function` of rows (B, ...), with rows of zeros behind them up to a whole number of blocks,
    whose results are dropped; few rows by one thread.
    """
    padded = _filled_up(rows, _ROWS)
    if len(padded) >= _ROWS_OF_THREADS or not rows.is_cpu:
        return function(padded)[: len(rows)]
    with _one_thread():
        return function(padded)[: len(rows)]


def linear_in_bfloat16(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """rows W^T + b in bfloat16, (B, F); all three are in it.

    Processors with matrix units sum otherwise for every number of rows and threads. So it is
    always as many rows at once, by one thread.
    """
    if not rows.is_cpu:
        return F.linear(rows, weight, bias)
    padded = _filled_up(rows, _ROWS_OF_HALVES)
    with _one_thread():
        parts = [F.linear(part, weight, bias) for part in padded.split(_ROWS_OF_HALVES)]
    return torch.cat(parts)[: len(rows)]


def _filled_up(rows: Tensor, num: int) -> Tensor:
    """Rows (B, ...) with rows of zeros behind them, up to a multiple of `num`."""
    missing = -len(rows) % num
    if not missing:
        return rows
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch works in one thread for a while; to change the number takes less than a microsecond."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) of numbers (B,)."""
    missing = -len(x) % NUMBERS
    return torch.sigmoid(F.pad(x, (0, missing)))[: len(x)]
