"""Steps of Adam by the compiled kernels, in the state of `torch.optim.Adam`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgan_env import native

_BLOCK = 4096  # numbers that are worked on at once, as in adam.c


class Factors(NamedTuple):
    """The gradient of a weight (R, C): `left` (R, B) times `right` (B, C)."""

    left: Tensor
    right: Tensor


def adam_step(optimizer: torch.optim.Adam, gradients: Iterable[tuple[Tensor, Tensor]], weight: Tensor, factors: Factors) -> None:
    """What a step of `optimizer` does if its parameters have these gradients; nobody's `.grad` is read.

    Args:
        optimizer: with one group of float32 parameters on the CPU, no weight decay, and none of the variants.
        gradients: parameters with their gradients.
        weight: the one parameter whose gradient is given in factors, and is never stored.
        factors: of it.
    """
    (group,) = optimizer.param_groups
    parameters = [(parameter, gradient.contiguous(), _advance(optimizer, parameter)) for parameter, gradient in gradients]
    state = _advance(optimizer, weight)
    (beta1, beta2), step = group["betas"], float(state["step"])
    numbers = (beta1, beta2, group["lr"] / (1 - beta1**step), (1 - beta2**step) ** -0.5, float(group["eps"]))
    table = torch.tensor([[*_addresses(p, s), g.data_ptr(), p.numel()] for p, g, s in parameters])
    native.run("adam", sum(-(-p.numel() // _BLOCK) for p, _, _ in parameters), 1, table, len(table), *numbers)
    given = (factors.left, factors.right, weight.detach(), state["exp_avg"], state["exp_avg_sq"])
    native.run("adam_product", len(weight), native.ROWS, *given, weight.shape[1], factors.left.shape[1], *numbers)


def _advance(optimizer: torch.optim.Adam, parameter: Tensor) -> dict[str, Any]:
    """The state of a parameter, which begins another step."""
    state: dict[str, Any] = optimizer.state[parameter]
    if not state:
        state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
    state["step"] += 1
    return state


def _addresses(parameter: Tensor, state: dict[str, Any]) -> list[int]:
    tensors = (parameter, state["exp_avg"], state["exp_avg_sq"])
    assert all(tensor.is_contiguous() for tensor in tensors)
    return [tensor.data_ptr() for tensor in tensors]
