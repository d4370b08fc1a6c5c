"""The interpreter of results: every rule holds where its condition does and not beside it, and what
is said has the figures.
"""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqgan_env.bench.leaderboard import Standings
from seqgan_env.bench.results import Result, path_of
from seqgan_env.bench.story import in_short, story
from seqgan_env.cli.main import main
from seqgan_env.training import interpreter
from seqgan_env.training.health import DivergenceError
from seqgan_env.training.interpreter import (
    OF_A_GAIN,
    OF_NO_GAIN,
    OUTCOMES,
    Evidence,
    Row,
    explain,
    read_evidence,
)

ERROR = 0.002  # of every divergence here
SETTINGS = {
    "agent": "reinforce",
    "task": "oracle-tiny",
    "source": "discriminator",
    "reward": "rollout",
    "agent_options": {"learning_rate": 0.004},
}


def metrics(reverse: float, forward: float, score: float = 0.0) -> dict[str, float]:
    """Of a policy."""
    mean = (reverse + forward) / 2
    found = {"kl_mean": mean, "kl_reverse": reverse, "kl_forward": forward, "score": score}
    found |= {f"{name}_error": ERROR for name in ("kl_mean", "kl_reverse", "kl_forward")}
    return found | {"nll_oracle": 2.5 + reverse, "nll_gen": 2.5 + forward}


def evaluated(
    number: float, reverse: float, forward: float, words: float = 30.0, **more: float
) -> dict[str, float]:
    """A round in which the policy was evaluated."""
    of_task = metrics(reverse, forward) | {"effective_vocabulary": words}
    of_d = {"loss": 0.68, "accuracy_real_heldout": 0.55, "accuracy_generated_heldout": 0.55} | more
    row = {"phase": 1.0, "round": number, "agent/reward": 0.3, "agent/advantage_std": 0.1}
    row |= {f"task/{name}": value for name, value in of_task.items()}
    return row | {f"discriminator/{name}": value for name, value in of_d.items()}


def epochs(*likelihoods: float) -> list[Row]:
    """The rows of pre-training."""
    return [
        {"phase": 0.0, "epoch": i, "nll_validation": value}
        for i, value in enumerate(likelihoods, 1)
    ]


QUIET = [evaluated(0, 0.4, 0.4), evaluated(10, 0.38, 0.38), evaluated(20, 0.38, 0.38)]


def run(score: float = -0.03, rows: Any = QUIET, **changes: Any) -> Evidence:
    """A run whose agent has a score, and of which no cause holds unless something is changed."""
    said: dict[str, Any] = {
        "metrics": {
            "mle": metrics(0.4, 0.4, -0.05),
            "best_knob": metrics(0.35, 0.35),
            "constant": metrics(0.3805, 0.3805, -0.0305),
            "agent": metrics(0.38, 0.38, score),
        },
        "rows": rows,
        "best_knob": "power 1.15",
        "score_error": 0.002,
        "settings": SETTINGS,
        "path": "runs/mine",
    }
    return Evidence(**said | changes)


def with_constant(reverse: float, **changes: Any) -> Evidence:
    """A run whose constant-reward control has these divergences."""
    found = run(**changes)
    control = {"constant": metrics(reverse, reverse)}
    return replace(found, metrics={**found.metrics, **control})


def paid(values: list[tuple[float, float]]) -> list[Row]:
    """Rounds with a reward and the spread of its advantages."""
    return [
        {"phase": 1.0, "round": float(i), "agent/reward": reward, "agent/advantage_std": std}
        for i, (reward, std) in enumerate(values)
    ]


def seen(loss: float, real: float, made: float) -> list[Row]:
    """Three evaluations of a discriminator."""
    accuracies = {"accuracy_real_heldout": real, "accuracy_generated_heldout": made}
    rounds = ((0.0, 0.4), (10.0, 0.38), (20.0, 0.38))
    return [evaluated(number, kl, kl, loss=loss, **accuracies) for number, kl in rounds]


