"""Metrics of molecules besides those of all real data, by the definitions of MOSES (Polykovskiy et
al. 2020) and GuacaMol (Brown et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from torch import Tensor

from seqgan_env.metrics.bootstrap import Mean, Statistic
from seqgan_env.metrics.real_data import RealDataMetrics
from seqgan_env.tasks.molecule.chemistry import CONTINUOUS, WHOLE
from seqgan_env.tasks.molecule.table import PropertyTable
from seqgan_env.types import TokenSpec

NUM_DESCRIPTORS = len(CONTINUOUS) + len(WHOLE)
NUM_MEASURED = 1_000  # sequences of which chemistry is asked, of samples and of held-out ones

_GROUPS = 20  # left out in turn, for the errors
_PROPERTIES = {"qed": "qed", "logp": "log_p", "sa": "accessibility", "weight": "weight"}
_TINY = 1e-10  # added to densities by GuacaMol
_GRID, _BINS = 1_000, 10  # points and bins where GuacaMol compares densities


class MoleculeMetrics(RealDataMetrics):
    """Measures sequences against the real molecules of a task: all of `RealDataMetrics`, and, of
    the first `NUM_MEASURED` sequences,

    - `validity`: share of them that RDKit reads.
    - `uniqueness`: different molecules as a share of the valid ones; falls with their number.
    - `novelty`: share of the different molecules that are not in the training part.
    - `internal_diversity`: 1 less the mean Tanimoto similarity of two valid ones, each with itself
      counted, as in MOSES (IntDiv1; Morgan fingerprints of radius 2, 1,024 bits).
    - `scaffolds`: how many different Bemis-Murcko scaffolds the valid ones have.
    - `qed_mean`, `sa_mean`, `logp_mean`: means over the valid ones.
    - `wasserstein_qed`, `_logp`, `_sa`, `_weight`: the Wasserstein-1 distance of their distribution
      to that of up to `NUM_MEASURED` held-out molecules, in units of the property.
    - `kl_score`: GuacaMol's mean of exp(-KL) over nine descriptors and the similarity to the
      nearest other molecule, of the different molecules; 1 is the same distribution. GuacaMol
      compares with training molecules, this with held-out ones.

    Without a valid molecule all but `validity` are 0, and there are no means and distances.
    The Frechet ChemNet distance of both benchmarks is absent: it needs the weights of ChemNet.
    """

    def __init__(
        self,
        spec: TokenSpec,
        real_sequences: Tensor,
        held_out: Tensor,
        smiles_of: Callable[[np.ndarray], list[str]],
        table: PropertyTable,
    ) -> None:
        """
        Args:
            spec: of the sequences.
            real_sequences: (M, T) that a policy may be trained on.
            held_out: (M'', T) that it never sees.
            smiles_of: the SMILES of sequences (B, T).
            table: of properties.
        """
        super().__init__(spec, real_sequences, held_out)
        self._smiles_of, self.table = smiles_of, table

    def _sample_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        found = super()._sample_statistics(samples)
        measured = self._measured(samples[:NUM_MEASURED])
        found["validity"] = Mean(measured.valid.astype(float))
        num_groups = min(_GROUPS, len(measured.valid))
        groups = np.arange(len(measured.valid)) % num_groups  # (B,): every row in one of 20
        whole = self._chemistry(measured)

        # Only intervals ask for it, and all statistics of the loop below share what it finds.
        @cache
        def without() -> list[dict[str, float]]:
            found_without = []
            for group in range(num_groups):
                found_without.append(self._chemistry(measured.of(groups != group)))
            return found_without

        for name, value in whole.items():
            if np.isnan(value):  # a mean or a distance of no molecules
                continue
            found[name] = DeleteGroup(value, name, without, groups)
        return found

    def _measured(self, samples: np.ndarray) -> Measured:
        """What chemistry says of sequences (B, T)."""
        smiles, table = self._smiles_of(samples), self.table
        valid, molecules = [], []
        for name in table.values("canonical", smiles):
            valid.append(name is not None)
            if name is not None:
                molecules.append(name)
        descriptors = np.array(table.values("descriptors", molecules))
        properties = {}
        for name, key in _PROPERTIES.items():
            properties[name] = table.numbers(key, molecules)
        return Measured(
            np.array(valid),
            np.array(molecules, dtype=object),
            np.array(table.values("scaffold", molecules), dtype=object),
            _bits(table.values("bits", molecules)),
            # The shape is said because of an array of no molecules, which has one axis.
            descriptors.reshape(len(molecules), NUM_DESCRIPTORS),
            properties,
        )

    def _chemistry(self, these: Measured) -> dict[str, float]:
        """Every metric of chemistry but the validity, by name."""
        distinct = set(these.molecules)
        novel = distinct - self._training
        found = {
            "uniqueness": len(distinct) / max(1, len(these.molecules)),
            "novelty": len(novel) / max(1, len(distinct)),
            "internal_diversity": internal_diversity(these.bits),
            "scaffolds": float(len(set(these.scaffolds))),
            "kl_score": kl_score(these.distinct(), self._real_molecules.distinct()),
        }
        for name in ("qed", "sa", "logp"):
            values = these.properties[name]
            found[f"{name}_mean"] = np.nan
            if len(values):
                found[f"{name}_mean"] = float(values.mean())
        for name, values in these.properties.items():
            real = self._real_molecules.properties[name]
            found[f"wasserstein_{name}"] = wasserstein(values, real)
        return found

    @cached_property
    def _training(self) -> frozenset[str]:
        """Canonical SMILES of all training molecules."""
        training = self._smiles_of(self._real_sequences.cpu().numpy())
        return frozenset(self.table.values("canonical", training))

    @cached_property
    def _real_molecules(self) -> Measured:
        """What chemistry says of the held-out molecules that samples are compared with."""
        return self._measured(spread(self._held_out, NUM_MEASURED))


def spread(rows: np.ndarray, num: int) -> np.ndarray:
    """`num` of some rows at equal distances, or all if there are no more.

    The first rows would not do: files are often sorted by size.
    """
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, min(num, len(rows))).astype(int)]
    return chosen


@dataclass(frozen=True)
class Measured:
    """What chemistry says of B sequences, of which N are molecules.

    Attributes:
        valid: (B,) bool.
        molecules: canonical SMILES (N,).
        scaffolds: SMILES (N,).
        bits: fingerprints (N, 1024), 0 or 1.
        descriptors: (N, 9) of GuacaMol.
        properties: (N,) each, by name.
    """

    valid: np.ndarray
    molecules: np.ndarray
    scaffolds: np.ndarray
    bits: np.ndarray
    descriptors: np.ndarray
    properties: Mapping[str, np.ndarray]

    def of(self, kept: np.ndarray) -> Measured:
        """What is said of the sequences where `kept` (B,) is true."""
        # The other arrays have a row for each molecule only: `kept[self.valid]` is theirs, (N,).
        return self._chosen(self.valid[kept], kept[self.valid])

    def distinct(self) -> Measured:
        """Every molecule once, where it stands last, without the sequences that are none."""
        row_of = dict(zip(self.molecules, range(len(self.molecules)), strict=True))
        last = np.zeros(len(self.molecules), dtype=bool)  # (N,)
        last[list(row_of.values())] = True
        return self._chosen(last[last], last)

    def _chosen(self, valid: np.ndarray, rows: np.ndarray) -> Measured:
        """Some rows (N,) bool of all that has a row for each molecule, with another `valid`."""
        properties = {}
        for name, values in self.properties.items():
            properties[name] = values[rows]
        return Measured(
            valid,
            self.molecules[rows],
            self.scaffolds[rows],
            self.bits[rows],
            self.descriptors[rows],
            properties,
        )


@dataclass(frozen=True)
class DeleteGroup:
    """A statistic through what it becomes without each of G groups of its sentences in turn.

    The grouped jackknife (Shao & Tu 1995): what a group adds is taken as linear in how often it is
    drawn. It costs G evaluations and is as coarse as an error of G numbers is.

    Attributes:
        value: of all sentences.
        name: of the statistic in what `without` returns.
        without: the statistics without each group.
        groups: (n,) the group of each of the first n sentences; later ones do not count.
    """

    value: float
    name: str
    without: Callable[[], Sequence[Mapping[str, float]]]
    groups: np.ndarray

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        """Values (R,) where sentence b counts `counts[r, b]` times."""
        left = np.array([each[self.name] for each in self.without()])  # (G,)
        left = np.where(np.isnan(left), self.value, left)  # without the last of the molecules
        influence = (len(left) - 1) * (left.mean() - left)
        members = self.groups[:, None] == np.arange(len(left))  # (n, G)
        excess = (counts[:, : len(self.groups)] - 1) @ members  # (R, G)
        drawn = excess / np.sqrt(members.sum(0))  # of variance 1, as a group drawn as a whole has
        values: np.ndarray = self.value + drawn @ influence / len(left)
        return values


def internal_diversity(bits: np.ndarray) -> float:
    """1 less the mean similarity of two of N fingerprints (N, K), each with itself counted.

    0 where there are none.
    """
    if not len(bits):
        return 0.0
    return float(1 - similarities(bits).mean())


def similarities(bits: np.ndarray) -> np.ndarray:
    """Tanimoto similarities (N, N) of fingerprints (N, K); 1 of two without any bit."""
    common = bits @ bits.T  # (N, N): bits that both have
    counts = np.diag(common)  # (N,): bits of each
    either = counts[:, None] + counts[None] - common  # (N, N): bits that one of the two has
    found: np.ndarray = np.where(either > 0, common / np.maximum(either, 1), 1.0)
    return found


def wasserstein(values: np.ndarray, real: np.ndarray) -> float:
    """The Wasserstein-1 distance of two samples of numbers; not a number where one is empty."""
    if not len(values) or not len(real):
        return float("nan")
    from scipy import stats

    return float(stats.wasserstein_distance(values, real))


def kl_score(these: Measured, real: Measured) -> float:
    """The KL score of GuacaMol, 0 to 1.

    It is the mean of exp(-KL(real || these)) over the descriptors and the similarity to the nearest
    other molecule. 0 where there are fewer than 3 molecules.
    """
    if min(len(these.molecules), len(real.molecules)) < 3:
        return 0.0
    divergences = []
    for i in range(real.descriptors.shape[1]):
        # The continuous descriptors stand before those that are whole numbers.
        kl = _whole_kl
        if i < len(CONTINUOUS):
            kl = _continuous_kl
        divergences.append(kl(real.descriptors[:, i], these.descriptors[:, i]))
    divergences.append(_continuous_kl(_nearest(real.bits), _nearest(these.bits)))
    return float(np.exp(-np.array(divergences)).mean())


def _nearest(bits: np.ndarray) -> np.ndarray:
    """The similarity of each of N molecules to the nearest other one (N,)."""
    found = similarities(bits)
    np.fill_diagonal(found, 0)  # each is most similar to itself
    nearest: np.ndarray = found.max(1)
    return nearest


def _continuous_kl(real: np.ndarray, these: np.ndarray) -> float:
    """KL of kernel densities on a grid; infinite where one has a single value."""
    from scipy import stats

    if np.ptp(real) == 0 or np.ptp(these) == 0:
        if np.array_equal(np.unique(real), np.unique(these)):
            return 0.0
        return np.inf
    both = np.concatenate([real, these])
    grid = np.linspace(both.min(), both.max(), _GRID)
    p = stats.gaussian_kde(real)(grid) + _TINY
    q = stats.gaussian_kde(these)(grid) + _TINY
    return float(stats.entropy(p, q))  # which makes both sum to 1


def _whole_kl(real: np.ndarray, these: np.ndarray) -> float:
    """KL of histograms over the range of the real values; infinite where these have none there."""
    from scipy import stats

    p, edges = np.histogram(real, bins=_BINS, density=True)
    inside = (these >= edges[0]) & (these <= edges[-1])
    if not inside.any():
        return np.inf
    q, _ = np.histogram(these, bins=edges, density=True)
    return float(stats.entropy(p + _TINY, q + _TINY))


def _bits(fingerprints: Sequence[Any]) -> np.ndarray:
    """Texts of 0 and 1 as (N, K) float32."""
    if not fingerprints:
        return np.zeros((0, 1), dtype=np.float32)
    rows = [np.frombuffer(text.encode(), dtype=np.uint8) - ord("0") for text in fingerprints]
    return np.stack(rows).astype(np.float32)
