"""The policy of the round that is best on validation data is the one that is kept and reported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqgan_env.cli.main import main
from seqgan_env.metrics.validation import VALIDATION
from seqgan_env.training.best_round import BestRound
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import Trainer

NAME = VALIDATION + "kl_mean"
SMALL = {"vocab_size": 8, "seq_len": 4, "num_real": 64, "num_validation": 64, "num_held_out": 64}
SETTINGS = TrainSettings(
    mle_epochs=1,
    rounds=6,
    eval_every=2,
    batch_size=16,
    num_rollouts=1,
    num_negatives=20,
    d_pretrain_epochs=1,
    knobs=False,
    control=False,
    keep_best_round=True,
    task_options=SMALL | {"num_eval": 64},
)


def policy_of(value: float) -> nn.Linear:
    policy = nn.Linear(1, 1)
    nn.init.constant_(policy.weight, value)
    return policy


def test_the_first_of_the_best_rounds_is_kept_and_learning_on_changes_it_no_more() -> None:
    best, policy = BestRound(), policy_of(0.0)
    for number, divergence in enumerate([0.5, 0.3, 0.4, 0.3]):
        nn.init.constant_(policy.weight, float(number))
        best.see({"round": float(number), NAME: divergence}, policy)
        best.see({"round": number + 0.5}, policy)  # a round without an evaluation
    assert best.number == 1
    best.restore(policy)
    assert policy.weight.item() == 1.0


def test_a_state_goes_on() -> None:
    first, second = BestRound(), BestRound()
    first.see({"round": 2.0, NAME: 0.3}, policy_of(7.0))
    second.load_state_dict(first.state_dict())
    policy = policy_of(0.0)
    second.see({"round": 4.0, NAME: 0.4}, policy)
    second.restore(policy)
    assert (second.number, policy.weight.item()) == (2, 7.0)


def test_a_policy_that_cannot_be_measured_is_refused_in_round_0() -> None:
    with pytest.raises(ValueError, match="no divergence on the validation data"):
        BestRound().see({"round": 0.0}, policy_of(0.0))


@pytest.mark.parametrize("rate", [0.3, 1e-2])  # what leads away at once, and what does not
@pytest.mark.parametrize("agent", ["reinforce", "ppo"])
def test_a_run_ends_with_the_policy_of_its_best_round(agent: str, rate: float) -> None:
    settings = replace(SETTINGS, agent=agent, agent_options={"learning_rate": rate})
    run = Trainer(settings)()
    measured = {int(row["round"]): row[NAME] for row in run.history if NAME in row}
    assert list(measured) == [0, 2, 4, 6]
    assert run.kept_round == min(measured, key=lambda number: measured[number])
    # Evaluating draws from streams of its own, so a round's metrics are those of its policy.
    [row] = [row for row in run.history if row.get("round") == run.kept_round]
    assert run.metrics["agent"]["kl_mean"] == row["task/kl_mean"]
    if run.kept_round == 0:
        weights = zip(
            run.weights["policy.safetensors"].values(),
            run.weights["mle.safetensors"].values(),
            strict=True,
        )
        assert all(torch.equal(ours, mle) for ours, mle in weights)


def test_a_run_that_was_ended_early_names_no_round_for_its_policy_is_the_last_one_s() -> None:
    trainer = Trainer(SETTINGS)

    def stop(row: dict[str, float]) -> None:
        if row.get("round") == 5.0:
            raise KeyboardInterrupt

    trainer.on_row = stop
    run = trainer()
    assert run.interrupted
    assert run.kept_round is None


def test_a_policy_without_weights_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(
        ValueError, match="keep_best_round is set, but the policy of agent examples"
    ):
        Trainer(replace(SETTINGS, agent="examples.ngram_policy:NgramAgent"))


def test_what_is_learned_on_the_way_is_the_same() -> None:
    kept, last = Trainer(SETTINGS)(), Trainer(replace(SETTINGS, keep_best_round=False))()
    for row, plain in zip(kept.history, last.history, strict=True):
        for name, value in plain.items():
            if not name.startswith("time/"):
                assert row[name] == value
    assert last.kept_round is None


def test_a_resumed_run_keeps_the_same_round(tmp_path: Path) -> None:
    settings = replace(SETTINGS, agent_options={"learning_rate": 5.0})
    expected = Trainer(settings)()
    states: list[dict[str, Any]] = []
    trainer = Trainer(settings)

    def save(row: dict[str, float]) -> None:
        if row.get("round") == 5.0:
            states.append(trainer.state_dict())

    trainer.on_row = save
    trainer()
    resumed = Trainer(settings)
    resumed.load_state_dict(states[0])
    found = resumed()
    assert found.kept_round == expected.kept_round
    assert found.metrics == expected.metrics


def test_the_table_and_the_result_say_which_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "train --rounds 2 --eval-every 1 --mle-epochs 1 --batch-size 8 --num-negatives 20"
    small = "--vocab-size 8 --seq-len 4 --num-real 64 --num-validation 64 --num-held-out 64"
    flags = "--num-eval 64 --num-rollouts 1 --d-pretrain-epochs 1 --no-control --keep-best-round"
    out = ["--out", str(tmp_path / "run")]
    assert main([*command.split(), *small.split(), *flags.split(), *out]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "of 2, the best on validation data" in shown
    assert '"kept_round"' in (tmp_path / "run" / "result.json").read_text()
