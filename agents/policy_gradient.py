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
from seqgan_env.checks import check_above, check_least
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.optimizers import load_optimizer
from seqgan_env.streams import RowStreams


@dataclass(frozen=True)
class PolicyGradientConfig(PolicyConfig):
    """What every policy gradient may be told.

    Attributes:
        learning_rate: of Adam in the adversarial phase.
        learning_rate_decay: what that rate is multiplied by after every update.
        warm_up_updates: over which the rate rises to its full height, in equal steps.
        entropy_weight: of the entropy bonus, per token.
        kl_weight: of the penalty KL(policy || pre-trained policy), per token.
        mle_weight: of the mean negative log-likelihood, per token, of real sequences, as many as
            are written; added to the loss of every step.
        teacher_forcing_every: updates between passes of maximum likelihood over the real sequences,
            which go on from pre-training; 0 for none (the paper's).
        teacher_forcing_epochs: passes each time.
        max_grad_norm: gradients of the adversarial phase are scaled down to this norm.
    """

    learning_rate: float = 2e-3
    learning_rate_decay: float = 1.0
    warm_up_updates: int = 0
    entropy_weight: float = 0.0
    kl_weight: float = 0.0
    mle_weight: float = 0.0
    teacher_forcing_every: int = 0
    teacher_forcing_epochs: int = 1
    max_grad_norm: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 0, "learning_rate", "kl_weight", "mle_weight")
        check_least(self, 0, "warm_up_updates", "teacher_forcing_every")
        check_least(self, 1, "teacher_forcing_epochs")
        check_above(self, 0, "max_grad_norm")
        if not 0 < self.learning_rate_decay <= 1:
            raise ValueError(
                f"learning_rate_decay is {self.learning_rate_decay}; allowed is above 0, up to 1"
            )


