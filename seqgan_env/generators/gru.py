"""A language model around gated recurrent units (Cho et al. 2014).

It is also the shortest complete example of a policy that carries its state from token to token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env.checks import check_layers
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.types import TokenSpec


class GRULanguageModel(LanguageModel):
    """Embedding, one layer of gated recurrent units, softmax; zero initial state."""

    def __init__(self, spec: TokenSpec, embedding_dim: int = 32, hidden_dim: int = 32) -> None:
        """
        Args:
            spec: of its sequences.
            embedding_dim: of a token.
            hidden_dim: of the state, H.
        """
        super().__init__(spec)
        check_layers(spec.vocab_size, embedding_dim, hidden_dim)
        self.embedding = nn.Embedding(spec.vocab_size, embedding_dim, dtype=torch.float32)
        self.gru = nn.GRU(embedding_dim, hidden_dim, batch_first=True, dtype=torch.float32)
        self.output = nn.Linear(hidden_dim, spec.vocab_size, dtype=torch.float32)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """h_1..h_T' (B, T', H) for the inputs (B, T')."""
        hidden: Tensor = self.gru(self.embedding(inputs))[0]
        return hidden

    def start(self, num_rows: int) -> Tensor:
        """The state (1, B, H) before the first input."""
        return self.output.weight.new_zeros(1, num_rows, self.gru.hidden_size)

    def advance(self, state: Any, inputs: Tensor) -> tuple[Tensor, Any]:
        """Reads one more input (B,): h_t (B, H) and the next state."""
        hidden, state = self.gru(self.embedding(inputs).unsqueeze(1), state)
        return hidden.squeeze(1), state
