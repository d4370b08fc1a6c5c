"""A features extractor for stock Stable-Baselines3 policies: the prefix, read by a GRU.

PPO("MlpPolicy", envs, policy_kwargs={"features_extractor_class": PrefixExtractor})
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn


class PrefixExtractor(BaseFeaturesExtractor):
    """The state of a GRU behind the last written token of the observation `tokens`."""

    def __init__(
        self, observation_space: spaces.Space, embedding_dim: int = 32, features_dim: int = 64
    ) -> None:
        """
        Args:
            observation_space: the padded prefix, (T,).
            embedding_dim: of a token.
            features_dim: of the GRU's state.

        Raises:
            ValueError: the observation is another one.
        """
        if not isinstance(observation_space, spaces.Box) or not _holds_tokens(observation_space):
            raise ValueError(
                f"PrefixExtractor reads the observation tokens, a Box of integers (T,); this is "
                f"{observation_space}"
            )
        super().__init__(observation_space, features_dim)
        # V means "not written yet"; here it also is what the GRU reads first.
        self.pad_token = int(observation_space.high.max())
        self.embedding = nn.Embedding(self.pad_token + 1, embedding_dim, dtype=torch.float32)
        self.gru = nn.GRU(embedding_dim, features_dim, batch_first=True, dtype=torch.float32)

    def forward(self, observations: Tensor) -> Tensor:
        """States (B, H) of observations (B, T), which SB3 hands over as floats."""
        tokens = observations.long()
        lengths = (tokens != self.pad_token).sum(1)
        inputs = nn.functional.pad(tokens, (1, 0), value=self.pad_token)  # (B, T + 1)
        states: Tensor = self.gru(self.embedding(inputs))[0]  # (B, T + 1, H)
        return states[torch.arange(len(tokens), device=tokens.device), lengths]


def _holds_tokens(space: spaces.Box) -> bool:
    return len(space.shape) == 1 and space.dtype is not None and space.dtype.kind == "i"
