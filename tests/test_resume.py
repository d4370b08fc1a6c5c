"""A run that was stopped anywhere goes on from its checkpoint and ends as if nothing had been."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.reinforce import Reinforce
from seqgan_env.cli.main import main
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training import checkpoint, run_directory
from seqgan_env.training.settings import settings_from
from seqgan_env.training.trainer import Run, Trainer, write_run
from seqgan_env.types import Resumable, RolloutPolicy

from .test_copies import assert_equal

SMALL: dict[str, Any] = {
    "task": "oracle-tiny",
    "num_negatives": 60,
    "batch_size": 8,
    "num_rollouts": 2,
    "mle_epochs": 3,
    "rounds": 4,
    "eval_every": 2,
    "d_pretrain_steps": 2,
    "d_pretrain_epochs": 1,
    "knobs": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "reinforce": {},
    "reinforce, all options": {
        "sync_rate": 0.7,
        "agent_options": {"baseline": "value", "kl_weight": 0.1, "entropy_weight": 0.01},
    },
    "reinforce, ratio": {"discriminator": "ratio", "discriminator_options": {"mle_epochs": 1}},
    "reinforce, noise": {"source": "noise"},
    "reinforce, mixed": {
        "agent_options": {
            "mle_weight": 0.3,
            "teacher_forcing_every": 2,
            "learning_rate_decay": 0.9,
            "warm_up_updates": 2,
        }
    },
    "actor_critic": {"agent": "actor_critic"},
    "sequence_ppo": {"agent": "sequence_ppo"},
    "distillation": {"agent": "distillation", "discriminator_options": {"mle_epochs": 1}},
    "ppo": {"agent": "ppo"},
    "recurrent_ppo": {"agent": "recurrent_ppo"},
    "trpo": {"agent": "trpo"},
    "dqn": {"agent": "dqn"},
    "qrdqn": {"agent": "qrdqn"},
    "scheduled sampling": {"agent": "scheduled_sampling"},
}
STOPS = [
    ("pre-train policy", 2),
    ("pre-train discriminator", 1),
    ("adversarial", 1),
    ("adversarial", 3),
    ("constant-reward control", 2),
]


class StopError(Exception):
    """The process dies here."""


def stopper(phase: str, at: int) -> Callable[[str, int, int, dict[str, float]], None]:
    def progress(now: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if (now, done) == (phase, at):
            raise StopError

    return progress


def everything(run: Run) -> dict[str, Any]:
    """What a run leaves, without what it took."""
    history = [
        {key: value for key, value in row.items() if not key.startswith("time/")}
        for row in run.history
    ]
    return {
        "history": history,
        "metrics": run.metrics,
        "knobs": run.knobs,
        "best_knob": run.best_knob,
        "score_error": run.score_error,
        "samples": run.samples,
    }


def assert_same(found: Run, expected: Run) -> None:
    assert str(everything(found)) == str(everything(expected))  # as text, for NaN is not NaN
    assert found.weights.keys() == expected.weights.keys()
    for name, state in expected.weights.items():
        for key, tensor in state.items():
            assert torch.equal(found.weights[name][key], tensor), (name, key)


def small(**changes: Any) -> Any:
    return settings_from("tiny", SMALL | changes)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "at"), STOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_anywhere_ends_bit_equal(
    kind: str, phase: str, at: int, tmp_path: Path
) -> None:
    settings = small(**KINDS[kind])
    expected = Trainer(settings)()
    stopped = Trainer(settings, stopper(phase, at), checkpoints=tmp_path)
    stopped.seconds_between, stopped.most_saving = 0.0, math.inf
    try:
        stopped()
    except StopError:
        pass
    else:
        pytest.skip(f"{kind} has no {phase} {at}")
    state = checkpoint.read_checkpoint(tmp_path)
    assert state is not None
    resumed = Trainer(settings)
    resumed.load_state_dict(state)
    assert_same(resumed(), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "at"), STOPS)
def test_a_run_that_was_asked_to_end_goes_on_bit_equal(phase: str, at: int, tmp_path: Path) -> None:
    settings = small()
    expected = Trainer(settings)()
    stop = stopper(phase, at)

    def asked(*progress: Any) -> None:
        try:
            stop(*progress)
        except StopError:
            raise KeyboardInterrupt from None

    stopped = Trainer(settings, asked, checkpoints=tmp_path)
    stopped.seconds_between, stopped.most_saving = 0.0, math.inf
    run = stopped()
    assert run.interrupted
    write_run(run, tmp_path)
    assert not run_directory.is_finished(tmp_path)
    state = checkpoint.read_checkpoint(tmp_path)
    assert state is not None
    resumed = Trainer(settings)
    resumed.load_state_dict(state)
    assert_same(resumed(), expected)


class Always:
    """A referee that thinks the same of every policy."""

    def of_policy(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        return {"referee_js": 0.2, "referee_js_validation": 0.2}


LITTLE = {"vocab_size": 6, "seq_len": 3, "num_real": 50, "num_held_out": 50, "num_eval": 50}
KNOWN = ("score", "score_forward", "score_reverse")


@pytest.mark.parametrize(
    ("phase", "at", "known"),
    [
        ("knobs of MLE", 1, ()),
        pytest.param("knobs of MLE", 0, (), marks=pytest.mark.slow),
        pytest.param("knobs of MLE", 30, (), marks=pytest.mark.slow),
        # All knobs are measured by then.
        pytest.param("referee on T 1.1", 0, KNOWN, marks=pytest.mark.slow),
        ("referee on T 0.9", 1, KNOWN),  # the referee has judged two or three
    ],
)
def test_a_part_of_the_knobs_scores_nobody(
    phase: str, at: int, known: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OracleTask, "referee", Always())
    settings = small(knobs=True, referee=True, control=False, rounds=1, task_options=LITTLE)
    expected = Trainer(settings)()
    num_knobs = len(expected.knobs)
    stop, asked = stopper(phase, at), 0

    def ask(*progress: Any) -> None:
        nonlocal asked
        try:
            stop(*progress)
        except StopError:
            asked += 1
            raise KeyboardInterrupt from None

    run = Trainer(settings, ask, checkpoints=tmp_path)()
    assert run.interrupted
    assert asked == 1
    assert len(run.knobs) == (num_knobs if known else 0)
    assert (run.best_knob is not None) == bool(known)
    found = {name for row in run.metrics.values() for name in row if "score" in name}
    assert found == set(known)
    judged = {name for row in run.knobs.values() for name in row if "referee" in name}
    assert not judged
    write_run(run, tmp_path)
    assert (tmp_path / run_directory.KNOBS).exists() == bool(known)

    state = checkpoint.read_checkpoint(tmp_path)
    assert state is not None
    resumed = Trainer(settings)
    resumed.load_state_dict(state)
    assert_same(resumed(), expected)


def test_checkpoints_become_rarer_where_they_are_dear(tmp_path: Path) -> None:
    trainer = Trainer(small(rounds=0, mle_epochs=1), checkpoints=tmp_path)
    trainer.seconds_between = 0.0
    trainer._save()
    assert trainer.run.seconds["checkpoints"] > 0
    before = (tmp_path / checkpoint.LAST).stat().st_mtime_ns
    trainer._save_if_due()  # a hundred times as long as saving takes has not gone by
    assert (tmp_path / checkpoint.LAST).stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_best_knob_is_the_same_after_the_policy_has_moved(tmp_path: Path) -> None:
    settings = small(knobs=True, control=False)
    expected = Trainer(settings)()
    stopped = Trainer(settings, stopper("adversarial", 3), checkpoints=tmp_path)
    stopped.seconds_between, stopped.most_saving = 0.0, math.inf
    with pytest.raises(StopError):
        stopped()
    state = checkpoint.read_checkpoint(tmp_path)
    assert state is not None
    resumed = Trainer(settings)
    resumed.load_state_dict(state)
    assert_same(resumed(), expected)


@pytest.mark.parametrize(
    "agent", ["reinforce", "ppo", "a2c", "maskable_ppo", "dqn", "sequence_ppo", "rank"]
)
def test_an_agent_goes_on_from_its_state_bit_by_bit(agent: str) -> None:
    settings = small(agent=agent)
    first, second = Trainer(settings), Trainer(settings)
    for trainer in (first, second):
        assert isinstance(trainer.agent, Resumable)
    first.agent.pretrain(first.task.real_sequences, 1)
    first.agent.update()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        again = [trainer.agent.update() for trainer in (first, second)]
        assert again[0] == again[1]


def test_a_state_does_not_follow_what_happens_later() -> None:
    trainer = Trainer(small())
    state = trainer.state_dict()
    before = str(state)
    trainer.agent.pretrain(trainer.task.real_sequences[:64], 1)
    trainer.agent.update()
    assert str(state) == before


@pytest.mark.parametrize(("phase", "at"), STOPS[:2])
def test_what_a_run_does_behind_a_state_does_not_change_it(
    phase: str, at: int, tmp_path: Path
) -> None:
    settings = small(rounds=1, control=False)
    stopped = Trainer(settings, stopper(phase, at), checkpoints=tmp_path)
    stopped.seconds_between, stopped.most_saving = 0.0, math.inf
    with pytest.raises(StopError):
        stopped()
    state = checkpoint.read_checkpoint(tmp_path)
    assert state is not None
    before = copy.deepcopy(state)
    resumed = Trainer(settings)
    resumed.load_state_dict(state)
    resumed()
    assert_equal(state, before)


def test_the_checkpoint_before_serves_where_the_last_one_is_damaged(tmp_path: Path) -> None:
    assert checkpoint.read_checkpoint(tmp_path) is None
    for number in (1, 2):
        checkpoint.write_checkpoint(tmp_path, {"number": number})
    assert checkpoint.read_checkpoint(tmp_path) == {"number": 2}
    last = tmp_path / checkpoint.LAST
    last.write_bytes(last.read_bytes()[:-40])
    assert checkpoint.read_checkpoint(tmp_path) == {"number": 1}
    (tmp_path / checkpoint.BEFORE).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.read_checkpoint(tmp_path)


def test_a_checkpoint_runs_nothing_that_stands_in_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "run by the checkpoint",))

    torch.save({"schema": 3, "state": {"x": Evil()}}, tmp_path / checkpoint.LAST)
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.read_checkpoint(tmp_path)
    assert not (tmp_path / "run by the checkpoint").exists()


def test_a_checkpoint_of_another_version_is_refused_by_its_schema(tmp_path: Path) -> None:
    torch.save({"schema": 1, "state": {}}, tmp_path / checkpoint.LAST)
    with pytest.raises(ValueError, match="has schema 1; this version reads 3"):
        checkpoint.read_checkpoint(tmp_path)


COMMAND = [
    *("train", "--mle-epochs", "1", "--rounds", "3", "--eval-every", "3", "--num-negatives", "60"),
    *("--batch-size", "8", "--num-rollouts", "1", "--no-knobs", "--no-control", "--threads", "1"),
]


@pytest.mark.slow
def test_the_command_line_goes_on_and_ends_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--out", str(tmp_path / "whole")]) == 0
    update = Reinforce.update
    calls = 0

    def dies(agent: Reinforce) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        return update(agent)

    with monkeypatch.context() as patched:
        patched.setattr(Reinforce, "update", dies)
        with pytest.raises(MemoryError):
            main([*COMMAND, "--out", str(tmp_path / "stopped")])
    assert main([*COMMAND, "--out", str(tmp_path / "stopped")]) == 2
    assert "go on with it by `seqgan train --resume" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "stopped"), "--rounds", "9"]) == 2
    assert "rounds cannot be given with --resume" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "stopped")]) == 0
    for name in ("policy.safetensors", "discriminator.safetensors", "samples.txt"):
        whole, stopped = (tmp_path / run / name for run in ("whole", "stopped"))
        assert whole.read_bytes() == stopped.read_bytes(), name
    results = [
        run_directory.read_json(tmp_path / run / run_directory.RESULT)
        for run in ("whole", "stopped")
    ]
    for result in results:
        result.pop("seconds")
    assert results[0] == results[1]
    assert not list((tmp_path / "stopped").glob("checkpoint*"))
    assert main(["train", "--resume", str(tmp_path / "stopped")]) == 2
    assert "is finished" in capsys.readouterr().err
