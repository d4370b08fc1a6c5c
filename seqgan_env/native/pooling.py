"""Convolution over embedded tokens, maximum over time and ReLU, and their gradients, by the
compiled kernels.

Of each sequence and filter only the position of the maximum has a gradient; of equal maxima the
first takes all of it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env import native

_SEQUENCES = 16  # grain of the work on sequences
# of a number in a table, made, read and trained, in products with an embedded token; measured
_TABLE_COST = 6


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
        return list(map(round_up, self.channels))

    @property
    def row_sizes(self) -> list[int]:
        """What one token adds to each filter, at every tap: so many numbers."""
        return list(map(operator.mul, self.widths, self.padded))

    def weight_sizes(self, depth: int) -> tuple[int, ...]:
        """Numbers in the weights of each width, if a token has `depth`."""
        sizes = []
        for width, channels in zip(self.widths, self.channels, strict=True):
            sizes.append(width * channels * depth)
        return tuple(sizes)

    def tables_pay(self, rows: int, batch: int, steps: int) -> bool:
        """Whether tables of `rows` tokens are less work than convolving (batch, steps) tokens."""
        numbers, products = 0, 0  # of a token's row; of one sequence and one number of a token
        for width, channels in zip(self.widths, self.channels, strict=True):
            numbers += width * channels
            products += (steps - width + 1) * width * channels  # so many places has a filter
        return _TABLE_COST * rows * numbers < batch * products


@functools.cache
def _layout(bank: FilterBank, sizes: tuple[int, ...]) -> Tensor:
    """(num, 4) int64: width, channels, first feature, and where a filter begins if each takes
    `sizes` numbers.
    """
    widths = torch.tensor(bank.widths, device="cpu")
    channels = torch.tensor(bank.channels, device="cpu")
    # Each filter begins where those before it end.
    firsts = channels.cumsum(0) - channels
    numbers = torch.tensor(sizes, device="cpu")
    begins = numbers.cumsum(0) - numbers
    return torch.stack([widths, channels, firsts, begins], dim=1)


def round_up(size: int) -> int:
    """The smallest number in whole vectors that is not below `size`."""
    lanes = native.sizes().lanes
    return -(-size // lanes) * lanes


def _filters(bank: FilterBank, sizes: tuple[int, ...]) -> dict[str, Tensor | float | None]:
    """The arguments that stand for the filters in a kernel's call; see `_layout`."""
    layout = _layout(bank, sizes)
    return {"filters": layout, "num_filters": len(layout)}


def _checked(bank: FilterBank, tokens: Tensor) -> Tensor:
    """Tokens (B, T) as the kernels read them."""
    if tokens.shape[1] < max(bank.widths):
        raise ValueError(
            f"sequences of {tokens.shape[1]} tokens were given; the widest filter takes "
            f"{max(bank.widths)}"
        )
    return tokens.to(torch.int64).contiguous()


def make_tables(
    bank: FilterBank, embedding: Tensor, taps: Sequence[Tensor], out: Tensor | None = None
) -> Tensor:
    """What each token adds to every filter at every tap: a flat tensor of a table (V + 1, width,
    padded channels) a filter.

    Args:
        bank: the filters.
        embedding: (V + 1, E).
        taps: of each filter, as `weight_taps` gives them.
        out: earlier tables to overwrite; new memory costs more than the product.
    """
    sizes = _table_sizes(bank, len(embedding))
    with torch.inference_mode(False):  # so that they can be overwritten in any mode
        if out is None:
            out = native.empty(sum(sizes))
    # A table is the product of all tokens with all taps of a filter, written where it stands.
    for table, rows in zip(out.split(sizes), taps, strict=True):
        torch.mm(embedding, rows.t(), out=table.view(len(embedding), -1))
    return out


def _table_sizes(bank: FilterBank, rows: int) -> list[int]:
    """Numbers in the table of each filter, if there are so many tokens."""
    sizes = []
    for size in bank.row_sizes:
        sizes.append(rows * size)
    return sizes


def pool_tables(
    bank: FilterBank,
    tokens: Tensor,
    tables: Tensor,
    bias: Tensor,
    rows: int,
    where: Tensor | None = None,
) -> Tensor:
    """Features (B, F) of tokens (B, T) by tables of so many rows; the positions of the maxima go to
    `where` (B, F) int32.
    """
    tokens = _checked(bank, tokens)
    batch, steps = tokens.shape
    features = native.empty(batch, bank.num_features)
    native.run(
        "pool_tables",
        batch,
        _SEQUENCES,
        **_filters(bank, tuple(_table_sizes(bank, rows))),
        tokens=tokens,
        tables=tables,
        bias=bias,
        features=features,
        where=where,
        steps=steps,
        rows=rows,
        num_features=bank.num_features,
    )
    return features


def weight_taps(bank: FilterBank, weights: Sequence[Tensor]) -> list[Tensor]:
    """Weights (C, E, width) each as rows (width * padded channels, E)."""
    rows = []
    for weight, padded in zip(weights, bank.padded, strict=True):
        by_tap = weight.permute(2, 0, 1)  # (width, C, E)
        whole = F.pad(by_tap, (0, 0, 0, padded - len(weight)))  # (width, padded channels, E)
        rows.append(whole.flatten(0, 1))
    return rows


