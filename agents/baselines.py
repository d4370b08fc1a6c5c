"""The rows that SeqGAN is compared with in its paper, by name (Yu et al. 2017, section 4), and
SeqGAN as the paper has it.

`random`, `mle` and `scheduled_sampling` never look at a reward: their g-step does nothing.
`pg_bleu` and `seqgan` are REINFORCE as the paper has it, and say which reward they want
(`training_settings`), unless the user says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.base import LanguageModelAgent, PolicyConfig
from agents.reinforce import Reinforce
from seqgan_env.building import undisturbed
from seqgan_env.checks import check_least
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.names import choose


class Uniform:
    """Every token with the same probability, and nothing learned: the floor."""

    learns_from_reward: ClassVar = False

    def __init__(self, env: TokenVectorEnv, seed: int = 0) -> None:
        """
        Args:
            env: says what is written, and where the policy lives.
            seed: unused; nothing is initialised at random.
        """
        unwrapped: TokenVectorEnv = env.unwrapped
        with undisturbed():
            policy = LSTMLanguageModel(unwrapped.task.spec, embedding_dim=1, hidden_dim=1)
        self.policy = policy.to(unwrapped.rewards.device)
        # An output layer of zeros gives every token the same logit, whatever the states.
        nn.init.zeros_(self.policy.output.weight)
        nn.init.zeros_(self.policy.output.bias)

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Nothing; the loss of uniform tokens, log V."""
        return {"mle_loss": math.log(self.policy.spec.vocab_size)}

    def update(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing, for nothing changes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class MLE(LanguageModelAgent):
    """Maximum likelihood and no more (Yu et al. 2017, eq. 1).

    Use it as what everything else must beat. Give it as much time as the reward takes before a gain
    is claimed.
    """

    learns_from_reward: ClassVar = False

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: PolicyConfig = PolicyConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)

    def update(self) -> dict[str, float]:
        """Nothing: it has learned what it will."""
        return {}


def inverse_sigmoid(progress: float, steepness: float) -> float:
    """k / (k + exp(i / k)), where i = 2 progress k log k.

    So half of the words are real in the middle of training, whatever k is.

    Args:
        progress: of training, 0..1.
        steepness: k, above 1.
    """
    # exp(i / k) is k to the power of 2 progress.
    real: float = steepness / (steepness + steepness ** (2 * progress))
    return real


def linear(progress: float, steepness: float) -> float:
    """1 - c i: from 1 at the beginning to 0 at the end of training where c is 1.

    Args:
        progress: i, of training, 0..1.
        steepness: c, above 0; where it is above 1, the share is 0 before the end.
    """
    return max(0.0, 1.0 - steepness * progress)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "inverse_sigmoid": inverse_sigmoid,
    "linear": linear,
}
DEFAULT_STEEPNESS = {"inverse_sigmoid": 10.0, "linear": 1.0}


@dataclass(frozen=True)
class ScheduledSamplingConfig(PolicyConfig):
    """The options of `ScheduledSampling`, beside the policy and how it is fitted.

    Attributes:
        schedule: "inverse_sigmoid" or "linear".
        steepness: of the schedule: k of the first (default 10), the multiple of the slope of the
            second (default 1).
        schedule_epochs: over which the schedule runs; then it stays at its end. In a run it is
            `mle_epochs` unless given.
        least_real: below which the share of real words never falls.
    """

    schedule: str = "inverse_sigmoid"
    steepness: float | None = None
    schedule_epochs: int = 20
    least_real: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        choose(SCHEDULES, self.schedule, "schedule")
        if self.steepness is not None:
            least = 0
            if self.schedule == "inverse_sigmoid":
                least = 1
            if self.steepness <= least:
                raise ValueError(
                    f"steepness is {self.steepness}; allowed is above 1 for inverse_sigmoid, above "
                    "0 for linear"
                )
        check_least(self, 1, "schedule_epochs")
        if not 0 <= self.least_real <= 1:
            raise ValueError(f"least_real is {self.least_real}; allowed is 0..1")


