"""What a fast route asks before it stands in for a module: does the module do what its class says,
and nothing else?

A route that computes by other means than calling a module skips what a user has put there: a method
of a subclass, a hook, a parametrization, a layer of another kind. So it asks here, and where the
answer is no, the plain route calls the module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from seqgan_env import native
from seqgan_env.native.fingerprint import fingerprint

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def keeps_methods(module: nn.Module, owner: type[nn.Module], *names: str) -> bool:
    """Whether `module`, an instance of `owner`, has these methods from there: no subclass and no
    patch overrides one.
    """
    for name in names:
        if getattr(type(module), name) is not getattr(owner, name):  # a subclass has its own
            return False
        if name in vars(module):  # the object has been patched
            return False
    return True


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of `module` runs more than its `forward`, hooks for all modules included."""
    return _has_any_global_hook() or has_own_hooks(module)


def has_own_hooks(module: nn.Module) -> bool:
    """Whether somebody has hooked into `module` itself."""
    return any(getattr(module, name) for name in _HOOKS)


def is_as_made(module: nn.Module, kind: type[nn.Module], **settings: Any) -> bool:
    """Whether a call of `module` runs the forward of `kind` with these `settings`, its attributes,
    and nothing else.
    """
    if type(module) is not kind or has_hooks(module) or "forward" in vars(module):
        return False
    return all(getattr(module, name) == value for name, value in settings.items())


class Snapshot:
    """What tensors held, by which a cache tells whether they still do: their fingerprint, or a copy
    where there are no kernels.

    The version counter of a tensor does not tell: fused optimizers, `.data` and NumPy write without
    advancing it.
    """

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._held: list[Tensor] = []  # copies
        self._fingerprint: Tensor | None = None

    def take(self, tensors: Iterable[Tensor]) -> None:
        """Keeps what `tensors` hold now."""
        given = list(map(torch.Tensor.detach, tensors))
        kinds = list(map(_kind, given))
        if _has_fingerprint(given):
            self._held, self._fingerprint = [], fingerprint(given)
        elif kinds == self._kinds and self._held:
            # The copies have the right sizes: new memory would cost more than the copying.
            self._fingerprint = None
            for copy, tensor in zip(self._held, given, strict=True):
                copy.copy_(tensor)
        else:
            self._fingerprint = None
            with torch.inference_mode(False):  # so that they can be overwritten in any mode
                self._held = []
                for tensor in given:
                    self._held.append(tensor.clone(memory_format=torch.contiguous_format))
        self._kinds = kinds

    def matches(self, tensors: Iterable[Tensor]) -> bool:
        """Whether `tensors` hold bit by bit what they held when it was taken; False before that."""
        given = list(tensors)
        if list(map(_kind, given)) != self._kinds:
            return False
        if self._fingerprint is not None:
            return _has_fingerprint(given) and torch.equal(self._fingerprint, fingerprint(given))
        return len(self._held) == len(given) and all(map(_same_bits, self._held, given))


_Kind = tuple[torch.Size, torch.dtype, torch.device]


def _kind(tensor: Tensor) -> _Kind:
    return tensor.shape, tensor.dtype, tensor.device


def _has_fingerprint(tensors: Sequence[Tensor]) -> bool:
    return native.usable(*tensors) and all(map(torch.Tensor.is_contiguous, tensors))


def _same_bits(copy: Tensor, tensor: Tensor) -> bool:
    return torch.equal(_as_integers(copy), _as_integers(tensor))


def _as_integers(tensor: Tensor) -> Tensor:
    """The bits as integers, the widest that fit: comparing these is fastest, and a NaN equals
    itself.
    """
    flat = tensor.detach().contiguous().view(-1)
    size = flat.numel() * flat.element_size()
    for wide, num_bytes in ((torch.int64, 8), (torch.int32, 4)):
        if size % num_bytes == 0 and flat.data_ptr() % num_bytes == 0:
            return flat.view(wide)
    return flat.view(torch.uint8)
