"""Scoring by tables: a convolution over embedded tokens is a sum of one table row per tap.

conv(Y)[t] = sum_k (E W_k)[y_{t+k}]. The tables of a discriminator that stays as it is are built
once; scoring then gathers and adds, which is several times faster than convolving.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env import native
from seqgan_env.discriminators.dense_network import pass_highway
from seqgan_env.native.fast_routes import Snapshot
from seqgan_env.native.network import Network, half_head_logits, head_logits
from seqgan_env.native.pooling import FilterBank, make_tables, pool_tables, weight_taps
from seqgan_env.rowwise import in_whole_blocks, linear_in_bfloat16

_TABLE_BYTES = 2**30  # lookup tables above this size are not built
_CHANNELS = 16  # tables are measured in whole multiples, whichever processor is to use them


class FilterTables:
    """The tables of a network's filters, which follow what its parameters hold."""

    def __init__(self, bank: FilterBank, bfloat16_highway: bool) -> None:
        """
        Args:
            bank: the filters.
            bfloat16_highway: whether the highway layer is multiplied in bfloat16, where the
                processor does so natively.
        """
        self.bank, self.bfloat16_highway = bank, bfloat16_highway
        self._by_torch: list[Tensor] = []  # one for each filter
        self._by_kernels: Tensor | None = None  # of all filters
        self._half_highway: tuple[Tensor, Tensor] | None = None  # weight and bias in bfloat16
        self._made_from = Snapshot()
        self._made_for = ""  # the kernels, or "torch"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy makes tables of its own when it first scores: they are large and quickly made."""
        return FilterTables, (self.bank, self.bfloat16_highway)

    def are_small_enough(self, num_tokens: int) -> bool:
        """Whether tables of `num_tokens`, padding among them, may be built: a matter of their size
        alone, never of what is scored.
        """
        row_size = 0
        for width, channels in zip(self.bank.widths, self.bank.channels, strict=True):
            padded = -(-channels // _CHANNELS) * _CHANNELS  # rounded up to whole groups
            row_size += width * padded
        return row_size * num_tokens * 4 <= _TABLE_BYTES  # 4 bytes a float32

    def logits(self, network: Network, for_kernels: bool, tokens: Tensor) -> Tensor:
        """Logits (B,) of tokens (B, T), by what the last `refresh` has made.

        Raises:
            IndexError: a token is outside the vocabulary.
        """
        if for_kernels:
            return self._logits_by_kernels(network, tokens)
        head = functools.partial(self._head, network)
        return in_whole_blocks(head, self._features(network, tokens))

    def refresh(self, network: Network, for_kernels: bool) -> None:
        """Makes the tables those of the present parameters; those that are not asked about are read
        when they are used.
        """
        half = self.bfloat16_highway and _multiplies_bfloat16()
        highway = []
        if half:
            highway = [network.highway, network.highway_bias]
        tabulated = [network.embedding, *network.weights, *highway]
        made_for = "torch"
        if for_kernels:
            made_for = native.variant()
        if made_for == self._made_for and self._made_from.matches(tabulated):
            return
        self._half_highway = None
        if half:
            weight, bias = (part.to(torch.bfloat16) for part in highway)
            self._half_highway = weight, bias
        if made_for != self._made_for:
            self._by_kernels = None  # they stand otherwise for other kernels
        self._build(network, for_kernels)
        self._made_from.take(tabulated)
        self._made_for = made_for

    def _build(self, network: Network, for_kernels: bool) -> None:
        if for_kernels:
            taps = weight_taps(self.bank, list(network.weights))
            self._by_kernels = make_tables(self.bank, network.embedding, taps, self._by_kernels)
            return
        self._by_torch = []
        for weight in network.weights:
            products = torch.matmul(network.embedding, weight.permute(2, 1, 0))
            self._by_torch.append(products.flatten(0, 1).contiguous())  # (width * (V + 1), C)

    def _logits_by_kernels(self, network: Network, tokens: Tensor) -> Tensor:
        if self._by_kernels is None:
            raise RuntimeError("no tables have been built for the kernels")
        biases = torch.cat(network.biases)
        features = pool_tables(self.bank, tokens, self._by_kernels, biases, len(network.embedding))
        if self._half_highway is None:
            return head_logits(features, network)
        return half_head_logits(features, *self._half_highway, network.output, network.output_bias)

    def _head(self, network: Network, features: Tensor) -> Tensor:
        """Logits (B,) of features (B, F)."""
        if self._half_highway is None:
            z = F.linear(features, network.highway, network.highway_bias)
        else:
            halves = linear_in_bfloat16(features.to(torch.bfloat16), *self._half_highway)
            z = halves.to(features.dtype)
        out = pass_highway(z, features)
        return F.linear(out, network.output, network.output_bias).squeeze(1)

    def _features(self, network: Network, tokens: Tensor) -> Tensor:
        """Features (B, F) of tokens (B, T)."""
        num_tokens = len(network.embedding)
        # one outside the vocabulary would be read as another one, at another tap
        outside = tokens[(tokens < 0) | (tokens >= num_tokens)]
        if len(outside):
            raise IndexError(
                f"token {int(outside[0])} is outside the vocabulary: 0 to {num_tokens - 1} are "
                "allowed"
            )
        features = []
        for width, table, bias in zip(
            self.bank.widths, self._by_torch, network.biases, strict=True
        ):
            offsets = torch.arange(width, device=tokens.device) * num_tokens
            windows = tokens.unfold(1, width, 1) + offsets  # (B, T - width + 1, width)
            sums = F.embedding_bag(windows.flatten(0, 1), table, mode="sum")
            pooled = sums.view(*windows.shape[:2], -1).amax(1)  # max over time
            features.append(F.relu(pooled + bias))
        return torch.cat(features, dim=1)


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether this processor has bfloat16 products; elsewhere they are emulated, and slower than
    float32.
    """
    return bool(torch.cpu._is_avx512_bf16_supported())
