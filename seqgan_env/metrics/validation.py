"""How far a policy is from the truth on validation data: what settings may be chosen by.

Nothing may be selected on what is reported. So whoever compares settings, or ends a run early,
needs a divergence that reads no held-out sequence and none of the draws that reporting uses.

- **Oracle tasks**: `kl_mean`, the mean of KL(G||O) and KL(O||G) from exact densities, as the score
  has it. The oracle's side is the task's validation sequences, which come from a stream of their
  own; the policy's side is as many draws from a stream that no other measure uses.
- **Real data**, and policies without likelihoods: `referee_js`, a lower bound of the
  Jensen-Shannon divergence. The classifiers are those of the referee that take seconds: n-gram
  regression, n-gram models and memory. One half of the validation sequences calibrates and chooses
  among them and the other half judges; then the halves change places, and the mean counts.

The likelihood of validation sequences alone would be cheaper. It is half of the truth: it is lost
by whoever leaves something out, and hardly by whoever writes much that nobody would. The other
direction needs the density of real data, and a model in its place would draw every policy towards
itself. A bound of the Jensen-Shannon divergence sees both sides, is zero for the truth, and has the
unit of what ranks real data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from seqgan_env.metrics.divergence import kl_divergences
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.oracle import OracleMetrics
from seqgan_env.metrics.score import RANKING, REFEREED
from seqgan_env.types import HasLogProb, RolloutPolicy, Task

VALIDATION = "validation/"  # before the name of a divergence
CHOOSING = (RANKING.divergence, REFEREED.divergence)  # the first that a policy has counts

_DRAWS = 2_000_003  # added to a seed: draws that settings are chosen by, and nothing is reported by


class ValidationDivergence:
    """Measures policies on the validation data of a task.

    It is made of the training and the validation sequences and, where there is one, of the oracle;
    the held-out sequences are not among what it is given.
    """

    def __init__(self, task: Task) -> None:
        """
        Args:
            task: whose validation data are used; on the device where policies are.

        Raises:
            ValueError: the task has no oracle, and too few validation sequences for the referee.
        """
        from seqgan_env.metrics.referee import MIN_SEQUENCES, Referee  # loads scipy

        self._spec, self._num = task.spec, len(task.validation)
        oracle = getattr(task, "oracle", None)
        self._oracle: OracleMetrics | None = None
        if isinstance(oracle, HasLogProb):
            self._oracle = OracleMetrics(oracle, task.spec, task.validation)

        # Each half is in turn what chooses and what judges.
        even, odd = task.validation[::2], task.validation[1::2]
        self._referees: list[Referee] = []
        if min(len(task.real_sequences), len(odd)) >= MIN_SEQUENCES:
            for choose, judge in ((even, odd), (odd, even)):
                self._referees.append(
                    Referee(task.spec, task.real_sequences, choose, judge, recurrent=False)
                )
        if self._oracle is None and not self._referees:
            raise ValueError(
                f"task {task.name} has {len(task.validation)} validation sequences and "
                f"{len(task.real_sequences)} to train on; to measure a policy on validation data "
                f"{2 * MIN_SEQUENCES} and {MIN_SEQUENCES} are needed"
            )

    def __call__(
        self, policy: RolloutPolicy, seed: int, device: torch.device | str
    ) -> dict[str, float]:
        """The divergences of a policy and their standard errors, `NAME_error`, under the prefix
        `VALIDATION`.

        Args:
            policy: that is measured.
            seed: of the run. Its draws are others than those of every other measure of the run.
            device: where the policy is.
        """
        rng = torch.Generator(device=device).manual_seed(seed + _DRAWS)
        found: Mapping[str, float] = {}
        if self._oracle is not None and isinstance(policy, HasLogProb):
            samples = sample_sequences(policy, self._spec, self._num, rng)
            ratios = self._oracle.log_ratios(policy, samples)
            found = kl_divergences(ratios, self._oracle.num_tokens)
        elif self._referees:
            found = self._judged(policy, rng)
        prefixed = {}
        for name, value in found.items():
            prefixed[VALIDATION + name] = value
        return prefixed

    def _judged(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        """The mean of what both referees say of the same samples."""
        most = 0
        for referee in self._referees:
            most = max(most, referee.num_samples)
        samples = sample_sequences(policy, self._spec, most, rng)
        verdicts = []
        for referee in self._referees:
            verdicts.append(referee.judge(samples[: referee.num_samples]))
        first, second = verdicts
        name = REFEREED.divergence
        return {
            name: (first.js + second.js) / 2,
            f"{name}_error": math.hypot(first.error, second.error) / 2,
        }


def divergence_in(row: Mapping[str, float]) -> tuple[str, float] | None:
    """The validation divergence by which settings are chosen, among metrics: its name without
    prefix and its value; None where there is none.
    """
    for name in CHOOSING:
        if VALIDATION + name in row:
            return name, row[VALIDATION + name]
    return None
