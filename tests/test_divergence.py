"""Divergences and scores against exact enumeration of all 27 sequences of a small oracle task."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgan_env.generators import knobs as turning
from seqgan_env.generators.knobs import KNOBS, Knob, Mixture, Temperature, TopK, TopP
from seqgan_env.metrics.divergence import LogRatios, difference_error, divergences
from seqgan_env.metrics.oracle import OracleMetrics
from seqgan_env.metrics.score import RANKING, SCORES, UNTURNED, best_knob, scores

from .conftest import FIXED, all_sequences, random_model, rng

ORACLE, POLICY = random_model(FIXED, 2), random_model(FIXED, 5)
EVERYTHING = all_sequences(FIXED)
NUM = 40_000
NAMES = ("kl_reverse", "kl_forward", "kl_mean", "js", "tv", "precision", "recall")
HALF_AND_HALF = Mixture(((Temperature(0.5), 0.3), (Temperature(1.2), 0.7)))
FLOORED = Mixture(((TopK(2), 0.6), (Temperature(1.0), 0.4)))


def exact(knob: Knob) -> dict[str, float]:
    """Every divergence by its definition, summed over all sequences."""
    log_g, log_o = knob(POLICY).log_prob(EVERYTHING).double(), ORACLE.log_prob(EVERYTHING).double()
    g, o = log_g.exp(), log_o.exp()
    middle = (g + o) / 2
    reverse, forward = (
        float((g * (log_g - log_o)).sum()) / 3,
        float((o * (log_o - log_g)).sum()) / 3,
    )
    js = float((g * (g / middle).log() + o * (o / middle).log()).sum()) / 2 / math.log(2)
    slopes = torch.linspace(-8, 8, 4001).double().exp()
    alpha = torch.minimum(slopes[:, None] * o, g[None]).sum(1)
    f = {
        w: float(((1 + w * w) * alpha * (alpha / slopes) / (w * w * alpha + alpha / slopes)).max())
        for w in (8, 1 / 8)
    }
    return {
        "kl_reverse": reverse,
        "kl_forward": forward,
        "kl_mean": (reverse + forward) / 2,
        "js": js,
        "tv": float((g - o).abs().sum()) / 2,
        "precision": f[1 / 8],
        "recall": f[8],
    }


def measured(knob: Knob, num: int = NUM, seed: int = 3) -> dict[str, float]:
    measure = OracleMetrics(ORACLE, FIXED, ORACLE.sample(num, rng(seed)))
    return next(
        iter(measure.of_knobs(POLICY, [knob], num, seed + 1, ORACLE.sample(50, rng(9)), num, 9))
    )


@pytest.mark.parametrize(
    "knob", [Temperature(1.0), Temperature(0.6), HALF_AND_HALF, FLOORED], ids=lambda knob: knob.name
)
def test_every_divergence_meets_its_enumeration_within_its_error(knob: Knob) -> None:
    truth, estimate = exact(knob), measured(knob)
    for name in NAMES:
        error = estimate[f"{name}_error"]
        assert 0 < error < 0.02, name
        assert estimate[name] == pytest.approx(truth[name], abs=4.5 * error + 1e-3), name


def test_the_error_is_that_of_the_draws() -> None:
    found = [measured(HALF_AND_HALF, 500, seed) for seed in range(60)]
    for name in NAMES:
        spread = float(np.std([row[name] for row in found], ddof=1))
        claimed = float(np.mean([row[f"{name}_error"] for row in found]))
        assert 0.6 < claimed / spread < 1.6, name


def test_the_oracle_is_at_distance_zero_and_nothing_is_nearer() -> None:
    measure = OracleMetrics(ORACLE, FIXED, ORACLE.sample(500, rng()))
    own = measure.of_policy(ORACLE, 500, rng(1))
    assert all(
        own[name] == pytest.approx(0, abs=1e-12)
        for name in ("kl_reverse", "kl_forward", "kl_mean", "js", "tv")
    )
    assert own["precision"] == own["recall"] == pytest.approx(1)


def test_a_policy_that_cannot_write_a_real_sequence_is_infinitely_far_and_never_the_best_knob() -> (
    None
):
    truncated, whole = measured(TopK(1), 500), measured(Temperature(1.0), 500)
    assert truncated["kl_forward"] == truncated["kl_mean"] == math.inf
    assert math.isfinite(truncated["kl_reverse"])
    assert 0 < truncated["js"] <= 1
    assert best_knob({"top 1": truncated, "T 1": whole}, RANKING) == "T 1"


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=6))
def test_divergences_have_their_ranges(weights: list[tuple[float, float]]) -> None:
    g, o = (np.array(side) / sum(side) for side in zip(*weights, strict=True))
    ratio = np.log(g) - np.log(o)
    counts = [np.maximum(1, np.round(1000 * side).astype(int)) for side in (g, o)]
    ratios = LogRatios(np.repeat(ratio, counts[0])[None], np.ones(1), np.repeat(ratio, counts[1]))
    found = divergences(ratios, 1)
    assert -0.02 <= found["js"] <= 1
    assert -0.02 <= found["tv"] <= 1
    assert -0.02 <= found["recall"] <= 1.02
    assert found["kl_mean"] == pytest.approx((found["kl_reverse"] + found["kl_forward"]) / 2)


def test_shared_draws_make_differences_more_certain_than_what_is_compared() -> None:
    measure = OracleMetrics(ORACLE, FIXED, ORACLE.sample(5_000, rng()))
    near = Temperature(0.95)(POLICY)
    paired = measure.paired_error(POLICY, near, 5_000, 1)
    alone = measure.of_policy(POLICY, 5_000, rng(1))["kl_mean_error"]
    assert paired is not None
    assert paired < alone / 2
    assert measure.paired_error(POLICY, POLICY, 5_000, 1) == 0


def test_the_paired_error_is_that_of_the_difference() -> None:
    other = Temperature(0.6)(POLICY)
    differences, errors = [], []
    for seed in range(60):
        measure = OracleMetrics(ORACLE, FIXED, ORACLE.sample(400, rng(seed)))
        rows = [measure.log_ratios(p, measure.draw(p, 400, 1000 + seed)) for p in (POLICY, other)]
        values = [divergences(row, 3)["kl_mean"] for row in rows]
        differences.append(values[0] - values[1])
        errors.append(difference_error(rows[0], rows[1], 3))
    assert 0.6 < np.mean(errors) / np.std(differences, ddof=1) < 1.6


# ---- scores ----


def row(kl_mean: float, chosen_by: float) -> dict[str, float]:
    return {
        "kl_mean": kl_mean,
        "kl_reverse": kl_mean,
        "kl_forward": kl_mean,
        "select/kl_mean": chosen_by,
    }


def test_the_best_knob_is_chosen_on_other_draws_than_those_it_is_valued_by() -> None:
    knobs = {"a": row(0.5, 0.4), "b": row(0.45, 0.41)}
    assert best_knob(knobs, RANKING) == "a"
    assert scores(knobs, row(0.47, 0)) == pytest.approx({"score": 0.03})
    assert scores(knobs, knobs["a"])["score"] == 0


@given(st.lists(st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)), min_size=1, max_size=6))
def test_maximum_likelihood_as_it_is_never_scores_above_zero(
    divergences_of: list[tuple[float, float]],
) -> None:
    names = [UNTURNED, *map(str, range(1, len(divergences_of)))]
    knobs = {name: row(*divergence) for name, divergence in zip(names, divergences_of, strict=True)}
    assert scores(knobs, knobs[UNTURNED])["score"] <= 0


def test_a_knob_that_was_chosen_by_luck_gives_way_to_the_policy_as_it_is() -> None:
    assert turning.UNTURNED.name == UNTURNED
    lucky = {UNTURNED: row(0.5, 0.5), "T 0.9": row(0.6, 0.4), "T 0.8": row(0.4, 0.6)}
    assert best_knob(lucky, RANKING) == UNTURNED  # and not the lowest of all, T 0.8


def test_the_choice_among_equal_knobs_does_not_make_the_rival_look_better() -> None:
    generator = np.random.default_rng(0)
    values, lowest = [], []
    for _ in range(400):
        knobs = {str(k): row(*(1 + 0.1 * generator.standard_normal(2))) for k in range(20)}
        best = best_knob(knobs, RANKING)
        assert best is not None
        values.append(knobs[best]["kl_mean"])
        lowest.append(min(knob["kl_mean"] for knob in knobs.values()))
    assert np.mean(values) == pytest.approx(1, abs=0.02)
    assert np.mean(lowest) < 0.85  # what choosing and valuing on the same draws would have said


def test_scores_have_the_prefix_of_the_metrics_and_need_their_divergence() -> None:
    knobs = {"T 1": row(0.5, 0.5)}
    assert scores(knobs, {"task/kl_mean": 0.4, "kl_mean": 9.0}, "task/") == pytest.approx(
        {"task/score": 0.1}
    )
    assert scores(knobs, {"nll_oracle": 1.0}) == {}
    assert scores({}, {"kl_mean": 1.0}) == {}
    assert {score.name for score in SCORES} == {
        "score",
        "score_forward",
        "score_reverse",
        "referee_score",
    }


def test_no_mixture_of_two_temperatures_beats_the_best_knob() -> None:
    """The adversary that won the former score: with probability w write at T 0.3, else at T 1."""
    real = ORACLE.sample(4_000, rng(3))
    measure = OracleMetrics(ORACLE, FIXED, real)
    names = [knob.name for knob in KNOBS]
    rows = dict(
        zip(
            names,
            measure.of_knobs(POLICY, KNOBS, 4_000, 4, ORACLE.sample(4_000, rng(5)), 4_000, 6),
            strict=True,
        )
    )
    for weight in (0.2, 0.5, 0.6, 0.9):
        cheat = Mixture(((Temperature(0.3), weight), (Temperature(1.0), 1 - weight)))
        found = next(iter(measure.of_knobs(POLICY, [cheat], 4_000, 4, real, 4_000, 6)))
        assert scores(rows, found)["score"] <= 2 * found["kl_mean_error"]


def test_nucleus_and_top_k_keep_what_their_names_say() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert TopK(2).keep(logits).tolist() == [[True, True, False, False]]
    assert TopP(0.5).keep(logits).tolist() == [[True, False, False, False]]
    assert TopP(0.79).keep(logits).tolist() == [[True, True, False, False]]
    assert TopP(0.81).keep(logits).tolist() == [[True, True, True, False]]
