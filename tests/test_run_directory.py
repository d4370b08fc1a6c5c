import json
from pathlib import Path

import pytest
import torch

from seqgan_env.training import run_directory


def test_an_existing_run_is_kept_unless_forced(tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    with run_directory.created(run):
        run_directory.write_json(run / "config.json", {"x": 1})
    with (
        pytest.raises(
            ValueError,
            match=r"run exists; choose another .*--resume .*, or overwrite it with --force",
        ),
        run_directory.created(run),
    ):
        pass
    assert run_directory.read_json(run / "config.json") == {"x": 1}
    with run_directory.created(run, force=True):
        assert [entry.name for entry in run.iterdir()] == [run_directory.LOCK]


def test_what_is_no_run_is_never_removed_even_when_forced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(ValueError, match="is not a run directory"),
        run_directory.created(tmp_path, force=True),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(ValueError, match="cannot be written"), run_directory.created(path):
            pass


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    run_directory.write_json(path, {"x": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        run_directory.write_atomically(path, fail)
    assert run_directory.read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["{", "[1]", "\0"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"result.json is damaged"):
        run_directory.read_json(tmp_path / "result.json")
    with pytest.raises(ValueError, match=r"missing.json cannot be read"):
        run_directory.read_json(tmp_path / "missing.json")


def test_weights_survive_and_damage_is_told(tmp_path: Path) -> None:
    state = {"a": torch.randn(3, 2), "b": torch.arange(4)}
    run_directory.write_weights(tmp_path / "w.safetensors", state)
    back = run_directory.read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    data = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(data[:-3])
    with pytest.raises(ValueError, match=r"w.safetensors is missing or damaged"):
        run_directory.read_weights(tmp_path / "w.safetensors")


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    run_directory.write_json(tmp_path / "r.json", {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": None, "b": [None, 1.0]}


def test_rows_with_different_keys_make_one_table(tmp_path: Path) -> None:
    run_directory.write_csv(tmp_path / "m.csv", [{"a": 1.0}, {"b": 2.0, "a": 3.0}])
    assert (tmp_path / "m.csv").read_text().split() == ["a,b", "1.0,", "3.0,2.0"]
