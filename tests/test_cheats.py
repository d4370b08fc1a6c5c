"""Cheats: their likelihoods are those of what they write, and none of them wins a score."""

import math
from typing import Any

import pytest

from agents.cheats import LikeliestDraft, ReplayPolicy
from seqgan_env.generators.knobs import MixturePolicy
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.score import scores
from seqgan_env.training.settings import settings_from
from seqgan_env.training.trainer import Trainer
from seqgan_env.types import TokenSpec

from .conftest import all_sequences, random_model, rng

NUM = 60_000
SMALL = {"vocab_size": 30, "seq_len": 8, "mle_epochs": 6}
CHEATS: dict[str, dict[str, Any]] = {
    "TwoTemperatures": {"temperature": 0.3, "weight": 0.9},
    "GreedyMixture": {"weight": 0.5},
    "Sharpened": {"temperature": 0.6},
    "Replay": {"noise": 0.1, "weight": 0.5},
    "BestOfN": {"num_drafts": 4},
}
INFINITE: tuple[dict[str, int], ...] = (
    {"num": 1},
    {},
)  # options of Replay: most real sequences it never writes


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_a_replay_writes_what_it_says_is_likely(spec: TokenSpec, noise: float) -> None:
    known = random_model(spec, 1).sample(7, rng(1))
    policy = ReplayPolicy(spec, known, noise)
    everything = all_sequences(spec)
    probs = policy.log_prob(everything).double().exp()
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)
    samples = sample_sequences(policy, spec, NUM, rng(2))
    for i in probs.topk(5).indices.tolist():
        share, p = float((samples == everything[i]).all(1).double().mean()), float(probs[i])
        assert share == pytest.approx(p, abs=4.5 * (p * (1 - p) / NUM) ** 0.5 + 1e-6)


def test_a_mixture_with_a_replay_writes_what_it_says_is_likely(spec: TokenSpec) -> None:
    model = random_model(spec, 1)
    mixed = MixturePolicy([ReplayPolicy(spec, model.sample(1, rng(1))), model], [0.6, 0.4])
    everything = all_sequences(spec)
    probs = mixed.log_prob(everything).double().exp()
    samples = sample_sequences(mixed, spec, NUM, rng(2))
    best = int(probs.argmax())
    assert float(probs[best]) > 0.6
    assert float((samples == everything[best]).all(1).double().mean()) == pytest.approx(
        float(probs[best]), abs=0.01
    )


def test_without_noise_nothing_but_what_was_seen_is_written(spec: TokenSpec) -> None:
    known = random_model(spec, 1).sample(7, rng(1))
    samples = sample_sequences(ReplayPolicy(spec, known), spec, 500, rng(2))
    assert {tuple(row) for row in samples.tolist()} == {tuple(row) for row in known.tolist()}


def test_the_likeliest_draft_is_likelier_than_one(spec: TokenSpec) -> None:
    model = random_model(spec, 1)
    best = sample_sequences(LikeliestDraft(model, 5), spec, 2_000, rng(3))
    spec.check_sequences(best)
    assert model.log_prob(best).mean() > model.log_prob(model.sample(2_000, rng(3))).mean() + 0.5


def trained(name: str, **options: Any) -> Trainer:
    """A finished run of a cheat."""
    changes = {
        "task": "oracle-tiny",
        "agent": f"agents.cheats:{name}",
        "agent_options": options,
        "knobs": False,
    }
    trainer = Trainer(settings_from("tiny", SMALL | changes))
    trainer()
    return trainer


@pytest.fixture(scope="module")
def knobs() -> dict[str, dict[str, float]]:
    trainer = Trainer(settings_from("tiny", SMALL | {"task": "oracle-tiny", "agent": "mle"}))
    return trainer().knobs


@pytest.mark.parametrize("name", ["TwoTemperatures", "GreedyMixture", "Sharpened"])
def test_no_cheat_is_nearer_to_the_truth_than_the_best_knob(
    name: str, knobs: dict[str, dict[str, float]]
) -> None:
    metrics = trained(name, **CHEATS[name]).run.metrics["agent"]
    assert scores(knobs, metrics)["score"] <= 2 * metrics["kl_mean_error"]


@pytest.mark.slow
@pytest.mark.parametrize("options", INFINITE, ids=["one", "all"])
def test_who_only_repeats_is_infinitely_far(
    options: dict[str, Any], knobs: dict[str, dict[str, float]]
) -> None:
    metrics = trained("Replay", **options).run.metrics["agent"]
    assert metrics["kl_mean"] == float("inf")
    assert scores(knobs, metrics)["score"] == -float("inf")


@pytest.mark.slow
def test_who_has_no_likelihoods_is_judged_by_the_referee_alone() -> None:
    metrics = trained("BestOfN").run.metrics["agent"]
    assert not {"kl_mean", "js", "nll_gen"} & set(metrics)
    assert metrics.keys() >= {"referee_js", "referee_js_error", "nll_oracle"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_cheat_wins_on_oracle_tiny_by_exact_divergences_or_by_the_referee(seed: int) -> None:
    base = {"task": "oracle-tiny", "seed": seed, "control": False, "referee": True}
    knobs = Trainer(settings_from("tiny", base | {"agent": "mle"}))().knobs
    every = [*CHEATS.items(), *(("Replay", options) for options in INFINITE)]
    for name, options in every:
        settings = base | {
            "agent": f"agents.cheats:{name}",
            "agent_options": options,
            "knobs": False,
        }
        metrics = Trainer(settings_from("tiny", settings))().metrics["agent"]
        found = scores(knobs, metrics)
        # Who is infinitely far has no error, and who has no likelihoods no score of this kind.
        exact = found.get("score", -math.inf)
        assert exact == -math.inf or exact <= 2 * metrics["kl_mean_error"], name
        assert found["referee_score"] <= 2 * metrics["referee_js_error"], name
