"""The settings of the peptide task."""

from __future__ import annotations

from dataclasses import dataclass

from seqgan_env.tasks.molecule.settings import MOLECULE
from seqgan_env.tasks.options import Defaults, check_split_settings, option

SUFFIXES = (".fasta", ".fa", ".faa")


@dataclass(frozen=True)
class PeptideSettings:
    """A FASTA file and how it becomes sequences.

    Attributes:
        corpus: path of a FASTA file of amino-acid sequences; None is a built-in set of helices made
            by rule.
        max_length: T, the most tokens of a sequence, its end counted; longer peptides are left out.
        split_seed: of the division into training, validation and held-out peptides.
        validation_share: share of the peptides to select on.
        held_out_share: share of the peptides to report on.
        num_eval: sequences drawn from a policy to evaluate it.
    """

    corpus: str | None = option(None, "FASTA (default: built-in helices)", "FILE", path=True)
    max_length: int = option(31, "longest sequence, end token included", "TOKENS")
    split_seed: int = option(0, "of the division of the peptides into three parts", "N")
    validation_share: float = option(0.05, "of the peptides, to select on", "SHARE")
    held_out_share: float = option(0.1, "of the peptides, to report on", "SHARE")
    num_eval: int = option(2_000, "sequences drawn from a policy to evaluate it", "SEQUENCES")

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"max_length is {self.max_length}; allowed is 2 or more")
        check_split_settings(self)


PEPTIDE = Defaults(PeptideSettings(), MOLECULE.presets)
