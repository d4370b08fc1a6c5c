"""Policy gradients in which a whole sequence has one weight: what RLOO, RAFT, MaliGAN and ranks
share, and what tells them apart.

loss = mean over tokens of -w_i log p(y_t | y_1..y_{t-1}), where w_i is a function of the scores of
a group of sequences written from the start. A group shares its prefix, which is empty, so that
its sequences are each other's baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.policy_gradient import PolicyGradient, PolicyGradientConfig, step_metrics
from seqgan_env.checks import check_least
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel


@dataclass(frozen=True)
class SequenceLevelConfig(PolicyGradientConfig):
    """The options of agents that weigh whole sequences, beside those of every policy gradient.

    Attributes:
        group_size: k, sequences that are compared with each other, a divisor of `num_envs`; by
            default the agent's `default_group_size`, and where that is None the whole batch.
    """

    group_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 2, "group_size")


class SequenceLevel(PolicyGradient):
    """A policy gradient with one weight for a sequence, from the scores of its group. Subclasses
    say `weights`.
    """

    training_settings: ClassVar[dict[str, Any]] = {"reward": "terminal"}
    default_group_size: ClassVar[int | None] = None

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: SequenceLevelConfig = SequenceLevelConfig(),
    ) -> None:
        """
        Args:
            env: vector environment to learn in; its `num_envs` is the batch size in sequences.
            policy: language model to train; a new LSTM if not given.
            seed: of the new LSTM and of all sampling.
            config: rates, weights and the size of a group.

        Raises:
            ValueError: the batch does not divide into groups of two or more.
        """
        super().__init__(env, policy, seed, config)
        self.group_size = self._group_size(config.group_size, self.env.num_envs)

    @classmethod
    def check_environment(
        cls, options: Mapping[str, Any], num_envs: int, seq_len: int | None
    ) -> None:
        """Raises a ValueError for a batch that does not divide into groups of two or more."""
        cls._group_size(options.get("group_size"), num_envs)

    @classmethod
    def _group_size(cls, chosen: int | None, num_envs: int) -> int:
        """How many sequences are a group: what was chosen, the class's default, or the batch.

        Raises:
            ValueError: the batch does not divide into groups of it.
        """
        group_size = cls.default_group_size or num_envs
        if chosen is not None:
            group_size = chosen
        if group_size < 2 or num_envs % group_size:
            raise ValueError(
                f"group_size is {group_size}; allowed are divisors of the batch of {num_envs} "
                "sequences, from 2"
            )
        return group_size

    def weights(self, scores: Tensor) -> Tensor:
        """Weights (G, k) of sequences from the scores (G, k) of G groups."""
        raise NotImplementedError

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the gradient once; `advantage_std` is that of the weights."""
        # Weights of sequences, the same for every token of one.
        weights = self._weights_of(rewards, written)

        # Loss.
        policy_loss = self.policy.weighted_nll(tokens, weights.unsqueeze(1) * written)
        policy_loss = policy_loss / written.sum()

        # Optimise.
        grad_norm = self._step(policy_loss + self._regularisers(tokens, written))
        return step_metrics(policy_loss, rewards.sum() / written.sum(), weights, grad_norm)

    def _weights_of(self, rewards: Tensor, written: Tensor) -> Tensor:
        """The weights of sequences (B,) from rewards (B, T)."""
        if self.env.discount:
            scores = rewards.sum(1)
        else:
            # Under the form `rollout` every token is paid an action value. That of the last token
            # is the score of the sequence.
            scores = rewards.gather(1, written.sum(1, keepdim=True) - 1).squeeze(1)
        return self.weights(scores.view(-1, self.group_size)).flatten()


class RLOO(SequenceLevel):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, eq. 8; Kool et al. 2019): the baseline of a
    sequence is the mean score of the others of its group.

    Use it where whole sequences are scored and rollouts are too dear. It has the fewest settings of
    its kind.
    """

    def weights(self, scores: Tensor) -> Tensor:
        others = (scores.sum(1, keepdim=True) - scores) / (self.group_size - 1)  # (G, k), means
        return scores - others


class RAFT(SequenceLevel):
    """Best-of-n expert iteration (Dong et al. 2023): maximum likelihood on the best of each group.

    A step is taken on each batch; the paper fits several batches' best for some epochs.

    Use it where only the best of several matters, and for scores whose scale means nothing.
    """

    default_group_size: ClassVar[int | None] = 4

    def weights(self, scores: Tensor) -> Tensor:
        best = scores.argmax(1, keepdim=True)  # (G, 1)
        # The best one weighs as much as its whole group, so that the mean weight is 1.
        return torch.zeros_like(scores).scatter_(1, best, float(self.group_size))


class MaliGAN(SequenceLevel):
    """Maximum likelihood augmented GAN (Che et al. 2017, eq. 8): the weight of a sequence is its
    importance D / (1 - D), normalised over the group, less a constant.

    It wants the logit of D as score. With the optimal D the expected gradient is that of maximum
    likelihood. Scaled so that the mean of the first part is 1, and the constant is 1.

    Use it with a discriminator that is near to the optimal one; a poor one makes few sequences take
    all the weight.
    """

    training_settings: ClassVar[dict[str, Any]] = {"reward": "terminal", "score_as": "logit"}

    def weights(self, scores: Tensor) -> Tensor:
        return self.group_size * scores.softmax(1) - 1.0


class Rank(SequenceLevel):
    """The weight of a sequence is its rank in the group, from -1 to 1; equal scores share theirs.

    It depends on the order of the scores alone, whatever their scale (Wierstra et al. 2014, section
    3.1). RankGAN (Lin et al. 2017) ranks a sequence among real ones by a softmax of what its ranker
    says; with the discriminator as ranker and the group as what is compared, that is the weight of
    `MaliGAN`, and the order is what is left without the softmax.

    Use it where the order of scores can be trusted and their size cannot.
    """

    def weights(self, scores: Tensor) -> Tensor:
        above = scores.unsqueeze(2) - scores.unsqueeze(1)  # (G, k, k), of each over each
        # How many are below it less how many are above it; an equal one counts nothing.
        return above.sign().sum(2) / (self.group_size - 1)
