"""What a fast route asks before it stands in for a module: does the module do what its class says, and nothing else?

A route that computes by other means than calling a module skips what a user has put there: a method of a subclass, a hook, a
parametrization, a layer of another kind. So it asks here, and where the answer is no, the plain route calls the module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def keeps_methods(module: nn.Module, owner: type[nn.Module], *names: str) -> bool:
    """Whether `module`, an instance of `owner`, has these methods from there: no subclass and no patch overrides one."""
    kept = all(getattr(type(module), name) is getattr(owner, name) for name in names)
    return kept and not any(name in vars(module) for name in names)


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of `module` runs more than its `forward`, hooks for all modules included."""
    return _has_any_global_hook() or has_own_hooks(module)


def has_own_hooks(module: nn.Module) -> bool:
    """Whether somebody has hooked into `module` itself."""
    return any(getattr(module, name) for name in _HOOKS)


def is_as_made(module: nn.Module, kind: type[nn.Module], **settings: Any) -> bool:
    """Whether a call of `module` runs the forward of `kind` with these `settings`, its attributes, and nothing else."""
    if type(module) is not kind or has_hooks(module) or "forward" in vars(module):
        return False
    return all(getattr(module, name) == value for name, value in settings.items())


class Snapshot:
    """A copy of what tensors hold, by which a cache tells whether it is still theirs.

    The version counter of a tensor does not tell: fused optimizers, `.data` and NumPy write without advancing it.
    """

    def __init__(self) -> None:
        self._copies: list[Tensor] = []

    def take(self, tensors: Iterable[Tensor]) -> None:
        """Copies what `tensors` hold now, in the memory of the last copy where it fits."""
        given = [tensor.detach() for tensor in tensors]
        if [_kind(tensor) for tensor in given] != [_kind(copy) for copy in self._copies]:
            with torch.inference_mode(False):  # so that it can be overwritten in any mode
                self._copies = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in given]
        for copy, tensor in zip(self._copies, given, strict=True):
            copy.copy_(tensor)

    def matches(self, tensors: Iterable[Tensor]) -> bool:
        """Whether `tensors` hold bit by bit what they held when it was taken; False before that."""
        given = [tensor.detach() for tensor in tensors]
        if not self._copies or len(given) != len(self._copies):
            return False
        return all(_same_bits(copy, tensor) for copy, tensor in zip(self._copies, given, strict=True))


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


def _same_bits(copy: Tensor, tensor: Tensor) -> bool:
    if _kind(copy) != _kind(tensor):
        return False
    return torch.equal(*(_as_integers(x) for x in (copy, tensor)))


def _as_integers(tensor: Tensor) -> Tensor:
    """The bits as integers, the widest that fit: comparing these is fastest, and a NaN equals itself."""
    flat = tensor.contiguous().view(-1)
    size = flat.numel() * flat.element_size()
    for wide, num_bytes in ((torch.int64, 8), (torch.int32, 4)):
        if size % num_bytes == 0 and flat.data_ptr() % num_bytes == 0:
            return flat.view(wide)
    return flat.view(torch.uint8)
