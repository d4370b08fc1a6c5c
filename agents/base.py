"""What the agents of this package share: a language model that begins by maximum likelihood."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgan_env.checks import check_least
from seqgan_env.envs.vector_env import TokenVectorEnv, without_wrappers
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihoodConfig


@dataclass(frozen=True)
class PolicyConfig(MaximumLikelihoodConfig):
    """The policy that an agent makes where it is given none, and how it is pre-trained.

    Attributes:
        embedding_dim: of a new LSTM.
        hidden_dim: of a new LSTM.
    """

    embedding_dim: int = 32
    hidden_dim: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "embedding_dim", "hidden_dim")


class LanguageModelAgent:
    """An agent that trains a language model, first by maximum likelihood; subclasses say `update`.

    Attributes:
        env: vector environment that it writes in.
        policy: language model that it trains.
        likelihood: fits the policy to real sequences.
    """

    def __init__(
        self, env: TokenVectorEnv, policy: LanguageModel | None, seed: int, config: PolicyConfig
    ) -> None:
        """
        Args:
            env: says what is written, and where the policy lives.
            policy: language model to train; a new LSTM if None.
            seed: of the new LSTM and of the order of sequences.
            config: sizes of the new LSTM, and how the policy is fitted.

        Raises:
            ValueError: `env` is wrapped, for whole sequences are written past its wrappers.
            TypeError: it is no `TokenVectorEnv`.
        """
        self.env = without_wrappers(env)
        # On the CPU, so that a seed gives the same LSTM and the same order on every device.
        rng = torch.Generator().manual_seed(seed)
        if policy is None:
            spec = self.env.task.spec
            policy = LSTMLanguageModel.initialised(
                spec, rng, config.embedding_dim, config.hidden_dim
            )
        self.policy = policy.to(self.env.rewards.device)
        self.likelihood = config.fitter(self.policy, rng)

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        """Maximum likelihood on `sequences` (M, T)."""
        return self.likelihood.fit(sequences, num_epochs)

    def state_dict(self) -> dict[str, Any]:
        """The policy, and the state of what fits it."""
        policy = copy.deepcopy(self.policy.state_dict())
        return {"policy": policy, "likelihood": self.likelihood.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self.likelihood.load_state_dict(state["likelihood"])