class ByTables:
    """conv(Y)[t] = sum_k (E W_k)[y_{t+k}]: for vocabularies that are small beside the batch.

    Attributes:
        features: max(0, max over time of every convolution), (B, F).
    """

    def __init__(
        self,
        bank: FilterBank,
        tokens: Tensor,
        embedding: Tensor,
        weights: Sequence[Tensor],
        bias: Tensor,
    ) -> None:
        self._bank, self._tokens = bank, _checked(bank, tokens)
        self._where = native.empty(len(tokens), bank.num_features, dtype=torch.int32)
        self._taps = weight_taps(bank, weights)
        tables = make_tables(bank, embedding, self._taps)
        self.features = pool_tables(bank, self._tokens, tables, bias, len(embedding), self._where)

    def gradients(
        self, grad: Tensor, embedding: Tensor
    ) -> tuple[Tensor, list[Tensor], tuple[Tensor, ...]]:
        """The gradients of embedding, weights and biases, for `grad` (B, F) of the features."""
        # ReLU passes nothing back where it gave 0.
        bank, grad = self._bank, (grad * (self.features > 0)).contiguous()
        sizes = _table_sizes(bank, len(embedding))
        of_tables = native.zeros(sum(sizes))
        batch, steps = self._tokens.shape
        native.run(
            "scatter_tables",
            native.sizes().slots,
            1,
            **_filters(bank, tuple(sizes)),
            tokens=self._tokens,
            grad=grad,
            where=self._where,
            tables=of_tables,
            batch=batch,
            steps=steps,
            rows=len(embedding),
            num_features=grad.shape[1],
        )
        # A table is embedding times taps, so that its gradient gives both of theirs.
        of_embedding, of_weights = torch.zeros_like(embedding), []
        for part, taps, width, channels in zip(
            of_tables.split(sizes), self._taps, bank.widths, bank.channels, strict=True
        ):
            table = part.view(len(embedding), -1)  # (V + 1, width * padded channels)
            of_embedding.addmm_(table, taps)
            of_taps = (table.t() @ embedding).view(width, -1, embedding.shape[1])
            of_weights.append(of_taps[:, :channels].permute(1, 2, 0))
        return of_embedding, of_weights, grad.sum(0).split(bank.channels)


class ByWindows:
    """The convolution by blocked multiplication: for vocabularies too large for tables.

    Attributes:
        features: max(0, max over time of every convolution), (B, F).
    """

    def __init__(
        self,
        bank: FilterBank,
        tokens: Tensor,
        embedding: Tensor,
        weights: Sequence[Tensor],
        bias: Tensor,
    ) -> None:
        self._bank, self._tokens = bank, _checked(bank, tokens)
        batch, steps = tokens.shape
        self._embedded = F.embedding(self._tokens, _pad_last(embedding))  # (B, T, E)
        depth = self._embedded.shape[2]
        self._rows, packed = _pack(bank, weights, depth)
        self.features = native.empty(batch, bank.num_features)
        self._where = native.empty(batch, bank.num_features, dtype=torch.int32)
        native.run(
            "pool_windows",
            batch,
            1,
            **_filters(bank, tuple(_table_sizes(bank, depth))),
            embedded=self._embedded,
            weights=packed,
            bias=bias,
            features=self.features,
            where=self._where,
            steps=steps,
            dim=depth,
            num_features=bank.num_features,
        )

    def gradients(
        self, grad: Tensor, embedding: Tensor
    ) -> tuple[Tensor, list[Tensor], tuple[Tensor, ...]]:
        """The gradients of embedding, weights and biases, for `grad` (B, F) of the features."""
        bank, (batch, steps, depth) = self._bank, self._embedded.shape
        rows, dim = embedding.shape
        of_features: dict[str, Tensor | float | None] = {
            "grad": grad.contiguous(),
            "features": self.features,
            "where": self._where,
            "steps": steps,
            "padded_dim": depth,
            "num_features": bank.num_features,
        }
        of_weights = native.empty(sum(bank.weight_sizes(dim)))
        of_bias = native.empty(bank.num_features)
        native.run(
            "weight_gradient",
            sum(bank.weight_sizes(1)),
            1,
            **_filters(bank, bank.weight_sizes(dim)),
            **of_features,
            embedded=self._embedded,
            weights=of_weights,
            bias=of_bias,
            batch=batch,
            dim=dim,
        )
        of_embedded = torch.zeros_like(self._embedded)
        native.run(
            "window_gradient",
            batch,
            1,
            **_filters(bank, bank.weight_sizes(depth)),
            **of_features,
            weights=self._rows,
            embedded=of_embedded,
        )
        of_embedding = native.zeros(rows, depth).index_add_(
            0, self._tokens.flatten(), of_embedded.flatten(0, 1)
        )
        parts = []
        flat = of_weights.split(bank.weight_sizes(dim))
        for part, channels, width in zip(flat, bank.channels, bank.widths, strict=True):
            parts.append(part.view(channels, dim, width))
        return of_embedding[:, :dim], parts, of_bias.split(bank.channels)


def _pad_last(x: Tensor) -> Tensor:
    """The last axis in whole vectors."""
    missing = round_up(x.shape[-1]) - x.shape[-1]
    if missing:
        return F.pad(x, (0, missing))
    return x


def _pack(bank: FilterBank, weights: Sequence[Tensor], depth: int) -> tuple[Tensor, Tensor]:
    """Weights (C, E, width), flat and filter after filter: as rows (C, width * depth), and as (P /
    lanes, width * depth, lanes).
    """
    dense = list(map(torch.Tensor.contiguous, weights))  # held: the kernel reads addresses
    rows = native.empty(sum(bank.weight_sizes(depth)))
    packed = native.empty(depth * sum(bank.row_sizes))
    addresses = torch.tensor(list(map(native.address, dense)), device="cpu")
    native.run(
        "pack_windows",
        sum(bank.row_sizes),
        1,
        **_filters(bank, bank.weight_sizes(depth)),
        addresses=addresses,
        rows=rows,
        packed=packed,
        dim=dense[0].shape[1],
        padded_dim=depth,
    )
    return rows, packed
