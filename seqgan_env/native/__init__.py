"""The compiled CPU kernels: whether they can be used here, what they are given, and how their work
is spread over threads.

They are built at installation where there is GCC, and used on processors with AVX-512. Elsewhere,
and where the environment variable SEQGAN_ENV_NATIVE is 0, torch does the same work; that takes more
time and nothing else. Their threads are torch's own, those of OpenMP: with a second pool, torch's
idle threads, which spin, would keep the kernels' from the cores.
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
from torch.nn import Parameter

LANES = 16  # of a vector, as in vectors.h
ROWS = 6  # of a register block, as in vectors.h
TILE = 64  # columns of a packed weight that stand together, as in vectors.h
BLOCK = 96  # rows that a kernel works on at once, as in softmax.h

# What every kernel takes behind its range: n a whole number, x any number, and contiguous tensors
# on the CPU, which are
# F float32, H bfloat16, I int64, W int32 and B bool; small letters may be None. Nothing in C would
# notice another kind.
_LAYER = "FFnnxx"
_MODEL = "FF" + 7 * "n" + 2 * _LAYER
_ARGUMENTS = {
    "softmax_pack": "FnnFF",
    "softmax_draw": _LAYER + "FFIf",
    "softmax_log_probs": _LAYER + "nFIFFF",
    "softmax_gradients": _LAYER + "FnnFFFFInnFFF",
    "lstm_complete": _MODEL + "IIBF",
    "lstm_log_probs": _MODEL + "IF",
    "lstm_states": "FFFFFFFfnnn",
    "lstm_states_gradient": "FFFFFFFnnn",
    "pool_tables": "IFInFFwnnn",
    "scatter_tables": "IFWInFnnn",
    "pool_windows": "FFInFFWnnn",
    "pack_windows": "IInFFnn",
    "weight_gradient": "FFFWInFFnnnnn",
    "window_gradient": "FFFWInFnnn",
    "product": "nFnnFnfFnnnnnn",
    "head": "FFiixFnn",
    "head_gradient": "FFiixFFFFFFnn",
    "half_head": "HFFxFn",
    "adam_product": "FFFFFnnxxxxx",
    "adam": "Inxxxxx",
    "fingerprint": "InI",
}
_DTYPES = {
    "f": torch.float32,
    "h": torch.bfloat16,
    "i": torch.int64,
    "w": torch.int32,
    "b": torch.bool,
}

_MISSING = (
    "the compiled kernels are not used (%s); torch does their work, which takes more time and "
    "nothing else"
)


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
    """A hash of the C sources beside this file, as the installation takes it; "" where none were
    installed.
    """
    files = sorted(Path(__file__).parent.glob("*.[ch]"), key=lambda file: file.name)
    return (
        hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else ""
    )


def built_from() -> str:
    """A hash of the C sources of the kernels in use; "" where torch does their work."""
    module = _module() if available() else None
    return module.BUILT_FROM if module else ""


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels are there, wanted, and made for these tensors: plain float32 on the CPU,
    with memory of their own.

    Not within `torch.autocast` on the CPU, where a user wants other numbers than float32.
    """
    return all(map(_is_plain, tensors)) and not torch.is_autocast_enabled("cpu") and available()


def _is_plain(tensor: Tensor) -> bool:
    """Whether the numbers lie where `data_ptr` says: no subclass, and not wrapped by a transform of
    `torch.func`.
    """
    if (
        type(tensor) not in (Parameter, Tensor)
        or not tensor.is_cpu
        or tensor.dtype != torch.float32
    ):
        return False
    return tensor.layout == torch.strided and not _is_wrapped(tensor)


def _never_wrapped(tensor: Tensor) -> bool:
    return False


_is_wrapped = getattr(
    getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", _never_wrapped
)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """New memory for the kernels, whatever torch's default number type and device are."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same, filled with zeros."""
    return torch.zeros(shape, dtype=dtype, device="cpu")


def available() -> bool:
    """Whether the kernels are there and wanted."""
    return os.environ.get("SEQGAN_ENV_NATIVE", "1") != "0" and _module() is not None


def run(kernel: str, size: int, grain: int, *arguments: Tensor | float | None) -> None:
    """Calls `kernel(begin, end, *arguments)` for ranges that together are 0..size, in at most
    `torch.get_num_threads()` threads.

    Args:
        kernel: name of a function of `seqgan_env._native`, whose result must not depend on the
            ranges.
        size: of the axis that is split: rows, or tiles of columns.
        grain: ranges are multiples of it, but for the last.
        arguments: as `_ARGUMENTS` has them; tensors are passed as the address of their first
            element, None as address 0.

    Raises:
        IndexError: a token is outside the vocabulary.
        TypeError: an argument is not of the kind that the kernel reads.
        ValueError: a tensor is not contiguous, or not on the CPU.
    """
    global _has_threads
    threads = max(1, min(torch.get_num_threads(), -(-size // grain)))
    _has_threads |= threads > 1
    kinds = _ARGUMENTS[kernel]
    if len(kinds) != len(arguments):
        raise TypeError(
            f"kernel {kernel} was given {len(arguments)} arguments; it takes {len(kinds)}"
        )
    given = [
        _checked(kernel, kind, argument) for kind, argument in zip(kinds, arguments, strict=True)
    ]
    getattr(_module(), kernel)(size, grain, threads, *given)


def address(tensor: Tensor) -> int:
    """Where the numbers of a contiguous float32 tensor lie, for kernels that take a table of
    addresses.

    Raises:
        TypeError: it is of another number type.
        ValueError: it is not contiguous, or not on the CPU.
    """
    return int(_checked("table", "F", tensor))


def _checked(kernel: str, kind: str, argument: object) -> float:
    """An argument as the extension module takes it: an address or a whole number as int, any other
    number as float.
    """
    if kind == "n" and isinstance(argument, int):
        return argument
    if kind == "x" and isinstance(argument, (int, float)):
        return float(argument)
    if argument is None and kind.islower() and kind in _DTYPES:
        return 0
    if (
        not isinstance(argument, Tensor)
        or _DTYPES.get(kind.lower()) != argument.dtype
        or kind in "nx"
    ):
        given = argument.dtype if isinstance(argument, Tensor) else repr(argument)
        raise TypeError(
            f"kernel {kernel} was given {given} where it reads "
            f"{_DTYPES.get(kind.lower(), 'a number')}"
        )
    if not argument.is_cpu or not argument.is_contiguous():
        raise ValueError(
            f"kernel {kernel} was given a tensor that is not contiguous, or not on the CPU"
        )
    return argument.data_ptr()


_has_threads = False


def _stay_alone() -> None:
    if _has_threads:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=_stay_alone
    )  # a forked process has none of OpenMP's threads, and would wait for them