BUTTER = SETTINGS | {"source": "discriminator + 0.5 * mypkg:Butter", "rounds": 40}


def buttered(
    before: float, after: float, distance: float = 0.728, settings: Any = BUTTER, **changes: Any
) -> Evidence:
    """A run on real data whose agent was paid for butter too, and which measured both."""
    policies = {
        "mle": {"referee_js": 0.013, "referee_js_error": 0.01, "more/butter": before},
        "best_knob": {"referee_js": 0.012, "referee_js_error": 0.01},
        "agent": {"referee_js": distance, "referee_js_error": 0.02, "more/butter": after},
    }
    policies["agent"]["referee_score"] = 0.012 - distance
    return run(metrics=policies, settings=settings, **changes)


# Rule: a run in which it holds, words that it says, and one beside it in which it does not.
CASES: dict[str, tuple[Evidence, str, Evidence]] = {
    "diverged": (
        Evidence(diverged="training diverged in phase 'adversarial', round 3: loss is nan; try x"),
        "round 3: loss is nan.",
        run(),
    ),
    "unfinished": (
        Evidence(path="runs/mine", last_line="adversarial: 34/160, 12 s"),
        "adversarial: 34/160",
        run(),
    ),
    "unscored": (run(metrics={"agent": {"kl_mean": 0.4}}), "no score", run()),
    "infinitely_far": (run(math.nan), "no probability", run()),
    "better": (run(0.0041), "+0.0041 ± 0.0020", run(0.0039)),
    "as_well": (run(-0.0039), "does as well", run(-0.0041)),
    "worse": (run(-0.0041), "nearer to the truth than the agent", run(-0.0039)),
    "control_reward": (
        run(settings=SETTINGS | {"source": "constant"}),
        "constant",
        run(),
    ),
    "constant_reward": (
        run(rows=paid([(1.0, 0.0)] * 8)),
        "all 8 rounds",
        run(rows=paid([(1.0, 0.0)] * 7 + [(1.0, 0.01)])),
    ),
    "pulled_away": (buttered(-0.459, 0.570), "from -0.459 to 0.570", buttered(-0.4, 0.5, 0.04)),
    "floor_reward": (
        run(rows=paid([(0.3, 0.1)] * 6 + [(0.004, 0.001)] * 2)),
        "0.0040",
        run(rows=paid([(0.3, 0.1)] * 7 + [(0.02, 0.001)])),
    ),
    "memorised": (run(rows=seen(0.3, 0.02, 0.99)), "only 2%", run(rows=seen(0.6, 0.55, 0.55))),
    "saturated": (run(rows=seen(0.01, 0.99, 0.995)), "99.5%", run(rows=seen(0.2, 0.9, 0.9))),
    "collapsed": (
        run(rows=[evaluated(0, 0.45, 0.35, 38), evaluated(20, 0.42, 0.5, 9)]),
        "from 38.0 to 9.0",
        run(rows=[evaluated(0, 0.45, 0.35, 38), evaluated(20, 0.30, 0.36, 9)]),  # it gained
    ),
    "exploited": (
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(20, 0.5, 0.6)]),
        "by 0.100 and KL(O||G) by 0.200",
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(20, 0.402, 0.6)]),
    ),
    "overshot": (
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(10, 0.36, 0.36), evaluated(20, 0.38, 0.38)]),
        "in round 10",
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(10, 0.379, 0.379), evaluated(20, 0.38, 0.38)]),
    ),
    "none_nearer": (run(kept_round=0), "that of round 0", run(kept_round=10)),
    "mle_unfinished": (
        run(rows=epochs(3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.45, 2.4)),
        "--mle-epochs 16",
        run(rows=epochs(3.0, 2.9, 2.8, 2.7, 2.5, 2.4, 2.399, 2.398)),
    ),
    "overfitted": (
        run(rows=epochs(3.0, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0, 3.1)),
        "epoch 2 of 8",
        run(rows=epochs(3.0, 2.5, 2.5, 2.501, 2.502, 2.505, 2.505, 2.505)),
    ),
    "still_improving": (
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(15, 0.38, 0.38), evaluated(20, 0.36, 0.36)]),
        "--rounds 40",
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(15, 0.361, 0.361), evaluated(20, 0.36, 0.36)]),
    ),
    "hardly_moved": (
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(20, 0.401, 0.401)]),
        "hardly changed",
        run(rows=[evaluated(0, 0.4, 0.4), evaluated(20, 0.39, 0.39)]),
    ),
    "control_as_well": (with_constant(0.381), "constant reward", with_constant(0.4)),
    "reward_taught": (with_constant(0.4), "0.0200 lower", with_constant(0.381)),
}
RULES = {rule.__name__: rule for rule in (*OUTCOMES, *OF_A_GAIN, *OF_NO_GAIN)}


