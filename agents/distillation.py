"""The supervised rival of adversarial training by a density ratio: maximum likelihood on what the
ratio's model of the data writes (Kim and Rush 2016, section 3.2).

A discriminator that is a log q - log p pays -KL(p || q^a / Z) in expectation, up to a constant. Who
may score by q may sample from it too, and fit q^a / Z without any reward: this follows the gradient
of -KL(q^a / Z || p). Where the power a is not 1, samples weigh as q^(a - 1) does, among those of
their batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.policy_gradient import PolicyGradient, PolicyGradientConfig
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.rowwise import full_precision
from seqgan_env.streams import RowStreams, uniforms


@dataclass(frozen=True)
class DistillationConfig(PolicyGradientConfig):
    """Of `Distillation`, beside what every agent that follows a gradient is told.

    Attributes:
        steps_per_update: steps of maximum likelihood in an update, each on a fresh batch of as many
            sequences as there are environments.
    """

    steps_per_update: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_update < 1:
            raise ValueError(f"steps_per_update is {self.steps_per_update}; allowed is 1 or more")


class Distillation(PolicyGradient):
    """Fits the policy to fresh samples of q, that of the environment's `RatioDiscriminator`.

    It is paid nothing and asks for no rollouts.
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

    def update(self) -> dict[str, float]:
        """`steps_per_update` times a batch of q and a step of maximum likelihood.

        Returns:
            as every policy gradient, of the last step, but nothing of rewards.

        Raises:
            ValueError: the environment pays by no ratio discriminator.
        """
        for _ in range(self.config.steps_per_update - 1):
            self.learn(*self._collect())
        return super().update()

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the gradient of the likelihood of `tokens` once; nothing is paid."""
        weights = written * self._importance(tokens).unsqueeze(1)
        policy_loss = self.policy.weighted_nll(tokens, weights) / written.sum()
        grad_norm = self._step(policy_loss + self._regularisers(tokens, written))
        return {"policy_loss": float(policy_loss.detach()), "grad_norm": grad_norm}

    def _collect(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences of q (B, T), rewards of 0, and where tokens are written."""
        q = self._ratio()
        num = self.env.num_envs
        models = [model for model in q.models if isinstance(model, LanguageModel)]
        tokens = sample_mixture(models, num, RowStreams.draw(self.rng, num))
        written = tokens != self.policy.spec.pad_token
        return tokens, torch.zeros(tokens.shape, device=tokens.device), written

    @torch.no_grad()
    def _importance(self, tokens: Tensor) -> Tensor:
        """Weights (B,) of samples of q, whose mean is 1."""
        q = self._ratio()
        if q.power == 1:
            return torch.ones(len(tokens), device=tokens.device)
        return len(tokens) * ((q.power - 1) * q.log_density(tokens)).softmax(0)

    def _ratio(self) -> RatioDiscriminator:
        found = self.env.rewards.discriminator
        if not isinstance(found, RatioDiscriminator):
            raise ValueError(
                f"distillation needs the discriminator ratio; this environment has {_called(found)}"
            )
        return found


@torch.no_grad()
@full_precision()
def sample_mixture(models: Sequence[LanguageModel], num: int, rng: torch.Generator) -> Tensor:
    """`num` sequences (num, T) of the mixture, token by token, of some language models: every token
    is drawn from one of them, each as likely to be asked.
    """
    if len(models) == 1:
        return models[0].sample(num, rng)
    spec = models[0].spec
    uniform, choice = uniforms(rng, num, 2 * spec.seq_len).split(spec.seq_len, dim=1)
    asked = (choice * len(models)).long()  # (B, T)
    samplers = [(model.sampler(masked=False), model.sampler(masked=True)) for model in models]
    states = [model.start(num) for model in models]
    tokens = torch.full((num, spec.seq_len), spec.pad_token, device=uniform.device)
    inputs = tokens.new_full((num,), spec.start_token)
    ended = torch.zeros(num, dtype=torch.bool, device=uniform.device)
    for t in range(spec.seq_len):
        for index, model in enumerate(models):
            hidden, states[index] = model.advance(states[index], inputs)
            drawn = samplers[index][t < spec.min_length](hidden, uniform[:, t])
            tokens[:, t] = torch.where(~ended & (asked[:, t] == index), drawn, tokens[:, t])
        inputs = tokens[:, t].clamp(max=spec.vocab_size - 1)
        if spec.eos_token is not None:
            ended |= tokens[:, t] == spec.eos_token
    return tokens


def _called(discriminator: object) -> str:
    if discriminator is None:
        return "none"
    return f"a {type(discriminator).__name__}"
