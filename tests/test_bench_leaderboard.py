"""The leaderboard: what ranks above what, and that nothing ranks above the best knob that has
learned nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.leaderboard import BEGIN, END, main, section
from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE, Job, Suite
from seqgan_env.bench.leaderboard import INFINITE, JUDGED, ORACLE, REAL, Entry, Standings
from seqgan_env.bench.results import Result
from seqgan_env.bench.story import left_out, story
from seqgan_env.bench.tables import runs_rows
from seqgan_env.bench.worker import run_job
from seqgan_env.generators.knobs import Knob, Mixture, Temperature
from seqgan_env.metrics.score import SELECT
from seqgan_env.training.adversarial import evaluate_task
from seqgan_env.training.trainer import Trainer

# KL(G||O) and KL(O||G) of the knobs of a made-up reference: T 0.9 has the lowest mean, 0.10
KNOBS = {
    "T 1": (0.12, 0.10),
    "T 0.9": (0.09, 0.11),
    "T 0.5": (0.085, 0.60),
    "T 0.5 x 0.5 + T 1 x 0.5": (0.11, 0.14),
}
BEST, MIXTURE = "T 0.9", "T 0.5 x 0.5 + T 1 x 0.5"


def kl(reverse: float, forward: float) -> dict[str, float]:
    """Metrics with these divergences."""
    return {
        "kl_mean": (reverse + forward) / 2,
        "kl_reverse": reverse,
        "kl_forward": forward,
        "nll_oracle": 2.5 + reverse,
    }


def knob(metrics: Mapping[str, float]) -> dict[str, float]:
    """A knob with these metrics, whose divergences the other draws confirm."""
    divergences = {
        name: value
        for name, value in metrics.items()
        if name.startswith("kl_") or name == "referee_js"
    }
    return {**metrics, **{SELECT + name: value for name, value in divergences.items()}}


def reference(seed: int, task: str = "o", shift: float = 0.0) -> Result:
    """Maximum likelihood with its knobs, all further from the truth by `shift` and by a hundredth
    more with every seed.
    """
    by = shift + 0.01 * seed
    knobs = {
        name: knob(kl(reverse + by, forward + by)) for name, (reverse, forward) in KNOBS.items()
    }
    metrics = {name: value for name, value in knobs["T 1"].items() if not name.startswith(SELECT)}
    return Result(REFERENCE, task, seed, metrics, knobs=knobs)


def references(num: int = 5, task: str = "o") -> list[Result]:
    return [reference(seed, task) for seed in range(num)]


def row(
    label: str, gains: list[float], task: str = "o", first_seed: int = 0, **settings: Any
) -> list[Result]:
    """Runs that are so much nearer to the truth than the best knob of their seed, in both
    divergences.
    """
    found = []
    for seed, gain in enumerate(gains, start=first_seed):
        reverse, forward = (value + 0.01 * seed - gain for value in KNOBS[BEST])
        found.append(Result(label, task, seed, kl(reverse, forward), settings=settings))
    return found


def board(*results: list[Result], kind: str = ORACLE) -> dict[str, Entry]:
    """Entries by label, in the order of the ranks."""
    return {
        entry.label: entry
        for entry in Standings([result for of in results for result in of]).entries(kind)
    }


def value(entry: Entry) -> float:
    assert entry.score is not None
    return entry.score.value


# ---- the score ----


def test_the_best_knob_has_score_0_and_a_row_of_its_own_with_its_name() -> None:
    found = board(references())
    assert list(found) == [BEST_KNOB, REFERENCE]
    best = found[BEST_KNOB]
    assert (value(best), best.role, best.outcome, best.decision) == (
        0.0,
        "reference",
        "reference",
        None,
    )
    assert best.verdict == "What the others are measured by: T 0.9."
    assert best.mean("kl_mean", "o") == pytest.approx(0.10 + 0.02)


def test_the_names_of_the_best_knobs_are_counted_where_they_differ() -> None:
    others = references()
    knobs = dict(others[3].knobs)
    knobs["T 0.9"] = knob(kl(1.0, 1.0))
    others[3] = replace(others[3], knobs=knobs)
    assert (
        board(others)[BEST_KNOB].verdict
        == "What the others are measured by: T 0.9 (4 runs), T 1 (1 run)."
    )


def test_maximum_likelihood_as_it_is_has_a_score_and_a_verdict_as_anyone() -> None:
    mle = board(references())[REFERENCE]
    assert value(mle) == pytest.approx(-0.01)
    assert (mle.role, mle.outcome) == ("", "worse")


def test_a_score_is_how_much_lower_the_divergence_is_than_the_best_knobs() -> None:
    found = board(
        references(),
        row("near", [0.02, 0.021, 0.019, 0.02, 0.02]),
        row("far", [-0.05, -0.051, -0.05, -0.05, -0.049]),
    )
    assert list(found) == ["near", BEST_KNOB, REFERENCE, "far"]
    assert value(found["near"]) == pytest.approx(0.02)
    assert found["near"].score is not None
    assert found["near"].score.low < 0.02 < found["near"].score.high
    assert [found[label].outcome for label in ("near", "far")] == ["better", "worse"]
    assert (
        found["near"].verdict
        == "Nearer to the truth than every knob of maximum likelihood, by 0.0200 nats per token."
    )
    assert found["near"].quality.mean == pytest.approx(
        0.05
    )  # nll_oracle, on maximum likelihood as it is


def test_the_best_knob_is_chosen_on_other_draws_than_it_is_valued_by() -> None:
    others = references()
    for result in others:  # lucky where it is valued, bad where it is chosen
        result.knobs["lucky"] = kl(0.0, 0.0) | {SELECT + "kl_mean": 1.0}
    assert board(others)[BEST_KNOB].verdict.endswith("T 0.9.")


def test_a_mixture_that_is_a_knob_cannot_win_whatever_it_does_to_the_quality() -> None:
    others = references()
    mixtures = []
    for result in others:
        result.knobs[MIXTURE] = knob(kl(0.03, 0.13) | {"nll_oracle": 1.0})
        mixtures.append(Result("mixture", "o", result.seed, dict(result.knobs[MIXTURE])))
    found = board(others, mixtures)
    assert found["mixture"].quality.mean > 1
    assert value(found["mixture"]) == 0
    assert found["mixture"].outcome == "same"
    assert found[BEST_KNOB].verdict.endswith(f"{MIXTURE}.")


def test_better_in_one_divergence_and_worse_by_more_in_the_other_loses() -> None:
    sharp = [
        Result("sharp", "o", seed, kl(0.01 + 0.01 * seed, 0.30 + 0.01 * seed + 1e-4 * seed))
        for seed in range(5)
    ]
    found = board(references(), sharp)["sharp"]
    assert value(found) == pytest.approx(0.10 - 0.155, abs=1e-3)
    assert found.outcome == "worse"
    assert found.beside["score_reverse"].mean == pytest.approx(
        0.085 - 0.01
    )  # against T 0.5, the best in that one
    assert found.beside["score_forward"].mean == pytest.approx(0.10 - 0.30, abs=1e-3)  # against T 1


def test_a_win_that_is_a_loss_in_one_divergence_says_so() -> None:
    flat = [
        Result("flat", "o", seed, kl(0.14 + 0.01 * seed, 0.02 + 0.01 * seed + 1e-4 * seed))
        for seed in range(5)
    ]
    found = board(references(), flat)["flat"]
    assert found.outcome == "better"
    assert found.verdict.endswith("by 0.0199 nats per token. In KL(G‖O) alone a knob does better.")


def test_every_run_is_measured_by_the_best_knob_of_its_seed() -> None:
    shifted = [reference(seed, shift=seed) for seed in range(5)]
    runs = [
        Result(
            "a", "o", r.seed, kl(*(v + 1.01 * r.seed - 0.01 - 1e-5 * r.seed for v in KNOBS[BEST]))
        )
        for r in shifted
    ]
    found = board(shifted, runs)["a"]
    assert value(found) == pytest.approx(0.01, abs=1e-4)
    assert found.against.error < 1e-4  # though the seeds differ by a nat each
    assert found.outcome == "better"


def test_results_of_other_seeds_are_measured_by_the_mean_of_the_best_knobs() -> None:
    runs = [
        Result("elsewhere", "o", 100 + i, kl(0.08 + 0.001 * i, 0.08 + 0.001 * i)) for i in range(4)
    ]
    found = board(references(), runs)["elsewhere"]
    assert value(found) == pytest.approx((0.10 + 0.02) - 0.0815)
    assert found.quality.num_pairs == 0
    assert found.outcome == "better"


def test_a_task_with_real_data_is_ranked_by_the_referee() -> None:
    def real(js: float, bleu: float) -> dict[str, float]:
        return {"referee_js": js, "bleu4": bleu, "self_bleu4": 0.4, "nll_gen": 3.0}

    knobs = {"T 1": knob(real(0.3, 0.3)), "T 0.8": knob(real(0.2, 0.4))}
    mle = [Result(REFERENCE, "t", seed, real(0.3, 0.3), knobs=knobs) for seed in range(3)]
    found = board(
        mle,
        [Result("a", "t", seed, real(0.15 + 0.001 * seed, 0.2)) for seed in range(3)],
        kind=REAL,
    )
    assert list(found) == ["a", BEST_KNOB, REFERENCE]
    assert value(found["a"]) == pytest.approx(0.2 - 0.151)
    assert found["a"].quality.mean == pytest.approx(-0.1)
    assert "share of ln 2" in found["a"].verdict
    assert found["a"].beside == {}


# ---- what has no likelihoods ----


def judged(results: list[Result], js: float) -> list[Result]:
    """With what the referee says, of the knobs too."""
    found = []
    for result in results:
        by_name = {
            name: old | knob({"referee_js": js + 0.1 * (name == "T 1")})
            for name, old in result.knobs.items()
        }
        own = js + 0.1 if result.label == REFERENCE else js + 0.001 * result.seed
        found.append(replace(result, metrics=result.metrics | {"referee_js": own}, knobs=by_name))
    return found


def samples(label: str, js: float, num: int = 5) -> list[Result]:
    """Rows that have nothing but what the referee says."""
    return judged(
        [
            Result(label, "o", seed, {"nll_oracle": 2.0, "effective_vocabulary": 3.0})
            for seed in range(num)
        ],
        js,
    )


def test_rows_without_likelihoods_have_a_board_of_the_referees_with_all_that_it_judged() -> None:
    results = [
        *judged(references(), 0.2),
        *judged(row("both", [0.01] * 5), 0.15),
        *row("kl alone", [0.0] * 5),
    ]
    standings = Standings([*results, *samples("theirs", 0.1)])
    assert standings.kinds == [ORACLE, JUDGED]
    by_referee = {entry.label: entry for entry in standings.entries(JUDGED)}
    assert list(by_referee) == ["theirs", "both", BEST_KNOB, REFERENCE]
    assert value(by_referee["theirs"]) == pytest.approx(0.1 - 0.002)
    assert value(by_referee[BEST_KNOB]) == 0
    assert value(by_referee[REFERENCE]) == pytest.approx(-0.1)
    exact = {entry.label: entry for entry in standings.entries(ORACLE)}
    assert exact["theirs"].outcome == "no score"
    assert exact["theirs"].verdict == "No score without kl_mean. The referee has a board for it."
    assert value(exact["both"]) == pytest.approx(0.01)


def test_the_referees_board_needs_somebody_to_judge_and_a_judged_knob() -> None:
    assert Standings([*judged(references(), 0.2), *row("a", [0.0] * 5)]).kinds == [ORACLE]
    standings = Standings([*references(), *samples("theirs", 0.1)])
    assert standings.kinds == [ORACLE]
    theirs = next(entry for entry in standings.entries(ORACLE) if entry.label == "theirs")
    assert theirs.verdict.startswith(
        "No score without kl_mean. The referee judged it, but no knob of mle"
    )


# ---- what is infinitely far ----


@pytest.mark.parametrize(
    "infinity", [math.inf, math.nan, None]
)  # JSON has null, which is read as not a number
def test_an_infinite_divergence_ranks_last_and_its_other_scores_are_shown(infinity: Any) -> None:
    rows = row("never", [0.09] * 5)
    rows[3] = replace(
        rows[3], metrics=rows[3].metrics | {"kl_mean": infinity, "kl_forward": infinity}
    )
    found = board(references(), rows, row("poor", [-5.0, -5.1, -5.0, -5.0, -5.0]))
    never = found["never"]
    assert list(found)[-1] == "never"
    assert (never.score, never.outcome, never.mark) == (None, INFINITE, INFINITE)
    assert never.verdict == (
        "In 1 of 5 runs it gives some real sequences no probability, so that KL(O‖G) is infinite."
    )
    assert never.against.num_pairs == 0  # the mean over the other runs would hide it
    assert never.beside.keys() == {"score_reverse"}
    assert never.beside["score_reverse"].mean == pytest.approx(0.085)


def test_a_knob_that_is_infinite_on_some_draws_is_no_rival() -> None:
    others = references()
    for result in others:
        lucky = knob(kl(0.01, 0.01))
        result.knobs["K 3"] = lucky | {"kl_mean": math.inf, "kl_forward": math.inf}
        result.knobs["K 9"] = lucky | {
            SELECT + "kl_mean": math.nan,
            SELECT + "kl_forward": math.nan,
        }
    found = board(others, row("a", [0.01] * 5))
    assert found[BEST_KNOB].verdict.endswith("T 0.9.")
    assert value(found["a"]) == pytest.approx(0.01)
    assert found["a"].beside["score_reverse"].mean == pytest.approx(
        0.01 - 0.10
    )  # in KL(G||O) they are finite, and the best


# ---- verdicts ----


def test_one_seed_has_a_value_and_no_verdict() -> None:
    found = board(references(1), row("a", [0.02]))["a"]
    assert found.score is not None
    assert found.score.value == pytest.approx(0.02)
    assert math.isnan(found.score.low)
    assert (found.outcome, found.decision) == ("one run", None)
    assert found.verdict.startswith("+0.0200 nats per token")


def test_the_more_rows_a_page_has_the_more_each_of_them_must_show() -> None:
    gains = [0.03, 0.005, 0.02, 0.012, 0.03]
    alone = board(references(), row("a", gains))["a"]
    assert alone.outcome == "better"
    among = board(
        references(),
        row("a", gains),
        *(row(f"idle {i}", [0.01, -0.01, 0.02, -0.02, 0.0]) for i in range(20)),
    )["a"]
    assert among.outcome == "same"
    assert among.against == alone.against
    assert among.score is not None
    assert alone.score is not None
    assert among.score.low < 0 < alone.score.low


def test_all_kinds_of_a_page_are_corrected_together() -> None:
    real = {"referee_js": 0.3, "bleu4": 0.3, "self_bleu4": 0.4}
    text = [Result(REFERENCE, "t", seed, real, knobs={"T 1": knob(real)}) for seed in range(3)]
    standings = Standings([*references(), *row("a", [0.01, 0.02] * 2), *text])
    decisions = [
        entry.decision
        for kind in standings.kinds
        for entry in standings.entries(kind)
        if entry.decision
    ]
    assert sorted(decision.level for decision in decisions) == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05]
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=5), min_size=1, max_size=6))
def test_a_verdict_says_better_or_worse_if_and_only_if_the_interval_excludes_0(
    gains: list[list[float]],
) -> None:
    rows = [row(f"row {i}", of_row) for i, of_row in enumerate(gains)]
    for entry in board(references(), *rows).values():
        assert entry.score is not None
        assert (entry.outcome == "better") == (entry.score.low > 0)
        assert (entry.outcome == "worse") == (entry.score.high < 0)
        assert (entry.outcome in ("one run", "reference")) == math.isnan(entry.score.low)
        if entry.decision is not None and abs(entry.decision.adjusted - 0.05) > 1e-9:
            assert (entry.outcome == "same") == (entry.decision.adjusted > 0.05)


# ---- what is not there ----


def test_roles_come_from_the_rewards() -> None:
    sources = ("constant", "random", "noise", "optimal", "oracle", "discriminator")
    found = board(
        references(),
        *[row(source, [0.0] * 5, source=source) for source in sources],
        row("imported", [0.0] * 5),
    )
    assert {entry.label: entry.role for entry in found.values()} == {
        BEST_KNOB: "reference",
        **dict.fromkeys(("constant", "random", "noise"), "control"),
        **dict.fromkeys(("optimal", "oracle"), "ceiling"),
        **dict.fromkeys((REFERENCE, "discriminator", "imported"), ""),
    }
    assert "says nothing" in found["noise"].verdict
    assert "a ceiling" in found["optimal"].verdict


def test_a_missing_run_leaves_the_others() -> None:
    found = board(references()[:4], row("a", [0.02, 0.02, 0.021, 0.02, 0.02])[1:])["a"]
    assert len(found.all_runs) == 4
    assert (
        found.quality.num_pairs == 3
    )  # of seed 4 there is no reference: measured by the mean of the others
    assert value(found) == pytest.approx((0.02 + 0.021 + 0.02 + (0.115 - 0.12)) / 4)


def test_a_row_needs_every_task_for_a_score() -> None:
    everywhere = [*row("a", [0.02] * 3, "o"), *row("a", [0.03] * 3, "p")]
    found = board(references(3), references(3, "p"), everywhere, row("b", [0.09] * 3, "p"))
    assert list(found) == ["a", BEST_KNOB, REFERENCE, "b"]
    assert found["b"].verdict == "No score without task o."
    assert value(found["a"]) == pytest.approx(0.025)
    assert found["a"].scores is not None
    assert found["a"].scores.shape == (3, 2)


def test_what_cannot_be_compared_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="task 'o' has no run of the row 'mle' with its knobs"):
        Standings(row("a", [0.1]))
    with pytest.raises(ValueError, match="no run of the row 'mle' with its knobs"):
        Standings([replace(reference(0), knobs={})])
    with pytest.raises(ValueError, match="'a' on o, seed 0, is there twice"):
        Standings([*references(), *row("a", [0.1]), *row("a", [0.1])])
    with pytest.raises(
        ValueError, match="task 'x' has neither nll_oracle nor bleu4 among its metrics"
    ):
        Standings([Result("a", "x", 0, {"accuracy": 1.0})])
    with pytest.raises(ValueError, match="a row is labelled 'best knob'"):
        Standings([*references(), *row(BEST_KNOB, [0.1])])


def unjudged(results: list[Result], *seeds: int) -> list[Result]:
    """Without what gives a score: the divergences of runs with these seeds, or of all."""
    found = []
    for result in results:
        if result.seed in seeds or not seeds:
            kept = {name: v for name, v in result.metrics.items() if not name.startswith("kl_")}
            result = replace(result, metrics=kept)
        found.append(result)
    return found


ON_O, ON_P = row("a", [0.0, 0.01, -0.01]), row("a", [0.0, 0.02, -0.02], "p")


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([*ON_O, *unjudged(ON_P)], "No score without kl_mean on p."),
        ([*unjudged(ON_O), *unjudged(ON_P)], "No score without kl_mean."),
        (unjudged(ON_O), "No score without kl_mean, task p."),
        (
            [*ON_O, *unjudged(ON_P, 1)],
            "in 5 runs. 1 of its 6 runs has no score, without kl_mean on p.",
        ),
        (
            [*unjudged(ON_O, 0, 1), *unjudged(ON_P, 2)],
            "in 3 runs. 3 of its 6 runs have no score, without kl_mean on o, kl_mean on p.",
        ),
        (
            [*unjudged(ON_O, 0, 1), *unjudged(ON_P, 1, 2)],
            "in 2 runs. 4 of its 6 runs have no score, without kl_mean on o, kl_mean on p.",
        ),
        ([*ON_O, *ON_P], "in 6 runs."),
    ],
)
def test_what_keeps_a_run_from_a_score_is_named_and_only_scored_runs_are_counted(
    results: list[Result], reason: str
) -> None:
    entry = board(references(3), references(3, "p"), results)["a"]
    assert entry.verdict.endswith(reason)
    num_scored = sum("score" in run.metrics for run in entry.all_runs)
    assert entry.against.num_pairs == num_scored
    assert (entry.outcome == "no score") == reason.startswith("No score")


def test_a_run_whose_reference_was_not_judged_says_so() -> None:
    some = [*judged(references(1), 0.2), *references(3)[1:]]
    entries = board(some, judged(row("a", [0.0] * 3), 0.3), kind=JUDGED)
    assert entries["a"].verdict.endswith(
        "2 of its 3 runs have no score, without a knob of mle with referee_js on o."
    )
    none = [*judged(references(1, "p"), 0.2), *judged(references(1), 0.2), *references(3)[1:]]
    rows = [*judged(row("a", [0.0], "p"), 0.3), *judged(row("a", [0.0] * 2, first_seed=1), 0.3)]
    entries = board(none, rows, kind=JUDGED)
    assert entries["a"].verdict == "No score without a knob of mle with referee_js on o."


def elsewhere(task: str = "x") -> list[Result]:
    """Runs on a task that is of no kind."""
    found = []
    for label in (REFERENCE, "a"):
        found += [Result(label, task, seed, {"accuracy": 1.0}) for seed in range(2)]
    return found


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (elsewhere(), "task 'x' has neither nll_oracle nor bleu4 among its metrics"),
        (elsewhere("a task before all"), "task 'a task before all' has neither"),
        (row("a", [0.1] * 2, "x"), "task 'x' has no run of the row 'mle' with its knobs"),
        (
            [replace(reference(0, "x"), knobs={}), *row("only here", [0.1], "x")],
            "task 'x' has no run of the row 'mle' with its knobs",
        ),
    ],
)
def test_a_task_that_cannot_be_ranked_costs_no_other_one_its_board(
    others: list[Result], reason: str
) -> None:
    ranked = [*references(), *row("a", [0.01, 0.02, 0.03])]
    standings, alone = Standings([*others, *ranked]), Standings(ranked)
    assert standings.tasks == alone.tasks == ["o"]
    assert str(standings.entries(ORACLE)) == str(alone.entries(ORACLE))
    assert runs_rows(standings) == runs_rows(alone)
    (told,) = left_out(standings)
    assert reason in told
    assert told in story(standings)
    assert not left_out(alone)


# ---- nothing that has learned nothing ranks above the best knob by more than noise ----

SEEDS = 5
UNTRAINED: tuple[Knob, ...] = (
    *map(
        Temperature, (0.97, 0.88, 0.5, 0.2)
    ),  # turns that the reference has not among its knobs, but for 0.5
    Mixture(
        ((Temperature(0.3), 0.4), (Temperature(1.0), 0.6))
    ),  # once won by 0.67 nats against the temperatures alone
    Mixture(((Temperature(0.75), 0.3), (Temperature(1.02), 0.7))),
)


@pytest.mark.slow
def test_controls_and_turned_policies_never_rank_above_the_best_knob_by_more_than_noise() -> None:
    sources = ("constant", "random")
    rows: dict[str, dict[str, Any]] = {
        source: {"agent": "reinforce", "source": source} for source in sources
    }
    tiny = {
        "vocab_size": 12,
        "seq_len": 4,
        "mle_epochs": 2,
        "rounds": 20,
        "eval_every": 20,
        "batch_size": 64,
        "num_rollouts": 1,
    }
    results, noise = [], []
    for job in Suite("s", SEEDS, {"o": {"task": "oracle-tiny"}}, rows, tiny).jobs():
        results.append(run_job(job, job.key))
        if job.label == REFERENCE:
            turned, spread = _untrained(job)
            results += turned
            noise.append(spread)
    entries = Standings(results).entries(ORACLE)
    assert {entry.label for entry in entries} == {
        BEST_KNOB,
        REFERENCE,
        *sources,
        *(knob.name for knob in UNTRAINED),
    }
    above = 3 * float(np.std(noise)) / math.sqrt(SEEDS)
    assert above < 0.02
    for entry in entries:
        assert entry.outcome != "better"
        assert value(entry) < above
    worse = {entry.label for entry in entries if entry.outcome == "worse"}
    assert {"T 0.2", "T 0.5", UNTRAINED[4].name} <= worse
    assert all(
        entry.quality.mean > 0.1 for entry in entries if entry.label in ("T 0.2", "T 0.5")
    )  # by nll_oracle they win


def _untrained(job: Job) -> tuple[list[Result], float]:
    """The job's policy turned, on other samples than its knobs'; how kl_mean differs by these."""
    trainer = Trainer(replace(job.settings, knobs=False))
    trainer()
    policy, seed = trainer.agent.policy, job.settings.seed

    def metrics(knob: Knob, stream: int) -> dict[str, float]:
        return evaluate_task(knob(policy), trainer.task, stream, "cpu")

    results = [Result(knob.name, job.task, seed, metrics(knob, 1000 + seed)) for knob in UNTRAINED]
    return results, metrics(Temperature(1.0), 1000 + seed)["kl_mean"] - metrics(
        Temperature(1.0), 2000 + seed
    )["kl_mean"]


# ---- the leaderboard in the README ----

README = f"# Title\n\nwords before\n\n{BEGIN}\nold\n{END}\n\nwords after\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in (tmp_path / "one" / "results", tmp_path / "two" / "results"):
        place.mkdir(parents=True)
    for i, result in enumerate([*references(), *row("learner", [0.01] * 5)]):
        result.write(tmp_path / "one" / "results" / f"{i}.json")
    for i, result in enumerate([*references(), *row("an | other", [0.02] * 5)]):
        result.write(tmp_path / "two" / "results" / f"{i}.json")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_the_readme_is_rewritten_between_its_markers_and_nowhere_else(folder: Path) -> None:
    arguments = [str(folder / "one"), str(folder / "two"), "--readme", str(folder / "README.md")]
    assert main([*arguments, "--check"]) == 1
    assert (folder / "README.md").read_text() == README
    assert main(arguments) == 0
    text = (folder / "README.md").read_text()
    assert text.startswith(f"# Title\n\nwords before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nwords after\n")
    of_one, of_two = (
        [line for line in part.splitlines() if line.startswith("|")][2:]
        for part in text.split("**two**")
    )
    assert [line.split(" | ")[0] for line in of_one] == [
        "| learner",
        "| best knob (reference)",
        "| mle",
    ]
    assert [line.split(" | ")[0] for line in of_two] == [
        "| an \\| other",
        "| best knob (reference)",
        "| mle",
    ]
    assert "+0.0200 (+0.0200 to +0.0200)" in of_two[0]
    assert "over 5 seeds" in text
    assert main([*arguments, "--check"]) == 0
    assert main(arguments) == 0
    assert (folder / "README.md").read_text() == text


def test_a_short_board_has_the_same_rows_and_scores(folder: Path) -> None:
    rows = []
    for short in (False, True):
        lines = section([folder / "one"], short).splitlines()
        rows.append([line.split(" | ") for line in lines if line.startswith("|")][2:])
    whole, brief = rows
    assert [row[:3] for row in whole] == [row[:3] for row in brief]
    assert brief[0][3].startswith("nearer to the truth")


def test_a_readme_with_other_numbers_is_stale(folder: Path) -> None:
    arguments = [str(folder / "one"), "--readme", str(folder / "README.md")]
    assert main(arguments) == 0
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("+0.0100", "+0.0101"))
    assert main([*arguments, "--check"]) == 1


@pytest.mark.parametrize(
    "text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{END}{BEGIN}{END}"]
)
def test_a_readme_without_the_markers_is_left_alone(
    folder: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.md").write_text(text)
    assert main([str(folder / "one"), "--readme", str(folder / "README.md")]) == 2
    assert "expected one <!-- leaderboard:begin -->" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == text


def test_a_benchmark_without_results_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder / "three"), "--readme", str(folder / "README.md")]) == 2
    assert "three has no results" in capsys.readouterr().err
