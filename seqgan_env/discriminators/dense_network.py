"""The discriminator as few large products, for devices on which many small convolutions cost more.

Filters are filled up with zeros to the width of the widest: four times the arithmetic at the
paper's sizes, and a fifth of the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env.native.network import Dropout, Network
from seqgan_env.native.pooling import FilterBank


def pass_highway(z: Tensor, features: Tensor) -> Tensor:
    """A highway layer behind its product z (B, 2 F), of features (B, F)."""
    transform, gate = z.chunk(2, dim=1)
    gate = torch.sigmoid(gate)
    return gate * F.relu(transform) + (1 - gate) * features


class FilterProduct:
    """All filters as one matrix; W is the width of the widest, E the embedding's dimension, K = E
    W.
    """

    def __init__(
        self, bank: FilterBank, embedding_dim: int, seq_len: int, device: torch.device
    ) -> None:
        """
        Args:
            bank: widths and channels of the filters, none wider than `seq_len`.
            embedding_dim: E.
            seq_len: T.
            device: of what it is given later.
        """
        self.width, self.num_columns = max(bank.widths), embedding_dim * max(bank.widths)
        self.num_features = bank.num_features
        # Where every weight of the filters stands in the dense matrix.
        self._places = self._places_of(bank, embedding_dim).to(device)
        widths = torch.tensor(bank.widths).repeat_interleave(torch.tensor(bank.channels))  # (F,)
        sticks_out = torch.arange(seq_len).unsqueeze(1) > seq_len - widths  # (T, F)
        self._penalty = torch.zeros(sticks_out.shape).masked_fill(sticks_out, -torch.inf).to(device)

    def __call__(
        self, embedded: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
    ) -> Tensor:
        """max over time of relu(convolution), (B, F), with gradient; of equal maxima one takes all
        of it.

        Args:
            embedded: (B, T, E).
            weights: of each width, (C, E, width), as `torch.nn.Conv1d` has them.
            biases: of each width, (C,).
        """
        padded = F.pad(embedded, (0, 0, 0, self.width - 1))
        windows = padded.unfold(1, self.width, 1).flatten(2)  # (B, T, K)
        sums = self._product(windows.flatten(0, 1), self._matrix(weights), torch.cat(list(biases)))
        sums = sums.view(*windows.shape[:2], -1) + self._penalty  # (B, T, F)
        return F.relu(sums.max(1).values)

    def _product(self, windows: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
        """windows (R, K) times the filters (F, K), plus their bias: (R, F).

        A convolution over R pixels, so that it has torch's precision of convolutions, not of
        products.
        """
        pixels = windows.view(1, 1, *windows.shape).permute(
            0, 3, 1, 2
        )  # (1, K, 1, R), channels last in memory
        sums = F.conv2d(pixels, matrix.view(*matrix.shape, 1, 1), bias)  # (1, F, 1, R)
        return sums.permute(0, 2, 3, 1).flatten(0, 2)

    def _matrix(self, weights: Sequence[Tensor]) -> Tensor:
        """The filters, (F, K), zero behind their width."""
        numbers = torch.cat([weight.flatten() for weight in weights])
        zeros = numbers.new_zeros(self.num_features * self.num_columns)
        return zeros.scatter(0, self._places, numbers).view(self.num_features, self.num_columns)

    def _places_of(self, bank: FilterBank, embedding_dim: int) -> Tensor:
        places, first = [], 0
        for width, channels in zip(bank.widths, bank.channels, strict=True):
            rows = torch.arange(first, first + channels).view(-1, 1, 1) * self.num_columns
            columns = torch.arange(embedding_dim).view(-1, 1) * self.width + torch.arange(width)
            places.append((rows + columns).flatten())  # of (C, E, width)
            first += channels
        return torch.cat(places)


def dense_logits(
    filters: FilterProduct, network: Network, tokens: Tensor, dropout: Dropout | None
) -> Tensor:
    """Logits (B,) of tokens (B, T), with gradient for every parameter of the network."""
    features = filters(F.embedding(tokens, network.embedding), network.weights, network.biases)
    features = pass_highway(F.linear(features, network.highway, network.highway_bias), features)
    if dropout is not None:
        features = features * dropout.scales(len(features))
    return F.linear(features, network.output, network.output_bias).squeeze(1)
