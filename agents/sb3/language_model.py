"""The network of a stock Stable-Baselines3 policy as a language model: `--policy sb3`.

A features extractor reads the observation of every prefix, SB3's tanh layers follow, and the action
layer is the output. So `MlpPolicy` is pre-trained by maximum likelihood, has likelihoods and knobs,
and is trained by SB3's algorithms and by every other agent that takes a policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
    MlpExtractor,
)
from torch import Tensor, nn

from seqgan_env.envs.observations import make_observation
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.names import choose
from seqgan_env.registry import import_object
from seqgan_env.types import TokenSpec


class SB3LanguageModel(LanguageModel):
    """What `MlpPolicy` computes of the environment's observation; it encodes the prefix anew for
    every token.
    """

    def __init__(
        self,
        spec: TokenSpec,
        observation: str = "one_hot",
        observation_window: int | None = None,
        net_arch: Sequence[int] = (64, 64),
        features_extractor_class: str | type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            spec: of its sequences.
            observation: as of the environments: "one_hot", which dense layers read, or "tokens",
                for a features extractor that embeds them.
            observation_window: of "one_hot": how many tokens back it sees; all of them if not
                given.
            net_arch: widths of the hidden layers, SB3's by default.
            features_extractor_class: SB3's, or one of the same kind; on the command line
                "package.module:Class".
            features_extractor_kwargs: of that class.

        Raises:
            ValueError: an unknown observation, or a features extractor that cannot be found.
        """
        super().__init__(spec)
        choose(("one_hot", "tokens"), observation, "observation of policy sb3")
        self.space = make_observation(spec, observation, observation_window).space
        self.window = None
        if observation == "one_hot":
            self.window = observation_window or spec.seq_len
        make = _extractor_class(features_extractor_class)
        self.features_extractor = make(self.space, **dict(features_extractor_kwargs or {}))
        self.layers = MlpExtractor(
            self.features_extractor.features_dim, {"pi": list(net_arch), "vf": []}, nn.Tanh
        )
        self.output = nn.Linear(self.layers.latent_dim_pi, spec.vocab_size, dtype=torch.float32)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """h_1..h_T' (B, T', H) for the inputs (B, T')."""
        rows, num_positions = inputs.shape
        observations = self.observations(inputs).flatten(0, 1)
        features = self.features_extractor(observations)
        hidden: Tensor = self.layers.forward_actor(features).view(rows, num_positions, -1)
        return hidden

    def observations(self, inputs: Tensor) -> Tensor:
        """What the environment shows of every prefix that is read, (B, T', ...) float32: behind the
        first input, which is the start token, nothing is written.
        """
        if self.window is None:
            return self._tokens(inputs)
        return self._one_hot(inputs, self.window)

    def _tokens(self, inputs: Tensor) -> Tensor:
        """Padded prefixes (B, T', T)."""
        num_positions, length = inputs.shape[1], self.spec.seq_len
        written = nn.functional.pad(inputs[:, 1:], (0, length - num_positions + 1))  # (B, T)
        # At position t the first t tokens are written.
        unwritten = torch.ones(num_positions, length, dtype=torch.bool, device=inputs.device).triu()
        prefixes = written.unsqueeze(1).expand(-1, num_positions, -1)
        return prefixes.masked_fill(unwritten, self.spec.pad_token).to(torch.float32)

    def _one_hot(self, inputs: Tensor, window: int) -> Tensor:
        """The last `window` tokens, oldest first, and the share written: (B, T', kV + 1)."""
        spec, (rows, num_positions) = self.spec, inputs.shape
        # Behind `window` places for what is not there, the tokens in order.
        written = nn.functional.pad(inputs[:, 1:], (window, 0), value=spec.pad_token)
        last = written.unfold(1, window, 1)  # (B, T', k)
        views = nn.functional.one_hot(last, spec.vocab_size + 1)[..., : spec.vocab_size]
        share = torch.arange(num_positions, device=inputs.device) / spec.seq_len
        return torch.cat(
            [
                views.flatten(2).to(torch.float32),
                share.to(torch.float32).view(1, -1, 1).expand(rows, -1, 1),
            ],
            dim=2,
        )


def _extractor_class(given: str | type[BaseFeaturesExtractor]) -> type[BaseFeaturesExtractor]:
    """The class behind `package.module:Class`, or the class itself."""
    if not isinstance(given, str):
        return given
    found = import_object(given, f"features extractor {given!r}")
    if not (isinstance(found, type) and issubclass(found, BaseFeaturesExtractor)):
        raise ValueError(f"features extractor {given!r} is no subclass of BaseFeaturesExtractor")
    return found
