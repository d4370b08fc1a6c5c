"""PPO for sequences (Ziegler et al. 2019, section 2.1; Schulman et al. 2017): a clipped ratio, a
value head, and the distance to the pre-trained policy as part of what is paid.

r_t = reward_t - beta (log p(y_t | ...) - log p_ref(y_t | ...)), whose sum is an estimate of the
score less beta KL(p || p_ref). beta follows the measured divergence: times 1 + 0.1 e after every
update, where e is how far KL is from its target, as a share of that, and at most 0.2 either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.policy_gradient import check_clipping, clipped_loss, deviation, step_metrics
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel

_GAIN, _LARGEST_ERROR = 0.1, 0.2  # as Ziegler et al. steer beta


@dataclass(frozen=True)
class SequencePPOConfig(ActorCriticConfig):
    """The options of `SequencePPO`, beside those of every agent with a critic.

    Attributes:
        learning_rate: of Adam, for `num_epochs` steps on each batch.
        kl_coefficient: beta at first; 0 leaves the divergence out of the reward.
        kl_target: nats of KL(policy || pre-trained policy) per sequence that beta steers for; None
            leaves beta as it is.
        num_epochs: steps on each batch.
        clip_range: how far the ratio may move from 1 before a token is left out.
    """

    learning_rate: float = 3e-4
    kl_coefficient: float = 0.05
    kl_target: float | None = 1.0
    num_epochs: int = 4
    clip_range: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_clipping(self.num_epochs, self.clip_range)
        if self.kl_coefficient < 0:
            raise ValueError(f"kl_coefficient is {self.kl_coefficient}; allowed is 0 or more")
        if self.kl_target is not None and self.kl_target <= 0:
            raise ValueError(f"kl_target is {self.kl_target}; allowed is above 0, or None")


class SequencePPO(ActorCritic):
    """Several steps on each batch, as far as the ratio to the policy that wrote it allows.

    Use it for a known reward that would be exploited, since the policy is held near the pre-trained
    one: the recipe of fine-tuning by human preferences.

    Attributes:
        kl_coefficient: beta as it is now.
    """

    config: SequencePPOConfig

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: SequencePPOConfig = SequencePPOConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)
        self.kl_coefficient = config.kl_coefficient

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the clipped gradient `num_epochs` times, then fits the value head.

        Returns:
            as `ActorCritic`, of the last step; `clipped_share` of the tokens left out of it;
            `kl` to the pre-trained policy (nats per sequence) and `kl_coefficient` before.
        """
        # What is paid: the reward less beta times the log-ratio to the pre-trained policy.
        before = self.policy.token_log_probs(tokens)  # (B, T)
        log_ratio = torch.zeros_like(before)
        if self.reference is not None:
            log_ratio = before - self.reference.token_log_probs(tokens)
        features = self._features(tokens)
        paid = rewards - self.kl_coefficient * log_ratio
        advantages, returns = self._advantages(features, paid, written)

        # Follow the clipped gradient several times.
        num_written = written.sum()
        weights = _whitened(advantages, written) / num_written
        for _ in range(self.config.num_epochs):
            policy_loss, clipped = clipped_loss(
                self.policy, tokens, weights, before, self.config.clip_range
            )
            grad_norm = self._step(policy_loss + self._regularisers(tokens, written))

        # Steer beta by the divergence of the policy that wrote, then fit the value head.
        divergence = {"kl": float(log_ratio.sum(1).mean()), "kl_coefficient": self.kl_coefficient}
        self._steer(divergence["kl"])
        found = step_metrics(
            policy_loss, rewards.sum() / num_written, advantages[written], grad_norm
        )
        found |= divergence
        found["value_loss"] = self._fit_critic(features, returns, written)
        found["clipped_share"] = float((clipped & written).sum() / num_written)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        return super().state_dict() | {"kl_coefficient": self.kl_coefficient}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        self.kl_coefficient = state["kl_coefficient"]

    def _make_network(self) -> nn.Module:
        """A head of one hidden layer on the policy's states; 0 at first."""
        dim = self.config.critic_dim
        hidden = nn.Linear(self.policy.output.in_features, dim, dtype=torch.float32)
        output = nn.Linear(dim, 1, dtype=torch.float32)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        return nn.Sequential(hidden, nn.Tanh(), output, nn.Flatten(1))

    @torch.no_grad()
    def _features(self, tokens: Tensor) -> Tensor:
        """The policy's states (B, T, H), which the head reads and does not train."""
        return self.policy.hidden_states(self.policy.inputs(tokens))

    def _needs_reference(self) -> bool:
        return super()._needs_reference() or self.config.kl_coefficient > 0

    def _steer(self, divergence: float) -> None:
        """Moves beta towards what keeps the divergence at its target."""
        if self.config.kl_target is None:
            return
        error = divergence / self.config.kl_target - 1
        self.kl_coefficient *= 1 + _GAIN * max(-_LARGEST_ERROR, min(_LARGEST_ERROR, error))


def _whitened(advantages: Tensor, written: Tensor) -> Tensor:
    """The values with mean 0 and deviation 1 over the written tokens, 0 where there is one token; 0
    behind the end.
    """
    values = advantages[written]
    return ((advantages - values.mean()) / (deviation(values) + 1e-6)).masked_fill(~written, 0.0)