def test_a_reward_that_pulls_away_goes_before_advice_about_discriminators() -> None:
    knows_by_heart = list(CASES["memorised"][0].rows)
    told = explain(buttered(-0.459, 0.570, rows=knows_by_heart))
    assert told.cause is not None
    assert told.cause.rule == "pulled_away"
    text = " ".join(told.sentences)
    assert "mypkg:Butter rose from -0.459 to 0.570" in text
    assert "rose from 0.013 to 0.728" in text
    assert "--source 'discriminator + 0.25 * mypkg:Butter'" in text
    assert "--rounds 20" in text  # half of them, whichever was nearest to held-out data
    without_knobs = buttered(-0.459, 0.570, settings=BUTTER | {"knobs": False})
    del without_knobs.metrics["agent"]["referee_score"]  # type: ignore[attr-defined]
    assert explain(without_knobs).outcome.rule == "unscored"
    assert explain(without_knobs).cause == told.cause


@pytest.mark.parametrize("source", ["discriminator", "0.5 * discriminator + constant", "optimal"])
def test_sources_that_pay_for_likeness_or_nothing_pull_nowhere(source: str) -> None:
    evidence = buttered(-0.4, 0.5, settings=BUTTER | {"source": source})
    assert RULES["pulled_away"](evidence) is None


def test_a_source_that_was_not_followed_is_not_blamed() -> None:
    assert RULES["pulled_away"](buttered(0.5, -0.4)) is None
    less = BUTTER | {"source": "discriminator - 0.5 * mypkg:Butter"}
    assert RULES["pulled_away"](buttered(-0.4, 0.5, settings=less)) is None
    found = RULES["pulled_away"](buttered(0.5, -0.4, settings=less))
    assert found is not None
    assert "mypkg:Butter fell from 0.500 to -0.400" in found.says
    assert "'discriminator - 0.25 * mypkg:Butter'" in found.advice


@pytest.mark.parametrize("form", ["mypkg:Butter", "2 * mypkg:Butter + bleu"])
def test_where_only_own_sources_pay_it_is_their_reward_that_must_have_risen(form: str) -> None:
    settings = BUTTER | {"source": form}
    unmeasured = replace(buttered(-0.4, 0.5), settings=settings)
    for metrics in unmeasured.metrics.values():
        metrics.pop("more/butter", None)  # type: ignore[attr-defined]
    rewards = [(0.1 * i, 0.1) for i in range(20)]
    found = RULES["pulled_away"](replace(unmeasured, rows=paid(rewards)))
    assert found is not None
    assert f"the reward ({form}) rose from 0.050 to 1.850" in found.says
    assert "--source 'discriminator + 0.1 * mypkg:Butter" in found.advice
    assert "--rounds 20" in found.advice  # half of them
    assert RULES["pulled_away"](replace(unmeasured, rows=paid(rewards[::-1]))) is None


