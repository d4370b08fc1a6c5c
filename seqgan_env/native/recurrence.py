"""The hidden states of an LSTM layer over a batch of sequences as one differentiable function of
the compiled kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgan_env import native
from seqgan_env.native.linear import product

_SEQUENCES = 8  # grain


def lstm_states(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    """Hidden states (B, T, H) behind inputs (B, T, E), from a zero state on, with gradient for all
    arguments.

    What a row becomes, and the gradient of its inputs, do not depend on the other rows, bit by bit.

    Args:
        inputs: (B, T, E).
        weight_ih: (4H, E), of the input, forget, cell and output gates, as `torch.nn.LSTM` has
            them.
        weight_hh: (4H, H).
        bias: (4H,), the sum of both that `torch.nn.LSTM` has.

    Raises:
        ValueError: the shapes do not fit together.
    """
    shapes, width = (
        [(*weight.shape,) for weight in (weight_ih, weight_hh, bias)],
        4 * weight_hh.shape[1],
    )
    expected = [(width, inputs.shape[2]), (width, width // 4), (width,)]
    if shapes != expected:
        raise ValueError(f"weights and bias have shapes {shapes}; expected {expected}")
    hidden: Tensor = _States.apply(torch.is_grad_enabled(), inputs, weight_ih, weight_hh, bias)
    return hidden


class _States(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        has_gradient: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
    ) -> Tensor:
        (batch, steps, num_inputs), num_units = inputs.shape, weight_hh.shape[1]
        padded = -(-num_units // native.sizes().lanes) * native.sizes().lanes
        widths = (num_inputs + num_units, num_units, padded)
        read, hidden, cells = (native.empty(batch, steps, width) for width in widths)
        gates = None
        if has_gradient:
            gates = native.empty(batch, steps, 4 * padded)
        native.run(
            "lstm_states",
            batch,
            _SEQUENCES,
            inputs=inputs.contiguous(),
            weight_ih=weight_ih.contiguous(),
            weight_hh=weight_hh.contiguous(),
            bias=bias.contiguous(),
            read=read,
            hidden=hidden,
            cells=cells,
            gates=gates,
            steps=steps,
            num_inputs=num_inputs,
            num_units=num_units,
        )
        ctx.save_for_backward(weight_ih, weight_hh, read, cells, gates)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight_ih, weight_hh, read, cells, gates = ctx.saved_tensors
        (batch, steps, num_units), num_inputs = grad.shape, weight_ih.shape[1]
        of_inputs, of_sums = (
            native.empty(batch, steps, num_inputs),
            native.empty(batch, steps, 4 * num_units),
        )
        native.run(
            "lstm_states_gradient",
            batch,
            _SEQUENCES,
            weight_ih=weight_ih.contiguous(),
            weight_hh=weight_hh.contiguous(),
            cells=cells,
            gates=gates,
            of_hidden=grad.contiguous(),
            of_inputs=of_inputs,
            of_sums=of_sums,
            steps=steps,
            num_inputs=num_inputs,
            num_units=num_units,
        )
        of_sums = of_sums.flatten(0, 1)
        of_weight = product(of_sums.t(), read.flatten(0, 1))
        return None, of_inputs, *of_weight.split([num_inputs, num_units], 1), of_sums.sum(0)
