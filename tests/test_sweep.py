"""Sweeps: what a trial draws and sees, that a stopped sweep goes on as if it had not been, and that
its result runs.
"""

from __future__ import annotations

import csv
import math
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqgan_env.bench.jobs import Suite, read_suite
from seqgan_env.bench.results import read_all
from seqgan_env.cli.main import main
from seqgan_env.metrics.validation import VALIDATION
from seqgan_env.sweep import lockstep, worker
from seqgan_env.sweep.lockstep import in_step
from seqgan_env.sweep.plan import Plan, plan_of, rounds_measured
from seqgan_env.sweep.report import best_suite, page, suite_text, table
from seqgan_env.sweep.study import COMPLETE, DIVERGED, FAILED, PRUNED, RowStudy, Searched, Trial
from seqgan_env.sweep.worker import measurements
from seqgan_env.training.trainer import Trainer, build_task
from tests.test_bench import ROOT, TINY
from tests.test_validation import poisoned

SMALL = TINY | {
    "num_real": 200,
    "num_validation": 100,
    "num_held_out": 100,
    "num_eval": 100,
    "rounds": 3,
}
RATE = {"low": 1e-4, "high": 1e-1, "log": True}
AGENTS = """
from agents.reinforce import Reinforce

class Mine(Reinforce):
    def __init__(self, env, seed=0, policy=None, mood: str = "good", strength: int = 1):
        super().__init__(env, seed=seed, policy=policy)
        self.mood, self.strength = mood, strength

    def update(self):
        print("what an agent prints is no measurement")
        if self.mood == "bad":
            raise RuntimeError("no idea what to do")
        if self.mood == "wild":
            for parameter in self.policy.parameters():
                parameter.data.fill_(float("nan"))
            return {"loss": float("nan")}
        found = {}
        for _ in range(self.strength):
            found = super().update()
        return found
"""


def suite(of_sweep: dict[str, Any], **changes: Any) -> Suite:
    row = {"agent": "reinforce", "source": "optimal"}
    tasks = {"oracle-tiny": {"task": "oracle-tiny"}}
    made = Suite("swept", 2, tasks, {"reinforce": row}, SMALL, sweep=of_sweep)
    return replace(made, **changes)


def written(path: Path, of_sweep: dict[str, Any], **changes: Any) -> Path:
    """The file of a suite with its table [sweep]."""
    path.write_text(suite_text(suite(of_sweep, **changes)), encoding="utf-8")
    return path


