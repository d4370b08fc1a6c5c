"""Actor-critic policies of Stable-Baselines3 and sb3-contrib whose actor is our language model.

Forward passes that collect draw through `SoftmaxSampler` and carry the LSTM's state from token to
token; training reads the prefixes of a minibatch with gradient. The critic is a small network on
the detached hidden state: errors of values, whose scale the reward sets, then never rewrite the
language model, and what the actor learns is the policy gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from agents.sb3.distribution import TokenDistribution, log_probs_and_entropy
from agents.sb3.encoding import PrefixReader, encode_prefixes
from seqgan_env.envs.observations import token_space as space_of
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.types import TokenSpec

_FUSED_ON_CPU = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)
# of an optimizer's parameter group: its learning rate is this times that of the first group
RATE = "rate_factor"

RecurrentStates = Any


def check_spaces(
    spec: TokenSpec, observation_space: spaces.Space, action_space: spaces.Space
) -> None:
    """Raises a ValueError unless the spaces are those of an environment of `spec`."""
    if observation_space != space_of(spec) or action_space != spaces.Discrete(spec.vocab_size):
        raise ValueError(
            f"the policy's {spec} does not fit the environment's {observation_space} and "
            f"{action_space}"
        )


def as_prefixes(spec: TokenSpec, observations: Any) -> tuple[Tensor, Tensor]:
    """Prefixes (B, T) int64 and their lengths (B,) from observations of any number type: SB3 may
    hand on int32 or float.
    """
    tokens = observations.to(torch.int64)
    return tokens, spec.lengths(tokens)


def value_head(input_dim: int, hidden_dims: Sequence[int], output_dim: int = 1) -> nn.Sequential:
    """A tanh network whose last layer is 0 at first: every value starts at 0."""
    layers: list[nn.Module] = []
    for dim in hidden_dims:
        layers += [nn.Linear(input_dim, dim), nn.Tanh()]
        input_dim = dim
    last = nn.Linear(input_dim, output_dim)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def build_optimizer(
    optimizer_class: type[torch.optim.Optimizer],
    groups: Sequence[tuple[Iterator[nn.Parameter], float]],
    **kwargs: Any,
) -> torch.optim.Optimizer:
    """An optimizer of (parameters, factor of the learning rate) that keeps the factors though SB3's
    `train` levels the rates; see `keep_rates`.
    """
    if optimizer_class is torch.optim.Adam and _FUSED_ON_CPU:
        kwargs = {"fused": True} | kwargs  # a tenth of the time where the embeddings are large
    trained = []
    for parameters, factor in groups:
        trained.append({"params": [p for p in parameters if p.requires_grad], RATE: factor})
    optimizer = optimizer_class(trained, **kwargs)
    keep_rates(optimizer)
    return optimizer


def keep_rates(optimizer: torch.optim.Optimizer) -> None:
    """Before every step each group's learning rate is again its multiple of the first group's.

    Torch's optimizers lose their hooks when they are copied or pickled; whoever holds one asks
    again.
    """
    optimizer.register_step_pre_hook(_restore_rates)


def _restore_rates(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    base = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups[1:]:
        group["lr"] = base * group[RATE]


class _TokenActorCritic:
    """What the policies share; mixed in before one of SB3's actor-critic classes."""

    language_model: LanguageModel
    value_net: Any
    optimizer: torch.optim.Optimizer
    optimizer_class: type[torch.optim.Optimizer]
    optimizer_kwargs: dict[str, Any]

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
        **kwargs: Any,
    ) -> None:
        """
        Args:
            observation_space: of the environment.
            action_space: of the environment.
            lr_schedule: as SB3 passes it.
            spec: of the sequences; the spaces alone do not tell the end token.
            language_model_class: the actor, built as `language_model_class(spec,
                **language_model_kwargs)`.
            language_model_kwargs: of the actor.
            value_dims: widths of the critic's hidden layers.
            value_rate: the critic's learning rate, as a multiple of the algorithm's.
            kwargs: of SB3's policy class; orthogonal initialisation is never applied, whatever
                `ortho_init` says.
        """
        check_spaces(spec, observation_space, action_space)
        self.spec, self.value_dims, self.value_rate = spec, tuple(value_dims), value_rate
        self.language_model_class, self.language_model_kwargs = (
            language_model_class,
            dict(language_model_kwargs or {}),
        )
        super().__init__(  # type: ignore[call-arg]
            observation_space, action_space, lr_schedule, **kwargs
        )

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        self.language_model = self.language_model_class(self.spec, **self.language_model_kwargs)
        self.value_net = value_head(self.language_model.output.in_features, self.value_dims)
        self.reader = PrefixReader(self.language_model)
        self._build_optimizer(lr_schedule)

    def _build_optimizer(self, lr_schedule: Callable[[float], float]) -> None:
        groups = [
            (self.language_model.parameters(), 1.0),
            (self.value_net.parameters(), self.value_rate),
        ]
        self.optimizer = build_optimizer(
            self.optimizer_class, groups, lr=lr_schedule(1), **self.optimizer_kwargs
        )

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
        )
        given: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        return given | {name: getattr(self, name) for name in names}

    def set_training_mode(self, mode: bool) -> None:
        """SB3 calls it before every collection and every training: the state carried so far belongs
        to the old weights.
        """
        self.reader.forget()
        super().set_training_mode(mode)  # type: ignore[misc]

    @torch.no_grad()
    def forward(
        self, obs: Any, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (B,), values (B, 1) and log-probabilities (B,) in a running batch, without
        gradient.

        For gradients there are `evaluate_actions`, `predict_values` and `get_distribution`.
        """
        tokens, lengths = as_prefixes(self.spec, obs)
        hidden = self.reader.hidden(tokens, lengths)
        actions, log_probs = self._act(hidden, lengths, deterministic, action_masks)
        return actions, self.value_net(hidden), log_probs

    def evaluate_actions(
        self, obs: Any, actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values (B, 1), log-probabilities (B,) and entropies (B,) with gradient."""
        tokens, lengths = as_prefixes(self.spec, obs)
        hidden = encode_prefixes(self.language_model, tokens, lengths)
        output = self.language_model.output
        forbidden = self._forbidden(lengths, action_masks)
        log_probs, entropy = log_probs_and_entropy(
            hidden, output.weight, output.bias, actions.long().flatten(), forbidden
        )
        return self.value_net(hidden.detach()), log_probs, entropy

    def get_distribution(self, obs: Any, action_masks: Any = None) -> TokenDistribution:
        """The distribution of the next token, with gradient."""
        tokens, lengths = as_prefixes(self.spec, obs)
        hidden = encode_prefixes(self.language_model, tokens, lengths)
        return self._distribution(hidden, self._forbidden(lengths, action_masks))

    def predict_values(self, obs: Any) -> Tensor:
        """Values (B, 1), with gradient for the critic."""
        tokens, lengths = as_prefixes(self.spec, obs)
        with torch.no_grad():
            hidden = encode_prefixes(self.language_model, tokens, lengths)
        values: Tensor = self.value_net(hidden)
        return values

    @torch.no_grad()
    def _predict(
        self, observation: Any, deterministic: bool = False, action_masks: Any = None
    ) -> Tensor:
        tokens, lengths = as_prefixes(self.spec, observation)
        return self._act(self.reader.hidden(tokens, lengths), lengths, deterministic, action_masks)[
            0
        ]

    def _act(
        self, hidden: Tensor, lengths: Tensor, deterministic: bool, action_masks: Any
    ) -> tuple[Tensor, Tensor]:
        """Next tokens (B,) and their log-probabilities (B,)."""
        forbidden = None
        if deterministic or action_masks is not None:
            forbidden = self._forbidden(lengths, action_masks)
        if deterministic or forbidden is not None:
            distribution = self._distribution(hidden, forbidden)
            actions = distribution.get_actions(deterministic)
            return actions, distribution.log_prob(actions)
        return self.reader.draw(hidden, lengths, torch.rand(len(hidden), device=hidden.device))

    def _distribution(self, hidden: Tensor, forbidden: Tensor | None) -> TokenDistribution:
        distribution = TokenDistribution(self.language_model.output(hidden))
        if forbidden is not None:
            distribution.apply_masking(~forbidden)
        return distribution

    def _forbidden(
        self, lengths: Tensor, action_masks: np.ndarray | Tensor | None
    ) -> Tensor | None:
        """(B, V) bool: the end token where it is too early, and what `action_masks` (B, V) leaves
        out; None for nothing.
        """
        early = forbidden_tokens(self.spec, lengths)
        if action_masks is None:
            return early
        excluded = ~torch.as_tensor(action_masks, device=lengths.device, dtype=torch.bool).view(
            len(lengths), -1
        )
        if early is not None:
            return early | excluded
        if bool(excluded.any()):
            return excluded
        return None


def forbidden_tokens(spec: TokenSpec, lengths: Tensor) -> Tensor | None:
    """(B, V) bool, the end token behind prefixes of fewer than `min_length` tokens; None where
    there is no such prefix.
    """
    early = lengths < spec.min_length
    if spec.eos_token is None or not bool(early.any()):
        return None
    forbidden = torch.zeros(len(lengths), spec.vocab_size, dtype=torch.bool, device=lengths.device)
    forbidden[early, spec.eos_token] = True
    return forbidden


class LanguageModelPolicy(_TokenActorCritic, ActorCriticPolicy):
    """The policy of PPO, A2C and whatever else takes an `ActorCriticPolicy`."""


class MaskableLanguageModelPolicy(  # type: ignore[misc]
    _TokenActorCritic, MaskableActorCriticPolicy
):
    """The policy of MaskablePPO.

    The end token's mask is the language model's own; masks of the environment are heeded beside it.
    """


class TrustRegionLanguageModelPolicy(LanguageModelPolicy):
    """The policy of TRPO, which differentiates its KL divergence twice by every parameter."""

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that are trained: sb3-contrib's TRPO fails at a frozen one."""
        return (
            (name, p) for name, p in super().named_parameters(*args, **kwargs) if p.requires_grad
        )

    def get_distribution(self, obs: Any, action_masks: Any = None) -> TokenDistribution:
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no second derivative
            return super().get_distribution(obs, action_masks)


class _NoState:
    """What RecurrentPPO asks of the actor's LSTM in order to store its states: the smallest there
    is.
    """

    num_layers: ClassVar = 1
    hidden_size: ClassVar = 1


class RecurrentLanguageModelPolicy(LanguageModelPolicy, RecurrentActorCriticPolicy):
    """The policy of RecurrentPPO, which remembers nothing in SB3's `lstm_states`.

    The observation holds the whole prefix. So the states pass through untouched, while collecting
    carries the LSTM's state as the other policies do. Training reads whole episodes from their
    beginning and never starts from a state that older weights have left. What remains of the
    algorithm is its minibatches of consecutive steps in place of shuffled ones.
    """

    lstm_actor: Any

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Callable[[float], float],
        **kwargs: Any,
    ) -> None:
        no_lstm: dict[str, Any] = {
            "lstm_hidden_size": 1,
            "shared_lstm": True,
            "enable_critic_lstm": False,
        }
        super().__init__(observation_space, action_space, lr_schedule, **kwargs, **no_lstm)
        del self.lstm_actor
        self.lstm_actor = _NoState()
        self._build_optimizer(lr_schedule)  # contrib's constructor has made one of its own

    def forward(  # type: ignore[override]
        self,
        obs: Tensor,
        lstm_states: RecurrentStates,
        episode_starts: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, RecurrentStates]:
        """Actions, values, log-probabilities, and `lstm_states` as they came."""
        return *super().forward(obs, deterministic), lstm_states

    def evaluate_actions(  # type: ignore[override]
        self, obs: Tensor, actions: Tensor, lstm_states: RecurrentStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        return super().evaluate_actions(obs, actions)

    def get_distribution(  # type: ignore[override]
        self, obs: Tensor, lstm_states: RecurrentStates, episode_starts: Tensor
    ) -> tuple[TokenDistribution, RecurrentStates]:
        return super().get_distribution(obs), lstm_states

    def predict_values(  # type: ignore[override]
        self, obs: Tensor, lstm_states: RecurrentStates, episode_starts: Tensor
    ) -> Tensor:
        return super().predict_values(obs)

    def _predict(  # type: ignore[override]
        self,
        observation: Tensor,
        lstm_states: RecurrentStates,
        episode_starts: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, RecurrentStates]:
        return super()._predict(observation, deterministic), lstm_states
