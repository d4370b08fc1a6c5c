"""Metrics of real-data tasks: each against an independent computation, and laws that hold for any
text.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from scipy import stats
from torch import Tensor

from seqgan_env.metrics.kneser_ney import KneserNey
from seqgan_env.metrics.likelihood import nll_per_token, sample_sequences
from seqgan_env.metrics.real_data import RealDataMetrics
from seqgan_env.tasks.real_data import unseen_first
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import CorpusTask
from seqgan_env.types import Estimate, TokenSpec

from .conftest import FIXED, Successor, needs_data, random_model, rng

SPEC = TokenSpec(12, 8, eos_token=0, min_length=2)
SOURCE = random_model(SPEC, 1, scale=1.5)
REAL, HELD_OUT = SOURCE.sample(300, rng(1)), SOURCE.sample(80, rng(2))
METRICS = RealDataMetrics(SPEC, REAL, HELD_OUT)
KEYS = {
    *(f"{name}{n}" for name in ("bleu", "self_bleu") for n in (2, 3, 4, 5)),
    *(
        "distinct1",
        "distinct2",
        "distinct3",
        "mean_length",
        "length_ks",
        "length_p",
        "effective_vocabulary",
        "unique_tokens",
    ),
    *("copied_share", "unique_share", "perplexity_samples", "perplexity_reverse"),
}
LIKELIHOODS = {"nll_gen", "perplexity_heldout"}


class Parrot:
    """Says what it was given, again and again."""

    def __init__(self, lines: Tensor) -> None:
        self.lines = lines

    def complete(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        return self.lines.repeat(-(-len(tokens) // len(self.lines)), 1)[: len(tokens)]


def words(tokens: Tensor) -> list[list[int]]:
    return [[token for token in row if token not in (0, SPEC.pad_token)] for row in tokens.tolist()]


def shuffled(tokens: Tensor, spec: TokenSpec) -> Tensor:
    """The same lines, their words in another order."""
    tokens, draws = tokens.clone(), rng(9)
    for row, length in zip(tokens, spec.lengths(tokens).tolist(), strict=True):
        num = length - int(spec.eos_token in row)
        row[:num] = row[torch.randperm(num, generator=draws)]
    return tokens


# ---- values ----


def test_a_policy_is_measured_by_its_samples_and_by_its_likelihoods() -> None:
    policy = random_model(SPEC, 4)
    metrics = METRICS.of_policy(policy, 50, rng(5))
    of_samples = METRICS.of_samples(sample_sequences(policy, SPEC, 50, rng(5)))
    assert of_samples.keys() == KEYS
    assert metrics == of_samples | {key: metrics[key] for key in LIKELIHOODS}
    assert metrics["nll_gen"] == pytest.approx(nll_per_token(policy, SPEC, HELD_OUT))
    assert metrics["perplexity_heldout"] == pytest.approx(math.exp(metrics["nll_gen"]))


def test_without_likelihoods_the_samples_are_all_there_is() -> None:
    assert METRICS.of_policy(Successor(SPEC), 20, rng()).keys() == KEYS
    assert METRICS.estimates(Successor(SPEC), 20, rng()).keys() == KEYS


def test_bleu_and_self_bleu_are_means_of_nltks() -> None:
    samples = random_model(SPEC, 4).sample(30, rng())
    metrics, hypotheses, references = METRICS.of_samples(samples), words(samples), words(HELD_OUT)
    smoothing = SmoothingFunction().method1
    for n in (2, 5):
        weights = [1 / n] * n
        against_held_out = [
            sentence_bleu(references, row, weights, smoothing) for row in hypotheses
        ]
        against_others = [
            sentence_bleu(hypotheses[:i] + hypotheses[i + 1 :], row, weights, smoothing)
            for i, row in enumerate(hypotheses)
        ]
        assert metrics[f"bleu{n}"] == pytest.approx(np.mean(against_held_out), abs=1e-12)
        assert metrics[f"self_bleu{n}"] == pytest.approx(np.mean(against_others), abs=1e-12)


def test_shares_lengths_and_distinct_ngrams_meet_their_definitions() -> None:
    samples = torch.cat([REAL[:3], random_model(SPEC, 4).sample(40, rng()), REAL[:1]])
    metrics, lines, real = METRICS.of_samples(samples), words(samples), words(REAL)
    assert metrics["copied_share"] == sum(line in real for line in lines) / 44
    assert metrics["unique_share"] == len(set(map(tuple, lines))) / 44
    assert metrics["mean_length"] == pytest.approx(np.mean([len(line) for line in lines]))
    for n in (1, 2, 3):
        ngrams = [tuple(line[i : i + n]) for line in lines for i in range(len(line) - n + 1)]
        assert metrics[f"distinct{n}"] == pytest.approx(len(set(ngrams)) / len(ngrams))


@pytest.mark.parametrize("num", [2, 7, 80])
def test_the_length_test_is_scipys(num: int) -> None:
    samples = random_model(SPEC, 4).sample(num, rng())
    lengths = [[len(line) for line in words(tokens)] for tokens in (samples, HELD_OUT)]
    expected, metrics = stats.ks_2samp(*lengths, method="asymp"), METRICS.of_samples(samples)
    assert metrics["length_ks"] == pytest.approx(expected.statistic)
    assert metrics["length_p"] == pytest.approx(expected.pvalue)


def test_perplexities_are_those_of_language_models_of_either_side() -> None:
    samples = random_model(SPEC, 4).sample(40, rng())
    metrics = METRICS.of_samples(samples)
    real, fake, held_out = (tokens.numpy() for tokens in (REAL, samples, HELD_OUT))
    assert metrics["perplexity_samples"] == pytest.approx(KneserNey(real, SPEC).perplexity(fake))
    assert metrics["perplexity_reverse"] == pytest.approx(
        KneserNey(fake, SPEC).perplexity(held_out)
    )


def test_without_an_end_token_0_is_a_word_and_lengths_are_not_measured() -> None:
    tokens = random_model(FIXED).sample(40, rng())
    metrics = RealDataMetrics(FIXED, tokens[:20], tokens[20:]).of_samples(tokens[:20])
    assert metrics["copied_share"] == 1
    assert metrics["unique_tokens"] == len(set(tokens[:20].flatten().tolist()))
    assert not [name for name in metrics if "length" in name]


# ---- laws ----


def test_training_lines_are_copies_and_held_out_lines_match_themselves() -> None:
    training, held_out = METRICS.of_samples(REAL), METRICS.of_samples(HELD_OUT)
    assert training["copied_share"] == 1
    assert held_out["bleu2"] == pytest.approx(1)
    assert (held_out["length_ks"], held_out["length_p"]) == pytest.approx((0, 1), abs=1e-12)
    assert held_out["perplexity_reverse"] < training["perplexity_reverse"]


def test_words_in_another_order_are_less_likely_and_match_less() -> None:
    plain, mixed = METRICS.of_samples(HELD_OUT), METRICS.of_samples(shuffled(HELD_OUT, SPEC))
    assert mixed["perplexity_samples"] > plain["perplexity_samples"]
    assert mixed["perplexity_reverse"] > plain["perplexity_reverse"]
    assert mixed["bleu4"] < plain["bleu4"]
    for key in ("mean_length", "length_ks", "effective_vocabulary", "unique_tokens", "distinct1"):
        assert mixed[key] == pytest.approx(plain[key])


def test_one_line_for_ever_is_fluent_and_says_nothing() -> None:
    likely = REAL[int(KneserNey(REAL.numpy(), SPEC).log_prob(REAL.numpy()).argmax())]
    metrics = METRICS.of_policy(Parrot(likely.unsqueeze(0)), 50, rng())
    assert metrics["unique_share"] == pytest.approx(1 / 50)
    assert metrics["copied_share"] == 1
    variety = METRICS.of_samples(HELD_OUT[:50])
    assert metrics["perplexity_samples"] < variety["perplexity_samples"]
    assert metrics["perplexity_reverse"] > METRICS.of_samples(REAL[:50])["perplexity_reverse"]


# ---- intervals ----


@pytest.fixture(scope="module")
def estimates() -> dict[str, Estimate]:
    return METRICS.estimates(random_model(SPEC, 4), 60, rng(5))


def test_estimates_are_the_metrics_of_the_same_draws(estimates: dict[str, Estimate]) -> None:
    metrics = METRICS.of_policy(random_model(SPEC, 4), 60, rng(5))
    assert {name: estimate.value for name, estimate in estimates.items()} == metrics
    assert estimates == METRICS.estimates(random_model(SPEC, 4), 60, rng(5))


def test_every_interval_holds_its_value(estimates: dict[str, Estimate]) -> None:
    for name, estimate in estimates.items():
        assert estimate.low <= estimate.value + 1e-12, name
        assert estimate.high >= estimate.value - 1e-12, name
        assert all(map(math.isfinite, dataclasses.astuple(estimate))), name


@pytest.mark.parametrize(
    "name",
    [
        "bleu3",
        "self_bleu2",
        "distinct1",
        "distinct2",
        "mean_length",
        "effective_vocabulary",
        "perplexity_samples",
    ],
)
def test_intervals_are_as_wide_as_fresh_draws_of_the_policy_spread(name: str) -> None:
    policy = random_model(SPEC, 4)
    draws = [METRICS.of_policy(policy, 200, rng(seed))[name] for seed in range(100, 160)]
    estimate = METRICS.estimates(policy, 200, rng(5))[name]
    spread = 2 * 1.96 * float(np.std(draws, ddof=1))  # of 60 draws: a standard error of 9 %
    assert 0.65 * spread < estimate.high - estimate.low < 1.5 * spread


def test_more_samples_make_narrower_intervals() -> None:
    few, many = (
        METRICS.estimates(random_model(SPEC, 4), num, rng())["mean_length"] for num in (100, 1600)
    )
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.25)


# ---- real text ----


@pytest.fixture(scope="module")
def captions() -> CorpusTask:
    return CorpusTask(CorpusSettings(str(needs_data("text/image_coco.txt"))))


@pytest.mark.slow
def test_validation_lines_are_like_held_out_lines_and_shuffled_ones_are_not(
    captions: CorpusTask,
) -> None:
    validation, held_out = (
        captions.measure(captions.validation),
        captions.measure(captions.held_out),
    )
    mixed = captions.measure(shuffled(captions.validation, captions.spec))
    assert validation["perplexity_samples"] == pytest.approx(
        held_out["perplexity_samples"], rel=0.1
    )
    assert mixed["perplexity_samples"] > 5 * validation["perplexity_samples"]
    assert 0.25 < validation["bleu4"] < 0.5
    assert validation["length_p"] > 0.05
    assert validation["copied_share"] < 0.01
    assert captions.measure(captions.real_sequences[:500])["copied_share"] == 1


@pytest.mark.slow
def test_two_thousand_captions_are_measured_in_well_under_a_second(captions: CorpusTask) -> None:
    captions.measure(captions.held_out)  # counts the real captions once
    started = time.process_time()
    captions.measure(captions.real_sequences[:2000])
    assert time.process_time() - started < 0.5


def test_real_sequences_are_measured_where_no_policy_was_trained_on_them() -> None:
    task = CorpusTask(dataclasses.replace(CorpusSettings(), num_eval=300))
    found = task.measure_real()
    num_validation = len(task.validation)
    assert (found["num_validation"], found["num_training"]) == (
        num_validation,
        300 - num_validation,
    )
    # What asks for the training sequences is of the others alone.
    assert found["copied_share"] == 0
    of_validation = task.measure(task.validation)
    assert found["perplexity_samples"] == of_validation["perplexity_samples"]
    # All else is of as many as a policy is measured by.
    assert found["distinct2"] < of_validation["distinct2"]
    assert found.keys() >= {"bleu4", "self_bleu4", "effective_vocabulary"}
    assert "nll_gen" not in found


def test_few_real_sequences_are_measured_once_each() -> None:
    task = CorpusTask(dataclasses.replace(CorpusSettings(), num_eval=100_000))
    found = task.measure_real()
    assert found["num_training"] == len(task.real_sequences)
    assert found["num_validation"] == len(task.validation)


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (2, 3), (7, 7)])
def test_those_of_validation_come_first(sizes: tuple[int, int]) -> None:
    num_validation, num_training = sizes
    validation = torch.arange(num_validation).unsqueeze(1)
    training = 100 + torch.arange(num_training).unsqueeze(1)
    chosen, counts = unseen_first(validation, training, 5)
    assert len(set(chosen.flatten().tolist())) == len(chosen) == 5
    assert counts["num_validation"] == min(5, num_validation) == int((chosen < 100).sum())
    assert torch.equal(chosen, unseen_first(validation, training, 5)[0])