class PolicyGradient(LanguageModelAgent):
    """A language model that follows a policy gradient; subclasses say `learn`.

    One update writes one sequence in every env of the vector environment, through `env.play`, which
    pays what stepping would. `train_adversarial` makes the environment roll out this policy; who
    calls `update` alone says `env.rewards.bind(agent.policy)`, unless the environment is to learn
    online.

    Attributes:
        config: what it was made with.
        rng: of everything that is drawn in updates.
        reference: the policy as it was before the first update, where it is needed.
        num_updates: that were made.
    """

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None,
        seed: int,
        config: PolicyGradientConfig,
    ) -> None:
        """
        Args:
            env: vector environment to learn in; its `num_envs` is the batch size in sequences.
            policy: language model to train; a new LSTM if None.
            seed: of the new LSTM and of all sampling.
            config: rates and weights.
        """
        super().__init__(env, policy, seed, config)
        self.config = config
        self.rng = torch.Generator(device=self.env.rewards.device).manual_seed(seed)
        self.reference: LanguageModel | None = None
        self.num_updates = 0
        self._optimize(self.policy)
        self.env.reset(seed=seed)

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the gradient of sequences (B, T) that the policy has just written.

        Args:
            tokens: (B, T).
            rewards: (B, T), what each token was paid; 0 behind the end.
            written: (B, T), where tokens are written.

        Returns:
            what `step_metrics` tells, and more.
        """
        raise NotImplementedError

    def update(self) -> dict[str, float]:
        """One g-step: writes a batch of sequences, is paid, and learns from it.

        Returns:
            `policy_loss` (nats per token), `reward` (mean per token), `advantage_std`, `grad_norm`
            and what the agent says beside; after teacher forcing its `mle_loss`.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._share_of_rate()
        # The first update comes behind pre-training, which is what the reference is.
        if self._needs_reference() and self.reference is None:
            self.reference = self._frozen_copy()

        metrics = self._follow_gradient()
        self.num_updates += 1

        # Every so many updates go on with maximum likelihood.
        every = self.config.teacher_forcing_every
        if every and self.num_updates % every == 0:
            real = self.env.task.real_sequences
            metrics |= self.likelihood.fit(real, self.config.teacher_forcing_epochs)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Everything that goes on from one update to the next, the environment's episodes too."""
        reference = None
        if self.reference is not None:
            reference = copy.deepcopy(self.reference.state_dict())
        return super().state_dict() | {
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "rng": self.rng.get_state(),
            "reference": reference,
            "num_updates": self.num_updates,
            "env": copy.deepcopy(self.env.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        load_optimizer(self.optimizer, state["optimizer"])
        self.rng.set_state(state["rng"])
        self.num_updates = state["num_updates"]
        self.reference = None
        if state["reference"] is not None:
            self.reference = self._frozen_copy()
            self.reference.load_state_dict(state["reference"])
        self.env.load_state_dict(state["env"])

    def _optimize(self, *modules: nn.Module) -> None:
        """Has `_step` train all parameters of `modules` that can be trained."""
        self.parameters: list[nn.Parameter] = []
        for module in modules:
            for parameter in module.parameters():
                if parameter.requires_grad:
                    self.parameters.append(parameter)
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.config.learning_rate, fused=True)

    def _follow_gradient(self) -> dict[str, float]:
        """Writes a batch, lets the environment pay it, and learns from it; what `learn` tells."""
        return self.learn(*self._collect())

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Writes a sequence in every env: tokens (B, T), rewards (B, T) and where tokens are
        written (B, T).
        """
        num_envs = self.env.num_envs
        tokens = self.policy.sample(num_envs, RowStreams.draw(self.rng, num_envs))  # (B, T)
        rewards = self.env.play(tokens)  # (B, T)
        return tokens, rewards, tokens != self.policy.spec.pad_token

    def _step(self, loss: Tensor) -> float:
        """Follows the gradient of `loss` once; its norm, before it is clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        return float(grad_norm)

    def _needs_reference(self) -> bool:
        """Whether anything asks for the policy as it was before the first update."""
        return self.config.kl_weight > 0

    def _share_of_rate(self) -> float:
        """The part of the learning rate that this update gets."""
        risen = min(1.0, (self.num_updates + 1) / max(1, self.config.warm_up_updates))
        return risen * self.config.learning_rate_decay**self.num_updates

    def _regularisers(self, tokens: Tensor, written: Tensor) -> Tensor:
        """What is added to the loss of a step, a scalar.

        It is -entropy_weight * H(policy) + kl_weight * KL(policy || reference), each a mean over
        the tokens written, and -mle_weight * log p, a mean over the tokens of real sequences.
        """
        loss = self._of_distributions(tokens, written)
        if self.config.mle_weight:
            real = self.env.task.draw_real(len(tokens), self.rng)
            weights = (real != self.policy.spec.pad_token).to(torch.float32)
            nll = self.policy.weighted_nll(real, weights) / weights.sum()
            loss = loss + self.config.mle_weight * nll
        return loss

    def _of_distributions(self, tokens: Tensor, written: Tensor) -> Tensor:
        """The part of `_regularisers` of entropy and divergence, exact for each prefix."""
        entropy_weight, kl_weight = self.config.entropy_weight, self.config.kl_weight
        if not entropy_weight and not kl_weight:
            return tokens.new_zeros((), dtype=torch.float32)
        # Of the R prefixes behind which a token is written.
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
        """The policy as it is now, which no step changes."""
        return self.policy.with_temperature(1.0).requires_grad_(False)


def clipped_loss(
    policy: LanguageModel, tokens: Tensor, weights: Tensor, before: Tensor, clip_range: float
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate (Schulman et al. 2017, eq. 7), a scalar with the gradient of
    -sum min(ratio * w, clip(ratio) * w).

    Args:
        policy: that follows it.
        tokens: (B, T).
        weights: w (B, T), 0 where nothing is written.
        before: log p(y_t | y_1..y_{t-1}) of the policy that wrote them (B, T).
        clip_range: how far the ratio may move from 1.

    Returns:
        the loss, and which tokens it leaves out (B, T).
    """
    ratio = (policy.token_log_probs(tokens) - before).exp()  # (B, T)
    # Where the minimum is the clipped term, it is a constant and has no gradient.
    kept = torch.where(weights > 0, ratio <= 1 + clip_range, ratio >= 1 - clip_range)
    # The gradient of ratio * w is ratio * w * grad log p.
    return policy.weighted_nll(tokens, weights * ratio * kept), ~kept


def check_clipping(num_epochs: int, clip_range: float) -> None:
    """Raises a ValueError for numbers of a clipped surrogate that cannot be."""
    if num_epochs < 1:
        raise ValueError(f"num_epochs is {num_epochs}; allowed is 1 or more")
    if not 0 < clip_range < 1:
        raise ValueError(f"clip_range is {clip_range}; allowed is above 0, below 1")


def step_metrics(
    policy_loss: Tensor, reward: Tensor, advantages: Tensor, grad_norm: float
) -> dict[str, float]:
    """The metrics of a g-step.

    Args:
        policy_loss: a scalar, in nats per token.
        reward: a scalar, the mean per token.
        advantages: of any shape; their standard deviation is told.
        grad_norm: before it is clipped.
    """
    return {
        "policy_loss": float(policy_loss.detach()),
        "reward": float(reward),
        "advantage_std": float(deviation(advantages)),
        "grad_norm": grad_norm,
    }


def deviation(values: Tensor) -> Tensor:
    """The standard deviation, a scalar; 0 of a single value, for which torch has no number."""
    if values.numel() == 1:
        return values.new_zeros(())
    return values.std()


def _expectation(log_probs: Tensor, values: Tensor) -> Tensor:
    """sum_v p_v values_v, (R,), where a masked token, of probability 0, counts 0."""
    return (log_probs.exp() * values.masked_fill(values == -torch.inf, 0.0)).sum(1)
