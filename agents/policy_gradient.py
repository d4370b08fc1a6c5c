"""What policy gradients share: a batch is written and paid, and the policy follows a loss once.

What tells them apart is the weight that the gradient of log p(y_t | y_1..y_{t-1}) gets.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.base import LanguageModelAgent, PolicyConfig
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.streams import RowStreams


@dataclass(frozen=True)
class PolicyGradientConfig(PolicyConfig):
    """What every policy gradient may be told.

    Attributes:
        learning_rate: of Adam in the adversarial phase.
        entropy_weight: of the entropy bonus, per token.
        kl_weight: of the penalty KL(policy || pre-trained policy), per token.
        max_grad_norm: gradients of the adversarial phase are scaled down to this norm.
    """

    learning_rate: float = 2e-3
    entropy_weight: float = 0.0
    kl_weight: float = 0.0
    max_grad_norm: float = 5.0


class PolicyGradient(LanguageModelAgent):
    """A language model that follows a policy gradient; subclasses say `update`.

    One update writes one sequence in every env of the vector environment, through `env.play`, which
    pays what stepping would. `train_adversarial` makes the environment roll out this policy; who
    calls `update` alone says `env.rewards.bind(agent.policy)`, unless the environment is to learn
    online.

    Attributes:
        config: what it was made with.
        rng: of everything that is written in updates.
        reference: the policy as it was before the first update, where `kl_weight` needs it.
    """

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None,
        seed: int,
        config: PolicyGradientConfig,
    ) -> None:
        """Args:
        env: vector environment to learn in; its `num_envs` is the batch size in sequences.
        policy: language model to train; a new LSTM if None.
        seed: of the new LSTM and of all sampling.
        config: rates and weights.
        """
        super().__init__(env, policy, seed, config)
        self.config = config
        self.rng = torch.Generator(device=self.env.rewards.device).manual_seed(seed)
        self.reference: LanguageModel | None = None
        self._optimize(self.policy)
        self.env.reset(seed=seed)

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        reference = None
        if self.reference is not None:
            reference = copy.deepcopy(self.reference.state_dict())
        return super().state_dict() | {
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "rng": self.rng.get_state(),
            "reference": reference,
            "env": copy.deepcopy(self.env.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])
        self.reference = None
        if state["reference"] is not None:
            self.reference = self._frozen_copy()
            self.reference.load_state_dict(state["reference"])
        self.env.load_state_dict(state["env"])

    def _optimize(self, *modules: nn.Module) -> None:
        """Has `_step` train all parameters of `modules` that can be trained."""
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.config.learning_rate, fused=True)

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Writes a sequence in every env: tokens (B, T), rewards (B, T) and where tokens are
        written (B, T).
        """
        if self.config.kl_weight and self.reference is None:
            self.reference = self._frozen_copy()
        num_envs = self.env.num_envs
        tokens = self.policy.sample(num_envs, RowStreams.draw(self.rng, num_envs))
        rewards = self.env.play(tokens)
        return tokens, rewards, tokens != self.policy.spec.pad_token

    def _step(self, loss: Tensor) -> float:
        """Follows the gradient of `loss` once; its norm, before it is clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        return float(grad_norm)

    def _regularisers(self, tokens: Tensor, written: Tensor) -> Tensor:
        """-entropy_weight * H(policy) + kl_weight * KL(policy || reference), exact per prefix, mean
        over written tokens.
        """
        entropy_weight, kl_weight = self.config.entropy_weight, self.config.kl_weight
        if not entropy_weight and not kl_weight:
            return tokens.new_zeros((), dtype=torch.float32)
        log_probs = self.policy.logits(tokens)[written].log_softmax(1)  # (R, V)
        loss = entropy_weight * _expectation(log_probs, log_probs).mean()
        if kl_weight and self.reference is not None:
            with torch.no_grad():
                reference = self.reference.logits(tokens)[written].log_softmax(1)
            negative_entropy = _expectation(log_probs, log_probs)  # (R,)
            cross_entropy = -_expectation(log_probs, reference)  # (R,)
            loss = loss + kl_weight * (negative_entropy + cross_entropy).mean()
        return loss

    def _frozen_copy(self) -> LanguageModel:
        return self.policy.with_temperature(1.0).requires_grad_(False)


def step_metrics(
    policy_loss: Tensor, reward: Tensor, advantages: Tensor, grad_norm: float
) -> dict[str, float]:
    """What a g-step tells."""
    return {
        "policy_loss": float(policy_loss.detach()),
        "reward": float(reward),
        "advantage_std": float(advantages.std()),
        "grad_norm": grad_norm,
    }


def _expectation(log_probs: Tensor, values: Tensor) -> Tensor:
    """sum_v p_v values_v, (R,), where a masked token, of probability 0, counts 0."""
    return (log_probs.exp() * values.masked_fill(values == -torch.inf, 0.0)).sum(1)
