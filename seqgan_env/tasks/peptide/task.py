"""The peptide task: writing amino-acid sequences like those of a FASTA file, with its metrics and
its score sources.

The formulae are functions of tokens (B, T), without any library:

- hydrophobicity: GRAVY, the mean of Kyte & Doolittle's hydropathy (1982).
- charge: net charge at pH 7 by Henderson and Hasselbalch, with the pK of Bjellqvist et al. (1993)
  for side chains and ends.
- instability: 10 / L times the sum of the weights of neighbouring pairs (Guruprasad et al. 1990);
  above 40 a protein is called unstable.
- helical moment: the length of the mean of hydrophobicities set at 100 degrees a residue, by the
  consensus scale (Eisenberg et al. 1984).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from seqgan_env.metrics.bootstrap import Mean, Statistic
from seqgan_env.metrics.molecules import wasserstein
from seqgan_env.metrics.real_data import RealDataMetrics
from seqgan_env.tasks.carried import check_parts
from seqgan_env.tasks.peptide.settings import PEPTIDE, PeptideSettings
from seqgan_env.tasks.reading import read_lines
from seqgan_env.tasks.real_data import RealDataTask, Words, digest, split
from seqgan_env.types import Task, TokenSpec

ACIDS = "ACDEFGHIKLMNPQRSTVWY"
EOS, PAD = 0, len(ACIDS) + 1  # token i is ACIDS[i - 1]
NEUTRAL_PH = 7.0
RADIANS = math.radians(100)  # between neighbours of an alpha helix

# In the order of ACIDS.
_HYDROPATHY = [1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8,
               1.9, -3.5, -1.6, -3.5, -4.5, -0.8, -0.7, 4.2, -0.9, -1.3]  # fmt: skip
_CONSENSUS = [0.62, 0.29, -0.90, -0.74, 1.19, 0.48, -0.40, 1.38, -1.50, 1.06,
              0.64, -0.78, 0.12, -0.85, -2.53, -0.18, -0.05, 1.08, 0.81, 0.26]  # fmt: skip
_BASES, _ACIDIC = {"K": 10.0, "R": 12.0, "H": 5.98}, {"D": 4.05, "E": 4.45, "C": 9.0, "Y": 10.0}
_AMINO_END, _CARBOXYL_END = 7.5, 3.55
# Weights of pairs, the first residue's line, the second's column; 1 where nothing is known.
_PAIRS = """
1 44.94 -7.49 1 1 1 -7.49 1 1 1 1 1 20.26 1 1 1 1 1 1 1
1 1 20.26 1 1 1 33.6 1 1 20.26 33.6 1 20.26 -6.54 1 1 33.6 -6.54 24.68 1
1 1 1 1 -6.54 1 1 1 -7.49 1 1 1 1 1 -6.54 20.26 -14.03 1 1 1
1 44.94 20.26 33.6 1 1 -6.54 20.26 1 1 1 1 20.26 20.26 1 20.26 1 1 -14.03 1
1 1 13.34 1 1 1 1 1 -14.03 1 1 1 20.26 1 1 1 1 1 1 33.601
-7.49 1 1 -6.54 1 13.34 1 -7.49 -7.49 1 1 -7.49 1 1 1 1 -7.49 1 13.34 -7.49
1 1 1 1 -9.37 -9.37 1 44.94 24.68 1 1 24.68 -1.88 1 1 1 -6.54 1 -1.88 44.94
1 1 1 44.94 1 1 13.34 1 -7.49 20.26 1 1 -1.88 1 1 1 1 -7.49 1 1
1 1 1 1 1 -7.49 1 -7.49 1 -7.49 33.6 1 -6.54 24.64 33.6 1 1 -7.49 1 1
1 1 1 1 1 1 1 1 -7.49 1 1 1 20.26 33.6 20.26 1 1 1 24.68 1
13.34 1 1 1 1 1 58.28 1 1 1 -1.88 1 44.94 -6.54 -6.54 44.94 -1.88 1 1 24.68
1 -1.88 1 1 -14.03 -14.03 1 44.94 24.68 1 1 1 -1.88 -6.54 1 1 -7.49 1 -9.37 1
20.26 -6.54 -6.54 18.38 20.26 1 1 1 1 1 -6.54 1 20.26 20.26 -6.54 20.26 1 20.26 -1.88 1
1 -6.54 20.26 20.26 -6.54 1 1 1 1 1 1 1 20.26 20.26 1 44.94 1 -6.54 1 -6.54
1 1 1 1 1 -7.49 20.26 1 1 1 1 13.34 20.26 20.26 58.28 44.94 1 1 58.28 -6.54
1 33.6 1 20.26 1 1 1 1 1 1 1 1 44.94 20.26 20.26 20.26 1 1 1 1
1 1 1 20.26 13.34 -7.49 1 1 1 1 1 -14.03 1 -6.54 1 1 1 1 -14.03 1
1 1 -14.03 1 1 -7.49 1 1 -1.88 1 1 1 20.26 1 1 1 -7.49 1 1 -6.54
-14.03 1 1 1 1 -9.37 24.68 1 1 13.34 24.68 13.34 1 1 1 1 -14.03 -7.49 1 1
24.68 1 24.68 -6.54 1 -7.49 13.34 1 1 1 44.94 1 13.34 1 -15.91 1 -7.49 1 -9.37 13.34
"""


def _padded(values: Any) -> np.ndarray:
    """Numbers by acid, along every axis, as a table by token: 0 for the end and for the padding."""
    array = np.asarray(values, dtype=float)
    found: np.ndarray = np.pad(array, [(1, 1)] * array.ndim)
    return found


def _charge(acid: str) -> float:
    """The charge of a side chain at pH 7, by Henderson and Hasselbalch."""
    if acid in _BASES:
        return 1 / (1 + 10 ** (NEUTRAL_PH - _BASES[acid]))
    if acid in _ACIDIC:
        return -1 / (1 + 10 ** (_ACIDIC[acid] - NEUTRAL_PH))
    return 0.0


_HYDROPATHIES, _MOMENTS = _padded(_HYDROPATHY), _padded(_CONSENSUS)
_CHARGES = _padded(list(map(_charge, ACIDS)))
_WEIGHTS = _padded(list(map(str.split, _PAIRS.strip().split("\n"))))  # (22, 22)
# Of the two ends of the chain together, whatever it is made of.
_ENDS = 1 / (1 + 10 ** (NEUTRAL_PH - _AMINO_END)) - 1 / (1 + 10 ** (_CARBOXYL_END - NEUTRAL_PH))


def hydrophobicities(tokens: np.ndarray) -> np.ndarray:
    """GRAVY (B,) of peptides (B, T), -4.5 to 4.5."""
    found: np.ndarray = _HYDROPATHIES[tokens].sum(1) / _lengths(tokens)
    return found


def charges(tokens: np.ndarray) -> np.ndarray:
    """Net charges (B,) at pH 7, in elementary charges."""
    found: np.ndarray = _CHARGES[tokens].sum(1) + _ENDS
    return found


def instabilities(tokens: np.ndarray) -> np.ndarray:
    """Instability indices (B,)."""
    pairs = _WEIGHTS[tokens[:, :-1], tokens[:, 1:]].sum(1)  # (B, T - 1) -> (B,)
    found: np.ndarray = 10 * pairs / _lengths(tokens)
    return found


def helical_moments(tokens: np.ndarray) -> np.ndarray:
    """Hydrophobic moments (B,) of a helix, per residue."""
    # A residue's direction around the helix as a complex number, so that vectors add up as numbers.
    turns = np.exp(1j * RADIANS * np.arange(tokens.shape[1]))  # (T,)
    found: np.ndarray = np.abs(_MOMENTS[tokens] @ turns) / _lengths(tokens)
    return found


def _lengths(tokens: np.ndarray) -> np.ndarray:
    """Residues (B,); 1 where there is none, since they divide."""
    lengths: np.ndarray = ((tokens != EOS) & (tokens != PAD)).sum(1).clip(min=1)
    return lengths


Formula = Callable[[np.ndarray], np.ndarray]
FORMULAE: Mapping[str, Formula] = {
    "hydrophobicity": hydrophobicities,
    "charge": charges,
    "instability": instabilities,
    "helical_moment": helical_moments,
}


class PeptideMetrics(RealDataMetrics):
    """Measures peptides: all of `RealDataMetrics`, and of each of `FORMULAE` the mean (`..._mean`)
    and the Wasserstein-1 distance to held-out peptides (`wasserstein_...`).
    """

    def _sample_statistics(self, samples: np.ndarray) -> dict[str, Statistic]:
        found = super()._sample_statistics(samples)
        for name, formula in FORMULAE.items():
            found[f"{name}_mean"] = Mean(formula(samples))
        return found

    def of_samples(self, samples: Tensor) -> dict[str, float]:
        """Metrics of finished sequences (B, T) from anywhere, the distances too.

        The distances have no interval: they are not among the estimates.
        """
        rows = samples.cpu().numpy()
        found = super().of_samples(samples)
        for name, formula in FORMULAE.items():
            distance = wasserstein(formula(rows), formula(self._held_out))
            found[f"wasserstein_{name}"] = distance
        return found


class PeptideTask(RealDataTask):
    """Writing peptides like those of a file. Token 0 ends a sequence, 1 to 20 are the amino
    acids in alphabetical order.

    Attributes:
        summary: what became of the entries, in words.
        fingerprint: hash of the peptides and the settings.
        defaults: settings where none is given.
        presets: what presets of a run change.
    """

    defaults: ClassVar[PeptideSettings] = PEPTIDE.settings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PEPTIDE.presets

    def __init__(
        self, settings: PeptideSettings = PeptideSettings(), name: str = "peptide"
    ) -> None:
        """Reads and splits the peptides.

        Raises:
            ValueError: the file cannot be read, is no FASTA, or has too few peptides.
        """
        self.settings = settings
        if settings.corpus is None:
            source, entries = "built-in helices", built_in_peptides()
        else:
            source, entries = f"peptides {settings.corpus}", read_fasta(settings.corpus)

        # An end needs a place: a peptide of T letters is too long.
        fitting: list[str] = []
        num_unknown = num_long = 0
        for text in entries:
            if not text or not set(text) <= set(ACIDS):
                num_unknown += 1
            elif len(text) >= settings.max_length:
                num_long += 1
            else:
                fitting.append(text)
        if not fitting:
            raise ValueError(
                f"{source} has no peptide to use among {len(entries)}: "
                f"{num_unknown} with other letters than {ACIDS}, "
                f"{num_long} too long; raise --max-length "
                f"({settings.max_length})"
            )
        sides = split(list(map(tuple, fitting)), settings, source, "peptides")
        spec = _spec(settings)
        parts = [_number(side, spec) for side in sides]
        super().__init__(name, spec, parts, settings.num_eval, PeptideMetrics)
        self.summary = (
            f"{source}: {len(entries)} entries; left out {num_unknown} with other "
            f"letters, {num_long} too long\n{len(parts[0])} peptides to train "
            f"on, {len(parts[1])} to select on, {len(parts[2])} to report on"
        )
        # What decides which sequences there are: where the file lies and num_eval do not.
        kept = (settings.max_length, settings.split_seed)
        shares = (settings.validation_share, settings.held_out_share)
        self.fingerprint = digest(str((*kept, *shares)), *fitting).hex()

    def essentials(self) -> dict[str, Any]:
        """Nothing: the settings tell what a sequence is."""
        return {}

    @classmethod
    def without_data(
        cls, settings: PeptideSettings, name: str, essentials: Mapping[str, Any]
    ) -> Self:
        """The task without its peptides."""
        check_parts(essentials, {})
        task = cls.bare(name, _spec(settings))
        task.settings = settings
        return task

    def encode(self, text: str) -> Tensor:
        """One-letter codes as a sequence (T,); T of them have no end.

        Raises:
            ValueError: a letter is no amino acid, or these are too many or none.
        """
        other = sorted(set(text) - set(ACIDS))
        if other or not 1 <= len(text) <= self.spec.seq_len:
            found = f"{len(text)} letters"
            if other:
                found = f"the letter {other[0]!r}"
            raise ValueError(
                f"text {text[:40]!r} has {found}; allowed are 1..{self.spec.seq_len} of {ACIDS}"
            )
        return _number([tuple(text)], self.spec)[0]

    def decode(self, tokens: Tensor) -> str:
        """The one-letter codes of a sequence (T,), up to its end."""
        letters = []
        for token in tokens.tolist():
            if token not in (EOS, PAD):
                letters.append(ACIDS[token - 1])
        return "".join(letters)


def _spec(settings: PeptideSettings) -> TokenSpec:
    return TokenSpec(len(ACIDS) + 1, settings.max_length, EOS, min_length=1)


def _number(lines: list[Words], spec: TokenSpec) -> Tensor:
    """Peptides as sequences (M, T): their letters, the end where there is room for it, padding."""
    rows = np.full((len(lines), spec.seq_len), spec.pad_token, dtype=np.int64)
    for row, line in zip(rows, lines, strict=True):
        for i, acid in enumerate(line):
            row[i] = ACIDS.index(acid) + 1
        row[len(line) : len(line) + 1] = EOS  # an empty slice where the line has T letters
    return torch.from_numpy(rows)


def read_fasta(path: str) -> list[str]:
    """The sequences of a FASTA file in upper case; a final "*", which ends a translation, is left
    out.

    Raises:
        ValueError: it cannot be read, or begins without a heading.
    """
    found: list[list[str]] = []  # the lines of each entry
    for i, line in enumerate(read_lines(path, "peptides"), start=1):
        if line.startswith(">"):
            found.append([])
        elif line.strip() and not found:
            raise ValueError(
                f"peptides {path}, line {i}: {line[:40]!r} stands before any heading; a FASTA file "
                f"has lines that begin with '>' ({Path(path).name} may be a text)"
            )
        elif line.strip():
            found[-1].append(line.strip().upper())
    return ["".join(lines).removesuffix("*") for lines in found]


def built_in_peptides(num: int = 3_000) -> list[str]:
    """Helices with a greasy side: of seven residues those at places 0, 3 and 4 are hydrophobic, the
    others polar or charged; 10 to 28 long, all different.
    """
    rng = random.Random(0)  # of its own, so that the peptides are the same for everybody
    found: dict[str, None] = {}  # a set that keeps the order
    while len(found) < num:
        letters = []
        for i in range(rng.randint(10, 28)):
            side = "KKRSTGNQEH"
            if i % 7 in (0, 3, 4):
                side = "LLIVFAW"
            letters.append(rng.choice(side))
        found["".join(letters)] = None
    return list(found)


class FormulaScorer:
    """A formula of peptides as a score."""

    def __init__(self, formula: Formula) -> None:
        """
        Args:
            formula: from tokens (B, T) to scores (B,).
        """
        self.formula = formula

    def score(self, tokens: Tensor) -> Tensor:
        """Scores (B,) of finished sequences (B, T)."""
        scores = self.formula(tokens.cpu().numpy())
        return torch.as_tensor(scores, dtype=torch.float32, device=tokens.device)


def hydrophobicity(task: Task) -> FormulaScorer:
    """GRAVY, the mean hydropathy of the residues."""
    return _scorer(task, "hydrophobicity", hydrophobicities)


def charge(task: Task) -> FormulaScorer:
    """Net charge at pH 7."""
    return _scorer(task, "charge", charges)


def stability(task: Task) -> FormulaScorer:
    """The instability index, negative and in hundreds: above -0.4 is called stable."""
    return _scorer(task, "stability", _stabilities)


def _stabilities(tokens: np.ndarray) -> np.ndarray:
    return -instabilities(tokens) / 100


def helical_moment(task: Task) -> FormulaScorer:
    """Hydrophobic moment of a helix."""
    return _scorer(task, "helical_moment", helical_moments)


def _scorer(task: Task, source: str, formula: Formula) -> FormulaScorer:
    if not isinstance(task, PeptideTask):
        raise ValueError(
            f"source {source!r} needs a task of peptides (--task peptide); {task.name} is none"
        )
    return FormulaScorer(formula)