@pytest.mark.parametrize("source", ["discriminator + 0.5 * a:B - c.d:E", "-0.1 * bleu + x", "a:B"])
def test_a_sum_is_written_as_it_is_read(source: str) -> None:
    evidence = Evidence(settings={"source": source})
    assert interpreter._sum_of(evidence.terms) == source


@pytest.mark.parametrize("name", ["floor_reward", "saturated"])
def test_who_is_paid_the_logit_is_not_told_to_pay_it(name: str) -> None:
    evidence = CASES[name][0]
    for score_as, is_told in (("probability", True), ("logit", False)):
        found = RULES[name](replace(evidence, settings=SETTINGS | {"score_as": score_as}))
        assert found is not None
        assert ("--score-as logit" in found.advice) is is_told
        assert found.advice[0].isupper()


@pytest.mark.parametrize("name", ["collapsed", "exploited", "floor_reward"])
def test_where_no_discriminator_pays_no_flag_of_one_is_advised(name: str) -> None:
    found = RULES[name](replace(CASES[name][0], settings=SETTINGS | {"source": "mypkg:Butter"}))
    assert found is not None
    assert "discriminator" not in found.advice
    assert "--d-" not in found.advice
    assert "logit" not in found.advice


UNSCORED = {"agent": metrics(0.38, 0.38)}
del UNSCORED["agent"]["score"]
UNJUDGED = {"agent": {"nll_gen": 2.8}}


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (run(metrics=UNSCORED, settings={"knobs": False}), "switched off (--no-knobs)"),
        (run(metrics=UNJUDGED, settings={"knobs": False}), "switched off (--no-knobs)"),
        (run(metrics=UNSCORED, settings={"knobs": True}, num_knobs=0), "no temperature"),
        (run(metrics=UNSCORED, settings={"knobs": True}, num_knobs=7), "finite distance"),
        (run(metrics=UNJUDGED, settings={"knobs": True}, num_knobs=3), "too little real data"),
    ],
)
def test_the_reason_of_a_missing_score_is_the_one_that_holds(
    evidence: Evidence, reason: str
) -> None:
    told = " ".join(explain(evidence).sentences)
    assert reason in told
    assert ("real" in told) is ("real data" in reason)


@pytest.mark.parametrize("name", ["memorised", "overfitted"])
def test_real_data_are_asked_for_only_where_the_data_are_real(name: str) -> None:
    on_oracle = CASES[name][0]
    found = RULES[name](on_oracle)
    assert found is not None
    assert "real data" not in found.advice
    assert "--num-real" in found.advice
    on_text = replace(on_oracle, metrics={"agent": {"referee_js": 0.1}})
    found = RULES[name](on_text)
    assert found is not None
    assert "more real data" in found.advice


def test_there_is_a_case_for_every_rule_and_every_rule_has_its_name() -> None:
    assert CASES.keys() == RULES.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_rule_holds_where_its_condition_does_and_only_there(name: str) -> None:
    holds, words, beside = CASES[name]
    found = RULES[name](holds)
    assert found is not None
    assert found.rule == name
    assert words in f"{found.says} {found.advice}"
    assert RULES[name](beside) is None


@pytest.mark.parametrize("name", CASES)
def test_what_is_told_is_two_or_three_whole_sentences(name: str) -> None:
    sentences = explain(CASES[name][0]).sentences
    assert 2 <= len(sentences) <= 3
    for sentence in sentences:
        assert sentence[0].isupper() or sentence.startswith("adversarial")
        assert "nan " not in sentence.replace("loss is nan", "")
        assert sentence[-1] in ".s"  # a log's line may stand last


