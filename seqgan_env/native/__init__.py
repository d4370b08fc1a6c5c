"""The compiled CPU kernels: whether they can be used here, what they are given, and how their work
is spread over threads.

They are built at installation where there is GCC or Clang, once for each kind of processor in
`VARIANTS`, and the fastest that this processor can run are used. Elsewhere torch does the same
work; that takes more time and nothing else. The environment variable SEQGAN_ENV_NATIVE may name a
variant, or be 0 or "torch" for none. Their threads are torch's own, those of OpenMP: with a second
pool, torch's idle threads, which spin, would keep the kernels' from the cores.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

VARIANTS = ("avx512", "avx2", "neon")  # of the kernels; of one kind of processor the fastest first
SETTING = "SEQGAN_ENV_NATIVE"


class Sizes(NamedTuple):
    """Sizes that the kernels in use share with those who call them.

    Attributes:
        lanes: numbers in a vector.
        tile: columns of a packed weight that stand together.
        rows: of a register block.
        block: rows that a kernel works on at once.
        slots: shares into which the gradient of tables is split.
        adam_block: numbers that a step of Adam works on at once.
        fingerprint_block: numbers that a fingerprint is of.
    """

    lanes: int
    tile: int
    rows: int
    block: int
    slots: int
    adam_block: int
    fingerprint_block: int


_MISSING = (
    "the compiled kernels are not used (%s); torch does their work, which takes more time and "
    "nothing else"
)


def variant() -> str:
    """The kernels in use, one of `VARIANTS`, or "torch" where torch does their work.

    Raises:
        ValueError: SEQGAN_ENV_NATIVE is none of the names, or names kernels that cannot run here.
    """
    return _chosen(os.environ.get(SETTING, "1"))[0]


def _module() -> ModuleType:
    module = _chosen(os.environ.get(SETTING, "1"))[1]
    if module is None:
        raise RuntimeError("there are no compiled kernels in use")
    return module


@functools.cache
def _chosen(wanted: str) -> tuple[str, ModuleType | None]:
    """Name and module of the kernels that the setting asks for."""
    if wanted in ("0", "torch"):
        return "torch", None
    if wanted in VARIANTS:
        try:
            return wanted, _load(wanted)
        except ImportError as problem:
            raise ValueError(f"{SETTING} is {wanted}: {problem}") from problem
    if wanted != "1":
        raise ValueError(f"{SETTING} is {wanted!r}; allowed are 0, 1, torch and {VARIANTS}")
    problems = []
    for name in VARIANTS:
        try:
            return name, _load(name)
        except ImportError as problem:
            problems.append(f"{name}: {problem}")
    logging.getLogger(__name__).warning(_MISSING, "; ".join(problems))
    return "torch", None


def _load(name: str) -> ModuleType:
    """The module of a variant.

    Raises:
        ImportError: it was not built, not from these sources, or not for this processor.
    """
    module = importlib.import_module(f"seqgan_env._native_{name}")
    if _sources() not in ("", module.BUILT_FROM):
        raise ImportError("built from other sources; install the package again")
    return module


def variants_here() -> list[str]:
    """The variants that were built and that this processor can run, the fastest first."""
    found = []
    for name in VARIANTS:
        try:
            _load(name)
        except ImportError:
            continue
        found.append(name)
    return found


def has_threads() -> bool:
    """Whether the kernels in use work in more than one thread: not if they were built without
    OpenMP, and not where torch does their work.
    """
    return available() and bool(_module().HAS_THREADS)


def sizes() -> Sizes:
    """The sizes of the kernels in use.

    Raises:
        RuntimeError: none are.
    """
    return _sizes_of(_module())


@functools.cache
def _sizes_of(module: ModuleType) -> Sizes:
    return Sizes(*(getattr(module, name.upper()) for name in Sizes._fields))


def _sources() -> str:
    """A hash of the C sources beside this file, as the installation takes it; "" where none were
    installed.
    """
    files = sorted(Path(__file__).parent.glob("*.[ch]"), key=lambda file: file.name)
    return (
        hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else ""
    )


def built_from() -> str:
    """The variant in use and a hash of its C sources; "" where torch does their work."""
    return f"{variant()} {_module().BUILT_FROM}" if available() else ""


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
    return variant() != "torch"


def run(kernel: str, size: int, grain: int, **arguments: Tensor | float | None) -> None:
    """Calls a kernel for ranges that together are 0..size, in at most `torch.get_num_threads()`
    threads.

    Args:
        kernel: name of a function of the extension module, whose result must not depend on the
            ranges.
        size: of the axis that is split: rows, or tiles of columns.
        grain: ranges are multiples of it, but for the last.
        arguments: by name, as native/kernels.h describes them.

    Raises:
        IndexError: a token is outside the vocabulary.
        TypeError: an argument is missing, unknown, or not of the kind that the kernel reads.
        ValueError: a tensor is not contiguous, not on the CPU, or has more or fewer numbers than
            the kernel reads.
    """
    global _has_threads
    threads = max(1, min(torch.get_num_threads(), -(-size // grain)))
    _has_threads |= threads > 1
    call, kinds = _described(_module(), kernel)
    if arguments.keys() != kinds.keys():
        raise TypeError(f"kernel {kernel} was given {sorted(arguments)}; it takes {sorted(kinds)}")
    given: list[Any] = [size, grain, threads]
    for name, kind in kinds.items():
        argument = arguments[name]
        if kind.dtype is None and isinstance(argument, kind.number_types):
            given.append(argument)
        elif argument is None and kind.optional:
            given += [0, 0]
        else:
            tensor = _tensor(argument, kind, name, f"kernel {kernel}")
            given.append(tensor.data_ptr())
            given.append(tensor.numel())
    call(*given)


class _Kind(NamedTuple):
    """What a kernel reads in one place.

    Attributes:
        name: of a number type of torch, or "int" or "float".
        dtype: of a tensor; None for numbers.
        optional: whether None is allowed.
        number_types: of Python, that are allowed; none for tensors.
    """

    name: str
    dtype: torch.dtype | None
    optional: bool
    number_types: tuple[type, ...]


@functools.cache
def _described(module: ModuleType, kernel: str) -> tuple[Callable[..., None], dict[str, _Kind]]:
    """A kernel and the kinds of its arguments by name, in their order."""
    kinds = {
        name: _Kind(kind, _DTYPES.get(kind), optional, _NUMBER_TYPES.get(kind, ()))
        for name, kind, optional in module.KERNELS[kernel]
    }
    return getattr(module, kernel), kinds


def _tensor(argument: object, kind: _Kind, name: str, reader: str) -> Tensor:
    """The argument, which must be a tensor that can be read as this kind."""
    if kind.dtype is None or not isinstance(argument, Tensor) or argument.dtype != kind.dtype:
        given = argument.dtype if isinstance(argument, Tensor) else repr(argument)
        raise TypeError(f"{reader} was given {given} for {name}; it reads {kind.name}")
    if not argument.is_cpu or not argument.is_contiguous():
        raise ValueError(
            f"{reader} was given a tensor for {name} that is not contiguous, or not on the CPU"
        )
    return argument


def address(tensor: Tensor) -> int:
    """Where the numbers of a contiguous float32 tensor lie, for kernels that take a table of
    addresses.

    Raises:
        TypeError: it is of another number type.
        ValueError: it is not contiguous, or not on the CPU.
    """
    kind = _Kind("float32", torch.float32, False, ())
    return _tensor(tensor, kind, "a row", "a table of addresses").data_ptr()


_NUMBER_TYPES = {"int": (int,), "float": (int, float)}
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}

_has_threads = False


def _stay_alone() -> None:
    if _has_threads:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    # A forked process has none of OpenMP's threads, and would wait for them.
    os.register_at_fork(after_in_child=_stay_alone)
