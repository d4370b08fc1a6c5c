"""The built-in molecules: rings with two places, and at each of them one of a few groups.

Made by rule, so that nothing is downloaded and nothing copied from a data base. They are no
drug-like chemistry: few rings, few groups, every pair of them.
"""

from __future__ import annotations

import functools
import itertools

from seqgan_env.tasks.molecule.chemistry import rdkit

RINGS = (
    "c1cc([*:1])ccc1[*:2]",
    "c1c([*:1])cccc1[*:2]",
    "c1nc([*:1])ccc1[*:2]",
    "c1nc([*:1])ncc1[*:2]",
    "c1sc([*:1])cc1[*:2]",
    "c1oc([*:1])cc1[*:2]",
    "c1c([*:1])[nH]nc1[*:2]",
    "C1CC([*:1])CCC1[*:2]",
    "C1CN([*:1])CCC1[*:2]",
    "C1CN([*:1])CCN1[*:2]",
    "c1cc2cc([*:1])[nH]c2cc1[*:2]",
    "c1cc2nc([*:1])sc2cc1[*:2]",
    "c1cc2cc([*:1])ccc2cc1[*:2]",
    "c1cc2c(cc1[*:1])OCC(=O)N2[*:2]",
)
GROUPS = (
    "C",
    "CC",
    "C(C)C",
    "C(=O)O",
    "C(=O)N",
    "C(=O)NC",
    "C(=O)OCC",
    "C(F)(F)F",
    "CO",
    "CN(C)C",
    "CC#N",
    "CCO",
    "CC(=O)NC",
    "S(=O)(=O)N",
    "c1ccccc1",
    "c1ccncc1",
    "Cc1ccc(F)cc1",
    "C(=O)Nc1ccc(Cl)cc1",
    "C(=O)N1CCOCC1",
    "C1CC1",
)


@functools.cache
def built_in_molecules() -> tuple[str, ...]:
    """Canonical SMILES, each molecule once, in the order of the rules."""
    chem = rdkit()

    def made(ring: str, first: str, second: str) -> str:
        parts = chem.MolFromSmiles(f"{ring}.[*:1]{first}.[*:2]{second}")
        return str(chem.MolToSmiles(chem.molzip(parts)))

    # Rings that are alike from both places give a molecule twice.
    found = itertools.starmap(made, itertools.product(RINGS, GROUPS, GROUPS))
    return tuple(dict.fromkeys(found))
