"""REINFORCE on action values: the policy gradient of SeqGAN (Yu et al. 2017, eqs. 7 and 8; Williams
1992).

grad J = mean over sequences and tokens of (A_t) grad log p(y_t | y_1..y_{t-1}), with A_t =
return-to-go - baseline. Under the reward form `rollout`, whose discount is 0, the return-to-go is
Q_t itself.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgan_env.building import undisturbed
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.names import choose
from seqgan_env.streams import RowStreams

BASELINES = ("none", "batch_mean", "value")


class Reinforce:
    """The agent of the paper: a language model trained by maximum likelihood, then by REINFORCE.

    One update writes one sequence in every env of the vector environment, through `env.play`, which
    pays what stepping would. `train_adversarial` makes the environment roll out this policy; who
    calls `update` alone says `env.rewards.bind(agent.policy)`, unless the environment is to learn
    online.
    """

    control_options: ClassVar = {
        "baseline": "none"
    }  # under a constant reward any other baseline leaves nothing to follow

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        learning_rate: float = 2e-3,
        baseline: str = "batch_mean",
        entropy_weight: float = 0.0,
        kl_weight: float = 0.0,
        max_grad_norm: float = 5.0,
        mle_learning_rate: float = 8e-2,
        mle_batch_size: int = 64,
        mle_learning_rate_decay: float = 0.95,
        mle_weight_decay: float = 0.1,
        embedding_dim: int = 32,
        hidden_dim: int = 32,
    ) -> None:
        """Args:
        env: vector environment to learn in; its `num_envs` is the batch size in sequences.
        policy: language model to train; a new LSTM if not given.
        seed: of the new LSTM and of all sampling.
        learning_rate: of Adam in the adversarial phase.
        baseline: subtracted from the return: "none" (the paper's), "batch_mean" (of the same
            position over the batch), or "value" (a linear head on the policy's hidden state,
            trained beside it).
        entropy_weight: of the entropy bonus, per token.
        kl_weight: of the penalty KL(policy || pre-trained policy), per token.
        max_grad_norm: gradients are scaled down to this norm.
        mle_learning_rate: of the first epoch of pre-training; chosen for the LSTM, other policies
            want a smaller one.
        mle_batch_size: sequences per step of pre-training.
        mle_learning_rate_decay: what that rate is multiplied by after every epoch; 1 is the
            paper's.
        mle_weight_decay: of AdamW in pre-training; 0 is the paper's Adam.
        embedding_dim: of a new LSTM.
        hidden_dim: of a new LSTM.
        """
        choose(BASELINES, baseline, "baseline")
        self.env: TokenVectorEnv = env.unwrapped
        spec = self.env.task.spec
        device = self.env.rewards.device
        self.rng = torch.Generator(device=device).manual_seed(seed)
        cpu_rng = torch.Generator().manual_seed(seed)
        self.policy = policy or LSTMLanguageModel.initialised(
            spec, cpu_rng, embedding_dim, hidden_dim
        ).to(device)
        self.baseline, self.entropy_weight, self.kl_weight, self.max_grad_norm = (
            baseline,
            entropy_weight,
            kl_weight,
            max_grad_norm,
        )
        with undisturbed():
            self.value_head = nn.Linear(self.policy.output.in_features, 1, dtype=torch.float32).to(
                device
            )
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self.parameters = [
            p for p in (*self.policy.parameters(), *self.value_head.parameters()) if p.requires_grad
        ]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, fused=True)
        self.likelihood = MaximumLikelihood(
            self.policy,
            cpu_rng,
            mle_learning_rate,
            mle_batch_size,
            max_grad_norm,
            mle_learning_rate_decay,
            mle_weight_decay,
        )
        self.reference: LanguageModel | None = None
        self.env.reset(seed=seed)

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Maximum likelihood on `sequences` (M, T)."""
        return self.likelihood.fit(sequences, num_epochs)

    def update(self) -> dict[str, float]:
        """One g-step: writes a batch of sequences, is paid, and follows the policy gradient once.

        Returns:
            `policy_loss` (nats per token), `reward` (mean per token), `advantage_std`,
            `grad_norm`.
        """
        tokens, rewards, written = self._collect()
        returns = returns_to_go(rewards, self.env.discount)
        baseline = self._baseline(tokens, returns, written)
        advantages = (returns - baseline.detach()).masked_fill(~written, 0.0)
        policy_loss = self.policy.weighted_nll(tokens, advantages) / written.sum()
        loss = (
            policy_loss
            + self._value_loss(baseline, returns, written)
            + self._regularisers(tokens, written)
        )
        grad_norm = self._step(loss)
        reward = rewards.sum() / written.sum()
        return step_metrics(policy_loss, reward, advantages[written], grad_norm)

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        reference = None if self.reference is None else self.reference.state_dict()
        return copy.deepcopy(
            {
                "policy": self.policy.state_dict(),
                "value_head": self.value_head.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "likelihood": self.likelihood.state_dict(),
                "rng": self.rng.get_state(),
                "reference": reference,
                "env": self.env.state_dict(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self.value_head.load_state_dict(state["value_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.likelihood.load_state_dict(state["likelihood"])
        self.rng.set_state(state["rng"])
        self.reference = None
        if state["reference"] is not None:
            self.reference = self.policy.with_temperature(1.0).requires_grad_(False)
            self.reference.load_state_dict(state["reference"])
        self.env.load_state_dict(state["env"])

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Writes a sequence in every env: tokens (B, T), rewards (B, T) and where tokens are
        written (B, T).
        """
        if self.kl_weight and self.reference is None:
            self.reference = self.policy.with_temperature(1.0).requires_grad_(False)
        tokens = self.policy.sample(self.env.num_envs, RowStreams.draw(self.rng, self.env.num_envs))
        return tokens, self.env.play(tokens), tokens != self.policy.spec.pad_token

    def _step(self, loss: Tensor) -> float:
        """Follows the gradient of `loss` once; its norm, before it is clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return float(grad_norm)

    def _baseline(self, tokens: Tensor, returns: Tensor, written: Tensor) -> Tensor:
        """(B, T); a graph to the value head only for baseline "value"."""
        if self.baseline == "none":
            return torch.zeros_like(returns)
        if self.baseline == "batch_mean":
            mean: Tensor = (returns * written).sum(0) / written.sum(0).clamp(min=1)
            return mean.expand_as(returns)
        with torch.no_grad():
            hidden = self.policy.hidden_states(self.policy.inputs(tokens))
        values: Tensor = self.value_head(hidden).squeeze(2)
        return values

    def _value_loss(self, baseline: Tensor, returns: Tensor, written: Tensor) -> Tensor:
        if self.baseline != "value":
            return returns.new_zeros(())
        return (baseline - returns)[written].square().mean()

    def _regularisers(self, tokens: Tensor, written: Tensor) -> Tensor:
        """-entropy_weight * H(policy) + kl_weight * KL(policy || reference), exact per prefix, mean
        over written tokens.
        """
        if not self.entropy_weight and not self.kl_weight:
            return tokens.new_zeros((), dtype=torch.float32)
        log_probs = self.policy.logits(tokens)[written].log_softmax(1)  # (R, V)
        loss = self.entropy_weight * _expectation(log_probs, log_probs).mean()
        if self.kl_weight and self.reference is not None:
            with torch.no_grad():
                reference = self.reference.logits(tokens)[written].log_softmax(1)
            loss = (
                loss
                + self.kl_weight
                * (_expectation(log_probs, log_probs) - _expectation(log_probs, reference)).mean()
            )
        return loss


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


def returns_to_go(rewards: Tensor, discount: float) -> Tensor:
    """sum over s >= t of discount^(s - t) r_s, (B, T)."""
    returns = rewards.clone()
    for t in range(rewards.shape[1] - 2, -1, -1):
        returns[:, t] += discount * returns[:, t + 1]
    return returns
