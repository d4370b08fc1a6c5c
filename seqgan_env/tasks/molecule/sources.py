"""Score sources of molecules, by the names of the registry.

Sums of them and the discriminator are written as any others: "0.5 * discriminator + 0.5 * qed" is
ORGAN with lambda 0.5 (Guimaraes et al. 2017, eq. 5), with `--score-as probability`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan_env.tasks.molecule.table import Key
from seqgan_env.tasks.molecule.task import MoleculeTask
from seqgan_env.types import HasLogProb, RolloutPolicy, Task

NUM_COPIES_AMONG = 1_000  # sequences among which the source uniqueness counts copies
SIMILAR_ENOUGH = 0.7  # likeness to the target from which the source similarity pays no more
WORST_LOG_P = -10.0  # penalised log P of what is no molecule, and the least of any


class PropertyScorer:
    """A property of the molecule that a sequence writes.

    With the task's setting `diversity_filter` it remembers how often it paid for each scaffold, and
    then a score depends on what was scored before, not on its sequence alone. Rows of a batch are
    counted in their order.
    """

    def __init__(
        self,
        task: MoleculeTask,
        key: str | Key,
        score_of: Callable[[np.ndarray], np.ndarray] = np.asarray,
        invalid: float = 0.0,
    ) -> None:
        """
        Args:
            task: whose sequences are scored.
            key: the property in the task's table.
            score_of: from its values (B,) to scores.
            invalid: the score of what is no molecule.
        """
        self.task, self.key, self.score_of, self.invalid = task, key, score_of, invalid
        self.paid: Counter[str] = Counter()

    def score(self, tokens: Tensor) -> Tensor:
        """Scores (B,) of finished sequences (B, T)."""
        smiles = self.task.smiles(tokens)
        values = self.task.table.numbers(self.key, smiles)  # (B,), NaN where there is no molecule
        valid = np.isfinite(values)
        scores = np.full(len(smiles), self.invalid)
        scores[valid] = self.score_of(values[valid])
        most = self.task.settings.diversity_filter
        if most is not None:
            scores[self._spent(smiles, most)] = self.invalid
        return torch.as_tensor(scores, dtype=torch.float32, device=tokens.device)

    def _spent(self, smiles: list[str], most: int) -> np.ndarray:
        """Whether the scaffold of each text (B,) has been paid `most` times already."""
        # One row after the other: a batch may use up a scaffold that it begins with.
        spent = np.zeros(len(smiles), dtype=bool)
        for i, scaffold in enumerate(self.task.table.values("scaffold", smiles)):
            if scaffold is not None:
                spent[i] = self.paid[scaffold] >= most
                self.paid[scaffold] += 1
        return spent

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {"paid": dict(self.paid)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.paid = Counter(state["paid"])


class UniquenessScorer:
    """1 for a molecule of which no copy is to be expected, less for one that the policy repeats.

    ORGAN divides a reward by the copies in the batch. Here it is the copies to be expected among
    `NUM_COPIES_AMONG` sequences of the live policy, 1 + (n - 1) p(Y), so that a score depends on
    its sequence and the policy alone. Copies are of the text: two SMILES of one molecule are none.
    """

    def __init__(self, task: MoleculeTask, policy: RolloutPolicy) -> None:
        """
        Args:
            task: whose sequences are scored.
            policy: the live one, with likelihoods.
        """
        self.task, self.policy = task, policy

    def bind(self, policy: RolloutPolicy) -> None:
        """Makes `policy` the one that repeats."""
        self.policy = policy

    def score(self, tokens: Tensor) -> Tensor:
        """Scores (B,) of finished sequences (B, T)."""
        if not isinstance(self.policy, HasLogProb):
            raise TypeError(
                "source 'uniqueness' needs the policy's likelihoods; "
                f"{type(self.policy).__name__} has no log_prob(tokens)"
            )
        names = self.task.table.values("canonical", self.task.smiles(tokens))
        valid = torch.tensor([name is not None for name in names], device=tokens.device)  # (B,)
        # The one itself, and what n - 1 others are expected to repeat of it.
        copies = 1 + (NUM_COPIES_AMONG - 1) * self.policy.log_prob(tokens).detach().exp()  # (B,)
        return valid / copies


def validity(task: Task) -> PropertyScorer:
    """1 for a molecule, 0 for any other text."""
    return PropertyScorer(_molecules(task, "validity"), "weight", np.ones_like)


def uniqueness(task: Task, policy: RolloutPolicy) -> UniquenessScorer:
    """1 for a molecule, divided by the copies of it that the policy is expected to write."""
    return UniquenessScorer(_molecules(task, "uniqueness"), policy)


def qed(task: Task) -> PropertyScorer:
    """Drug-likeness, 0 to 1."""
    return PropertyScorer(_molecules(task, "qed"), "qed")


def penalised_logp(task: Task) -> PropertyScorer:
    """Penalised log P, `WORST_LOG_P` or more."""

    molecules = _molecules(task, "penalised_logp")
    return PropertyScorer(molecules, "penalised_log_p", _from_the_worst, WORST_LOG_P)


def accessibility(task: Task) -> PropertyScorer:
    """Ease of making it: 1 for accessibility 1 (easy), 0 for 10."""
    return PropertyScorer(_molecules(task, "accessibility"), "accessibility", _ease)


def similarity(task: Task) -> PropertyScorer:
    """Likeness to the task's target, 1 from `SIMILAR_ENOUGH` on."""
    molecules = _molecules(task, "similarity")
    return PropertyScorer(
        molecules,
        ("tanimoto", molecules.settings.target),
        _up_to_similar_enough,
    )


def rediscovery(task: Task) -> PropertyScorer:
    """Likeness to the task's target; 1 for itself."""
    molecules = _molecules(task, "rediscovery")
    return PropertyScorer(molecules, ("tanimoto", molecules.settings.target))


# Functions with a name, for a source is pickled with what makes a property a score.


def _from_the_worst(log_p: np.ndarray) -> np.ndarray:
    return log_p.clip(min=WORST_LOG_P)


def _ease(accessibility: np.ndarray) -> np.ndarray:
    return (10 - accessibility) / 9


def _up_to_similar_enough(tanimoto: np.ndarray) -> np.ndarray:
    return (tanimoto / SIMILAR_ENOUGH).clip(max=1)


def _molecules(task: Task, source: str) -> MoleculeTask:
    if not isinstance(task, MoleculeTask):
        raise ValueError(
            f"source {source!r} needs a task of molecules (--task molecule); {task.name} is none"
        )
    return task
