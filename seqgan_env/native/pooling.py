"""Convolution over embedded tokens, maximum over time and ReLU as one differentiable function, by the compiled kernels.

Of each sequence and filter only the position of the maximum has a gradient; where maxima are equal the first takes all of it, a
subgradient like any other (`Tensor.amax` shares it out evenly). All else agrees with autograd but for rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgan_env import native

_SLOTS = 64  # shares into which work on filters is split, as in convolution.c
_SEQUENCES = 16  # grain of the work on sequences


@dataclass(frozen=True)
class FilterBank:
    """The filters of a discriminator as the kernels want them.

    Attributes:
        widths: of the filters.
        channels: of each width.
    """

    widths: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def num_features(self) -> int:
        return sum(self.channels)

    @property
    def padded(self) -> list[int]:
        """Channels of each width in whole vectors."""
        return [round_up(c) for c in self.channels]

    @property
    def row_sizes(self) -> list[int]:
        """What one token adds to each filter, at every tap: so many numbers."""
        return [w * p for w, p in zip(self.widths, self.padded, strict=True)]

    def tables_pay(self, rows: int, batch: int, steps: int) -> bool:
        """Whether tables of `rows` tokens are less work than convolving (batch, steps) tokens."""
        sizes = list(zip(self.widths, self.channels, strict=True))
        return 2 * rows * sum(w * c for w, c in sizes) < batch * sum((steps - w + 1) * w * c for w, c in sizes)


@functools.cache
def _layout(bank: FilterBank, sizes: tuple[int, ...]) -> Tensor:
    """(num, 4) int64: width, channels, first feature, and where a filter begins if each takes `sizes` numbers."""
    firsts, begins = (torch.tensor([0, *numbers]).cumsum(0)[:-1] for numbers in (bank.channels, sizes))
    return torch.stack([torch.tensor(bank.widths), torch.tensor(bank.channels), firsts, begins], dim=1)


def round_up(size: int, multiple: int = native.LANES) -> int:
    """The smallest multiple that is not below `size`."""
    return -(-size // multiple) * multiple


def pooled_features(
    bank: FilterBank, tokens: Tensor, embedding: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """max(0, max over time of every convolution of the embedded tokens (B, T)): (B, F), with gradient.

    Args:
        bank: the filters, none wider than T.
        tokens: (B, T) int64 in 0..V.
        embedding: (V + 1, E).
        weights: of each width, (C, E, width), as `torch.nn.Conv1d` has them.
        biases: of each width, (C,).

    Raises:
        IndexError: a token is outside 0..V.
        ValueError: the sequences are shorter than a filter.
    """
    tokens = _checked(bank, tokens)
    route = _ByTables if bank.tables_pay(len(embedding), *tokens.shape) else _ByWindows
    features: Tensor = route.apply(bank, tokens, embedding, torch.cat(list(biases)), *weights)
    return features


def _checked(bank: FilterBank, tokens: Tensor) -> Tensor:
    """Tokens (B, T) as the kernels read them."""
    if tokens.shape[1] < max(bank.widths):
        raise ValueError(f"sequences of {tokens.shape[1]} tokens were given; the widest filter takes {max(bank.widths)}")
    return tokens.to(torch.int64).contiguous()


def make_tables(bank: FilterBank, embedding: Tensor, taps: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """What each token adds to every filter at every tap: a flat tensor of a table (V + 1, width, padded channels) a filter.

    Args:
        bank: the filters.
        embedding: (V + 1, E).
        taps: of each filter, as `weight_taps` gives them.
        out: earlier tables to overwrite; new memory costs more than the product.
    """
    sizes = [len(embedding) * size for size in bank.row_sizes]
    with torch.inference_mode(False):  # so that they can be overwritten in any mode
        tables = torch.empty(sum(sizes)) if out is None else out
    for table, rows in zip(tables.split(sizes), taps, strict=True):
        torch.mm(embedding, rows.t(), out=table.view(len(embedding), -1))
    return tables


def pool_tables(bank: FilterBank, tokens: Tensor, tables: Tensor, bias: Tensor, rows: int, where: Tensor | None = None) -> Tensor:
    """Features (B, F) of tokens (B, T) by tables of so many rows; the positions of the maxima go to `where` (B, F) int32."""
    tokens = _checked(bank, tokens)
    batch, steps = tokens.shape
    features = torch.empty(batch, bank.num_features)
    layout = _layout(bank, tuple(rows * size for size in bank.row_sizes))
    sizes = (steps, rows, bank.num_features)
    native.run("pool_tables", batch, _SEQUENCES, tokens, tables, layout, len(layout), bias, features, where, *sizes)
    return features


def weight_taps(bank: FilterBank, weights: Sequence[Tensor]) -> list[Tensor]:
    """Weights (C, E, width) each as rows (width * padded channels, E)."""
    return [F.pad(w.permute(2, 0, 1), (0, 0, 0, p - len(w))).flatten(0, 1) for w, p in zip(weights, bank.padded, strict=True)]


class _ByTables(torch.autograd.Function):
    """conv(Y)[t] = sum_k (E W_k)[y_{t+k}]: for vocabularies that are small beside the batch."""

    @staticmethod
    def forward(ctx: Any, bank: FilterBank, tokens: Tensor, embedding: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        where = torch.empty(len(tokens), bank.num_features, dtype=torch.int32)
        taps = weight_taps(bank, weights)
        features = pool_tables(bank, tokens, make_tables(bank, embedding, taps), bias, len(embedding), where)
        ctx.bank = bank
        ctx.save_for_backward(tokens, embedding, where, features, *taps)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bank: FilterBank = ctx.bank
        tokens, embedding, where, features, *all_taps = ctx.saved_tensors
        grad = (grad * (features > 0)).contiguous()
        sizes = [len(embedding) * size for size in bank.row_sizes]
        layout, of_tables = _layout(bank, tuple(sizes)), torch.zeros(sum(sizes))
        native.run("scatter_tables", _SLOTS, 1, tokens, grad, where, layout, len(layout), of_tables, *tokens.shape, grad.shape[1])
        of_embedding, of_weights = torch.zeros_like(embedding), []
        for part, taps, width, channels in zip(of_tables.split(sizes), all_taps, bank.widths, bank.channels, strict=True):
            table = part.view(len(embedding), -1)  # (V + 1, width * padded channels)
            of_embedding.addmm_(table, taps)
            of_taps = (table.t() @ embedding).view(width, -1, embedding.shape[1])
            of_weights.append(of_taps[:, :channels].permute(1, 2, 0))
        return None, None, of_embedding, grad.sum(0), *of_weights


class _ByWindows(torch.autograd.Function):
    """The convolution by blocked multiplication: for vocabularies too large for tables."""

    @staticmethod
    def forward(ctx: Any, bank: FilterBank, tokens: Tensor, embedding: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        batch, steps = tokens.shape
        embedded = F.embedding(tokens, _pad_last(embedding))  # (B, T, E)
        rows = [_pad_last(w.transpose(1, 2)).flatten(1) for w in weights]  # (C, width * E)
        packed = [_pack(row) for row in rows]
        features = torch.empty(batch, bank.num_features)
        where = torch.empty(batch, bank.num_features, dtype=torch.int32)
        layout = _layout(bank, tuple(p.numel() for p in packed))
        sizes = (steps, embedded.shape[2], bank.num_features)
        arguments = (embedded, torch.cat([p.flatten() for p in packed]), layout, len(layout), bias, features, where, *sizes)
        native.run("pool_windows", batch, 1, *arguments)
        ctx.bank, ctx.shape = bank, embedding.shape
        ctx.save_for_backward(tokens, embedded, torch.cat([row.flatten() for row in rows]), where, features)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bank: FilterBank = ctx.bank
        tokens, embedded, rows, where, features = ctx.saved_tensors
        (batch, steps, depth), num = embedded.shape, bank.num_features
        grad = (grad * (features > 0)).contiguous()
        sizes = tuple(c * w * depth for c, w in zip(bank.channels, bank.widths, strict=True))
        layout, of_rows, of_embedded = _layout(bank, sizes), torch.empty_like(rows), torch.zeros_like(embedded)
        by_filter = grad.t().contiguous(), where.t().contiguous()
        native.run("weight_gradient", _SLOTS, 1, embedded, *by_filter, layout, len(layout), of_rows, batch, steps, depth)
        native.run("window_gradient", batch, 1, rows, grad, where, layout, len(layout), of_embedded, steps, depth, num)
        of_embedding = torch.zeros(ctx.shape[0], depth).index_add_(0, tokens.flatten(), of_embedded.flatten(0, 1))
        of_weights = [
            part.view(c, w, depth)[:, :, : ctx.shape[1]].transpose(1, 2)
            for part, c, w in zip(of_rows.split(sizes), bank.channels, bank.widths, strict=True)
        ]
        return None, None, of_embedding[:, : ctx.shape[1]], grad.sum(0), *of_weights


def _pad_last(x: Tensor) -> Tensor:
    """The last axis in whole vectors."""
    return F.pad(x, (0, round_up(x.shape[-1]) - x.shape[-1]))


def _pack(rows: Tensor) -> Tensor:
    """(C, depth) as (P / 16, depth, 16)."""
    padded = F.pad(rows, (0, 0, 0, round_up(len(rows)) - len(rows)))
    return padded.view(-1, native.LANES, rows.shape[1]).transpose(1, 2).contiguous()
