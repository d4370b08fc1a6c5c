"""The peptide task: its formulae against values of other programs, and what becomes of a FASTA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqgan_env.rewards.sources import make_source
from seqgan_env.tasks import infer_task, make_task
from seqgan_env.tasks.peptide.task import (
    charges,
    helical_moments,
    hydrophobicities,
    instabilities,
    read_fasta,
)
from seqgan_env.testing import check_scorer, check_task

from .conftest import random_model

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"


@pytest.fixture(scope="module")
def task() -> Any:
    return make_task("peptide", num_eval=50)


def tokens(task: Any, *texts: str) -> np.ndarray:
    found: np.ndarray = torch.stack([task.encode(text) for text in texts]).numpy()
    return found


def test_the_formulae_give_what_other_programs_give(task: Any) -> None:
    """The first and the last index by Biopython 1.85 and ExPASy, charge and GRAVY by Biopython."""
    both = tokens(task, MAGAININ, "QWGRRCCGWGPGRRYCVRWC")
    assert instabilities(both) == pytest.approx([-0.104348, 83.68], abs=1e-5)
    assert hydrophobicities(both)[0] == pytest.approx(0.0826087, abs=1e-6)
    assert charges(both)[0] == pytest.approx(2.846090, abs=1e-5)


def test_the_moment_of_one_residue_is_its_hydrophobicity(task: Any) -> None:
    assert helical_moments(tokens(task, "I", "R")) == pytest.approx([1.38, 2.53])


def test_a_greasy_side_has_a_larger_moment_than_a_greasy_end(task: Any) -> None:
    side, end = helical_moments(tokens(task, "LKKLLKKLKKLLKKL", "LLLLLLLKKKKKKKK"))
    assert side > 2 * end


def test_the_length_beyond_the_end_changes_nothing(task: Any) -> None:
    longer: Any = make_task("peptide", num_eval=50, max_length=60)
    for formula in (charges, helical_moments, hydrophobicities, instabilities):
        short, long = formula(tokens(task, MAGAININ)), formula(tokens(longer, MAGAININ))
        assert short == pytest.approx(long)


def test_a_fasta_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "some.fasta"
    path.write_text(">a first\nACDE\nfghi*\n>b\n\nACX\n>c\nKKLL\n>d\nLLKK\n>e\nLLK\n")
    assert read_fasta(str(path)) == ["ACDEFGHI", "ACX", "KKLL", "LLKK", "LLK"]
    assert infer_task({"corpus": str(path)}) == "peptide"
    shares = {"validation_share": 0.3, "held_out_share": 0.3}
    found: Any = make_task("peptide", corpus=str(path), **shares)
    assert "left out 1 with other letters" in found.summary
    path.write_text("ACDE\n")
    with pytest.raises(ValueError, match="line 1: 'ACDE' stands before any heading"):
        make_task("peptide", corpus=str(path))
    path.write_text(">a\nACDEX\n")
    with pytest.raises(ValueError, match="no peptide to use among 1: 1 with other letters"):
        make_task("peptide", corpus=str(path))


def test_other_letters_are_refused(task: Any) -> None:
    with pytest.raises(ValueError, match="has the letter 'X'"):
        task.encode("ACX")


@pytest.mark.parametrize("name", ["hydrophobicity", "charge", "stability", "helical_moment"])
def test_sources_pass_the_checker(task: Any, name: str) -> None:
    source: Any = make_source(name, task, random_model(task.spec))
    check_scorer(source, task.spec)
    oracle = make_task("oracle-tiny", num_real=5, num_held_out=5)
    with pytest.raises(ValueError, match=f"source '{name}' needs a task of peptides"):
        make_source(name, oracle, random_model(oracle.spec))


def test_held_out_peptides_are_at_no_distance_from_themselves(task: Any) -> None:
    found = task.measure(task.held_out)
    assert found["wasserstein_charge"] == 0
    assert task.measure(task.validation)["wasserstein_charge"] > 0


@pytest.mark.slow
def test_it_passes_the_checker() -> None:
    check_task(make_task("peptide", num_eval=50))


def test_the_environment_has_an_id() -> None:
    envs = gym.make_vec("SeqGAN/Peptide-v0", num_envs=2, source="helical_moment", num_rollouts=1)
    envs.reset(seed=0)
    assert np.isfinite(envs.step(envs.action_space.sample())[1]).all()
