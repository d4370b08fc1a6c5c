"""The referee: a lower bound of the exact divergence, that sees repetition and copying."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.cheats import ReplayPolicy
from seqgan_env.metrics.classifiers import (
    Memory,
    NGramRegression,
    cross_entropy,
    logistic_regression,
    ngrams,
)
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.oracle import OracleMetrics
from seqgan_env.metrics.referee import CONSTANT, Referee
from seqgan_env.types import RolloutPolicy, TokenSpec

from .conftest import EOS, random_model, rng

LONG = TokenSpec(12, 8)
ORACLE = random_model(LONG, 2, scale=1.5)
REAL, VALIDATION, HELD_OUT = (
    ORACLE.sample(num, rng(seed)) for num, seed in ((1_500, 1), (800, 2), (1_000, 3))
)


@pytest.fixture(scope="module")
def referee() -> Referee:
    return Referee(LONG, REAL, VALIDATION, HELD_OUT)


def draws(policy: RolloutPolicy, referee: Referee, seed: int = 5) -> Tensor:
    return sample_sequences(policy, referee.spec, referee.num_samples, rng(seed))


# ---- the bound ----


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.4, 2.0])
def test_the_bound_is_not_above_the_exact_divergence_and_finds_a_good_part_of_it(
    referee: Referee, temperature: float
) -> None:
    policy = ORACLE.with_temperature(temperature)
    exact = OracleMetrics(ORACLE, LONG, HELD_OUT).of_policy(policy, 4_000, rng(1))["js"]
    verdict = referee.judge(draws(policy, referee))
    assert verdict.js <= exact + 3 * verdict.error + 1e-3
    assert verdict.js >= 0.3 * exact - 3 * verdict.error


@pytest.mark.slow
def test_real_sequences_are_at_no_distance_from_themselves(referee: Referee) -> None:
    verdict = referee.judge(ORACLE.sample(referee.num_samples, rng(9)))
    assert abs(verdict.js) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_who_copies_the_training_data_is_caught_with_noise_and_without(
    referee: Referee, noise: float
) -> None:
    verdict = referee.judge(draws(ReplayPolicy(LONG, REAL, noise), referee))
    assert verdict.js > 0.25
    honest = referee.judge(ORACLE.sample(referee.num_samples, rng(9)))
    assert verdict.js > honest.js + 5 * verdict.error


@pytest.mark.slow
def test_who_repeats_one_sentence_is_at_nearly_the_largest_distance(referee: Referee) -> None:
    assert referee.judge(draws(ReplayPolicy(LONG, REAL[:1]), referee)).js > 0.9


@pytest.mark.slow
def test_the_same_samples_get_the_same_verdict_whatever_was_judged_before_and_with_gradients_off(
    referee: Referee,
) -> None:
    samples = draws(ORACLE.with_temperature(0.7), referee)
    first = referee.judge(samples)
    referee.judge(draws(ORACLE, referee))
    state = torch.random.get_rng_state()
    with torch.no_grad():
        again = referee.judge(samples)
    assert again == first
    assert torch.equal(torch.random.get_rng_state(), state)
    fresh = Referee(LONG, REAL, VALIDATION, HELD_OUT).judge(samples)
    assert fresh == first


@pytest.mark.slow
def test_sequences_that_end_early_are_judged_too() -> None:
    model = random_model(EOS, 3)
    train, check, test = (model.sample(num, rng(num)) for num in (600, 300, 300))
    referee = Referee(EOS, train, check, test)
    far = referee.of_policy(model.with_temperature(0.3), rng(1))
    near = referee.of_policy(model, rng(1))
    assert far["referee_js"] > near["referee_js"] + 3 * far["referee_js_error"]
    assert far.keys() == {"referee_js", "referee_js_error", "referee_js_validation"}


def test_too_few_or_too_many_samples_are_refused_with_their_number(referee: Referee) -> None:
    with pytest.raises(ValueError, match=f"was given 3 samples; it needs {referee.num_samples}"):
        referee.judge(REAL[:3])
    with pytest.raises(ValueError, match="it needs 8 or more of each"):
        Referee(LONG, REAL[:3], VALIDATION, HELD_OUT)
    assert Referee.of(LONG, REAL[:3], VALIDATION, HELD_OUT) is None


# ---- its parts ----


def test_logistic_regression_meets_the_slope_of_two_normal_distributions() -> None:
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.normal(1, 1, 20_000), generator.normal(-1, 1, 4_000)])[:, None]
    is_real = np.repeat([1.0, 0.0], [20_000, 4_000])
    slope, intercept = logistic_regression(x, is_real, 0.0)
    assert slope == pytest.approx(2, abs=0.1)  # log N(x; 1, 1) - log N(x; -1, 1) = 2 x
    assert intercept == pytest.approx(
        0, abs=0.1
    )  # both classes weigh the same, however many they are


def test_cross_entropy_of_a_constant_is_ln_2() -> None:
    assert cross_entropy(np.zeros(3), np.zeros(5)) == pytest.approx(math.log(2))
    assert cross_entropy(np.full(3, 50.0), np.full(5, -50.0)) == pytest.approx(0, abs=1e-9)
    assert CONSTANT == "constant"


def test_equal_ngrams_have_equal_keys_and_others_do_not() -> None:
    tokens = ORACLE.sample(400, rng(4)).numpy()
    for order in (1, 2, 3):
        keys: dict[tuple[int, ...], int] = {}
        for position, (rows, found) in enumerate(ngrams(tokens, LONG, order), start=order - 1):
            for row, key in zip(rows.tolist(), found.tolist(), strict=True):
                gram = tuple(tokens[row, position - order + 1 : position + 1].tolist())
                assert keys.setdefault(gram, key) == key
        assert len(set(keys.values())) == len(keys)


def test_memory_knows_what_stands_in_its_bank() -> None:
    bank = ORACLE.sample(50, rng(4)).numpy()
    memory = Memory(LONG, np.concatenate([bank, bank[:10]]))
    known = memory.features(bank)
    assert (known[:, :-1] == 1).all()
    assert known[:10, -1] == pytest.approx(np.log(3))
    unknown = memory.features(random_model(LONG, 8).sample(50, rng(5)).numpy())
    assert (unknown[:, -1] == 0).all()
    assert unknown[:, -2].mean() < 0.5


def test_ngrams_tell_what_holds_a_word_from_what_does_not() -> None:
    words = ORACLE.sample(400, rng(4)).numpy()
    real, generated = words[(words == 3).any(1)], words[~(words == 3).any(1)]
    half_real, half_generated = len(real) // 2, len(generated) // 2
    model = NGramRegression(
        LONG,
        real[:half_real],
        generated[:half_generated],
        real[half_real:],
        generated[half_generated:],
    )
    assert (model.logits(real[half_real:]) > 0).mean() > 0.9
    assert (model.logits(generated[half_generated:]) < 0).mean() > 0.9
