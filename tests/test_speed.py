"""The measuring instruments: what they count, what they compare with, and that they fail when they
should.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import exactness, likelihood_speed, plain, profile_round, scaling, speed
from benchmarks.costs import Cost, Costs
from benchmarks.measuring import (
    Limits,
    gemm_gflops,
    in_own_process,
    measure,
    measure_in_turns,
    peak_memory,
)
from seqgan_env import CNNDiscriminator, LSTMLanguageModel, TokenSpec
from seqgan_env.discriminators.cnn import PAPER_CNN, CNNConfig
from seqgan_env.machine import processor
from tests.conftest import FIXED, all_sequences, random_model, rng

ROOT = Path(__file__).parents[1]
TINY_D = CNNConfig(widths=(1, 2), channels=(3, 4), embedding_dim=4)


def test_each_is_measured_as_often_as_asked_and_in_turns() -> None:
    calls: list[str] = []
    measure(lambda: calls.append("work"), 3, warm_up=lambda: calls.append("warm-up"))
    assert calls == ["warm-up", "work", "work", "work"]
    calls.clear()
    ours, theirs = measure_in_turns(lambda: calls.append("a"), lambda: calls.append("b"), 2)
    assert calls == ["a", "b", "a", "b"]
    assert (len(ours), len(theirs)) == (2, 2)


@pytest.mark.slow
def test_a_process_of_its_own_has_its_threads_its_environment_and_leaves_the_callers() -> None:
    before = dict(os.environ)
    assert in_own_process(torch.get_num_threads, threads=2) == 2
    assert (
        in_own_process(os.getenv, "SEQGAN_ENV_NATIVE", environment={"SEQGAN_ENV_NATIVE": "0"})
        == "0"
    )
    assert dict(os.environ) == before
    with pytest.raises(ZeroDivisionError):
        in_own_process(divmod, 1, 0)


def test_peak_memory_and_the_processor_are_told_or_unknown_but_never_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert peak_memory()

    def no_proc(*arguments: Any, **keywords: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_proc)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory() is None
    assert processor()


def test_limits_are_rates_and_the_better_of_two_counts() -> None:
    assert gemm_gflops(seconds=0.01) > 0
    assert Limits(1, 5, 3).best_with(Limits(2, 4, 3)) == Limits(2, 5, 3)


def test_the_limit_that_binds_is_the_one_that_takes_longer() -> None:
    limits = Limits(gemm=10, gemm_bfloat16=20, bandwidth=100)
    assert Cost(flops=10, half_flops=20, bytes=100).floor(limits) == (2.0, "GEMM")
    assert Cost(flops=10, bytes=300).floor(limits) == (3.0, "memory")
    assert Cost(half_flops=10).floor(replace(limits, gemm_bfloat16=1)) == (1.0, "GEMM"), (
        "bfloat16 that is emulated is not used"
    )


def test_costs_at_the_papers_sizes_are_those_by_hand() -> None:
    costs = Costs(5000, 20, PAPER_CNN)
    assert costs.writing(1).flops == 2 * 32 * 5000 + 8 * 32 * 64
    rows, taps, sums, features = 5001, 12_500, 118_600, 1720
    assert costs.scoring(10).flops == 2 * 64 * rows * taps + 10 * sums
    assert costs.scoring(10).half_flops == 10 * 4 * features**2
    assert costs.scoring(10).bytes == 4 * rows * taps + 4 * 10 * sums
    assert costs.rollouts(64, 16) == costs.writing(64 * 16 * 190) + costs.scoring(
        64 * (16 * 19 + 1)
    )


def test_adams_traffic_is_that_of_the_parameters_there_are() -> None:
    spec = TokenSpec(5000, 20)
    num = sum(p.numel() for p in CNNDiscriminator(spec, PAPER_CNN).parameters())
    assert Costs(5000, 20, PAPER_CNN).discriminator_epoch(64).bytes == 24 * num
    num = sum(
        p.numel() for p in LSTMLanguageModel(TokenSpec(50_000, 20)).parameters() if p.requires_grad
    )
    assert Costs(50_000, 20, PAPER_CNN).likelihood_epoch(64, 64).bytes == 24 * num


def test_the_plain_policy_has_the_probabilities_of_ours() -> None:
    model = random_model(FIXED)
    sequences = all_sequences(FIXED)
    log_probs = (
        plain.PlainPolicy.like(model)
        .logits(sequences)
        .log_softmax(2)
        .gather(2, sequences.unsqueeze(2))
        .sum((1, 2))
    )
    torch.testing.assert_close(log_probs.exp().sum(), torch.tensor(1.0))
    torch.testing.assert_close(log_probs, model.log_prob(sequences))


def test_plain_samples_and_completions_come_with_the_policys_probabilities() -> None:
    model = random_model(FIXED)
    policy, sequences = plain.PlainPolicy.like(model), all_sequences(FIXED)
    share = model.log_prob(sequences).double().exp()
    place = 3 ** torch.arange(2, -1, -1)
    counts = torch.bincount(policy.sample(20_000, rng()) @ place, minlength=len(sequences))
    assert exactness._chi_squared(counts, share) > 1e-4
    begin = (sequences[:, 0] == 1).double()
    counts = torch.bincount(
        policy.complete(torch.ones(20_000, 1, dtype=torch.int64), rng(1)) @ place,
        minlength=len(sequences),
    )
    assert exactness._chi_squared(counts, share * begin / (share * begin).sum()) > 1e-4


def test_plain_action_values_meet_the_enumeration_of_completions() -> None:
    model, discriminator = random_model(FIXED), CNNDiscriminator.initialised(FIXED, rng(1), TINY_D)
    policy, judge = plain.PlainPolicy.like(model), plain.PlainDiscriminator.like(discriminator)
    tokens, sequences = torch.tensor([[0, 1, 2], [2, 2, 1]]), all_sequences(FIXED)
    share, scores = model.log_prob(sequences).exp(), discriminator.score(sequences)
    found = plain.action_values(policy, judge, tokens, 4_000, rng(2))
    for row, length in itertools.product(range(2), range(1, 4)):
        weight = share * (sequences[:, :length] == tokens[row, :length]).all(1)
        torch.testing.assert_close(
            found[row, length - 1], (weight * scores).sum() / weight.sum(), atol=5e-3, rtol=0
        )


def test_a_distance_beyond_what_is_allowed_or_no_number_fails() -> None:
    passed = [exactness.Check("", 1e-6, 1e-5), exactness.Check("", 0.5, 1e-4, is_p_value=True)]
    failed = [
        exactness.Check("far", 1e-4, 1e-5),
        exactness.Check("p", 1e-6, 1e-4, True),
        exactness.Check("nan", float("nan"), 1),
    ]
    assert exactness.failures({"fast": passed}) == []
    assert exactness.failures({"fast": failed}) == ["far (fast)", "p (fast)", "nan (fast)"]


@pytest.mark.slow
def test_every_fast_route_agrees_with_plain_torch() -> None:
    assert [check for check in exactness.check_all() if not check.passed] == []


@pytest.mark.slow
def test_draws_from_another_distribution_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = LSTMLanguageModel.sample

    def warmer(self: LSTMLanguageModel, num: int, generator: torch.Generator) -> Tensor:
        return sample(self, num, generator, temperature=1.1)

    monkeypatch.setattr(LSTMLanguageModel, "sample", warmer)
    first, _, sharp = exactness.draws()
    assert not first.passed
    assert not sharp.passed


def test_a_round_is_the_sum_of_its_parts() -> None:
    sizes = replace(speed.QUICK, d_steps=2, d_epochs=3)
    parts = {
        key: speed.Measurement(
            key, key, 1, seconds, 0.0, 2 * seconds, 2.0, Cost(seconds), int(seconds)
        )
        for key, seconds in {"g_step": 1.0, "sample": 10.0, "discriminator": 100.0}.items()
    }
    found = speed.estimate_round(parts, sizes)
    assert (found.seconds, found.plain_seconds, found.cost.flops) == (621.0, 1242.0, 621.0)
    assert (found.ratio, found.peak_bytes, found.estimated) == (2.0, 100, True)


def test_the_gain_is_over_the_first_thread_count_and_the_share_is_of_the_own_limit() -> None:
    item = speed.Measurement("sample", "sample", 1, 4.0, 0.1, 40.0, 10.0, Cost(flops=20), None)
    limits = {1: Limits(10, 10, 10), 2: Limits(20, 20, 10)}
    one, two = speed.rows_of([item, replace(item, threads=2, seconds=2.0)], limits, quick=False)
    assert (one["gain"], two["gain"]) == (None, 2.0)
    assert (one["share_of_limit"], two["share_of_limit"]) == (0.5, 0.5)
    assert one["target_seconds"] == 1.0


def test_a_power_law_has_its_exponent() -> None:
    sizes = [1.0, 2.0, 4.0, 8.0]
    assert scaling.exponent(sizes, [99.0, *(3 * size**2 for size in sizes[1:])]) == pytest.approx(2)


def test_a_part_within_another_is_not_counted_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 4.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = profile_round.Clock()
    with clock("outer"), clock("inner"):
        pass
    assert dict(clock.seconds) == {"inner": 3.0, "outer": 7.0}


def test_the_share_of_a_route_is_the_time_of_the_products_in_its_own() -> None:
    seconds = {"torch": [0.004, 0.008, 0.040], "products": [0.002, 0.002, 0.004]}
    row = likelihood_speed.row_of(likelihood_speed.QUICK[0], "loss", seconds)
    assert row["milliseconds"] == pytest.approx({"torch": 8, "products": 2})
    assert row["spread"] == pytest.approx({"torch": 18, "products": 1})
    assert row["share_of_products"] == pytest.approx({"torch": 0.25, "products": 1})


def test_every_route_of_a_likelihood_is_measured_at_every_size() -> None:
    rows = likelihood_speed.measured(likelihood_speed.QUICK, repeats=1)
    assert [row["work"] for row in rows] == ["log-probabilities", "loss and gradients"]
    for row in rows:
        assert list(row["milliseconds"]) == [*exactness.ROUTES, "products"]
        assert min(row["milliseconds"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("module", ["speed", "scaling", "profile_round", "likelihood_speed"])
def test_threads_that_cannot_be_are_refused_in_one_line(module: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", "--quick", "--threads", "0"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert re.search("--threads 0; allowed is 1 or more", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "speed",
        "scaling",
        "profile_round",
        "likelihood_speed",
        "env_speed",
        "sb3_speed",
        "d_training",
        "hugging_face_speed",
    ],
)
def test_the_quick_benchmarks_run_and_write_what_they_measured(module: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        f"benchmarks.{module}",
        "--quick",
        "--out",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["machine"]["commit"]
