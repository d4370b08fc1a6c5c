"""The compiled CPU kernels: whether they can be used here, and how their work is spread over threads.

They are built at installation where there is GCC, and used on processors with AVX-512. Elsewhere, and where the environment
variable SEQGAN_ENV_NATIVE is 0, torch does the same work; that takes more time and nothing else. Their threads are torch's own,
those of OpenMP: with a second pool, torch's idle threads, which spin, would keep the kernels' from the cores.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

LANES = 16  # of a vector, as in vectors.h
ROWS = 6  # of a register block, as in vectors.h
TILE = 64  # columns of a packed weight that stand together, as in vectors.h
BLOCK = 96  # rows that a kernel works on at once, as in softmax.h

_MISSING = "the compiled kernels are not used (%s); torch does their work, which takes more time and nothing else"


@functools.cache
def _module() -> ModuleType | None:
    try:
        module = importlib.import_module("seqgan_env._native")
        if _sources() not in ("", module.BUILT_FROM):
            raise ImportError("from these sources; install the package again")
    except ImportError as problem:
        logging.getLogger(__name__).warning(_MISSING, problem)
        return None
    return module


def _sources() -> str:
    """A hash of the C sources beside this file, as the installation takes it; "" where none were installed."""
    files = sorted(Path(__file__).parent.glob("*.[ch]"), key=lambda file: file.name)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else ""


def built_from() -> str:
    """A hash of the C sources of the kernels in use; "" where torch does their work."""
    module = _module() if available() else None
    return module.BUILT_FROM if module else ""


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels are there, wanted, and made for these tensors: float32 on the CPU."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors) and available()


def available() -> bool:
    """Whether the kernels are there and wanted."""
    return os.environ.get("SEQGAN_ENV_NATIVE", "1") != "0" and _module() is not None


def run(kernel: str, size: int, grain: int, *arguments: Tensor | float | None) -> None:
    """Calls `kernel(begin, end, *arguments)` for ranges that together are 0..size, in at most `torch.get_num_threads()` threads.

    Args:
        kernel: name of a function of `seqgan_env._native`, whose result must not depend on the ranges.
        size: of the axis that is split: rows, or tiles of columns.
        grain: ranges are multiples of it, but for the last.
        arguments: contiguous tensors, passed as the address of their first element; numbers as they are; None as address 0.

    Raises:
        IndexError: a token is outside the vocabulary.
    """
    global _has_threads
    threads = max(1, min(torch.get_num_threads(), -(-size // grain)))
    _has_threads |= threads > 1
    getattr(_module(), kernel)(size, grain, threads, *map(_plain, arguments))


def _plain(argument: Tensor | float | None) -> float:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous()
        assert argument.device.type == "cpu"
        return argument.data_ptr()
    return argument or 0


_has_threads = False


def _stay_alone() -> None:
    if _has_threads:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stay_alone)  # a forked process has none of OpenMP's threads, and would wait for them
