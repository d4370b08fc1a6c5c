"""REINFORCE on action values: the policy gradient of SeqGAN (Yu et al. 2017, eqs. 7 and 8; Williams
1992).

grad J = mean over sequences and tokens of (A_t) grad log p(y_t | y_1..y_{t-1}), with A_t =
return-to-go - baseline. Under the reward form `rollout`, whose discount is 0, the return-to-go is
Q_t itself.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.policy_gradient import PolicyGradient, PolicyGradientConfig, step_metrics
from seqgan_env.building import undisturbed
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.names import choose

BASELINES = ("none", "batch_mean", "value")


@dataclass(frozen=True)
class ReinforceConfig(PolicyGradientConfig):
    """The options of `Reinforce`, beside those of every policy gradient.

    Attributes:
        baseline: subtracted from the return: "none" (the paper's), "batch_mean" (of the same
            position over the batch), or "value" (a linear head on the policy's hidden state,
            trained beside it).
    """

    baseline: str = "batch_mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        choose(BASELINES, self.baseline, "baseline")


class Reinforce(PolicyGradient):
    """The agent of the paper: a language model trained by maximum likelihood, then by REINFORCE.

    Use it first: it is the agent of the paper, and what the others are compared with.

    Attributes:
        config: what it was made with.
        value_head: the value of a prefix, linear in the policy's hidden state; 0 at first.
    """

    # Under a constant reward any other baseline leaves nothing to follow.
    control_options: ClassVar = {"baseline": "none"}
    config: ReinforceConfig

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: ReinforceConfig = ReinforceConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)
        with undisturbed():
            head = nn.Linear(self.policy.output.in_features, 1, dtype=torch.float32)
        self.value_head = head.to(self.env.rewards.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self._optimize(self.policy, self.value_head)

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the policy gradient once."""
        # Advantages. The baseline is no part of the policy's gradient.
        returns = returns_to_go(rewards, self.env.discount)  # (B, T)
        baseline = self._baseline(tokens, returns, written)  # (B, T)
        advantages = (returns - baseline.detach()).masked_fill(~written, 0.0)

        # Loss: the policy gradient, the error of the baseline, entropy and divergence.
        num_written = written.sum()
        policy_loss = self.policy.weighted_nll(tokens, advantages) / num_written
        value_loss = self._value_loss(baseline, returns, written)
        loss = policy_loss + value_loss + self._regularisers(tokens, written)

        # Optimise.
        grad_norm = self._step(loss)
        return step_metrics(
            policy_loss, rewards.sum() / num_written, advantages[written], grad_norm
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        return super().state_dict() | {"value_head": copy.deepcopy(self.value_head.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        self.value_head.load_state_dict(state["value_head"])

    def _baseline(self, tokens: Tensor, returns: Tensor, written: Tensor) -> Tensor:
        """What is subtracted from returns (B, T), (B, T).

        It has a graph to the value head for the baseline "value", and none for the others.
        """
        if self.config.baseline == "none":
            return torch.zeros_like(returns)
        if self.config.baseline == "batch_mean":
            # Over the sequences that have a token at the position; others have ended.
            mean: Tensor = (returns * written).sum(0) / written.sum(0).clamp(min=1)
            return mean.expand_as(returns)
        # Without gradient to the policy, whose states the value head reads and does not train.
        with torch.no_grad():
            hidden = self.policy.hidden_states(self.policy.inputs(tokens))  # (B, T, H)
        values: Tensor = self.value_head(hidden).squeeze(2)
        return values

    def _value_loss(self, baseline: Tensor, returns: Tensor, written: Tensor) -> Tensor:
        """The mean squared error of baseline "value"; 0 for the others, which learn nothing."""
        if self.config.baseline != "value":
            return returns.new_zeros(())
        return (baseline - returns)[written].square().mean()


def returns_to_go(rewards: Tensor, discount: float) -> Tensor:
    """sum over s >= t of discount^(s - t) r_s, (B, T)."""
    returns = rewards.clone()  # (B, T)
    for t in range(rewards.shape[1] - 2, -1, -1):
        returns[:, t] += discount * returns[:, t + 1]
    return returns
