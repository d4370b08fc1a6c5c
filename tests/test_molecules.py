"""The molecule task: what becomes of a file, what chemistry says, and what the sources pay."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqgan_env.bench.report import drawings_of
from seqgan_env.cli.main import main
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.rewards.sources import make_source
from seqgan_env.tasks import infer_task, make_task
from seqgan_env.testing import check_scorer, check_task
from seqgan_env.types import DrawsPictures, TokenSpec, WritesFiles

from .conftest import needs_data, random_model, rng

pytest.importorskip("rdkit", reason="rdkit is not installed (extra molecules)")
pytest.importorskip("selfies", reason="selfies is not installed (extra molecules)")

from seqgan_env.metrics.molecules import internal_diversity, similarities, spread
from seqgan_env.tasks.molecule.chemistry import PROPERTIES, canonical
from seqgan_env.tasks.molecule.fragments import built_in_molecules
from seqgan_env.tasks.molecule.notation import from_selfies, to_selfies, tokens_of
from seqgan_env.tasks.molecule.settings import CELECOXIB
from seqgan_env.tasks.molecule.table import PropertyTable
from seqgan_env.tasks.molecule.task import MoleculeTask

LINES = ["CCO", "OCC", "c1ccccc1", "CC(=O)O", "C[NH3+]", "CCN", "CCBr", "not", "CCCCCCCCC", "C1CC1"]
SOURCES = ["validity", "qed", "penalised_logp", "accessibility", "similarity", "rediscovery"]


def file_of(folder: Path, lines: list[str], name: str = "some.smi") -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def small(folder: Path, **changes: Any) -> MoleculeTask:
    lines = list(built_in_molecules()[:60:2])
    task = make_task("molecule", corpus=file_of(folder, lines), num_eval=20, **changes)
    assert isinstance(task, MoleculeTask)
    return task


def rows(task: MoleculeTask, *texts: str) -> torch.Tensor:
    return torch.stack([task.encode(text) for text in texts])


# ---- notation ----


def test_the_tokens_of_smiles_are_whole_atoms_and_ring_closures() -> None:
    text = "C[C@@H](Br)c1cc%12[nH]c1.[Na+]"
    assert tokens_of(text, "smiles") == (
        *("C", "[C@@H]", "(", "Br", ")", "c", "1", "c", "c", "%12", "[nH]", "c", "1", "."),
        "[Na+]",
    )
    with pytest.raises(ValueError, match="is no SMILES from 'x!' on"):
        tokens_of("CCx!", "smiles")


def test_selfies_stand_for_the_same_molecule() -> None:
    for smiles in built_in_molecules()[::500]:
        text = to_selfies(smiles)
        assert text is not None
        assert "".join(tokens_of(text, "selfies")) == text
        assert canonical(from_selfies(text)) == canonical(smiles)


# ---- the task ----


def test_a_molecule_counts_once_under_whatever_text(tmp_path: Path) -> None:
    shares = {"validation_share": 0.2, "held_out_share": 0.2}
    task = make_task("molecule", corpus=file_of(tmp_path, LINES), max_length=9, **shares)
    assert isinstance(task, MoleculeTask)
    assert task.summary.dropped == {"no molecule": 1, "there already": 1, "too long": 1}
    parts = (task.real_sequences, task.validation, task.held_out)
    found = [text for part in parts for text in task.smiles(part)]
    assert sorted(found) == sorted(set(LINES) - {"OCC", "not", "CCCCCCCCC"})


def test_the_same_file_and_settings_are_the_same_task(tmp_path: Path) -> None:
    one, two = small(tmp_path), small(tmp_path)
    assert one.fingerprint == two.fingerprint
    assert torch.equal(one.real_sequences, two.real_sequences)
    assert small(tmp_path, split_seed=1).fingerprint != one.fingerprint


def test_a_table_is_read_by_its_heading(tmp_path: Path) -> None:
    table = ["id,SMILES,other"] + [f"{i},{text},C" for i, text in enumerate(LINES)]
    path = file_of(tmp_path, table, "some.csv")
    shares = {"validation_share": 0.2, "held_out_share": 0.2}
    assert make_task("molecule", corpus=path, **shares).summary.lines == len(LINES)  # type: ignore[attr-defined]
    compressed = tmp_path / "some.csv.gz"
    compressed.write_bytes(gzip.compress(Path(path).read_bytes()))
    found = make_task("molecule", corpus=str(compressed), column="SMILES", **shares)
    assert found.summary.lines == len(LINES)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"column of .*'SMILE'.*SMILES"):
        make_task("molecule", corpus=path, column="SMILE")
    other = file_of(tmp_path, ["id,text", "1,C"], "other.csv")
    with pytest.raises(ValueError, match="has the columns id, text; say which"):
        make_task("molecule", corpus=other)


def test_bad_files_and_settings_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no molecule to use \(2 no molecule"):
        make_task("molecule", corpus=file_of(tmp_path, ["xyz", "((("]))
    with pytest.raises(ValueError, match="target 'x' is no molecule"):
        make_task("molecule", target="x")
    with pytest.raises(ValueError, match="diversity_filter is 0; allowed is 1 or more"):
        make_task("molecule", diversity_filter=0)
    with pytest.raises(ValueError, match="has the token"):
        small(tmp_path).encode("[Zn]")


def test_the_task_is_inferred_from_the_name_of_a_file(tmp_path: Path) -> None:
    assert infer_task({"corpus": file_of(tmp_path, LINES)}) == "molecule"


@pytest.mark.slow
@pytest.mark.parametrize("notation", ["smiles", "selfies"])
def test_it_passes_the_checker_in_both_notations(notation: str) -> None:
    check_task(make_task("molecule", notation=notation, num_eval=50, max_molecules=200))


def test_every_sequence_of_selfies_is_a_molecule(tmp_path: Path) -> None:
    task = small(tmp_path, notation="selfies")
    drawn = random_model(task.spec).complete(
        torch.full((20, task.spec.seq_len), task.spec.pad_token), torch.zeros(20).long(), rng()
    )
    assert make_source("validity", task, random_model(task.spec)).score(drawn).min() == 1  # type: ignore[union-attr]


def test_the_environment_has_an_id(tmp_path: Path) -> None:
    envs = gym.make_vec(
        "SeqGAN/Molecule-v0",
        num_envs=2,
        corpus=file_of(tmp_path, list(built_in_molecules()[:40])),
        source="0.5 * discriminator + 0.5 * qed",
        num_rollouts=1,
    )
    envs.reset(seed=0)
    assert np.isfinite(envs.step(envs.action_space.sample())[1]).all()


def test_without_rdkit_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seqgan_env.tasks.molecule import chemistry

    chemistry.rdkit.cache_clear()
    chemistry.molecule.cache_clear()
    monkeypatch.setitem(sys.modules, "rdkit.RDLogger", None)
    assert main(["train", "--task", "molecule"]) == 2
    told = capsys.readouterr().err
    assert "pip install 'seqgan-env[molecules]'" in told
    assert len(told.splitlines()) == 1


# ---- chemistry ----


def test_properties_are_those_that_are_known() -> None:
    assert PROPERTIES["weight"]("O") == pytest.approx(18.015, abs=1e-3)
    assert PROPERTIES["scaffold"]("CCc1ccccc1") == "c1ccccc1"
    assert PROPERTIES["tanimoto"](CELECOXIB, CELECOXIB) == 1
    rings = PROPERTIES["penalised_log_p"]("C1CCCCCCC1")  # two atoms beyond six
    plain = PROPERTIES["log_p"]("C1CCCCCCC1") - PROPERTIES["accessibility"]("C1CCCCCCC1")
    assert rings == pytest.approx(plain - 2)
    for name, each in PROPERTIES.items():
        assert each("C((", *["C"] * (name == "tanimoto")) is None, name
        assert each("", *["C"] * (name == "tanimoto")) is None, name


def test_processes_and_the_cache_change_no_value() -> None:
    texts = [*built_in_molecules()[:500], "C((", "CCO"]
    threads = torch.get_num_threads()
    try:
        found = []
        for num in (1, 2):
            torch.set_num_threads(num)
            table = PropertyTable()
            found.append(table.values("log_p", texts))
            assert len(table._workers) == (0 if num == 1 else 2)
            assert table.values("log_p", texts[::-1]) == found[-1][::-1]
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


# ---- sources ----


@pytest.mark.parametrize("name", SOURCES)
def test_sources_pass_the_checker_and_pay_the_invalid_least(name: str, tmp_path: Path) -> None:
    task = small(tmp_path)
    source: Any = make_source(name, task, random_model(task.spec))
    check_scorer(source, task.spec)
    scores = source.score(rows(task, "Cc1ccc(C)cc1", "C((", "c1ccccc1"))
    assert scores[1] == scores.min()
    assert scores[0] > scores[1]


def test_sources_say_which_task_they_need() -> None:
    task = make_task("oracle-tiny", num_real=5, num_held_out=5)
    for name in (*SOURCES, "uniqueness"):
        with pytest.raises(ValueError, match=f"source '{name}' needs a task of molecules"):
            make_source(name, task, random_model(task.spec))


def test_similarity_pays_no_more_than_for_the_target(tmp_path: Path) -> None:
    task = small(tmp_path, target="Cc1ccc(C)cc1")
    tokens = rows(task, "Cc1ccc(C)cc1", "c1cc(C)ccc1C", "C")
    policy = random_model(task.spec)
    seek: Any = make_source("rediscovery", task, policy)
    like: Any = make_source("similarity", task, policy)
    assert seek.score(tokens)[:2].tolist() == [1, 1]
    assert like.score(tokens)[:2].tolist() == [1, 1]
    assert torch.allclose(like.score(tokens)[2], seek.score(tokens)[2] / 0.7)


def test_uniqueness_is_divided_by_the_copies_that_the_policy_will_write(tmp_path: Path) -> None:
    task = small(tmp_path)
    tokens = rows(task, "C", "Cc1ccc(C)cc1", "C((")

    class Twice:
        """Every second sequence is the first."""

        def complete(self, tokens: Any, lengths: Any, rng: Any) -> Any:
            return tokens

        def log_prob(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.5, 1e-9, 0.5]).log()

    source: Any = make_source("uniqueness", task, Twice())
    assert torch.allclose(
        source.score(tokens), torch.tensor([1 / (1 + 999 / 2), 1.0, 0.0]), atol=1e-5
    )


def test_the_diversity_filter_pays_a_scaffold_so_often_and_is_resumed(tmp_path: Path) -> None:
    task = small(tmp_path, diversity_filter=2)
    same = rows(task, "Cc1ccc(C)cc1", "c1ccccc1", "CCc1ccccc1")
    policy = random_model(task.spec)
    model = RewardModel(task, RewardSettings(source="validity"), policy)
    (_, source), = model.sources  # fmt: skip
    assert source.score(same).tolist() == [1, 1, 0]  # type: ignore[union-attr]
    again = RewardModel(task, RewardSettings(source="validity"), policy)
    again.load_state_dict(json.loads(json.dumps(model.state_dict())))
    (_, other), = again.sources  # fmt: skip
    assert other.score(same[:1]).tolist() == [0]  # type: ignore[union-attr]
    assert other.score(rows(task, "C")).tolist() == [1]  # type: ignore[union-attr]


# ---- metrics ----


def test_similarities_and_diversity_are_those_counted_by_hand() -> None:
    bits = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float32)
    expected = np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    assert np.allclose(similarities(bits), expected)
    assert internal_diversity(bits) == pytest.approx(1 - (3 + 2 / 3) / 9)
    assert internal_diversity(np.zeros((0, 1))) == 0


def test_metrics_of_a_known_set_are_those_counted_by_hand(tmp_path: Path) -> None:
    task = small(tmp_path)
    known = task.smiles(task.real_sequences[:1])[0]
    tokens = rows(task, known, known, "c1ccccc1", "C((", "CCC")
    found = task.measure(tokens)
    assert found["validity"] == 4 / 5
    assert found["uniqueness"] == 3 / 4
    assert found["novelty"] == 2 / 3
    assert found["scaffolds"] == 2
    assert task.measure(task.held_out)["kl_score"] == pytest.approx(1)
    assert task.measure(task.held_out)["wasserstein_qed"] == 0


def test_what_is_measured_of_a_sorted_file_is_spread_over_it() -> None:
    rows = np.arange(10)[:, None]
    assert spread(rows, 4)[:, 0].tolist() == [0, 3, 6, 9]
    assert spread(rows, 20).tolist() == rows.tolist()


def test_without_a_molecule_the_metrics_say_so(tmp_path: Path) -> None:
    task = small(tmp_path)
    found = task.measure(rows(task, "C((", "(", "C("))
    assert found["validity"] == found["uniqueness"] == found["novelty"] == found["kl_score"] == 0
    assert not [name for name in found if name.startswith("wasserstein") or name == "qed_mean"]


def test_every_metric_has_an_interval_around_it(tmp_path: Path) -> None:
    task = small(tmp_path)
    model = random_model(task.spec, scale=0.0)
    for name, estimate in task.estimates(model, rng()).items():
        if np.isfinite(estimate.value):
            assert estimate.low <= estimate.value + 1e-9, name
            assert estimate.high >= estimate.value - 1e-9, name


# ---- pictures ----


def test_a_run_has_the_pictures_and_the_report_the_drawing(tmp_path: Path) -> None:
    task = small(tmp_path)
    assert isinstance(task, DrawsPictures)
    assert isinstance(task, WritesFiles)
    task.write_samples(task.held_out, tmp_path / "out")
    for name in ("molecules.png", "properties.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "molecules.smi").read_text().split() == task.smiles(task.held_out)
    drawing = task.drawing(["CCO", "C(("])
    assert "<svg" in drawing

    run = SimpleNamespace(result=SimpleNamespace(drawing=drawing))
    standings: Any = SimpleNamespace(runs={("row", "molecule"): [run]})
    (image,) = drawings_of(standings).values()
    assert image.startswith("data:image/svg+xml;base64,")


# ---- real data ----


@pytest.mark.slow
def test_molecules_of_zinc_are_read_and_come_back() -> None:
    path = needs_data("molecules/zinc_30k.smi")
    task: Any = make_task("molecule", corpus=str(path), max_molecules=2_000)
    lines = set(path.read_text().split())
    texts = task.smiles(task.real_sequences)
    assert set(texts) <= lines
    assert torch.equal(rows(task, *texts[:100]), task.real_sequences[:100])
    assert isinstance(task.spec, TokenSpec)
