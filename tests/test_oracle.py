import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.tasks import make_task
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask

from .conftest import TINY, needs_data, rng


def test_an_oracle_seed_means_the_same_oracle_on_every_machine() -> None:
    weights = OracleTask(OracleSettings(num_real=1, num_held_out=1)).oracle.state_dict()
    assert weights["embedding.weight"][0, :3].tolist() == pytest.approx(
        [0.12573022, -0.13210486, 0.64042264]
    )
    assert weights["output.bias"][-2:].tolist() == pytest.approx([1.57603490, 0.74997628])
    assert not np.allclose(
        weights["output.bias"],
        OracleTask(OracleSettings(oracle_seed=1, num_real=1)).oracle.state_dict()["output.bias"],
    )


def test_data_sets_are_disjoint_draws_and_changing_one_size_changes_no_other() -> None:
    small = make_task("oracle-tiny", num_real=100, num_validation=50, num_held_out=50)
    large = make_task("oracle-tiny", num_real=200, num_validation=50, num_held_out=50)
    assert torch.equal(large.real_sequences[:100], small.real_sequences)
    assert torch.equal(large.held_out, small.held_out)
    rows = [
        set(map(tuple, data.tolist()))
        for data in (small.real_sequences, small.validation, small.held_out)
    ]
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]


def test_real_data_are_drawn_without_repeats_while_they_last_and_fresh_ones_are_new() -> None:
    task = make_task("oracle-tiny", num_real=100, num_held_out=10)
    drawn = task.draw_real(250, rng())
    counts = torch.tensor([int((drawn == row).all(1).sum()) for row in task.real_sequences])
    assert set(counts.tolist()) == {2, 3}
    fresh = make_task("oracle-tiny", num_real=100, num_held_out=10, fresh=True).draw_real(
        250, rng()
    )
    known = set(map(tuple, task.real_sequences.tolist()))
    assert not any(tuple(row) in known for row in fresh.tolist())


def test_an_oracle_with_saved_weights_is_the_oracle(tmp_path: Path) -> None:
    task = OracleTask(TINY)
    state = {name: p for name, p in task.oracle.state_dict().items() if name != "lstm.bias_hh_l0"}
    save_file(state, tmp_path / "oracle.safetensors")
    again = OracleTask(
        OracleSettings(
            **{**TINY.__dict__, "weights": str(tmp_path / "oracle.safetensors"), "oracle_seed": 9}
        )
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(task.oracle.parameters(), again.oracle.parameters(), strict=True)
    )


@pytest.mark.slow
def test_the_released_oracle_scores_as_published() -> None:
    task = make_task(
        "oracle-paper",
        weights=str(needs_data("oracle/target_params_py3.pkl")),
        num_real=100,
        num_held_out=5000,
    )
    assert isinstance(task, OracleTask)
    assert nll_per_token(task.oracle, task.spec, task.held_out) == pytest.approx(5.76, abs=0.02)
    uniform = torch.randint(5000, (5000, 20), generator=rng())
    assert nll_per_token(task.oracle, task.spec, uniform) == pytest.approx(11.43, abs=0.02)


def test_released_weights_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"embedding.weight has shape \(5000, 32\); this task needs \(50, 32\)"
    ):
        make_task("oracle-tiny", weights=str(needs_data("oracle/target_params_py3.pkl")))


class Malicious:
    """Unpickled carelessly, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(Malicious(tmp_path / "broken_in")))
    with pytest.raises(ValueError, match=r"asks for \w+.mkdir; only NumPy arrays are allowed"):
        make_task("oracle-tiny", weights=str(tmp_path / "weights.pkl"))
    assert not (tmp_path / "broken_in").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2, 3]),
        pickle.dumps({"a": 1}),
        pickle.dumps(list(range(15))),
    ],
)
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_damaged_weights_are_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=str(path)):
        make_task("oracle-tiny", weights=str(path))


def test_a_truncated_pickle_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps([np.zeros(3)] * 15)
    (tmp_path / "cut.pkl").write_bytes(whole[: len(whole) // 2])
    for name in ("cut.pkl", "missing.pkl", "missing.safetensors", "."):
        with pytest.raises(ValueError, match="weights file"):
            make_task("oracle-tiny", weights=str(tmp_path / name))


def test_weights_that_are_not_finite_or_not_numbers_are_refused(tmp_path: Path) -> None:
    parameters = {
        n: p.clone()
        for n, p in OracleTask(TINY).oracle.named_parameters()
        if n != "lstm.bias_hh_l0"
    }
    parameters["output.bias"][1] = float("nan")
    save_file(parameters, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"output\.bias holds numbers that are not finite"):
        OracleTask(
            OracleSettings(**{**TINY.__dict__, "weights": str(tmp_path / "nan.safetensors")})
        )
    (tmp_path / "text.pkl").write_bytes(pickle.dumps([np.array(["a"])] * 15))
    with pytest.raises(ValueError, match=r"text.pkl"):
        make_task("oracle-tiny", weights=str(tmp_path / "text.pkl"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_real": 0}, "num_real is 0"), ({"seqlen": 3}, "Did you mean 'seq_len'")],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task("oracle-tiny", **settings)


def test_an_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'oracle-tiny'"):
        make_task("oracle-tinny")
