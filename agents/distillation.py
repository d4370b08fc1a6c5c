"""The supervised rival of adversarial training by a density ratio: maximum likelihood on what the
ratio's model of the data writes (Kim and Rush 2016, section 3.2).

A discriminator that is a log q - log p pays -KL(p || q^a / Z) in expectation, up to a constant. Who
may score by q may sample from it too, and fit q^a / Z without any reward: this follows the gradient
of -KL(q^a / Z || p). Where the power a is not 1, samples weigh as q^(a - 1) does, among those of
their batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.policy_gradient import PolicyGradient, PolicyGradientConfig
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.streams import RowStreams


@dataclass(frozen=True)
class DistillationConfig(PolicyGradientConfig):
    """The options of `Distillation`, beside those of every agent that follows a gradient.

    A weak rival proves nothing. At one step an update of 2e-3 the mean of both KLs on oracle-tiny
    was .406 after 160 updates, of these numbers .391; maximum likelihood had .414 (seed 0).

    Attributes:
        learning_rate: of Adam, at first.
        learning_rate_decay: what that rate is multiplied by after every update.
        steps_per_update: steps of maximum likelihood in an update, each on a fresh batch of as many
            sequences as there are environments.
    """

    learning_rate: float = 5e-3
    learning_rate_decay: float = 0.97
    steps_per_update: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_update < 1:
            raise ValueError(f"steps_per_update is {self.steps_per_update}; allowed is 1 or more")


class Distillation(PolicyGradient):
    """Fits the policy to fresh samples of q, that of the environment's `RatioDiscriminator`.

    It is paid nothing and asks for no rollouts. An `update` is `steps_per_update` times a batch of
    q and a step of maximum likelihood. It tells of the last one, and raises a ValueError where the
    environment pays by no ratio discriminator.

    Use it beside `reinforce` with the discriminator `ratio`: what reinforcement adds must show
    against it.
    """

    training_settings: ClassVar[dict[str, Any]] = {
        "discriminator": "ratio",
        "source": "discriminator",
        "score_as": "logit",
        "control": False,  # a constant reward has no q
    }
    config: DistillationConfig

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: DistillationConfig = DistillationConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the gradient of the likelihood of `tokens` once; nothing is paid."""
        weights = written * self._importance(tokens).unsqueeze(1)
        policy_loss = self.policy.weighted_nll(tokens, weights) / written.sum()
        grad_norm = self._step(policy_loss + self._regularisers(tokens, written))
        return {"policy_loss": float(policy_loss.detach()), "grad_norm": grad_norm}

    def _follow_gradient(self) -> dict[str, float]:
        """The steps of an update; what `learn` tells of the last one."""
        for _ in range(self.config.steps_per_update - 1):
            self.learn(*self._collect())
        return super()._follow_gradient()

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences of q (B, T), rewards of 0, and where tokens are written."""
        num = self.env.num_envs
        tokens = _ratio_of(self.env).mixture.sample(num, RowStreams.draw(self.rng, num))
        written = tokens != self.policy.spec.pad_token
        return tokens, torch.zeros(tokens.shape, device=tokens.device), written

    @torch.no_grad()
    def _importance(self, tokens: Tensor) -> Tensor:
        """Weights (B,) of samples of q, whose mean is 1."""
        q = _ratio_of(self.env)
        if q.power == 1:
            return torch.ones(len(tokens), device=tokens.device)
        # q^(a - 1), normalised over the batch.
        return len(tokens) * ((q.power - 1) * q.log_density(tokens)).softmax(0)


class Teacher:
    """q itself, which needs no policy: who may score by q may write by it.

    It is as large as q, and no rival of one size; it is the most that a policy can be taught.

    Use it as the ceiling of whatever is paid by the discriminator `ratio`.
    """

    training_settings: ClassVar[dict[str, Any]] = Distillation.training_settings

    def __init__(self, env: TokenVectorEnv, seed: int = 0) -> None:
        """
        Args:
            env: whose discriminator is a ratio.
            seed: unused; q is seeded with the discriminator.

        Raises:
            ValueError: the environment pays by no ratio discriminator.
        """
        self.policy = _ratio_of(env.unwrapped).mixture

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Nothing: q is fitted before the first round."""
        return {}

    def update(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing; q is saved with the discriminator."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def _ratio_of(env: TokenVectorEnv) -> RatioDiscriminator:
    """The discriminator of an environment; raises a ValueError where it is no ratio."""
    found = env.rewards.discriminator
    if not isinstance(found, RatioDiscriminator):
        raise ValueError(
            f"distillation needs the discriminator ratio; this environment has {_called(found)}"
        )
    return found


def _called(discriminator: object) -> str:
    if discriminator is None:
        return "none"
    return f"a {type(discriminator).__name__}"
