"""What a run has spent, counted where it is spent, so that what is compared has cost the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Budget:
    """Running totals of one reward model and of everybody who works for it; evaluation does not
    count.

    Attributes:
        env_steps: tokens written in its environments.
        rollout_tokens: tokens written in Monte Carlo completions.
        sequences_scored: finished sequences handed to the score source.
        sequences_trained: sequences that the discriminator was trained on, once for every epoch.
    """

    env_steps: int = 0
    rollout_tokens: int = 0
    sequences_scored: int = 0
    sequences_trained: int = 0

    def metrics(self) -> dict[str, float]:
        """The totals as metrics, under `budget/`."""
        return {f"budget/{name}": float(value) for name, value in asdict(self).items()}
