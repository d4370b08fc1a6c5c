"""Action-value policies for DQN and QR-DQN whose Q-values are the language model's logits.

Q(s, y) = temperature * logit(y | s) + v(s). The policy that such values stand for is the Boltzmann
policy, softmax of Q / temperature. It is the language model itself, for v(s) cancels: it writes
while collecting, it is rolled out, and it is evaluated. v starts at 0, so that the Q-values start
as the generator's logits (times the temperature); it takes up the level of the rewards, which says
nothing about one token against another (dueling: Wang et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from agents.sb3.distribution import FORBIDDEN_LOGIT
from agents.sb3.encoding import PrefixReader, encode_prefixes
from agents.sb3.policy import (
    as_prefixes,
    build_optimizer,
    check_spaces,
    forbidden_tokens,
    keep_rates,
    value_head,
)
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.types import TokenSpec


class LanguageModelQNetwork(BasePolicy):
    """Q-values or their quantiles from a language model and a state value."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        spec: TokenSpec,
        language_model: LanguageModel,
        value_dims: Sequence[int],
        temperature: float,
        num_quantiles: int | None = None,
    ) -> None:
        """
        Args:
            observation_space: of the environment.
            action_space: of the environment.
            spec: of the sequences.
            language_model: gives the logits.
            value_dims: widths of the hidden layers of v.
            temperature: reward units per nat of logit.
            num_quantiles: None for the mean alone; otherwise v has as many values, and the
                quantiles of all tokens of a state have the same distances.
        """
        super().__init__(observation_space, action_space)
        self.spec, self.temperature, self.num_quantiles = spec, temperature, num_quantiles
        self.language_model = language_model
        self.value_net = value_head(
            language_model.output.in_features, value_dims, num_quantiles or 1
        )
        self.reader = PrefixReader(language_model)

    def set_training_mode(self, mode: bool) -> None:
        """Called around every training: the state carried so far belongs to the old weights."""
        self.reader.forget()
        super().set_training_mode(mode)

    def forward(self, obs: Any) -> Tensor:
        """Q-values (B, V), or quantiles (B, num_quantiles, V); far below all others for the end
        token where it is too early.
        """
        tokens, lengths = as_prefixes(self.spec, obs)
        hidden = encode_prefixes(self.language_model, tokens, lengths)
        scaled = self.temperature * self.language_model.output(hidden)
        forbidden = forbidden_tokens(self.spec, lengths)
        if forbidden is not None:
            scaled = scaled.masked_fill(forbidden, FORBIDDEN_LOGIT)
        values = self.value_net(hidden.detach())  # (B, 1) or (B, num_quantiles)
        if self.num_quantiles is not None:
            scaled, values = scaled.unsqueeze(1), values.unsqueeze(2)
        q_values: Tensor = scaled + values
        return q_values

    @torch.no_grad()
    def _predict(self, observation: Any, deterministic: bool = True) -> Tensor:
        """The greedy token, or a draw from the Boltzmann policy, (B,)."""
        tokens, lengths = as_prefixes(self.spec, observation)
        hidden = self.reader.hidden(tokens, lengths)
        if not deterministic:
            return self.reader.draw(hidden, lengths, torch.rand(len(hidden), device=hidden.device))[
                0
            ]
        logits: Tensor = self.language_model.output(hidden)
        forbidden = forbidden_tokens(self.spec, lengths)
        if forbidden is not None:
            logits = logits.masked_fill(forbidden, FORBIDDEN_LOGIT)
        return logits.argmax(1)


class _TokenValues:
    """What the two policies share; mixed in before SB3's or contrib's class."""

    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Callable[[float], float],
        *,
        spec: TokenSpec,
        language_model_class: Callable[..., LanguageModel] = LSTMLanguageModel,
        language_model_kwargs: Mapping[str, Any] | None = None,
        value_dims: Sequence[int] = (64,),
        value_rate: float = 1.0,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """As `agents.sb3.policy`, and `temperature`: reward units per nat of logit."""
        check_spaces(spec, observation_space, action_space)
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; allowed is any number above 0")
        self.spec, self.value_dims, self.value_rate, self.temperature = (
            spec,
            tuple(value_dims),
            value_rate,
            temperature,
        )
        self.language_model_class, self.language_model_kwargs = (
            language_model_class,
            dict(language_model_kwargs or {}),
        )
        super().__init__(  # type: ignore[call-arg]
            observation_space, action_space, lr_schedule, **kwargs
        )

    def _make_net(self, num_quantiles: int | None) -> LanguageModelQNetwork:
        language_model = self.language_model_class(self.spec, **self.language_model_kwargs)
        spaces_ = (self.observation_space, self.action_space)  # type: ignore[attr-defined]
        return LanguageModelQNetwork(
            *spaces_, self.spec, language_model, self.value_dims, self.temperature, num_quantiles
        )

    def _optimize(self, net: LanguageModelQNetwork, lr_schedule: Callable[[float], float]) -> None:
        groups = [
            (net.language_model.parameters(), 1.0),
            (net.value_net.parameters(), self.value_rate),
        ]
        optimizer_class = self.optimizer_class  # type: ignore[attr-defined]
        kwargs = self.optimizer_kwargs  # type: ignore[attr-defined]
        self.optimizer = build_optimizer(optimizer_class, groups, lr=lr_schedule(1), **kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        keep_rates(self.optimizer)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = (
            "spec",
            "language_model_class",
            "language_model_kwargs",
            "value_dims",
            "value_rate",
            "temperature",
        )
        given: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        return given | {name: getattr(self, name) for name in names}


class LanguageModelDQNPolicy(_TokenValues, DQNPolicy):
    """The policy of DQN."""

    q_net: LanguageModelQNetwork  # type: ignore[assignment]
    q_net_target: LanguageModelQNetwork  # type: ignore[assignment]

    def make_q_net(self) -> LanguageModelQNetwork:  # type: ignore[override]
        return self._make_net(None)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self._optimize(self.q_net, lr_schedule)


class LanguageModelQRDQNPolicy(_TokenValues, QRDQNPolicy):
    """The policy of QR-DQN: quantiles of a state's tokens differ by place, not by shape."""

    quantile_net: LanguageModelQNetwork  # type: ignore[assignment]
    quantile_net_target: LanguageModelQNetwork  # type: ignore[assignment]

    def make_quantile_net(self) -> LanguageModelQNetwork:  # type: ignore[override]
        return self._make_net(self.n_quantiles)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self._optimize(self.quantile_net, lr_schedule)
