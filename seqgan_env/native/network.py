"""The discriminator as one differentiable function of the compiled kernels, and its head behind features from tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgan_env import native
from seqgan_env.native.adam import Factors
from seqgan_env.native.linear import product
from seqgan_env.native.pooling import ByTables, ByWindows, FilterBank

_FEATURES, _SEQUENCES = 16, 16  # grains


class Head(NamedTuple):
    """What stands behind the features: a highway layer, weight (2 F, F) of transform and gate, and an output layer, (1, F)."""

    highway: Tensor
    highway_bias: Tensor
    output: Tensor
    output_bias: Tensor


class Dropout(NamedTuple):
    """Drops the features, behind the highway layer, whose `uniform` (F, B) is below `share`, and scales the others up."""

    uniform: Tensor
    share: float


def network_logits(
    bank: FilterBank,
    tokens: Tensor,
    embedding: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    head: Head,
    dropout: Dropout | None = None,
    factors: Factors | None = None,
) -> Tensor:
    """Logits (B,) of tokens (B, T), with gradient for every parameter.

    Of equal maxima over time the first takes all of the gradient, a subgradient like any other (`Tensor.amax` shares it out).
    All else agrees with autograd but for rounding.

    Args:
        bank: the filters, none wider than T.
        tokens: (B, T) int64 in 0..V.
        embedding: (V + 1, E).
        weights: of each width, (C, E, width), as `torch.nn.Conv1d` has them.
        biases: of each width, (C,).
        head: of the features.
        dropout: what is dropped.
        factors: takes the gradient of the highway weight, most of all parameters, and its `.grad` stays None.

    Raises:
        IndexError: a token is outside 0..V.
        ValueError: the sequences are shorter than a filter.
    """
    logits: Tensor = _Network.apply(bank, tokens, dropout, factors, embedding, *head, *weights, *biases)
    return logits


def head_logits(features: Tensor, head: Head) -> Tensor:
    """Logits (B,) of features (B, F), without gradient."""
    return _pass(features.t().contiguous(), head, None)[1]


def half_head_logits(features: Tensor, highway: Tensor, highway_bias: Tensor, output: Tensor, output_bias: Tensor) -> Tensor:
    """Logits (B,) of features (B, F), without gradient; the highway layer is given in bfloat16, and is multiplied so."""
    z = torch.nn.functional.linear(features.to(torch.bfloat16), highway, highway_bias)
    logits, weight = torch.empty(len(features)), output.detach().contiguous()
    given = (z, features.contiguous(), weight, float(output_bias))
    native.run("half_head", len(features), _SEQUENCES, *given, logits, features.shape[1])
    return logits


def _pass(across: Tensor, head: Head, dropout: Dropout | None) -> tuple[Tensor, Tensor]:
    """The product of the highway layer (2 F, B), and the logits (B,), of features that stand feature by feature, (F, B)."""
    z, out = product(head.highway, across, head.highway_bias), torch.empty_like(across)
    native.run("head", len(across), _FEATURES, z, across, *_dropped(dropout), out, *across.shape)
    return z, product(head.output, out, head.output_bias).squeeze(0)


def _dropped(dropout: Dropout | None) -> tuple[Tensor | None, float]:
    return (dropout.uniform.contiguous(), float(dropout.share)) if dropout else (None, 0.0)


class _Network(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        bank: FilterBank,
        tokens: Tensor,
        dropout: Dropout | None,
        factors: Factors | None,
        embedding: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        head, others = Head(*parameters[:4]), parameters[4:]
        weights, biases = others[: len(bank.widths)], others[len(bank.widths) :]
        route = ByTables if bank.tables_pay(len(embedding), *tokens.shape) else ByWindows
        ctx.pooled = route(bank, tokens, embedding, weights, torch.cat(biases))
        across = ctx.pooled.features.t().contiguous()
        z, logits = _pass(across, head, dropout)
        ctx.dropout, ctx.factors = dropout, factors
        ctx.save_for_backward(embedding, head.highway, head.output, across, z)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        embedding, highway, output, across, z = ctx.saved_tensors
        of_z, of_x, of_bias, of_output = (
            torch.empty_like(z),
            torch.empty_like(across),
            torch.empty(len(z)),
            torch.empty_like(output),
        )
        results = (of_z, of_x, of_bias, of_output)
        given = (z, across, *_dropped(ctx.dropout), output, grad.contiguous())
        native.run("head_gradient", len(across), _FEATURES, *given, *results, *across.shape)
        of_features = product(of_z.t(), highway, by_rows=False).add_(of_x.t())
        of_embedding, of_weights, of_biases = ctx.pooled.gradients(of_features, embedding)
        of_highway = None
        if ctx.factors:
            ctx.factors.left, ctx.factors.right = of_z, ctx.pooled.features
        else:
            of_highway = product(of_z, ctx.pooled.features)
        of_head = (of_highway, of_bias, of_output, grad.sum(0, keepdim=True))
        return None, None, None, None, of_embedding, *of_head, *of_weights, *of_biases
