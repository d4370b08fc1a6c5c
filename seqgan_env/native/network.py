"""The discriminator by the compiled kernels: a differentiable function, a step of its training, and
its head behind tables.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgan_env import native
from seqgan_env.native.adam import Factors, adam_step
from seqgan_env.native.linear import product
from seqgan_env.native.pooling import ByTables, ByWindows, FilterBank, round_up
from seqgan_env.rowwise import linear_in_bfloat16
from seqgan_env.streams import draw_counters, draws_of

_FEATURES, _SEQUENCES = 16, 16  # grains


class Network(NamedTuple):
    """The parameters of a discriminator.

    Attributes:
        highway: weight of the highway layer, (2 F, F), transform and gate.
        embedding: (V + 1, E).
        highway_bias: (2 F,).
        output: weight of the output layer, (1, F).
        output_bias: (1,).
        weights: of each width, (C, E, width), as `torch.nn.Conv1d` has them.
        biases: of each width, (C,).
    """

    highway: Tensor
    embedding: Tensor
    highway_bias: Tensor
    output: Tensor
    output_bias: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        return *self[:5], *self.weights, *self.biases

    @classmethod
    def of(cls, parameters: Sequence[Tensor]) -> Network:
        """The network whose `parameters` these are."""
        highway, embedding, highway_bias, output, output_bias, *others = parameters
        weights, biases = others[: len(others) // 2], others[len(others) // 2 :]
        return cls(
            highway, embedding, highway_bias, output, output_bias, tuple(weights), tuple(biases)
        )


class Dropout(NamedTuple):
    """Drops, behind the highway layer, what draws below `share`, and scales all else up.

    Attributes:
        keys: of the features, (F,) int64; the draw for sequence j is that of counter j.
        share: in 0..1.
    """

    keys: Tensor
    share: float

    def scales(self, num: int) -> Tensor:
        """What the features of `num` sequences are multiplied with, (num, F)."""
        return (draws_of(self.keys, num).t() >= self.share).to(torch.float32) / (1 - self.share)


def network_logits(
    bank: FilterBank, network: Network, tokens: Tensor, dropout: Dropout | None = None
) -> Tensor:
    """Logits (B,) of tokens (B, T), with gradient for every parameter.

    Of equal maxima over time the first takes all of the gradient, a subgradient like any other
    (`Tensor.amax` shares it out). All else agrees with autograd but for rounding.

    Args:
        bank: the filters, none wider than T.
        network: the parameters.
        tokens: (B, T) int64 in 0..V.
        dropout: what is dropped.

    Raises:
        IndexError: a token is outside 0..V.
        ValueError: the sequences are shorter than a filter.
    """
    logits: Tensor = _Network.apply(bank, tokens, dropout, *network.parameters)
    return logits


@torch.no_grad()
def network_scores(bank: FilterBank, network: Network, tokens: Tensor) -> Tensor:
    """Logits (B,) of tokens (B, T), without gradient: always by the same route, so that no row
    depends on the others.
    """
    return _forward(bank, network, tokens, None, ByWindows)[0]


@torch.no_grad()
def train_step(
    bank: FilterBank,
    network: Network,
    optimizer: torch.optim.Adam,
    tokens: Tensor,
    labels: Tensor,
    dropout: Dropout | None = None,
    l2: float = 0.0,
) -> Tensor:
    """A step of `optimizer` down the mean logistic loss and l2 / 2 times the squared norm of the
    output layer, without a graph.

    Args:
        bank: the filters, none wider than T.
        network: the parameters, all that the optimizer has.
        optimizer: see `adam_step`.
        tokens: (B, T) int64 in 0..V.
        labels: (B,), 1 for real sequences and 0 for others.
        dropout: what is dropped.
        l2: weight of the penalty.

    Returns:
        The mean logistic loss before the step, in nats.
    """
    # Forward.
    logits, state = _forward(bank, network, tokens, dropout, _pooling(bank, network, tokens))

    # Backward: the gradient of the mean logistic loss, then that of the penalty.
    of_logits = (torch.sigmoid(logits) - labels) / len(labels)
    factors, gradients = _gradients(network, state, of_logits)
    _, _, of_output, of_output_bias, *_ = gradients
    of_output.add_(network.output, alpha=l2)
    of_output_bias.add_(network.output_bias, alpha=l2)

    # Optimise. The gradient of the highway weight is never stored, only its two factors.
    others = zip(network.parameters[1:], gradients, strict=True)
    adam_step(optimizer, others, network.highway, factors)
    return F.binary_cross_entropy_with_logits(logits, labels)


def head_logits(features: Tensor, network: Network) -> Tensor:
    """Logits (B,) of features (B, F), without gradient."""
    return _pass_head(features.t().contiguous(), network, None)[1]


def half_head_logits(
    features: Tensor, highway: Tensor, highway_bias: Tensor, output: Tensor, output_bias: Tensor
) -> Tensor:
    """Logits (B,) of features (B, F), without gradient; the highway layer is given in bfloat16, and
    is multiplied so.
    """
    z = linear_in_bfloat16(features.to(torch.bfloat16), highway, highway_bias)
    logits, weight = native.empty(len(features)), output.detach().contiguous()
    native.run(
        "half_head",
        len(features),
        _SEQUENCES,
        z=z,
        x=features.contiguous(),
        weight=weight,
        bias=float(output_bias),
        out=logits,
        num_features=features.shape[1],
    )
    return logits


def _pass_head(across: Tensor, network: Network, dropout: Dropout | None) -> tuple[Tensor, Tensor]:
    """The product of the highway layer (2 F, B), and the logits (B,), of features that stand
    feature by feature, (F, B).
    """
    z, out = product(network.highway, across, network.highway_bias), torch.empty_like(across)
    native.run(
        "head",
        len(across),
        _FEATURES,
        z=z,
        x=across,
        **_dropped(dropout, across.shape[1]),
        out=out,
        batch=across.shape[1],
    )
    return z, product(network.output, out, network.output_bias).squeeze(0)


def _dropped(dropout: Dropout | None, num: int) -> dict[str, Tensor | float | None]:
    """Keys, counters and share as the kernels take them."""
    if dropout is None:
        return {"keys": None, "counters": None, "share": 0.0}
    return {
        "keys": dropout.keys.contiguous(),
        "counters": _counters(round_up(num)),
        "share": float(dropout.share),
    }


@functools.lru_cache(maxsize=16)
def _counters(num: int) -> Tensor:
    return draw_counters(num, torch.device("cpu"))


@dataclass(frozen=True)
class _State:
    """What a forward pass leaves for the gradient: features in both layouts, (F, B) `across`, and
    `z` (2 F, B).
    """

    pooled: ByTables | ByWindows
    across: Tensor
    z: Tensor
    dropout: Dropout | None


def _pooling(
    bank: FilterBank, network: Network, tokens: Tensor
) -> type[ByTables] | type[ByWindows]:
    """The cheaper of the two ways, which differ by rounding."""
    if bank.tables_pay(len(network.embedding), *tokens.shape):
        return ByTables
    return ByWindows


def _forward(
    bank: FilterBank,
    network: Network,
    tokens: Tensor,
    dropout: Dropout | None,
    pooling: type[ByTables] | type[ByWindows],
) -> tuple[Tensor, _State]:
    """Logits (B,), and what the gradient needs."""
    # Convolutions and maxima over time: features (B, F).
    biases = torch.cat(network.biases)
    pooled = pooling(bank, tokens, network.embedding, network.weights, biases)

    # Highway layer and output layer, on features that stand feature by feature.
    across = pooled.features.t().contiguous()
    z, logits = _pass_head(across, network, dropout)
    return logits, _State(pooled, across, z, dropout)


def _gradients(network: Network, state: _State, grad: Tensor) -> tuple[Factors, tuple[Tensor, ...]]:
    """The gradients of the highway weight, as two factors, and of the other parameters in their
    order, for `grad` (B,) of the logits.
    """
    # Output layer and what the highway layer adds up: gradients of z (2 F, B) and of the features
    # that pass by.
    of_z, of_x = torch.empty_like(state.z), torch.empty_like(state.across)
    of_bias, of_output = native.empty(len(state.z)), torch.empty_like(network.output)
    native.run(
        "head_gradient",
        len(of_x),
        _FEATURES,
        z=state.z,
        x=state.across,
        **_dropped(state.dropout, len(grad)),
        weight=network.output.detach(),
        grad=grad.contiguous(),
        of_z=of_z,
        of_x=of_x,
        of_bias=of_bias,
        of_weight=of_output,
        batch=len(grad),
    )

    # Through the highway layer's weights to the features (B, F).
    of_features = product(of_z.t(), network.highway, by_rows=False).add_(of_x.t())

    # Through the maxima to filters and embedding.
    of_embedding, of_weights, of_biases = state.pooled.gradients(of_features, network.embedding)
    of_head = (of_bias, of_output, grad.sum(0, keepdim=True))
    return Factors(of_z, state.pooled.features), (of_embedding, *of_head, *of_weights, *of_biases)


class _Network(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, bank: FilterBank, tokens: Tensor, dropout: Dropout | None, *parameters: Tensor
    ) -> Tensor:
        network = Network.of(parameters)
        logits, ctx.state = _forward(
            bank, network, tokens, dropout, _pooling(bank, network, tokens)
        )
        ctx.save_for_backward(*parameters)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors, others = _gradients(Network.of(ctx.saved_tensors), ctx.state, grad)
        return None, None, None, product(*factors), *others