class ScheduledSampling(MLE):
    """Maximum likelihood that reads ever more of its own words in place of the real ones (Bengio et
    al. 2015).

    Before every word a coin decides whether the model reads the real word or a draw of its own
    there; the real words stay what it is to predict. The share of real ones falls with training by
    a schedule of that paper: k / (k + exp(i / k)), or linear.

    Use it to reproduce the paper's row. It is not consistent: what it converges to need not be the
    truth (Huszar 2015).

    Attributes:
        config: what it was made with.
        epoch: epochs of pre-training so far.
    """

    options_from_settings: ClassVar[dict[str, str]] = {"schedule_epochs": "mle_epochs"}

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: ScheduledSamplingConfig = ScheduledSamplingConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)
        self.config = config
        self.rng = torch.Generator(device=self.policy.device).manual_seed(seed)
        self.epoch = 0

    @property
    def share_real(self) -> float:
        """Probability with which the next epoch reads a real word."""
        config = self.config
        steepness = config.steepness
        if steepness is None:
            steepness = DEFAULT_STEEPNESS[config.schedule]
        progress = min(1.0, self.epoch / max(1, config.schedule_epochs - 1))
        return max(config.least_real, SCHEDULES[config.schedule](progress, steepness))

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Maximum likelihood on `sequences` (M, T), read as the schedule says; `share_real` is that
        of the last epoch.
        """
        row: dict[str, float] = {}
        for _ in range(num_epochs):
            share = self.share_real
            row = self.likelihood.fit(sequences, 1, self._mix) | {"share_real": share}
            self.epoch += 1
        return row

    def state_dict(self) -> dict[str, Any]:
        """As for maximum likelihood, and how far the schedule is."""
        return super().state_dict() | {"rng": self.rng.get_state(), "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        super().load_state_dict(state)
        self.rng.set_state(state["rng"])
        self.epoch = state["epoch"]

    @torch.no_grad()
    def _mix(self, tokens: Tensor) -> Tensor:
        """What is read (B, T) to predict `tokens` (B, T): at every position the real word before
        it, or one the model draws.

        The draws never end a sequence: a model does not read on behind an end.
        """
        real = self.policy.inputs(tokens)  # (B, T): the start token and all words but the last
        read = real.clone()
        keeps = self._uniforms(*tokens.shape) < self.share_real  # (B, T)
        state = self.policy.start(len(tokens))
        sampler = self.policy.sampler(masked=True)  # which draws no end
        # What is read at t decides the state from which the draw at t + 1 comes.
        for t in range(tokens.shape[1] - 1):
            hidden, state = self.policy.advance(state, read[:, t])
            drawn = sampler(hidden, self._uniforms(len(tokens)))
            read[:, t + 1] = torch.where(keeps[:, t], real[:, t + 1], drawn)
        return read

    def _uniforms(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), of the agent's own stream."""
        return torch.rand(shape, generator=self.rng, dtype=torch.float32, device=self.policy.device)


class PolicyGradientBLEU(Reinforce):
    """PG-BLEU: the paper's policy gradient on BLEU against the real data in place of a
    discriminator.

    Use it to reproduce the paper's row, or where n-grams of the data are all that is asked for.
    BLEU is exploited by whoever is paid for it alone.
    """

    training_settings: ClassVar[dict[str, Any]] = {
        "source": "bleu",
        "reward": "rollout",
        "agent_options": {"baseline": "none"},
    }


class SeqGAN(Reinforce):
    """SeqGAN as in the paper: Q is the mean probability of being real over the rollouts, and
    nothing is subtracted from it.

    Its discriminator is the run's: the small CNN, unless `--discriminator paper` asks for the one
    of the paper, which `--preset paper` takes.

    Use it to reproduce the paper's row; `reinforce` is the same with a baseline.
    """

    training_settings: ClassVar[dict[str, Any]] = {
        "source": "discriminator",
        "reward": "rollout",
        "score_as": "probability",
        "agent_options": {"baseline": "none"},
    }