@pytest.mark.parametrize("name", [rule.__name__ for rule in (*OF_A_GAIN, *OF_NO_GAIN)])
def test_the_cause_that_holds_is_the_one_that_is_told(name: str) -> None:
    evidence = CASES[name][0]
    if name in ("control_as_well", "reward_taught"):
        agent = {"agent": {**evidence.metrics["agent"], "score": 0.02}}
        evidence = replace(evidence, metrics={**evidence.metrics, **agent})
    cause = explain(evidence).cause
    assert cause is not None
    assert cause.rule == name


def test_no_cause_is_made_up() -> None:
    evidence = run(metrics={"agent": metrics(0.38, 0.38, -0.03)})
    assert explain(evidence).cause is None
    assert explain(evidence).sentences[1] == interpreter.NO_CAUSE


def test_one_seed_never_proves_a_gain() -> None:
    assert "one seed says nothing about another" in explain(run(0.05)).sentences[0]


def test_a_discriminator_that_errs_on_unseen_data_cannot_have_a_lower_loss_unless_by_memory() -> (
    None
):
    """The bound of the rule, at its tightest: right with certainty or even, never else."""
    for accuracy in (0.5, 0.7, 0.9):
        even = 2 * (1 - accuracy)  # the share of cases in which a coin decides
        loss = even * math.log(2)
        assert RULES["memorised"](run(rows=seen(loss, accuracy, accuracy))) is None


