"""Adam for a weight whose gradient is a product of two small matrices, which is never multiplied out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgan_env import native

_ROWS = 6  # rows of a register block, as in vectors.h


@dataclass
class Factors:
    """The gradient of a weight (R, C), `left` (R, B) times `right` (B, C), if a backward pass set them in place of `.grad`."""

    left: Tensor | None = None
    right: Tensor | None = None


def adam_step(optimizer: torch.optim.Adam, weight: Tensor, factors: Factors) -> None:
    """A step of `optimizer` for one of its parameters, (R, C), whose `.grad` is None: what its own step does with the product.

    The optimizer's state is that of `torch.optim.Adam`. It has no weight decay and does not maximise. Nothing is done where the
    factors were not set.
    """
    if factors.left is None or factors.right is None:
        return
    (group,) = optimizer.param_groups
    state = optimizer.state[weight]
    if not state:
        state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight))
    state["step"] += 1
    (beta1, beta2), step = group["betas"], float(state["step"])
    numbers = (beta1, beta2, group["lr"] / (1 - beta1**step), (1 - beta2**step) ** -0.5, float(group["eps"]))
    (rows, depth), columns = factors.left.shape, weight.shape[1]
    given = (factors.left, factors.right, weight.detach(), state["exp_avg"], state["exp_avg_sq"], columns, depth)
    native.run("adam_product", rows, _ROWS, *given, *numbers)
