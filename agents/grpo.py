"""Group relative policy optimisation (Shao et al. 2024, section 4.1): PPO's clipped ratio without a
critic.

The advantage of every token of a sequence is the score of the sequence, normalised over its group.
Sequences count alike, whatever their length, and KL(policy || pre-trained policy) is added to the
loss; it is exact for each prefix, where the paper estimates it from the token.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.policy_gradient import check_clipping, clipped_loss, step_metrics
from agents.sequence_level import SequenceLevel, SequenceLevelConfig
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LanguageModel


@dataclass(frozen=True)
class GRPOConfig(SequenceLevelConfig):
    """The options of `GRPO`, beside those of every agent that weighs whole sequences.

    Attributes:
        kl_weight: of the penalty KL(policy || pre-trained policy), per token.
        num_epochs: steps on each batch.
        clip_range: how far the ratio may move from 1 before a token is left out.
    """

    kl_weight: float = 0.04
    num_epochs: int = 4
    clip_range: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_clipping(self.num_epochs, self.clip_range)


class GRPO(SequenceLevel):
    """Several steps on each batch, as far as the ratio to the policy that wrote it allows.

    Use it as `rloo`, where scores are dear: every batch is used several times.
    """

    config: GRPOConfig

    def __init__(
        self,
        env: TokenVectorEnv,
        policy: LanguageModel | None = None,
        seed: int = 0,
        config: GRPOConfig = GRPOConfig(),
    ) -> None:
        super().__init__(env, policy, seed, config)

    def weights(self, scores: Tensor) -> Tensor:
        """Scores (G, k) less the mean of their group, over its standard deviation."""
        spread = scores.std(1, keepdim=True)  # (G, 1)
        return (scores - scores.mean(1, keepdim=True)) / (spread + 1e-6)

    def learn(self, tokens: Tensor, rewards: Tensor, written: Tensor) -> dict[str, float]:
        """Follows the clipped gradient `num_epochs` times.

        Returns:
            as `Reinforce`, of the last step, and `clipped_share` of the tokens left out of it.
        """
        # Weights of tokens, that of a sequence shared among them.
        weights = self._weights_of(rewards, written)  # (B,)
        per_token = weights.unsqueeze(1) * written / written.sum(1, keepdim=True)  # (B, T)

        # Follow the clipped gradient; the ratio is to the policy as it wrote the batch.
        before = self.policy.token_log_probs(tokens)  # (B, T)
        for _ in range(self.config.num_epochs):
            loss, clipped = clipped_loss(
                self.policy, tokens, per_token, before, self.config.clip_range
            )
            policy_loss = loss / len(tokens)
            grad_norm = self._step(policy_loss + self._regularisers(tokens, written))
        found = step_metrics(policy_loss, rewards.sum() / written.sum(), weights, grad_norm)
        return found | {"clipped_share": float((clipped & written).sum() / written.sum())}
