"""Trackers: what a run tells them, and that none of them can hurt it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.reinforce import Reinforce
from seqgan_env import registry
from seqgan_env.cli.main import main
from seqgan_env.metrics.catalogue import METRICS
from seqgan_env.testing import check_tracker
from seqgan_env.tracking.base import Tracking, make_trackers, markdown, result_table
from seqgan_env.training import run_directory

TINY = [
    *("train", "--mle-epochs", "2", "--rounds", "3", "--eval-every", "3", "--num-negatives", "60"),
    *("--batch-size", "8", "--num-rollouts", "1", "--no-knobs", "--no-control", "--threads", "1"),
]
METRICS_TOLD = {"agent/policy_loss", "task/kl_mean", "pretrain/nll_validation"}


class Notes:
    """Keeps what it is told in a file of the run's folder, one line of JSON a call."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "notes.jsonl"

    def _note(self, *told: object) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(told) + "\n")

    def begin(self, config: Mapping[str, Any]) -> None:
        self._note("begin", dict(config))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._note("log", step, dict(metrics))

    def end(self, status: str) -> None:
        self._note("end", status)


class Fails(Notes):
    """Has no room left from round 2 on."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == 2:
            raise OSError(28, "No space left on device")
        super().log(step, metrics)


class NeverBegins(Notes):
    """Has no network."""

    def begin(self, config: Mapping[str, Any]) -> None:
        raise ConnectionError("no route to host")


def notes_of(run: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (run / "notes.jsonl").read_text().splitlines()]


def rows_of(run: Path) -> list[tuple[int, set[str]]]:
    return [(note[1], set(note[2])) for note in notes_of(run) if note[0] == "log"]


def test_a_run_tells_epochs_rounds_and_its_result(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*TINY, "--track", f"{__name__}:Notes", "--out", str(run)]) == 0
    notes = notes_of(run)
    config = run_directory.read_json(run / "config.json")
    assert notes[0] == ["begin", config]
    assert config["trackers"] == [f"{__name__}:Notes"]
    assert notes[-1] == ["end", "finished"]
    rows = rows_of(run)
    assert [step for step, _ in rows] == [1, 2, 0, 1, 2, 3, 3]
    assert set().union(*(names for _, names in rows)) >= METRICS_TOLD
    assert all(name.startswith("pretrain/") for _, names in rows[:2] for name in names)
    result = run_directory.read_json(run / "result.json")
    _, _, told = notes[-2]
    for who in ("mle", "agent"):
        known = {name for name in result[who] if name in METRICS and METRICS[name].in_table}
        assert {f"result/{who}/{name}" for name in known} <= set(told)
        assert told[f"result/{who}/kl_mean"] == result[who]["kl_mean"]
    assert not (run / "tensorboard").exists()


@pytest.mark.parametrize("broken", [Fails, NeverBegins])
def test_a_tracker_that_fails_is_told_of_once_and_ends_nothing(
    broken: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{__name__}:{broken.__name__}", "tensorboard"]
    run = tmp_path / "run"
    assert main([*TINY, "--track", names[0], "--track", names[1], "--out", str(run)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "tracker" in line]
    assert len(warnings) == 1
    assert f"tracker {names[0]} has failed (" in warnings[0]
    assert warnings[0].endswith("the run goes on without it")
    assert notes_of(run)[-1] == ["end", "failed"]
    assert run_directory.is_finished(run)
    tags = EventAccumulator(str(run / "tensorboard")).Reload().Tags()
    assert set(tags["scalars"]) >= METRICS_TOLD


def test_a_resumed_run_keeps_its_trackers_and_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, name = tmp_path / "run", f"{__name__}:Notes"
    update, calls = Reinforce.update, iter(range(9))

    def dies(agent: Reinforce) -> dict[str, float]:
        if next(calls) == 1:
            raise MemoryError
        return update(agent)

    with monkeypatch.context() as patched:
        patched.setattr(Reinforce, "update", dies)
        with pytest.raises(MemoryError):
            main([*TINY, "--track", name, "--out", str(run)])
    assert notes_of(run)[-1] == ["end", "failed"]
    assert main(["train", "--resume", str(run)]) == 2
    assert "names code that is neither built in nor installed" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--track", "tensorboard"]) == 2
    assert "track cannot be given with --resume" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--trust-name", name]) == 0
    begun = [note[1] for note in notes_of(run) if note[0] == "begin"]
    assert len(begun) == 2
    assert begun[0] == begun[1]
    assert {1, 2, 3} <= {step for step, _ in rows_of(run)}
    assert notes_of(run)[-1] == ["end", "finished"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wanbd", "unknown tracker 'wanbd'; allowed are tensorboard, wandb, mlflow"),
        ("seqgan_env.types:TokenSpec", "lacks begin and log and end; a tracker needs begin"),
        (f"{__name__}:TINY", "lacks begin and log and end"),
    ],
)
def test_what_is_no_tracker_is_told_before_the_run(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--track", name, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("library", ["wandb", "mlflow", "tensorboard"])
def test_a_library_that_is_missing_is_named_with_its_extra(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for module in [name for name in sys.modules if name.startswith("seqgan_env.tracking.")]:
        if not module.endswith("base"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(ValueError, match=rf"pip install 'seqgan-env\[{library}\]'"):
        make_trackers([library], tmp_path)


def test_the_checker_passes_what_is_a_tracker_and_says_what_is_wrong() -> None:
    check_tracker(Notes)
    with pytest.raises(AssertionError, match="No space left on device"):
        check_tracker(Fails)
    with pytest.raises(AssertionError, match="lacks begin and log and end"):
        check_tracker(Path)

    class Returns(Notes):
        def end(self, status: str) -> None:
            return status  # type: ignore[return-value]

    with pytest.raises(AssertionError, match="end returned 'interrupted'; expected None"):
        check_tracker(Returns)


def test_tensorboard_is_a_tracker() -> None:
    check_tracker(registry.TRACKERS.load("tensorboard"))


@pytest.mark.slow
def test_wandb_tells_a_run_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_tracker(registry.TRACKERS.load("wandb"), tmp_path / "checked")
    run = tmp_path / "run"
    assert main([*TINY, "--track", "wandb", "--out", str(run)]) == 0
    run_id = run_directory.read_json(run / "config.json")["run_id"]
    (told,) = run.glob(f"wandb/offline-run-*/run-{run_id}.wandb")
    content = told.read_bytes()
    for name in (*METRICS_TOLD, "result/agent/kl_mean", "result", "samples", "curves"):
        assert name.encode() in content, name


@pytest.mark.slow
def test_mlflow_goes_on_with_one_run_in_a_store_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_tracker(registry.TRACKERS.load("mlflow"), tmp_path)
    client = tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("seqgan-env").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["agent_options.learning_rate"] == "0.001"
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "agent/policy_loss")]
    assert steps == [1, 2, 2]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"samples.txt", "result.md", "picture.png"}


def test_the_table_of_a_result_has_the_labels_of_the_catalogue() -> None:
    rows = result_table({"mle": {"kl_mean": 0.5, "unknown": 1.0}, "agent": {"js": math.nan}})
    assert [row["metric"] for row in rows] == [METRICS[name].row for name in ("kl_mean", "js")]
    lines = markdown(rows).splitlines()
    assert lines[0] == "| metric | mle | agent |"
    assert lines[2] == "| mean of both KLs ↓ | 0.5 | nan |"


def test_rows_of_a_run_without_rounds_are_told_by_epoch(tmp_path: Path) -> None:
    tracking = Tracking({"notes": Notes(tmp_path)}, pytest.fail)
    tracking.log_row({"phase": 0.0, "epoch": 1.0, "loss": 2.0})
    tracking.show({}, "", [])
    tracking.end("interrupted")
    assert notes_of(tmp_path) == [
        ["log", 1, {"pretrain/loss": 2.0}],
        ["log", 0, {}],
        ["end", "interrupted"],
    ]
