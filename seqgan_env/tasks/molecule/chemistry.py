"""What chemistry says of one molecule: functions of its SMILES, by RDKit.

Every property is a function of a SMILES and perhaps of more texts, and None where the SMILES is no
molecule. They stand in `PROPERTIES` by name, so that other processes can be asked for them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from seqgan_env.extras import load

# Of the KL score of GuacaMol (Brown et al. 2019): continuous ones, then whole numbers.
CONTINUOUS = ("BertzCT", "MolLogP", "MolWt", "TPSA")
WHOLE = (
    "NumHAcceptors",
    "NumHDonors",
    "NumRotatableBonds",
    "NumAliphaticRings",
    "NumAromaticRings",
)


@functools.cache
def rdkit(module: str = "Chem") -> Any:
    """A module of RDKit, which says nothing of what it cannot read.

    Raises:
        ValueError: it is not installed; the message names the extra.
    """
    load("rdkit.RDLogger", "a molecule").DisableLog("rdApp.*")
    return load(f"rdkit.{module}", "a molecule")


@functools.lru_cache(maxsize=10_000)
def molecule(smiles: str) -> Any:
    """RDKit's molecule; None where the text is none, or has no atom."""
    found = None
    if smiles:
        found = rdkit().MolFromSmiles(smiles)
    if found is not None and found.GetNumAtoms():
        return found
    return None


def canonical(smiles: str) -> str | None:
    """The one SMILES of a molecule, stereochemistry included."""
    found = molecule(smiles)
    if found is None:
        return None
    return str(rdkit().MolToSmiles(found))


def scaffold(smiles: str) -> str | None:
    """SMILES of the ring systems and what joins them (Bemis & Murcko 1996); "" without rings."""
    found = molecule(smiles)
    if found is None:
        return None
    return str(rdkit("Chem.Scaffolds.MurckoScaffold").MurckoScaffoldSmiles(mol=found))


def qed(smiles: str) -> float | None:
    """Quantitative estimate of drug-likeness, 0 to 1 (Bickerton et al. 2012)."""
    found = molecule(smiles)
    if found is None:
        return None
    return float(rdkit("Chem.QED").qed(found))


def log_p(smiles: str) -> float | None:
    """Octanol-water partition, as a logarithm (Wildman & Crippen 1999)."""
    found = molecule(smiles)
    if found is None:
        return None
    return float(rdkit("Chem.Crippen").MolLogP(found))


def accessibility(smiles: str) -> float | None:
    """How hard it is to make, 1 (easy) to 10 (Ertl & Schuffenhauer 2009)."""
    found = molecule(smiles)
    if found is None:
        return None
    return float(rdkit("Contrib.SA_Score.sascorer").calculateScore(found))


def weight(smiles: str) -> float | None:
    """Mean molecular weight, in g/mol."""
    found = molecule(smiles)
    if found is None:
        return None
    return float(rdkit("Chem.Descriptors").MolWt(found))


def penalised_log_p(smiles: str) -> float | None:
    """log P less the accessibility and the atoms beyond six of the largest ring (Gomez-Bombarelli
    et al. 2018), without the normalisation by a data set.
    """
    found = molecule(smiles)
    if found is None:
        return None
    largest = max(map(len, found.GetRingInfo().AtomRings()), default=0)
    partition, hard = log_p(smiles), accessibility(smiles)
    assert partition is not None
    assert hard is not None
    return partition - hard - max(0, largest - 6)


def tanimoto(smiles: str, target: str) -> float | None:
    """Likeness to a target, 0 to 1: Tanimoto's of the counts of circular substructures of radius 2
    (ECFP4, Rogers & Hahn 2010).
    """
    found, sought = molecule(smiles), molecule(target)
    if found is None or sought is None:
        return None
    counts = _generator().GetSparseCountFingerprint
    return float(rdkit("DataStructs").TanimotoSimilarity(counts(found), counts(sought)))


def bits(smiles: str) -> str | None:
    """The fingerprint that MOSES compares molecules by: 1,024 characters "0" and "1".

    The circular substructures of `tanimoto`, folded into so many bits.
    """
    found = molecule(smiles)
    if found is None:
        return None
    return str(_generator().GetFingerprint(found).ToBitString())


def descriptors(smiles: str) -> list[float] | None:
    """The values of RDKit's descriptors `CONTINUOUS` and `WHOLE`, in this order."""
    found = molecule(smiles)
    if found is None:
        return None
    module = rdkit("Chem.Descriptors")
    values = []
    for name in (*CONTINUOUS, *WHOLE):
        values.append(float(getattr(module, name)(found)))
    return values


@functools.cache
def _generator() -> Any:
    return rdkit("Chem.rdFingerprintGenerator").GetMorganGenerator(radius=2, fpSize=1024)


PROPERTIES: Mapping[str, Callable[..., Any]] = {
    "canonical": canonical,
    "scaffold": scaffold,
    "qed": qed,
    "log_p": log_p,
    "accessibility": accessibility,
    "weight": weight,
    "penalised_log_p": penalised_log_p,
    "tanimoto": tanimoto,
    "bits": bits,
    "descriptors": descriptors,
}