def written(path: Path, evidence: Evidence, result: Mapping[str, Any] | None) -> Path:
    """A run directory with these numbers."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"settings": dict(evidence.settings)}))
    columns = list(dict.fromkeys(name for row in evidence.rows for name in row))
    with (path / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(evidence.rows)
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
    return path


def test_a_folder_says_what_its_numbers_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = CASES["collapsed"][0]
    about = {"best_knob_name": evidence.best_knob, "score_error": evidence.score_error}
    about["kept_round"] = 10
    path = written(tmp_path / "run", evidence, {**evidence.metrics, **about, "interrupted": False})
    assert explain(read_evidence(path)).cause == explain(evidence).cause
    assert read_evidence(path).kept_round == 10
    assert main(["explain", str(path)]) == 0
    assert "from 38.0 to 9.0" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{}"),
        ("result.json", "[]"),
        ("result.json", '{"agent": {"score": "high"}}'),
        ("result.json", '{"agent": 3}'),
        ("metrics.csv", "round,task/kl_mean\n1,many\n"),
        ("metrics.csv", "round\n1,2,3\n"),
    ],
)
def test_a_damaged_folder_is_named(
    file: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "run", run(), {"agent": {"score": 0.1}, "interrupted": False})
    (path / file).write_text(text)
    assert main(["explain", str(path)]) == 2
    errors = capsys.readouterr().err
    assert file in errors
    assert len(errors.splitlines()) == 1


def test_what_is_neither_run_nor_benchmark_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(tmp_path)]) == 2
    assert "neither a run" in capsys.readouterr().err


SEEDS = range(5)


def benchmark(gain: float, rows: Sequence[Row], seeds: range = SEEDS) -> list[Result]:
    """Maximum likelihood with one knob, and an agent that is `gain` nearer to the truth."""
    found = []
    for seed in seeds:
        at = 0.35 + 0.001 * seed
        knob = metrics(at, at)
        knobs = {"T 0.9": knob | {f"select/{name}": value for name, value in knob.items()}}
        found.append(Result("mle", "o", seed, metrics(0.4, 0.4), knobs=knobs, settings={}))
        own = metrics(at - gain - 0.0001 * seed, at - gain)
        curve = [dict(row) for row in rows]
        found.append(Result("learner", "o", seed, own, curve=curve, settings=dict(SETTINGS)))
    for result in found:
        del result.metrics["score"]
    return found


def test_a_benchmark_says_who_wins_with_the_interval_why_and_what_next() -> None:
    collapsed = list(CASES["collapsed"][0].rows)
    standings = Standings(benchmark(-0.05, collapsed))
    what, why, following = in_short(standings, "oracle tasks")
    assert "learner comes first of the rest, at -0.0" in what
    assert " to -0.0" in what
    assert "in 5 of 5 runs" in why
    assert "from 38.0 to 9.0" in why
    assert "learning_rate=0.002" in following
    paragraph = story(standings)[0]
    assert all(sentence in paragraph for sentence in (why, following))


def test_one_seed_of_a_benchmark_is_told_to_run_more() -> None:
    what, _, following = in_short(Standings(benchmark(0.05, QUIET, range(1))), "oracle tasks")
    assert "from one run" in what
    assert "five seeds" in following


def test_a_gain_over_seeds_is_told_with_its_interval() -> None:
    what, why, _ = in_short(Standings(benchmark(0.05, QUIET)), "oracle tasks")
    assert "nearer to the truth than every knob" in what
    assert " to +0.05" in what
    assert why == interpreter.NO_CAUSE


def test_the_folder_of_a_benchmark_is_told_from_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, result in enumerate(benchmark(-0.05, QUIET)):
        path_of(tmp_path, str(i)).parent.mkdir(exist_ok=True)
        result.write(path_of(tmp_path, str(i)))
    assert main(["explain", str(tmp_path)]) == 0
    assert "On o: nothing is shown" in " ".join(capsys.readouterr().out.split())


TINY = [
    *("--mle-epochs", "1", "--rounds", "2", "--eval-every", "1", "--num-negatives", "100"),
    *("--num-held-out", "100", "--num-real", "300", "--num-eval", "100"),
    *("--batch-size", "16", "--num-rollouts", "1", "--no-control"),
]


@pytest.mark.slow
def test_the_last_lines_of_a_run_are_what_explain_says_of_it(tmp_path: Path) -> None:
    """Real runs: one that follows a constant reward, and one that has hardly begun."""
    for source, word in (("constant", "control"), ("discriminator", "knob")):
        out = str(tmp_path / source)
        command = [sys.executable, "-m", "seqgan_env.cli", "train", *TINY, "--source", source]
        ended = subprocess.run(
            [*command, "--out", out], capture_output=True, text=True, timeout=300, check=True
        )
        told = explain(read_evidence(Path(out))).sentences
        assert " ".join(told) in " ".join(ended.stdout.split())
        assert word in " ".join(told)


@pytest.mark.slow
def test_a_run_that_diverges_says_so_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    wild = ["--set", "learning_rate=1e30"]
    assert main(["train", *TINY, "--no-knobs", *wild, "--out", str(out)]) == 2
    reason = capsys.readouterr().err
    assert DivergenceError.__name__ not in reason
    assert explain(read_evidence(out)).outcome.rule == "diverged"
    assert main(["explain", str(out)]) == 0
    assert "broke off: training diverged" in " ".join(capsys.readouterr().out.split())


def test_advice_on_a_run_with_own_code_trusts_it_and_quotes_its_folder() -> None:
    settings = SETTINGS | {"source": "mypkg:Butter"}
    evidence = Evidence(path="my runs/a", settings=settings, has_checkpoint=True)
    told = explain(evidence).sentences[-1]
    assert "`seqgan train --resume 'my runs/a' --trust`" in told
    told = explain(replace(evidence, settings=SETTINGS)).sentences[-1]
    assert "--trust" not in told


def test_only_a_run_with_a_checkpoint_is_said_to_go_on() -> None:
    told = explain(Evidence(path="runs/mine", settings=SETTINGS)).sentences[-1]
    assert "--resume" not in told
    assert "begins anew" in told


def test_a_gain_is_to_be_repeated_by_a_command_that_is_told_with_its_time() -> None:
    told = explain(run(0.05, seconds={"pretrain": 3_600.0})).outcome.advice
    assert "(`seqgan bench --agents reinforce --tasks oracle-tiny" in told
    assert "which takes about 5.0 hours by the seconds of this run" in told
    assert "which takes" not in explain(run(0.05)).outcome.advice
