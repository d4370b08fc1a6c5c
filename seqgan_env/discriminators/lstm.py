"""A recurrent discriminator: a bidirectional LSTM over the embedded tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqgan_env.building import undisturbed
from seqgan_env.checks import check_share
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.types import TokenSpec


class LSTMDiscriminator(Discriminator):
    """Reads a sequence from both ends; the largest states over time decide.

    Attributes:
        dropout: share of features dropped before the output layer, in training only.
        l2: weight of the L2 penalty on the output layer, half its squared norm.
    """

    def __init__(
        self,
        spec: TokenSpec,
        rng: torch.Generator,
        embedding_dim: int = 32,
        hidden_dim: int = 64,
        dropout: float = 0.1,
        l2: float = 0.0,
        learning_rate: float = 3e-3,
        batch_size: int = 256,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            rng: of the first parameters.
            embedding_dim: size of the token embedding.
            hidden_dim: size of the state in each direction.
            dropout: see above.
            l2: see above.
            learning_rate: of Adam.
            batch_size: sequences in a step of training, half of them real.
        """
        super().__init__(spec)
        if batch_size < 1:
            raise ValueError(
                f"the discriminator's batch_size is {batch_size}; allowed is 1 or more"
            )
        check_share("dropout", dropout)
        self.dropout, self.l2 = dropout, l2
        self.learning_rate, self.batch_size = learning_rate, batch_size
        number = torch.float32
        with undisturbed():
            self.embedding = nn.Embedding(spec.vocab_size + 1, embedding_dim, dtype=number)
            self.lstm = nn.LSTM(
                embedding_dim, hidden_dim, batch_first=True, bidirectional=True, dtype=number
            )
            self.output = nn.Linear(2 * hidden_dim, 1, dtype=number)
            self._initialise(rng, hidden_dim**-0.5)

    @torch.no_grad()
    def _initialise(self, rng: torch.Generator, bound: float) -> None:
        """Uniform within `bound`, as torch has it, but for the embedding, which is normal."""
        for parameter in (*self.lstm.parameters(), *self.output.parameters()):
            uniform = torch.rand(parameter.shape, generator=rng, dtype=torch.float32)
            parameter.copy_((2 * uniform - 1) * bound)
        normal = torch.randn(self.embedding.weight.shape, generator=rng, dtype=torch.float32)
        self.embedding.weight.copy_(normal)

    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        """Logits (B,) of sequences (B, T), with gradient."""
        states = self.lstm(self.embedding(tokens))[0]  # (B, T, 2 H)
        padding = (tokens == self.spec.pad_token).unsqueeze(2)
        features = states.masked_fill(padding, -torch.inf).amax(1)  # max over what is written
        if dropout_rng is not None and self.dropout:
            features = features * self._scales(features, dropout_rng)
        logits: Tensor = self.output(features)
        return logits.squeeze(1)

    def penalty(self) -> Tensor | None:
        """Half the squared norm of the output layer, weighted with `l2`."""
        if not self.l2:
            return None
        weight, bias = self.output.weight, self.output.bias
        return 0.5 * self.l2 * (weight.square().sum() + bias.square().sum())

    def _scales(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """What features (B, F) are multiplied with: 0 for those that are dropped, and more than 1
        for all others.
        """
        draws = torch.rand(features.shape, generator=rng, device=rng.device, dtype=torch.float32)
        return (draws.to(features.device) >= self.dropout) / (1 - self.dropout)