def sweep(file: Path, out: Path, *words: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seqgan_env.cli", "sweep", str(file), "--out", str(out)]
    return subprocess.Popen(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def trials_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- what is drawn ----


def test_a_row_gets_what_is_of_all_rows_and_fits_it_under_what_is_its_own() -> None:
    rows: dict[str, dict[str, Any]] = {
        "gentle": {"agent": "reinforce"},
        "sb3": {"agent": "ppo"},
        "text": {"agent": "mle"},
    }
    shared = {"clip_range": {"choices": [0.1, 0.2]}, "learning_rate": RATE}
    own = {
        "sb3": {
            "agent_options": {"clip_range": {"low": 0.05, "high": 0.3}},
            "g_steps": {"low": 1, "high": 3},
        }
    }
    plan = plan_of(suite({"settings": shared, "rows": own}, rows=rows))
    paths = {row: {each.name for each in space} for row, space in plan.spaces.items()}
    rate, clip = "agent_options.learning_rate", "agent_options.clip_range"
    assert paths == {"gentle": {rate}, "sb3": {rate, clip, "g_steps"}}
    [range_of_its_own] = [each for each in plan.spaces["sb3"] if each.name == clip]
    assert range_of_its_own.choices == ()


def test_values_reach_the_jobs_and_no_seed_that_chooses_is_reported() -> None:
    rows = {
        "r": {"agent": "reinforce", "agent_options": {"baseline": "none", "learning_rate": 1.0}}
    }
    plan = plan_of(
        suite({"seeds": 3, "settings": {"learning_rate": RATE}}, rows=rows, first_seed=4)
    )
    path = ("agent_options", "learning_rate")
    jobs = plan.jobs("r", {path: 0.5})
    assert [job.settings.seed for job in jobs] == [4, 5, 6]
    assert {job.settings.agent_options["learning_rate"] for job in jobs} == {0.5}
    best = plan.best({"r": {path: 0.25}})
    reported = [job for job in best.jobs() if job.label == "r"]
    assert {job.settings.agent_options["learning_rate"] for job in reported} == {0.25}
    assert {job.settings.agent_options["baseline"] for job in reported} == {"none"}
    assert not {job.settings.seed for job in best.jobs()} & set(plan.seeds)


@pytest.mark.parametrize(
    ("of_sweep", "message"),
    [
        (None, "has no table"),
        ({}, "names nothing to change"),
        ({"trails": 3}, "Did you mean 'trials'"),
        ({"trials": 0}, "trials is 0"),
        ({"sampler": "grid"}, "unknown sampler 'grid'"),
        ({"rows": {"mle": {"learning_rate": RATE}}}, "takes .settings. alone"),
        ({"rows": {"reinforcement": {}}}, "Did you mean 'reinforce'"),
        ({"settings": {"learning_rate": 1e-3}}, "needs { low"),
        ({"settings": {"learning_rate": {"low": 1, "high": 1}}}, "low must be below high"),
        ({"settings": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "must be above 0"),
        ({"settings": {"learning_rate": {"low": "a", "high": 1}}}, "'a' where a finite number"),
        ({"settings": {"learning_rate": {"low": 0, "hihg": 1}}}, "Did you mean 'high'"),
        ({"settings": {"g_steps": {"low": 1, "high": 4, "step": 0.5}}}, "has step 0.5"),
        ({"settings": {"reward": {"choices": ["rollout"]}}}, "2 or more"),
        ({"settings": {"reward": {"choices": ["rollout", "rollout"]}}}, "'rollout' twice"),
        ({"settings": {"reward": {"choices": ["rollout", "rolout"]}}}, "reward = 'rolout': .*mean"),
        ({"settings": {"batch_size": {"low": 0, "high": 4}}}, "batch_size = 0: batch_size is 0"),
        ({"settings": {"learning_rat": RATE}}, "no row takes it"),
        ({"rows": {"reinforce": {"learning_rat": RATE}}}, "Did you mean 'learning_rate'"),
        ({"settings": {"seed": {"low": 0, "high": 9}}}, "seed cannot be swept"),
        ({"settings": {"agent": {"choices": ["ppo", "a2c"]}}}, "agent cannot be swept"),
        ({"settings": {"vocab_size": {"low": 4, "high": 9}}}, "no row takes it"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    of_sweep: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(replace(suite({}), sweep=of_sweep))


# ---- what is seen ----


@pytest.mark.slow
def test_a_trial_measures_what_a_run_of_the_trainer_would_and_in_the_same_rounds() -> None:
    [job] = plan_of(suite({"seeds": 1, "settings": {"learning_rate": RATE}})).jobs("reinforce")
    settings = replace(job.settings, rounds=4, eval_every=3)
    run = Trainer(replace(settings, validate=True))()
    name = VALIDATION + "kl_mean"
    by_trainer = {int(row["round"]): row[name] for row in run.history if name in row}
    found = {each["round"]: each["value"] for each in measurements(settings)}
    assert list(found) == rounds_measured(replace(job, settings=settings)) == [3, 4]
    assert found == {number: by_trainer[number] for number in found}


@pytest.mark.slow
def test_a_trial_that_keeps_its_best_round_is_worth_the_best_so_far() -> None:
    [job] = plan_of(suite({"seeds": 1, "settings": {"learning_rate": RATE}})).jobs("reinforce")
    settings = replace(job.settings, rounds=4, eval_every=1, keep_best_round=True)
    run = Trainer(settings)()
    name = VALIDATION + "kl_mean"
    by_trainer = [row[name] for row in run.history if name in row]
    found = {each["round"]: each["value"] for each in measurements(settings)}
    assert found == {number: min(by_trainer[: number + 1]) for number in (1, 2, 3, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["reinforce", "mle"])
def test_a_trial_never_reads_held_out_data(agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(suite({"seeds": 1, "settings": {"mle_learning_rate": RATE}}))
    settings = replace(plan.jobs("reinforce")[0].settings, agent=agent)
    clean = list(measurements(settings))
    monkeypatch.setattr(worker, "build_task", lambda settings: poisoned(build_task(settings)))
    assert list(measurements(settings)) == clean
    assert clean


@pytest.mark.slow
def test_runs_of_a_trial_wait_for_each_other_and_the_mean_is_that_of_each_alone() -> None:
    plan = plan_of(suite({"seeds": 2, "settings": {"learning_rate": RATE}}))
    jobs = plan.jobs("reinforce", {("agent_options", "learning_rate"): 0.01})
    with in_step(jobs, 1) as found:
        together = list(found)
    alone = [[each["value"] for each in measurements(job.settings)] for job in jobs]
    assert [each.round for each in together] == [1, 2, 3]
    assert [list(each.values) for each in together] == [
        list(pair) for pair in zip(*alone, strict=True)
    ]
    assert together[0].mean == sum(together[0].values) / 2


@pytest.mark.slow
def test_whoever_waits_for_a_trial_is_told_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(lockstep, "SECONDS_BETWEEN_LINES", 0.1)
    plan = plan_of(suite({"seeds": 1, "trials": 1, "settings": {"learning_rate": RATE}}))
    lines: list[str] = []
    RowStudy(plan, "reinforce", f"sqlite:///{tmp_path}/sweep.db", tmp_path, 1, lines.append).run(1)
    assert re.fullmatch("reinforce as it stands: [0-9]+ s, nothing measured yet", lines[0])
    assert any(re.match("reinforce, trial 1 of 1: [0-9]+ s, ", line) for line in lines)
    assert re.match("reinforce, trial 1 of 1: complete, ", lines[-1])


# ---- what is kept ----


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file of a suite and the folder of its sweep, in one go."""
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("sweep")
    space = {"learning_rate": RATE, "batch_size": {"choices": [8, 12]}}
    of_sweep = {"seeds": 2, "trials": 5, "random_trials": 2, "startup_trials": 1}
    file = written(folder / "suite.toml", {**of_sweep, "rows": {"reinforce": space}})
    code, _, err = finish(sweep(file, folder / "whole", "--workers", "2"))
    assert code == 0, err
    return file, folder / "whole"


@pytest.mark.slow
def test_a_sweep_that_was_killed_and_stopped_goes_on_as_if_it_had_not_been(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    file, folder = whole
    killed = sweep(file, tmp_path)
    assert killed.stdout is not None
    while "trial 1 of" not in killed.stdout.readline():
        pass
    time.sleep(2)  # within trial 2
    killed.kill()
    killed.communicate()

    stopped = sweep(file, tmp_path)
    assert stopped.stdout is not None
    while "trial 3 of" not in stopped.stdout.readline():
        pass
    stopped.send_signal(signal.SIGINT)
    code, out, err = finish(stopped)
    assert code == 130
    assert "the same command goes on from here" in err
    assert len(trials_in(tmp_path)) == 3  # what is finished is kept, and shown
    assert "as it stands" in out

    code, out, err = finish(sweep(file, tmp_path))
    assert code == 0, err
    assert "trial 3 of" not in out
    for name in ("sweep.csv", "sweep.md", "best.toml"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()


@pytest.mark.slow
def test_every_trial_was_completed_or_pruned_by_its_own_rounds(whole: tuple[Path, Path]) -> None:
    trials = trials_in(whole[1])
    assert [trial["trial"] for trial in trials] == ["1", "2", "3", "4", "5"]
    assert {trial["outcome"] for trial in trials} <= {COMPLETE, PRUNED}
    complete: list[dict[str, str]] = []
    for trial in trials:
        rounds = [name for name in trial if name.startswith("round ") and trial[name]]
        assert trial["divergence"] == trial[rounds[-1]]
        if trial["outcome"] == COMPLETE:
            assert rounds == ["round 1", "round 2", "round 3"]
            complete.append(trial)
            continue
        # The median of those before it in the same round was better than its best round so far.
        others = sorted(float(other[rounds[-1]]) for other in complete)
        middle = (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2
        assert min(float(trial[name]) for name in rounds) > middle


@pytest.mark.slow
def test_the_best_suite_runs_with_the_settings_that_were_best(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    file, folder = whole
    best = read_suite(folder / "best.toml")
    assert (best.first_seed, best.seeds) == (2, 2)
    complete = [trial for trial in trials_in(folder) if trial["outcome"] == COMPLETE]
    lowest = min(complete, key=lambda trial: float(trial["divergence"]))
    row = best.rows["reinforce"]
    if "agent_options" in row:
        assert row["batch_size"] == int(lowest["batch_size"])
        rate = float(lowest["agent_options.learning_rate"])
        assert row["agent_options"]["learning_rate"] == rate
    assert main(["bench", str(folder / "best.toml"), "--out", str(tmp_path / "bench")]) == 0
    assert {result.seed for result in read_all([tmp_path / "bench"])} == {2, 3}
    assert read_suite(file).sweep is not None  # a suite with [sweep] can be benched, too


@pytest.mark.slow
def test_a_folder_is_for_one_sweep(whole: tuple[Path, Path], tmp_path: Path) -> None:
    file, folder = whole
    text = file.read_text().replace("rounds = 3", "rounds = 4")
    other = tmp_path / "suite.toml"
    other.write_text(text)
    code, _, err = finish(sweep(other, folder))
    assert code == 2
    assert "with other settings, code, data or versions" in err
    assert len(trials_in(folder)) == 5


@pytest.mark.slow
def test_an_agent_of_ones_own_is_swept_and_what_fails_or_runs_away_ends_nothing(
    tmp_path: Path,
) -> None:
    pytest.importorskip("optuna")
    (tmp_path / "mine.py").write_text(AGENTS)
    space = {"mood": {"choices": ["good", "bad", "wild"]}, "strength": {"low": 1, "high": 2}}
    of_sweep = {"seeds": 1, "trials": 6, "sampler": "random", "seed": 1, "rows": {"own": space}}
    rows = {"own": {"agent": "mine:Mine", "source": "optimal"}}
    file = written(tmp_path / "suite.toml", of_sweep, rows=rows)
    code, _, err = finish(sweep(file, tmp_path / "out", cwd=tmp_path))
    assert code == 2
    assert "names code that is neither built in nor installed: mine:Mine" in err
    code, out, err = finish(sweep(file, tmp_path / "out", "--trust", cwd=tmp_path))
    assert code == 1, err
    expected = {"good": (COMPLETE, PRUNED), "bad": (FAILED,), "wild": (DIVERGED,)}
    moods = set()
    for trial in trials_in(tmp_path / "out"):
        moods.add(trial["agent_options.mood"])
        assert trial["outcome"] in expected[trial["agent_options.mood"]]
    assert moods == set(expected)
    assert "trials failed" in out
    told = [path.read_text() for path in (tmp_path / "out" / "failures").iterdir()]
    assert all("RuntimeError: no idea what to do" in text for text in told)


# ---- what is said ----


def searched(*trials: Trial, as_it_stands: float = 0.3) -> tuple[Plan, Searched]:
    plan = plan_of(suite({"settings": {"learning_rate": RATE, "g_steps": {"low": 1, "high": 3}}}))
    return plan, Searched("reinforce", "kl_mean", as_it_stands, list(trials))


def trial(number: int, outcome: str, *by_round: float) -> Trial:
    values = {("agent_options", "learning_rate"): 0.5, ("g_steps",): number}
    return Trial(number, outcome, values, dict(enumerate(by_round, start=1)))


def test_the_best_is_a_complete_trial_at_its_last_round_and_better_than_the_row_as_it_stands() -> (
    None
):
    trials = [
        trial(1, COMPLETE, 0.1, 0.28),
        trial(2, COMPLETE, 0.4, 0.2),
        trial(3, PRUNED, 0.05),
        trial(4, COMPLETE, 0.3, math.inf),
    ]
    plan, found = searched(*trials)
    assert found.best is trials[1]
    assert tomllib.loads(best_suite(plan, [found]))["rows"]["reinforce"]["g_steps"] == 2
    assert page(plan, [found]).count("\n| ") == 1 + 1 + 1 + 4
    assert table(found).row_count == 5
    plan, poor = searched(trials[0], as_it_stands=0.25)
    assert poor.best is None
    text = best_suite(plan, [poor])
    assert "as it stands; no trial was better" in text
    assert "g_steps" not in tomllib.loads(text)["rows"]["reinforce"]


def test_a_suite_is_written_as_it_is_read(tmp_path: Path) -> None:
    rows = {
        'a "quoted" row, ü': {"agent": "reinforce", "agent_options": {"learning_rate": 1e-05}},
        "b": {"agent": "ppo", "discriminator_options": {"widths": [1, 2]}, "keep_best": False},
    }
    tasks = {"a task": {"task": "oracle-tiny", "seq_len": 5}}
    of_sweep = {"trials": 3, "rows": {"b": {"learning_rate": RATE}}}
    made = suite(of_sweep, title='ti"tle\\ \x7f', rows=rows, tasks=tasks, fresh_oracles=True)
    (tmp_path / "suite.toml").write_text(suite_text(made), encoding="utf-8")
    read = read_suite(tmp_path / "suite.toml")
    assert replace(read, file=None) == made


def test_without_optuna_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    file = written(tmp_path / "suite.toml", {"rows": {"reinforce": {"learning_rate": RATE}}})
    assert main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "needs optuna (pip install 'seqgan-env[sweep]')" in capsys.readouterr().err
