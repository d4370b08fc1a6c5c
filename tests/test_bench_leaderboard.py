"""The leaderboard: what ranks above what, and that nothing ranks above maximum likelihood that has learned nothing."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqgan_env.metrics.frontier import PLANES, TEMPERATURES, Frontier

from benchmarks.leaderboard import BEGIN, END, main
from seqgan_env.adversarial import evaluate_task
from seqgan_env.bench.jobs import REFERENCE, Job, Suite
from seqgan_env.bench.leaderboard import COLLAPSED, OFF, ORACLE, REAL, Entry, Standings
from seqgan_env.bench.results import Result
from seqgan_env.bench.worker import run_job
from seqgan_env.train import HasTemperature, Trainer

SHARP = TEMPERATURES[6]  # about 0.8


def at(temperature: float, seed: int, quality_gain: float = 0.0) -> dict[str, float]:
    """Metrics of a made-up reference: sharper is better and less diverse; then some nats better than that."""
    blur = math.log(temperature) ** 2
    return {
        "nll_oracle": 3.0 + math.log(temperature) + 0.01 * seed - quality_gain,
        "nll_gen": 2.5 + blur + 0.01 * seed,
        "effective_vocabulary": 40 * temperature,
    }


def reference(seed: int, task: str = "o", shift: float = 0.0) -> Result:
    frontier = [{"temperature": t} | at(t, seed, shift) for t in TEMPERATURES]
    return Result(REFERENCE, task, seed, at(1.0, seed, shift), frontier=frontier, real={"effective_vocabulary": 40.0})


def shifted(result: Result, shift: float) -> Result:
    return replace(result, metrics=result.metrics | {"nll_oracle": result.metrics["nll_oracle"] - shift})


def references(num: int = 5, task: str = "o") -> list[Result]:
    return [reference(seed, task) for seed in range(num)]


def row(label: str, gains: list[float], task: str = "o", first_seed: int = 0, **settings: Any) -> list[Result]:
    """Runs that are so much better than the reference at the temperature SHARP."""
    return [
        Result(label, task, seed, at(SHARP, seed, gain), settings=settings) for seed, gain in enumerate(gains, start=first_seed)
    ]


def board(*results: list[Result], kind: str = ORACLE) -> dict[str, Entry]:
    """Entries by label, in the order of the ranks."""
    return {entry.label: entry for entry in Standings([result for of in results for result in of]).entries(kind)}


# ---- the score ----


def test_the_score_is_what_temperature_cannot_reach() -> None:
    found = board(references(), row("better", [0.2, 0.21, 0.19, 0.2, 0.2]), row("worse", [-0.1, -0.11, -0.1, -0.1, -0.09]))
    assert list(found) == ["better", REFERENCE, "worse"]
    assert found["better"].score is not None
    assert found["better"].score.value == pytest.approx(0.2)
    assert found["better"].score.low < 0.2 < found["better"].score.high
    assert found[REFERENCE].score is not None
    assert found[REFERENCE].score.value == pytest.approx(0)
    assert [found[label].outcome for label in found] == ["better", "reference", "worse"]
    assert found["better"].against.mean == pytest.approx(0.2)
    assert found["better"].quality.mean == pytest.approx(0.2 - math.log(SHARP))  # what is usually reported is more


def test_a_turn_of_the_temperature_is_worth_nothing_whatever_it_does_to_the_quality() -> None:
    tempered = [Result("sharp", "o", seed, at(0.5, seed)) for seed in range(5)]
    found = board(references(), tempered)
    assert found["sharp"].quality.mean == pytest.approx(math.log(2))
    assert found["sharp"].score is not None
    assert abs(found["sharp"].score.value) < 1e-3


def test_between_two_measured_temperatures_lies_the_curve_and_not_the_line() -> None:
    for temperature in (0.99, 0.96, 0.85, 0.73, 0.45):
        found = board(references(), [Result("between", "o", seed, at(temperature, seed)) for seed in range(3)])
        assert found["between"].score is not None
        assert abs(found["between"].score.value) < 1e-3
    straight = Frontier.from_rows([{"temperature": t} | at(t, 0) for t in TEMPERATURES], PLANES[0])
    assert straight.gain(at(0.98, 0)["nll_gen"], at(0.98, 0)["nll_oracle"]) > 0.01


def test_every_run_is_measured_by_the_frontier_of_its_seed() -> None:
    found = board([reference(seed, shift=seed) for seed in range(5)], [shifted(r, r.seed) for r in row("a", [0.1] * 5)])["a"]
    assert found.against.mean == pytest.approx(0.1)
    assert found.against.high - found.against.low < 1e-6  # though the seeds differ by a nat each
    assert found.outcome == "better"


def test_results_of_other_seeds_are_measured_by_the_mean_of_all_frontiers() -> None:
    found = board(references(), [Result("elsewhere", "o", 100 + i, at(SHARP, 2, 0.3 + 0.001 * i)) for i in range(4)])["elsewhere"]
    by_seed = [board([reference(seed)], [Result("e", "o", seed, at(SHARP, 2, 0.3))])["e"].score for seed in range(5)]
    assert found.score is not None
    assert found.score.value == pytest.approx(np.mean([score.value for score in by_seed if score]) + 0.0015)
    assert found.quality.num_pairs == 0
    assert found.outcome == "better"


def test_a_task_with_real_data_is_ranked_by_bleu_at_equal_self_bleu() -> None:
    def real_at(temperature: float, gain: float = 0.0) -> dict[str, float]:
        sharp = 1 - temperature
        return {"bleu4": 0.3 + 0.2 * sharp + gain, "self_bleu4": 0.4 + 0.5 * sharp, "nll_gen": 3.0, "effective_vocabulary": 90.0}

    frontier = [{"temperature": t} | real_at(t) for t in TEMPERATURES]
    mle = [Result(REFERENCE, "t", seed, real_at(1.0), frontier=frontier) for seed in range(3)]
    found = board(mle, [Result("a", "t", seed, real_at(0.7, 0.05 + 0.001 * seed)) for seed in range(3)], kind=REAL)["a"]
    assert found.score is not None
    assert found.score.value == pytest.approx(0.051)
    assert found.quality.mean == pytest.approx(0.06 + 0.051)
    assert found.outcome == "better"


# ---- what cannot win ----


def test_a_run_that_collapses_cannot_rank_first_however_good_its_numbers() -> None:
    for vocabulary, mark in ((3.9, COLLAPSED), (4.1, "")):
        rows = row("c", [0.5] * 5)
        rows[3] = replace(rows[3], metrics=rows[3].metrics | {"effective_vocabulary": vocabulary})
        found = board(references(), rows, row("poor", [-0.5] * 5))
        assert (list(found)[-1] == "c") is (mark == COLLAPSED)
        assert found["c"].runs["o"][3].mark == mark
        assert (found["c"].outcome == COLLAPSED) is (mark == COLLAPSED)
    rows[4] = replace(rows[4], metrics=rows[4].metrics | {"effective_vocabulary": 1.0})
    assert "Collapsed in 1 of 5 runs" in board(references(), rows)["c"].verdict


def test_less_diverse_than_the_frontier_is_no_gain_however_good_the_quality() -> None:
    lost = [Result("lost", "o", seed, at(0.25, seed, 0.5) | {"effective_vocabulary": 20.0}) for seed in range(5)]
    found = board(references(), lost, row("poor", [-0.5] * 5))
    assert list(found) == [REFERENCE, "poor", "lost"]
    assert found["lost"].outcome == OFF
    assert found["lost"].score is not None
    assert found["lost"].score.value <= 0


def test_who_does_not_say_how_diverse_he_is_gets_no_score() -> None:
    for missing in ("nll_gen", "effective_vocabulary", "nll_oracle"):
        rows = [replace(r, metrics={k: v for k, v in r.metrics.items() if k != missing}) for r in row("silent", [0.5] * 5)]
        found = board(references(), rows, row("poor", [-0.5] * 5))
        assert list(found) == [REFERENCE, "poor", "silent"]
        assert found["silent"].verdict == f"No score without {missing}."


def test_numbers_that_are_not_finite_count_as_missing() -> None:
    rows = [replace(r, metrics=r.metrics | {"nll_gen": math.inf}) for r in row("never", [0.5] * 5)]
    rows += [replace(r, metrics=r.metrics | {"nll_gen": None}) for r in row("null", [0.5] * 5)]  # as JSON has it
    broken = [
        replace(r, frontier=[*r.frontier, {"temperature": 0.1, "nll_gen": math.inf, "nll_oracle": 0.5}]) for r in references()
    ]
    found = board(broken, rows)
    assert found["never"].outcome == found["null"].outcome == "no score"
    assert found[REFERENCE].score is not None


def test_roles_come_from_the_rewards() -> None:
    found = board(
        references(),
        *[
            row(source, [0.0] * 5, source=source)
            for source in ("constant", "random", "noise", "optimal", "oracle", "discriminator")
        ],
        row("imported", [0.0] * 5),
    )
    assert {entry.label: entry.role for entry in found.values()} == {
        REFERENCE: "reference",
        **dict.fromkeys(("constant", "random", "noise"), "control"),
        **dict.fromkeys(("optimal", "oracle"), "ceiling"),
        **dict.fromkeys(("discriminator", "imported"), ""),
    }
    assert "says nothing" in found["noise"].verdict
    assert "a ceiling" in found["optimal"].verdict


# ---- what is not there ----


def test_a_missing_run_leaves_the_others() -> None:
    found = board(references()[:4], row("a", [0.2, 0.2, 0.21, 0.2, 0.2])[1:])["a"]
    assert len(found.all_runs) == 4
    assert found.quality.num_pairs == 3  # of seed 4 there is no reference: measured by the mean of the others
    assert found.outcome == "better"


def test_one_seed_has_a_value_and_no_interval() -> None:
    found = board(references(1), row("a", [0.2]))["a"]
    assert found.score is not None
    assert found.score.value == pytest.approx(0.2)
    assert math.isnan(found.score.low)
    assert (found.outcome, found.verdict[:6]) == ("one run", "+0.200")


def test_a_row_needs_every_task_for_a_score() -> None:
    everywhere = [*row("a", [0.2] * 3, "o"), *row("a", [0.3] * 3, "p")]
    found = board(references(3), references(3, "p"), everywhere, row("b", [0.9] * 3, "p"))
    assert list(found) == ["a", REFERENCE, "b"]
    assert found["b"].verdict == "No score without task o."
    assert found["a"].score is not None
    assert found["a"].scores is not None
    assert found["a"].scores.shape == (3, 2)


def test_what_cannot_be_compared_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="task 'o' has no run of the row 'mle' with a temperature frontier"):
        Standings(row("a", [0.1]))
    with pytest.raises(ValueError, match="no run of the row 'mle' with a temperature frontier"):
        Standings([replace(reference(0), frontier=[])])
    with pytest.raises(ValueError, match="'a' on o, seed 0, is there twice"):
        Standings([*references(), *row("a", [0.1]), *row("a", [0.1])])
    with pytest.raises(ValueError, match="task 'x' has neither nll_oracle nor bleu4 among its metrics"):
        Standings([Result("a", "x", 0, {"accuracy": 1.0})])


# ---- nothing that has learned nothing ranks above maximum likelihood by more than noise ----

SEEDS = 5
SHARPENED = (0.95, 0.88, 0.5)
COLLAPSED_AT = (0.2, 0.001)  # the last one writes one sentence


@pytest.mark.slow
def test_controls_and_sharpened_and_collapsed_policies_never_rank_above_maximum_likelihood_by_more_than_noise() -> None:
    sources = ("constant", "random")
    rows: dict[str, dict[str, Any]] = {source: {"agent": "reinforce", "source": source} for source in sources}
    settings = {"vocab_size": 12, "seq_len": 4, "mle_epochs": 2, "rounds": 20, "eval_every": 20, "batch_size": 64}
    results, noise = [], []
    for job in Suite("s", SEEDS, {"o": {"task": "oracle-tiny"}}, rows, settings | {"num_rollouts": 1}).jobs():
        results.append(run_job(job, job.key))
        if job.label == REFERENCE:
            tempered, spread = _at_temperatures(job)
            results += tempered
            noise.append(spread)
    entries = Standings(results).entries(ORACLE)
    assert {entry.label for entry in entries} == {REFERENCE, *sources, *map(str, (*SHARPENED, *COLLAPSED_AT))}
    above = 3 * float(np.std(noise)) / math.sqrt(SEEDS)
    assert above < 0.05
    for entry in entries:
        assert entry.outcome != "better"
        assert entry.score is not None
        assert entry.score.value < above
    ranks = [entry.label for entry in entries]
    assert all(ranks.index(str(t)) > ranks.index(REFERENCE) for t in COLLAPSED_AT)
    assert all(entry.quality.mean > 0.1 for entry in entries if entry.label in map(str, (0.5, *COLLAPSED_AT)))  # nll_oracle errs


def _at_temperatures(job: Job) -> tuple[list[Result], float]:
    """The job's policy at other temperatures, on samples other than the frontier's; how much nll_oracle differs by these."""
    trainer = Trainer(replace(job.settings, frontier=False))
    trainer()
    policy, seed = trainer.agent.policy, job.settings.seed
    assert isinstance(policy, HasTemperature)

    def metrics(temperature: float, stream: int) -> dict[str, float]:
        return evaluate_task(policy.with_temperature(temperature), trainer.task, stream, "cpu")

    results = [Result(str(t), job.task, seed, metrics(t, 1000 + seed)) for t in (*SHARPENED, *COLLAPSED_AT)]
    return results, metrics(1.0, 1000 + seed)["nll_oracle"] - metrics(1.0, 2000 + seed)["nll_oracle"]


# ---- the leaderboard in the README ----

README = f"# Title\n\nwords before\n\n{BEGIN}\nold\n{END}\n\nwords after\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in (tmp_path / "one" / "results", tmp_path / "two" / "results"):
        place.mkdir(parents=True)
    for i, result in enumerate([*references(), *row("learner", [0.1] * 5)]):
        result.write(tmp_path / "one" / "results" / f"{i}.json")
    for i, result in enumerate([*references(), *row("an | other", [0.2] * 5)]):
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
    of_one, of_two = ([line for line in part.splitlines() if line.startswith("|")][2:] for part in text.split("**two**"))
    assert [line.split(" | ")[0] for line in of_one] == ["| learner", "| mle (reference)"]
    assert [line.split(" | ")[0] for line in of_two] == ["| an \\| other", "| mle (reference)"]
    assert "+0.200 (+0.200 to +0.200)" in of_two[0]
    assert "over 5 seeds" in text
    assert main([*arguments, "--check"]) == 0
    assert main(arguments) == 0
    assert (folder / "README.md").read_text() == text


def test_a_readme_with_other_numbers_is_stale(folder: Path) -> None:
    arguments = [str(folder / "one"), "--readme", str(folder / "README.md")]
    assert main(arguments) == 0
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("+0.100", "+0.101"))
    assert main([*arguments, "--check"]) == 1


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{END}{BEGIN}{END}"])
def test_a_readme_without_the_markers_is_left_alone(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.md").write_text(text)
    assert main([str(folder / "one"), "--readme", str(folder / "README.md")]) == 2
    assert "expected one <!-- leaderboard:begin -->" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == text


def test_a_benchmark_without_results_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "three"), "--readme", str(folder / "README.md")]) == 2
    assert "three has no results" in capsys.readouterr().err
