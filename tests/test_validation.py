"""The divergence on validation data: proper, blind to what is held out, and without influence on a
run.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgan_env.metrics.catalogue import LOW, METRICS
from seqgan_env.metrics.validation import VALIDATION, ValidationDivergence, divergence_in
from seqgan_env.tasks import make_task
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.settings import TrainSettings
from seqgan_env.training.trainer import Trainer
from seqgan_env.types import Task
from tests.conftest import random_model, rng

SMALL: dict[str, Any] = {
    "vocab_size": 6,
    "seq_len": 4,
    "num_real": 400,
    "num_validation": 400,
    "num_held_out": 400,
    "num_eval": 400,
}


class Poison:
    """Stands where held-out data are, and ends whoever looks at it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"held-out data were read: {name}")

    def __getitem__(self, which: Any) -> Any:
        raise AssertionError("held-out data were read")

    def __len__(self) -> int:
        raise AssertionError("held-out data were counted")


def poisoned(task: Task) -> Task:
    """A copy of a task whose held-out data, and all that is made of them, cannot be read."""
    other = copy.copy(task)
    for name in ("held_out", "referee", "_metrics"):
        other.__dict__[name] = Poison()
    return other


class Samples:
    """A policy without likelihoods that writes rows of a set."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        return self.rows[torch.randint(len(self.rows), (len(tokens),), generator=rng)]


def oracle_task() -> OracleTask:
    task = make_task("oracle-tiny", **SMALL)
    assert isinstance(task, OracleTask)
    return task


@pytest.mark.parametrize("likelihoods", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_never_reads_what_is_held_out(likelihoods: bool) -> None:
    task = oracle_task()
    policy: Any = random_model(task.spec)
    if not likelihoods:
        policy = Samples(policy.sample(50, rng(1)))
    clean = ValidationDivergence(task)(policy, 0, "cpu")
    blind = ValidationDivergence(poisoned(task))(policy, 0, "cpu")
    assert clean == blind
    assert clean


@pytest.mark.slow
@pytest.mark.parametrize("name", ["peptide", "music"])
def test_on_real_data_it_never_reads_what_is_held_out(name: str) -> None:
    task = make_task(name)
    policy = random_model(task.spec)
    clean = ValidationDivergence(task)(policy, 0, "cpu")
    blind = ValidationDivergence(poisoned(task))(policy, 0, "cpu")
    assert clean == blind
    assert divergence_in(clean) == ("referee_js", clean["validation/referee_js"])


def test_the_truth_alone_is_at_zero() -> None:
    task = oracle_task()
    measure = ValidationDivergence(task)
    truth = measure(task.oracle, 0, "cpu")
    assert divergence_in(truth) == ("kl_mean", 0.0)
    for turned in (0.7, 1.4):
        far = measure(task.oracle.with_temperature(turned), 0, "cpu")
        assert far["validation/kl_mean"] > 3 * far["validation/kl_mean_error"] > 0


def test_it_agrees_with_what_is_reported_within_the_errors_of_both() -> None:
    task = make_task("oracle-tiny", **SMALL | {"num_validation": 4_000, "num_held_out": 4_000})
    policy = random_model(task.spec)
    chosen = ValidationDivergence(task)(policy, 0, "cpu")
    reported = task.evaluate(policy, rng(1))
    for name in ("kl_mean", "kl_reverse", "kl_forward"):
        difference = chosen[VALIDATION + name] - reported[name]
        errors = chosen[f"{VALIDATION}{name}_error"] + reported[f"{name}_error"]
        assert 0 < abs(difference) < 4 * errors  # other draws, the same truth


@pytest.mark.slow
def test_who_has_no_likelihoods_is_judged_by_samples_and_repeating_is_far() -> None:
    task = oracle_task()
    measure = ValidationDivergence(task)
    truth = Samples(task.oracle.sample(5_000, rng(5)))
    near, far = measure(truth, 0, "cpu"), measure(Samples(task.held_out[:1]), 0, "cpu")
    assert divergence_in(far) == ("referee_js", far["validation/referee_js"])
    assert abs(near["validation/referee_js"]) < 4 * near["validation/referee_js_error"] + 0.01
    assert far["validation/referee_js"] > 0.5


@pytest.mark.slow
def test_every_divergence_is_in_the_catalogue_and_low_is_good() -> None:
    task = oracle_task()
    model = random_model(task.spec)
    for policy in (model, Samples(model.sample(50, rng(1)))):
        found = ValidationDivergence(task)(policy, 0, "cpu")
        names = [name for name in found if not name.endswith("_error")]
        assert {METRICS[name].good for name in names} == {LOW}
    assert divergence_in({"task/kl_mean": 1.0}) is None


def test_too_few_validation_sequences_are_refused_with_their_number() -> None:
    class NoOracle:
        name, spec = "mine", oracle_task().spec
        real_sequences = validation = held_out = oracle_task().validation[:15]

    with pytest.raises(ValueError, match=r"task mine has 15 validation sequences .* 16 and 8"):
        ValidationDivergence(NoOracle())  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_run_that_measures_it_learns_the_same_and_has_it_wherever_the_task_is_evaluated() -> None:
    settings = TrainSettings(
        mle_epochs=1,
        rounds=4,
        eval_every=2,
        batch_size=8,
        num_rollouts=1,
        num_negatives=20,
        d_pretrain_epochs=1,
        knobs=False,
        control=False,
        task_options=SMALL,
    )
    without, with_it = Trainer(settings)(), Trainer(replace(settings, validate=True))()
    rounds = []
    for plain, row in zip(without.history, with_it.history, strict=True):
        if VALIDATION + "kl_mean" in row:
            rounds.append(row["round"])
        for name, value in plain.items():
            if not name.startswith("time/"):
                assert row[name] == value
    assert rounds == [0, 2, 4]
    assert without.metrics == with_it.metrics
    assert not any(name.startswith(VALIDATION) for row in without.history for name in row)
