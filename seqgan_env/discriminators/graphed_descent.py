"""Training of the discriminator by steps that a GPU replays."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env.discriminators.cuda_graphs import GraphedStep
from seqgan_env.discriminators.dense_network import FilterProduct, dense_logits
from seqgan_env.native.adam import objection_to_training
from seqgan_env.native.network import Dropout, Network
from seqgan_env.native.pooling import FilterBank


@dataclass(frozen=True)
class Descent:
    """What a step goes down, but for the parameters.

    Attributes:
        bank: the filters.
        seq_len: T.
        dropout: share of the features that is dropped.
        l2: weight of the penalty on the output layer, half its squared norm.
    """

    bank: FilterBank
    seq_len: int
    dropout: float
    l2: float


class GraphedDescent:
    """Steps of Adam down the mean logistic loss, one CUDA graph for each batch size.

    What torch does step by step, but for rounding: filters are multiplied all at once.
    """

    def __init__(self, descent: Descent, network: Network, optimizer: torch.optim.Adam) -> None:
        """
        Args:
            descent: what is gone down.
            network: the parameters, all that the optimizer has.
            optimizer: see `can_be_recorded`.
        """
        self.descent, self.network, self.optimizer = descent, network, optimizer
        embedding = network.embedding
        self._filters = FilterProduct(
            descent.bank, embedding.shape[1], descent.seq_len, embedding.device
        )
        self._held = _held(descent, network, optimizer)
        self._graphed = GraphedStep(self._step)

    def still_holds(self, descent: Descent, network: Network, optimizer: torch.optim.Adam) -> bool:
        """Whether recordings have the numbers and the memory of what is to be trained now."""
        return self._held == _held(descent, network, optimizer)

    def __call__(self, tokens: Tensor, labels: Tensor, dropout: Dropout | None) -> Tensor:
        """One step.

        Args:
            tokens: (B, T) int64 in 0..V.
            labels: (B,), 1 for real sequences and 0 for others.
            dropout: with keys drawn for this step; its share is that of the descent.

        Returns:
            The mean loss of the batch before the step, in nats; the next call may overwrite it.
        """
        keys = []
        if dropout is not None:
            keys.append(dropout.keys)
        return self._graphed(tokens, labels, *keys)

    def _step(self, tokens: Tensor, labels: Tensor, keys: Tensor | None = None) -> Tensor:
        parameters, descent = self.network.parameters, self.descent
        leaves = Network.of([parameter.detach().requires_grad_() for parameter in parameters])
        dropout = None
        if keys is not None:
            dropout = Dropout(keys, descent.dropout)
        loss = F.binary_cross_entropy_with_logits(
            dense_logits(self._filters, leaves, tokens, dropout), labels
        )
        penalty = (
            0.5 * descent.l2 * (leaves.output.square().sum() + leaves.output_bias.square().sum())
        )
        gradients = torch.autograd.grad(loss + penalty, leaves.parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._step_of_optimizer()
        # Taken behind the first step, which makes the optimizer's moments.
        self._held = _held(descent, self.network, self.optimizer)
        return loss.detach()

    def _step_of_optimizer(self) -> None:
        (group,) = self.optimizer.param_groups
        group["capturable"] = (
            True  # a fused Adam always is; torch wants it said before it records a step
        )
        try:
            self.optimizer.step()
        finally:
            group["capturable"] = False


def can_be_recorded(network: Network, optimizer: torch.optim.Optimizer) -> bool:
    """True if all is on a GPU in float32, and the optimizer is Adam, of just these parameters, and
    nothing else.
    """
    fitting = all(p.device.type == "cuda" and p.dtype == torch.float32 for p in network.parameters)
    return fitting and not objection_to_training(optimizer, network.parameters)


def _held(descent: Descent, network: Network, optimizer: torch.optim.Adam) -> Hashable:
    """The numbers and addresses that a recorded step holds."""
    numbers = tuple(value for name, value in optimizer.param_groups[0].items() if name != "params")
    addresses = []
    for parameter in network.parameters:
        addresses.append(parameter.data_ptr())
        for moment in optimizer.state.get(parameter, {}).values():
            addresses.append(moment.data_ptr())
    return descent, numbers, tuple(addresses)
