"""Advantage actor-critic over prefixes (Sutton and Barto 2018, section 13.5), with generalised
advantages (Schulman et al. 2016, eq. 16).

A critic learns the value of a prefix from what sequences were paid, where SeqGAN draws completions
of it: no rollouts are needed. A_t = sum over s >= t of (discount * lambda)^(s - t) delta_s, where
delta_t = r_t + discount * V(y_1..y_t) - V(y_1..y_{t-1}), and V is 0 at the end of a sequence.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.policy_gradient import PolicyGradient, PolicyGradientConfig, deviation, step_metrics
from agents.reinforce import returns_to_go
from seqgan_env.building import undisturbed
from seqgan_env.checks import check_least
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.optimizers import load_optimizer

_LEAST_SPREAD = 1e-3  # of returns below which they are all the same


@dataclass(frozen=True)
class ActorCriticConfig(PolicyGradientConfig):
    """The options of agents with a critic, beside those of every policy gradient.

    Attributes:
        gae_lambda: 1 for what was paid less the value, 0 for one step and the next value.
        critic_learning_rate: of the critic's Adam.
        critic_epochs: steps of the critic on each batch.
        critic_dim: width of its hidden layer.
    """

    gae_lambda: float = 0.95
    critic_learning_rate: float = 3e-3
    critic_epochs: int = 4
    critic_dim: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"gae_lambda is {self.gae_lambda}; allowed is 0..1")
        check_least(self, 1, "critic_epochs", "critic_dim")
        check_least(self, 0, "critic_learning_rate")


class Critic(nn.Module):
    """Values in the units of the first batch: its mean and spread times what a network says."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module) -> None:
        """
        Args:
            network: from features of a batch to numbers (B, T), about 0 at first.
        """
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.zeros((), dtype=torch.float32))
        self.register_buffer("scale", torch.ones((), dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Values (B, T)."""
        values: Tensor = self.shift + self.scale * self.network(features)
        return values

    def calibrate(self, returns: Tensor) -> None:
        """Takes mean and spread from returns (R,); of returns that are all the same, the mean."""
        self.shift.copy_(returns.mean())
        spread = float(deviation(returns))
        if spread <= _LEAST_SPREAD:
            spread = 1.0
        self.scale.fill_(spread)


class PrefixNetwork(nn.Module):
    """Numbers (B, T) of the prefixes that a policy reads, by an LSTM of its own; 0 at first."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim, dtype=torch.float32)
        self.lstm = nn.LSTM(dim, dim, batch_first=True, dtype=torch.float32)
        self.output = nn.Linear(dim, 1, dtype=torch.float32)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers of inputs (B, T), each of what was read up to there."""
        numbers: Tensor = self.output(self.lstm(self.embedding(inputs))[0]).squeeze(2)
        return numbers


class ActorCritic(PolicyGradient):
    """REINFORCE whose baseline and whose returns are a critic's.

    Use it where rollouts are too dear: it asks for the score of the whole sequence alone.

    Attributes:
        critic: from what `_features` gives of a batch to values (B, T), trained beside the policy.
    """

    training_settings: ClassVar[dict[str, Any]] = {"reward": "terminal"}
    config: ActorCriticConfig

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: ActorCriticConfig = ActorCriticConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)
        with undisturbed():
            torch.manual_seed(seed)
            self.critic = Critic(self._make_network()).to(self.env.rewards.device)
        self.critic_optimizer = torch.optim.Adam(
            self.critic.parameters(), lr=config.critic_learning_rate, fused=True
        )

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the gradient of the advantages once, then fits the critic.

        Returns:
            as `Reinforce`, and `value_loss`, the critic's mean squared error before.
        """
        # Advantages, by the critic as it is before it sees this batch.
        features = self._features(tokens)
        advantages, returns = self._advantages(features, rewards, written)  # (B, T) each

        # Follow the policy gradient once.
        num_written = written.sum()
        policy_loss = self.policy.weighted_nll(tokens, advantages) / num_written
        grad_norm = self._step(policy_loss + self._regularisers(tokens, written))
        found = step_metrics(
            policy_loss, rewards.sum() / num_written, advantages[written], grad_norm
        )
        return found | {"value_loss": self._fit_critic(features, returns, written)}

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        of_critic = {
            "critic": self.critic.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
        }
        return super().state_dict() | copy.deepcopy(of_critic)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        self.critic.load_state_dict(state["critic"])
        load_optimizer(self.critic_optimizer, state["critic_optimizer"])

    def _make_network(self) -> nn.Module:
        """The critic's network, from `_features` to numbers (B, T)."""
        return PrefixNetwork(self.policy.spec.vocab_size, self.config.critic_dim)

    def _features(self, tokens: Tensor) -> Tensor:
        """What the critic reads of sequences (B, T), without gradient: here the prefixes."""
        return self.policy.inputs(tokens)

    @torch.no_grad()
    def _advantages(
        self, features: Tensor, rewards: Tensor, written: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The advantages A_t, and what the critic is fitted to, A_t + V(y_1..y_{t-1}).

        They are (B, T) each, and 0 behind the end.
        """
        if self.num_updates == 0:
            self.critic.calibrate(returns_to_go(rewards, self.env.discount)[written])
        values = self.critic(features).masked_fill(~written, 0.0)
        discount, decay = self.env.discount, self.env.discount * self.config.gae_lambda
        # The value behind each token: that of the next prefix, and 0 behind the last token.
        following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
        # The deltas, which the loop sums up from the end.
        advantages = (rewards + discount * following - values).masked_fill(~written, 0.0)
        for t in range(advantages.shape[1] - 2, -1, -1):
            advantages[:, t] += decay * advantages[:, t + 1]
        return advantages, advantages + values

    def _fit_critic(self, features: Tensor, returns: Tensor, written: Tensor) -> float:
        """Takes `critic_epochs` steps of the critic; the mean squared error before them."""
        losses = []
        for _ in range(self.config.critic_epochs):
            loss = (self.critic(features) - returns)[written].square().mean()
            self.critic_optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.critic_optimizer.step()
            losses.append(float(loss.detach()))
        return losses[0]
