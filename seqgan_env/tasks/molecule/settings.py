"""The settings of the molecule task."""

from __future__ import annotations

from dataclasses import dataclass

from seqgan_env.names import choose
from seqgan_env.tasks.options import Defaults, check_split_settings, option

SUFFIXES = (".smi", ".smiles")
NOTATIONS = ("smiles", "selfies")

# The drug to which REINVENT wrote analogues (Olivecrona et al. 2017), and a target of GuacaMol.
CELECOXIB = "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1"


@dataclass(frozen=True)
class MoleculeSettings:
    """A file of molecules and how it becomes sequences. The settings and the file determine
    everything about the task.

    Attributes:
        corpus: path of a file *.smi, a molecule a line, of which the first column counts; or of a
            table *.csv or *.tsv with a heading. None is the built-in set of
            `seqgan_env.tasks.molecule.fragments`.
        column: the heading of a table's column with the SMILES; None is "smiles", in upper
            or lower case.
        notation: "smiles": tokens are atoms, bonds, branches and ring closures, what stands in
            brackets is one. "selfies": tokens of SELFIES (Krenn et al. 2020), every sequence of
            which is a molecule.
        max_length: T, the most tokens of a sequence, its end counted; longer molecules are left
            out. None is what 99 % of them need.
        max_molecules: at most so many of the file, chosen by `split_seed`; None takes all.
        target: SMILES of the molecule of the sources similarity and rediscovery.
        diversity_filter: how often a source of this task pays for molecules of one Murcko scaffold
            in a run; later ones get what an invalid molecule gets. None: always.
        split_seed: of the division into training, validation and held-out molecules.
        validation_share: share of the molecules to select on.
        held_out_share: share of the molecules to report on.
        num_eval: sequences drawn from a policy to evaluate it.
    """

    corpus: str | None = option(
        None, "molecules: *.smi, *.csv or *.tsv (default: built-in fragments)", "FILE", path=True
    )
    column: str | None = option(None, "heading of the SMILES in a table", "NAME", path=False)
    notation: str = option("smiles", "tokens: smiles or selfies", "NOTATION", path=False)
    max_length: int | None = option(
        None, "longest sequence, end token included (default: what 99 % of them need)", "TOKENS"
    )
    max_molecules: int | None = option(None, "at most so many of the file", "MOLECULES")
    target: str = option(CELECOXIB, "SMILES that similarity and rediscovery seek", "SMILES")
    diversity_filter: int | None = option(
        None, "how often a scaffold is paid in a run (default: always)", "TIMES"
    )
    split_seed: int = option(0, "of the division of the molecules into three parts", "N")
    validation_share: float = option(0.05, "of the molecules, to select on", "SHARE")
    held_out_share: float = option(0.1, "of the molecules, to report on", "SHARE")
    num_eval: int = option(1_000, "sequences drawn from a policy to evaluate it", "SEQUENCES")

    def __post_init__(self) -> None:
        choose(NOTATIONS, self.notation, "notation")
        lows = {"max_length": 2, "max_molecules": 3, "diversity_filter": 1}
        for name, low in lows.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} is {value}; allowed is {low} or more, or None")
        check_split_settings(self)


# Scores of chemistry are dear: few rollouts, and a batch that two cores score in a second.
MOLECULE = Defaults(
    MoleculeSettings(),
    {
        "tiny": {
            "batch_size": 64,
            "mle_epochs": 20,
            "rounds": 60,
            "num_rollouts": 1,
            "num_negatives": 1_000,
            "agent_options": {
                "embedding_dim": 64,
                "hidden_dim": 128,
                "learning_rate": 1e-3,
                "mle_learning_rate": 2e-2,
                "mle_learning_rate_decay": 0.9,
                "mle_weight_decay": 0.1,
            },
        }
    },
)
