"""The benchmark runner: what determines a job, that nothing is done twice, and that nothing is
lost.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgan_env import registry
from seqgan_env.bench.compare import differences
from seqgan_env.bench.jobs import REFERENCE, Job, Suite, grid, read_suite
from seqgan_env.bench.local import LocalPool
from seqgan_env.bench.places import check_given, told
from seqgan_env.bench.results import Result, path_of, read_all
from seqgan_env.bench.runner import Progress, Watch, begin, opened, run_jobs
from seqgan_env.metrics.score import SCORES
from seqgan_env.training.portable import located
from seqgan_env.training.settings import DECIDED_BY_THE_HARNESS, TrainSettings, settings_from

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "seq_len": 4,
    "vocab_size": 6,
    "mle_epochs": 1,
    "rounds": 2,
    "eval_every": 1,
    "batch_size": 8,
    "num_rollouts": 1,
    "num_negatives": 20,
    "d_pretrain_epochs": 1,
}
PLUGIN = """
from agents.reinforce import Reinforce

class Faulty(Reinforce):
    def update(self):
        raise RuntimeError("no idea what to do")
"""


def suite(rows: dict[str, dict[str, Any]] | None = None, seeds: int = 1, **settings: Any) -> Suite:
    chosen = {"noise": {"agent": "reinforce", "source": "noise"}} if rows is None else rows
    return Suite("test", seeds, {"oracle-tiny": {"task": "oracle-tiny"}}, chosen, TINY | settings)


def run(
    jobs: Sequence[Job], folder: Path, num_workers: int = 2, watch: Watch = lambda progress: None
) -> Progress:
    with opened(folder):
        return run_jobs(jobs, folder, LocalPool(folder, num_workers), watch)


# ---- jobs and suites ----


def test_a_suite_is_every_row_on_every_task_with_every_seed_and_the_reference() -> None:
    tasks: dict[str, dict[str, Any]] = {
        "oracle-tiny": {"task": "oracle-tiny"},
        "long": {"task": "oracle-tiny", "seq_len": 20},
    }
    jobs = Suite(
        "s", 3, tasks, {"ppo": {"agent": "ppo"}, "dqn": {"agent": "dqn"}}, {"rounds": 7}
    ).jobs()
    assert len({job.key for job in jobs}) == len(jobs) == 3 * 2 * 3
    assert {job.settings.rounds for job in jobs} == {7}
    assert {(job.task, job.settings.task_options.get("seq_len")) for job in jobs} == {
        ("oracle-tiny", None),
        ("long", 20),
    }
    assert [job.settings.knobs for job in jobs] == [job.label == REFERENCE for job in jobs]
    assert not any(job.settings.control for job in jobs)


def test_every_seed_may_have_an_oracle_of_its_own() -> None:
    fresh = replace(suite(seeds=2), first_seed=5, fresh_oracles=True)
    found = [(job.settings.seed, job.settings.task_options["oracle_seed"]) for job in fresh.jobs()]
    assert found == [(5, 5), (5, 5), (6, 6), (6, 6)]
    with pytest.raises(ValueError, match="both oracle_seed and fresh_oracles"):
        replace(suite(oracle_seed=3), fresh_oracles=True).jobs()
    text = {"text": {"task": "text"}}  # has no oracle
    with pytest.raises(ValueError, match="oracle_seed"):
        Suite("s", 1, text, {}, {}, fresh_oracles=True).jobs()
    for wrong in ({"first_seed": -1}, {"first_seed": "a"}, {"fresh_oracles": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(suite(), **wrong)


def test_a_key_follows_everything_that_determines_the_result(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("a b\nc d\n")
    job = suite().jobs()[1]

    def on(path: Path) -> Job:
        options = {"corpus": str(path)}
        return replace(job, settings=replace(job.settings, task="text", task_options=options))

    text = on(tmp_path / "corpus.txt")
    keys = {job.key, text.key}
    for change in (
        {"seed": 1},
        {"rounds": 3},
        {"agent_options": {"learning_rate": 1e-3}},
        {"source": "random"},
        {"agent": "ppo"},
    ):
        keys.add(replace(job, settings=replace(job.settings, **change)).key)
    assert len(keys) == 7
    assert replace(job).key == Job.from_json(job.to_json()).key == job.key
    (tmp_path / "corpus.txt").rename(tmp_path / "elsewhere.txt")
    moved = on(tmp_path / "elsewhere.txt")
    assert moved.key in keys
    (tmp_path / "elsewhere.txt").write_text("a b\nc e\n")
    assert replace(moved).key not in keys


def test_a_changed_agent_of_the_users_own_is_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_a.py").write_text(PLUGIN)
    (tmp_path / "mine_b.py").write_text(PLUGIN.replace("no idea", "an idea"))
    keys = {
        suite({"mine": {"agent": f"{module}:Faulty"}}).jobs()[1].key
        for module in ("mine_a", "mine_b")
    }
    assert len(keys) == 2


OF_FILES = """
from agents.reinforce import Reinforce
from seqgan_env import Discriminator
from seqgan_env.generators.gru import GRULanguageModel

class Agent(Reinforce):
    def __init__(self, env, policy=None, seed=0, start=None):
        super().__init__(env, policy=policy, seed=seed)

class Policy(GRULanguageModel):
    def __init__(self, spec, start=None):
        super().__init__(spec)

class Critic(Discriminator):
    def __init__(self, spec, rng, start=None):
        super().__init__(spec)
"""
OF_KIND = {
    "task_options": {"task": "text"},
    "agent_options": {"agent": "of_files:Agent"},
    "policy_options": {"policy": "of_files:Policy"},
    "discriminator_options": {"discriminator": "of_files:Critic"},
}


@pytest.fixture(params=OF_KIND)
def with_file(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any], Job]:
    """Makes a job of an option that names a file or several; there is `here/a.txt`."""
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    (tmp_path / "here" / "a.txt").write_text("a b\nc d\n")
    (tmp_path / "of_files.py").write_text(OF_FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path / "here")
    options = request.param

    def job(named: Any) -> Job:
        option = "corpus" if options == "task_options" else "start"
        settings: dict[str, Any] = OF_KIND[options] | {options: {option: named}}
        return Job("r", "t", TrainSettings(**settings))

    return job


def files_of(settings: TrainSettings) -> list[Any]:
    """What options that name files hold."""
    groups = (settings.agent_options, settings.policy_options, settings.discriminator_options)
    found = [group["start"] for group in groups if group]
    return found or [settings.task_options["corpus"]]


def test_a_file_counts_by_what_is_in_it_whoever_reads_it(
    with_file: Callable[[Any], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = with_file("a.txt").key
    Path("a.txt").rename(tmp_path / "b.txt")
    assert with_file(str(tmp_path / "b.txt")).key == before
    (tmp_path / "b.txt").write_text("a b\nc e\n")
    assert with_file(str(tmp_path / "b.txt")).key != before


def test_a_job_finds_its_files_from_any_folder(
    with_file: Callable[[Any], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_file("a.txt")
    sent, key = job.with_absolute_paths(), job.key
    monkeypatch.chdir(tmp_path / "there")
    assert files_of(sent.settings) == [str(tmp_path / "here" / "a.txt")]
    assert sent.key == key
    found = located(job.settings, tmp_path / "here")
    assert files_of(found) == [str(tmp_path / "here" / "a.txt")]
    monkeypatch.chdir(tmp_path / "here")
    assert located(job.settings, tmp_path / "here") == job.settings


@pytest.mark.parametrize("with_file", list(OF_KIND)[1:], indirect=True)
def test_files_in_lists_and_tables_of_a_plug_in_count_too(
    with_file: Callable[[Any], Job], tmp_path: Path
) -> None:
    named: Any = {"of": ["a.txt"]}
    before = with_file(named).key
    Path("a.txt").write_text("else\n")
    assert with_file(named).key != before
    sent = with_file(named).with_absolute_paths()
    assert files_of(sent.settings) == [{"of": [str(tmp_path / "here" / "a.txt")]}]


def test_the_name_of_a_policy_is_no_file_whatever_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job("r", "t", TrainSettings(discriminator="ratio", discriminator_options={"q": "gru"}))
    before = job.key
    (tmp_path / "gru").mkdir()
    assert replace(job).key == before
    assert job.with_absolute_paths() == job


def test_the_constant_control_learns_without_a_baseline_unless_the_suite_says_otherwise() -> None:
    row = {"agent": "reinforce", "source": "constant"}
    assert suite({"c": row}).jobs()[1].settings.agent_options["baseline"] == "none"
    other = row | {"agent_options": {"baseline": "value"}}
    assert suite({"c": other}).jobs()[1].settings.agent_options["baseline"] == "value"


def test_a_grid_names_what_differs() -> None:
    made = grid(
        ["random", "reinforce", "seqgan", "mle"],
        ["oracle-tiny"],
        ["rollout"],
        ["discriminator", "constant"],
        2,
        {},
    )
    assert list(made.rows) == [
        "random",
        "reinforce, discriminator",
        "reinforce, constant",
        "seqgan",
    ]
    assert len(made.jobs()) == 2 * 5
    plain = grid(["reinforce"], ["oracle-tiny"], ["rollout"], ["optimal"], 1, {})
    assert [job.label for job in plain.jobs()] == [REFERENCE, "reinforce"]


DEMANDING = """
from agents.reinforce import Reinforce

class Demanding(Reinforce):
    training_settings = {
        "reward": "terminal",
        "score_as": "logit",
        "discriminator": "lstm",
        "discriminator_options": {"hidden_dim": 9},
        "agent_options": {"learning_rate": 0.5},
    }
"""


def test_an_agent_is_the_same_algorithm_by_every_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demanding.py").write_text(DEMANDING)
    monkeypatch.syspath_prepend(str(tmp_path))
    for agent in (*registry.AGENTS.names(), "demanding:Demanding"):
        if agent == REFERENCE:
            continue
        alone = settings_from("tiny", {"agent": agent})
        by_name = grid([agent], ["oracle-tiny"], [], [], 1, {})
        by_row = replace(by_name, rows={agent: {"agent": agent}})
        for made in (by_name, by_row):
            job = next(job for job in made.jobs() if job.label == agent)
            found = asdict(job.settings)
            # The harness says what a run does besides learning.
            found |= {name: getattr(alone, name) for name in DECIDED_BY_THE_HARNESS}
            assert found == asdict(alone), agent


def test_what_is_chosen_for_a_grid_goes_over_what_an_agent_asks_for() -> None:
    made = grid(["rloo"], ["oracle-tiny"], ["rollout", "terminal"], ["oracle"], 1, {})
    found = {job.label: (job.settings.source, job.settings.reward) for job in made.jobs()[1:]}
    assert found == {
        "rloo, rollout": ("oracle", "rollout"),
        "rloo, terminal": ("oracle", "terminal"),
    }


def test_options_stand_with_what_they_are_about() -> None:
    file: dict[str, Any] = {
        "discriminator": "lstm",
        "discriminator_options": {"hidden_dim": 9},
        "policy": "gru",
        "policy_options": {"hidden_dim": 8},
        "task_options": {"vocab_size": 7},
        "seq_len": 5,
        "agent_options": {"learning_rate": 0.5},
    }
    row = {"r": {"agent": "reinforce"}}
    made = Suite("s", 1, {"oracle-tiny": {"task": "oracle-tiny"}}, row, file)

    def under(**given: Any) -> TrainSettings:
        return made.under(given).jobs()[1].settings

    before = made.jobs()[1].settings
    assert under() == before
    assert before.task_options == {"vocab_size": 7, "seq_len": 5}
    # Key by key, in both spellings of a task's setting.
    for given in ({"seq_len": 4}, {"task_options": {"seq_len": 4}}):
        assert under(**given).task_options == {"vocab_size": 7, "seq_len": 4}
    found = under(vocab_size=8, agent_options={"baseline": "none"})
    assert found.task_options == {"vocab_size": 8, "seq_len": 5}
    assert found.agent_options == before.agent_options | {"baseline": "none"}
    # The same discriminator or policy keeps its options, and another one has none of them.
    for kind, same, other in (("discriminator", "lstm", "ratio"), ("policy", "gru", "lstm")):
        own = file[f"{kind}_options"]
        assert getattr(under(**{kind: same}), f"{kind}_options") == own
        changed: dict[str, Any] = {kind: other, f"{kind}_options": {}}
        assert under(**{kind: other}) == replace(before, **changed)
    kept = under(discriminator_options={"dropout": 0.5}).discriminator_options
    assert kept == {"hidden_dim": 9, "dropout": 0.5}


def test_a_policy_that_is_given_takes_the_place_of_the_lstm_of_a_suite() -> None:
    made = suite({"r": {"agent": "reinforce"}}, agent_options={"hidden_dim": 8, "baseline": "none"})
    found = made.under({"policy": "gru"}).jobs()[1].settings
    assert (found.policy, found.agent_options["baseline"]) == ("gru", "none")
    assert "hidden_dim" not in found.agent_options


def test_a_presets_discriminator_has_a_suites_options_until_another_is_named() -> None:
    of_paper = {"preset": "paper", "discriminator_options": {"dropout": 0.5}}
    row: dict[str, Any] = {"agent": "reinforce"}
    tasks = {"oracle-tiny": {"task": "oracle-tiny"}}
    kept = Suite("s", 1, tasks, {"r": row}, of_paper).jobs()[1].settings
    assert (kept.discriminator, kept.discriminator_options) == ("paper", {"dropout": 0.5})
    other = Suite("s", 1, tasks, {"r": row | {"discriminator": "small"}}, of_paper)
    assert other.jobs()[1].settings.discriminator_options == {}


def test_a_task_goes_over_what_all_share_in_both_spellings() -> None:
    tasks = {"oracle-tiny": {"task": "oracle-tiny", "seq_len": 9}}
    made = Suite("s", 1, tasks, {}, {"task_options": {"seq_len": 5, "vocab_size": 7}})
    assert made.jobs()[0].settings.task_options == {"seq_len": 9, "vocab_size": 7}


def test_the_suites_that_come_along_can_be_run() -> None:
    paths = sorted((ROOT / "benchmarks" / "suites").glob("*.toml"))
    assert paths
    for path in paths:
        jobs = read_suite(path, trust=True).jobs()
        assert len({(job.label, job.task, job.settings.seed) for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "is no TOML"),
        ("seeds = 3", r"has no tables \[tasks.NAME\]"),
        ("[tasks.oracle-tiny]\n", r"has no tables \[rows.NAME\]"),
        (
            "[tasks.oracle-tiny]\n[rows.a]\nagnt = 'ppo'",
            "unknown setting in rows.a 'agnt'.*Did you mean 'agent'",
        ),
        ("[tasks.oracle-tiny]\n[rows.a]\nseed = 1", "unknown setting in rows.a 'seed'"),
        (
            "[tasks.oracle-tiny]\n[rows.mle]\nagent = 'mle'",
            "has a row 'mle'; that one is always there",
        ),
        (
            "[tasks.oracle-tny]\n[rows.a]\nagent = 'ppo'",
            "unknown task 'oracle-tny'.*Did you mean 'oracle-tiny'",
        ),
        ("[tasks.oracle-tiny]\n[rows.a]\nagent = 'pppo'", "unknown agent 'pppo'"),
        (
            "sedes = 3\n[tasks.oracle-tiny]\n[rows.a]",
            "unknown entry of suite .* 'sedes'.*Did you mean 'seeds'",
        ),
        ("seeds = 0\n[tasks.oracle-tiny]\n[rows.a]", "seeds is 0"),
        ("seeds = 1\n[tasks.oracle-tiny]\n[rows.mle]", "has a row 'mle'"),
        ("seeds = 1\n[tasks.oracle-tiny]\n[rows.'best knob']", "has a row 'best knob', which is"),
    ],
)
def test_a_bad_suite_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "suite.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_suite(tmp_path / "suite.toml").jobs()


# ---- the runner ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    assert len(run(suite().jobs(), folder).done) == 2
    return folder


@pytest.mark.slow
def test_a_result_says_what_was_reached_and_what_it_cost(finished: Path) -> None:
    mle, noise = sorted(read_all([finished]), key=lambda result: result.label)
    assert (mle.label, noise.label, noise.task, noise.seed) == (
        REFERENCE,
        "noise",
        "oracle-tiny",
        0,
    )
    assert {
        "nll_oracle",
        "nll_gen",
        "effective_vocabulary",
        "kl_mean",
        "kl_reverse",
        "kl_forward",
        "js",
    } <= set(mle.metrics)
    assert not {score.name for score in SCORES} & set(
        noise.metrics
    )  # against the knobs of its own run there are none
    assert len(mle.knobs) > 50
    assert {"T 1", "T 0.9", "T 0.3 x 0.5 + T 1 x 0.5"} <= set(mle.knobs)
    assert mle.knobs["T 0.9"]["temperature"] == 0.9
    assert {"kl_mean", "select/kl_mean"} <= set.intersection(*map(set, mle.knobs.values()))
    assert mle.knobs["T 1"]["kl_mean"] == pytest.approx(mle.metrics["kl_mean"])
    assert not noise.knobs
    assert mle.budget["env_steps"] == 0
    assert noise.budget == {
        "env_steps": 2 * 8 * 4,
        "rollout_tokens": 0,
        "sequences_scored": 0,
        "sequences_trained": 0,
    }
    assert [row["round"] for row in noise.curve] == [0, 1, 2]
    assert [row["budget/env_steps"] for row in noise.curve] == [0, 32, 64]
    assert all(value > 0 for value in noise.costs.values())
    assert len(noise.samples) == 10
    assert noise.origin["torch"]
    assert not list((finished / "failures").iterdir())


@pytest.mark.slow
def test_what_is_there_is_not_made_again(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "results").iterdir()}
    progress = run(suite(seeds=1).jobs(), finished)
    assert (len(progress.kept), len(progress.done)) == (2, 0)
    assert {path: path.stat().st_mtime_ns for path in (finished / "results").iterdir()} == before


@pytest.mark.slow
def test_what_other_settings_made_stands_no_longer_beside_what_is_new(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    progress = run(suite(rounds=3).jobs()[1:], tmp_path)
    assert (progress.num_superseded, len(progress.done)) == (1, 1)
    assert {result.label: result.settings["rounds"] for result in read_all([tmp_path])} == {
        REFERENCE: 2,
        "noise": 3,
    }
    assert len(list((tmp_path / "superseded").iterdir())) == 1


def of_job(job: Job, folder: Path, seed: int | None = None, **settings: Any) -> Path:
    """Writes a result as the job would, perhaps with another seed or other settings."""
    changed = replace(job.settings, **settings)
    if seed is not None:
        changed = replace(changed, seed=seed)
    made = replace(job, settings=changed)
    result = Result(job.label, job.task, changed.seed, {}, made.key, settings=told(changed))
    path = path_of(folder, made.key)
    path.parent.mkdir(exist_ok=True)
    result.write(path)
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"rounds": 8},
        {"agent_options": {"learning_rate": 0.5}},
        {"discriminator": "lstm"},
        {"source": "oracle"},
        {"task_options": {"seq_len": 9, "vocab_size": 6}},
    ],
)
@pytest.mark.parametrize("seed", [0, 2])
def test_one_row_holds_runs_of_one_setting_of_all_but_the_seed(
    tmp_path: Path, settings: dict[str, Any], seed: int
) -> None:
    jobs = suite().jobs()
    kept = [of_job(job, tmp_path) for job in jobs] + [of_job(jobs[1], tmp_path, seed=1)]
    gone = of_job(jobs[1], tmp_path, seed, **settings)
    progress = begin(jobs, tmp_path)
    assert (progress.num_superseded, progress.num_of_other_code) == (1, 0)
    assert sorted((tmp_path / "results").iterdir()) == sorted(kept)
    assert [path.name for path in (tmp_path / "superseded").iterdir()] == [gone.name]


def test_rows_of_another_task_of_the_same_name_are_not_judged_by_its_knobs(tmp_path: Path) -> None:
    old = suite({"old": {"agent": "reinforce"}}, seq_len=5).jobs()[1]
    new = suite({"new": {"agent": "reinforce"}})
    gone = of_job(old, tmp_path)
    # A row that was renamed stays as long as its task is the same, whatever else it has.
    options = {"seq_len": 4, "vocab_size": 6}
    kept = of_job(replace(old, label="renamed"), tmp_path, rounds=9, task_options=options)
    elsewhere = path_of(tmp_path, "elsewhere")
    Result("new", "oracle-tiny", 7, {"nll_gen": 1.0}).write(elsewhere)
    assert begin(new.jobs(), tmp_path).num_superseded == 1
    assert not gone.exists()
    assert kept.exists()
    assert elsewhere.exists()  # it has no settings


def test_fresh_oracles_and_the_folders_of_files_are_no_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = replace(suite(seeds=3), fresh_oracles=True)
    paths = [of_job(job, tmp_path) for job in fresh.jobs()]
    assert begin(replace(fresh, seeds=1).jobs(), tmp_path).num_superseded == 0
    assert begin(replace(fresh, first_seed=1, seeds=1).jobs(), tmp_path).num_superseded == 0
    assert all(path.exists() for path in paths)
    assert begin(suite(oracle_seed=1).jobs(), tmp_path).num_superseded == 4  # of 0 and 2
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "corpus.txt").write_text("a b\nc d\n")
    monkeypatch.chdir(tmp_path / "texts")
    jobs = [
        Job("r", "t", TrainSettings(task="text", task_options={"corpus": corpus}, seed=seed))
        for seed, corpus in enumerate(("corpus.txt", str(tmp_path / "texts" / "corpus.txt")))
    ]
    of_job(jobs[0], tmp_path)
    assert begin(jobs[1:], tmp_path).num_superseded == 0


def test_runs_of_other_code_that_stay_are_counted(tmp_path: Path) -> None:
    jobs = suite().jobs()
    path = of_job(jobs[1], tmp_path, seed=1)
    assert begin(jobs, tmp_path).num_of_other_code == 0
    path.rename(path.with_name("0" * 20 + ".json"))  # another key
    assert begin(jobs, tmp_path).num_of_other_code == 1


def test_the_command_line_displaces_no_result(tmp_path: Path) -> None:
    made = suite(seeds=3)
    results = [Result.read(of_job(job, tmp_path)) for job in made.jobs()]

    def check(**given: Any) -> None:
        check_given(replace(made.under(given), seeds=1).jobs(), given, results, "runs/x")

    check()
    check(rounds=TINY["rounds"])
    told_of = "runs/x has results .* 6 in all: rounds is 2 for mle on oracle-tiny there, and 8 here"
    with pytest.raises(ValueError, match=f"{told_of}.*--out OTHER"):
        check(rounds=8)
    for given in (
        {"seq_len": 9},
        {"task_options": {"seq_len": 9}},
        {"agent_options": {"learning_rate": 0.5}},
        {"discriminator": "lstm"},
        {"preset": "paper"},
    ):
        with pytest.raises(ValueError, match="--out OTHER"):
            check(**given)
    # An edited suite is no trial, with the same flags as before.
    edited = suite(rounds=8).jobs()
    check_given(edited, {"mle_epochs": 1}, results, "runs/x")
    with pytest.raises(ValueError, match="rounds is 2"):
        check_given(edited, None, results, "runs/x")  # there is no suite's file


@pytest.mark.slow
def test_a_failed_job_keeps_its_traceback_stops_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_agent.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    jobs = suite(
        {
            "faulty": {"agent": "faulty_agent:Faulty"},
            "noise": {"agent": "reinforce", "source": "noise"},
        }
    ).jobs()[1:]
    totals: list[int] = []
    for _ in range(2):
        progress = run(jobs, tmp_path / "out", 1, lambda progress: totals.append(progress.total))
        (job, path) = progress.failed[0]
        assert job.name == "faulty on oracle-tiny, seed 0"
        text = path.read_text()
        assert "RuntimeError: no idea what to do" in text
        assert "Traceback" in text
    assert len(progress.kept) == 1
    assert not path_of(tmp_path / "out", jobs[0].key).exists()
    assert set(totals) == {2}


@pytest.mark.slow
def test_one_worker_and_two_find_the_same(finished: Path, tmp_path: Path) -> None:
    run(suite().jobs(), tmp_path, num_workers=1)
    assert differences(finished, tmp_path) == []


@pytest.mark.slow
def test_results_that_differ_are_told_apart(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    changed, gone = sorted((tmp_path / "copy" / "results").iterdir())
    content = json.loads(changed.read_text())
    content["metrics"]["nll_oracle"] = np.nextafter(content["metrics"]["nll_oracle"], 10)
    content["costs"]["wall_seconds"] += 1
    changed.write_text(json.dumps(content))
    gone.unlink()
    found = differences(finished, tmp_path / "copy")
    assert len(found) == 2
    assert "only in" in found[0]
    assert found[1].endswith("differs in metrics")


@pytest.mark.slow
def test_what_is_not_what_the_benchmark_began_with_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("".join(f"{a} {b}\n" for a in "abcdef" for b in "abcdef"))
    text = {"text": {"task": "text", "corpus": str(tmp_path / "corpus.txt")}}
    small = {key: value for key, value in TINY.items() if key not in ("seq_len", "vocab_size")}
    job = Suite("s", 1, text, {"r": {"agent": "reinforce"}}, small).jobs()[0]
    assert job.key
    (tmp_path / "corpus.txt").write_text("other words\n" * 40)
    ((_, path),) = run([job], tmp_path / "out").failed
    assert "would be another job here than where the benchmark began" in path.read_text()


def test_a_folder_takes_one_benchmark_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ValueError, match="another `seqgan bench` writes to"):
        run([], tmp_path)
    run([], tmp_path)


@pytest.mark.slow
def test_workers_end_with_the_runner(tmp_path: Path) -> None:
    long = suite({"r": {"agent": "reinforce"}}, rounds=100_000, mle_epochs=1).jobs()[1]
    program = (
        "import sys; from pathlib import Path; from seqgan_env.bench.jobs import Job; from "
        "tests.test_bench import run\n"
        "run([Job.from_json(sys.argv[2])], Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), long.to_json()], cwd=ROOT
    )
    workers: list[str] = []
    deadline = time.monotonic() + 60
    while not workers and time.monotonic() < deadline:
        time.sleep(0.1)
        workers = _processes_with(str(path_of(tmp_path, long.key)))
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while workers and time.monotonic() < deadline:
        time.sleep(0.1)
        workers = _processes_with(str(path_of(tmp_path, long.key)))
    assert not workers


def _processes_with(argument: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument in path.read_text().split("\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cannot be written"):
        run([], tmp_path / "file")


# ---- results ----


def test_what_is_not_finite_is_not_a_number_once_read(tmp_path: Path) -> None:
    knobs = {"K 2": {"kl_mean": math.inf}}
    curve = [{"round": 1.0, "task/nll_gen": math.nan}]
    Result("a", "t", 0, {"nll_gen": math.inf}, knobs=knobs, curve=curve).write(tmp_path / "r.json")
    found = Result.read(tmp_path / "r.json")
    assert math.isnan(found.metrics["nll_gen"])
    assert math.isnan(found.curve[0]["task/nll_gen"])
    assert math.isnan(found.knobs["K 2"]["kl_mean"])


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    knobs = {"T 1": {"temperature": 1.0, "select/kl_mean": 0.5}}
    result = Result(
        "a", "text", 3, {"bleu4": 0.5}, knobs=knobs, samples=["x"], costs={"wall_seconds": 1.0}
    )
    result.write(tmp_path / "r.json")
    assert Result.read(tmp_path / "r.json") == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"label": "a"}', "has schema None; this version reads 2"),
        (
            '{"schema": 1, "label": "a", "task": "t", "seed": 0, "metrics": {}}',
            "has schema 1; this version reads 2",
        ),
        ('{"schema": 2, "label": "a", "task": "t", "seed": 0}', r"missing \['metrics'\]"),
        (
            '{"schema": 2, "label": "a", "task": "t", "seed": 0, "metrics": {}, "x": 1}',
            r"unknown \['x'\]",
        ),
        (
            '{"schema": 2, "label": "a", "task": "t", "seed": "0", "metrics": {}}',
            "seed is str; expected int",
        ),
        (
            '{"schema": 2, "label": "a", "task": "t", "seed": 0, "metrics": {"bleu4": "x"}}',
            "no numbers: bleu4",
        ),
        (
            '{"schema": 2, "label": "a", "task": "t", "seed": 0, "metrics": {}, "knobs": []}',
            "knobs is list; expected dict",
        ),
        (
            '{"schema": 2, "label": "a", "task": "t", "seed": 0, '
            '"metrics": {}, "knobs": {"T 1": 3}}',
            "knobs .* that are int",
        ),
        (
            '{"schema": 2, "label": "a", "task": "t", "seed": 0, '
            '"metrics": {}, "knobs": {"T 1": {"x": []}}}',
            "no numbers: x",
        ),
    ],
)
def test_a_bad_result_is_named_and_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=message) as problem:
        read_all([tmp_path])
    assert "bad.json" in str(problem.value)


def job_result(key: str, seconds: float = 1.0, value: float = math.nan) -> Result:
    """The result of a job, which took so many seconds."""
    curve = [{"round": 0.0, "seconds": seconds, "task/x": 0.1}]
    costs, origin = {"wall_seconds": seconds}, {"machine": f"took {seconds}"}
    metrics = {"x": value, "y": math.inf}
    return Result("a", "t", 0, metrics, key, curve=curve, costs=costs, origin=origin)


def test_a_job_that_two_folders_have_is_one_result(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for i, folder in enumerate(folders):
        (folder / "results").mkdir(parents=True)
        job_result("k", seconds=i).write(path_of(folder, "k"))
        job_result(f"of {folder.name}").write(path_of(folder, f"of {folder.name}"))
    found = read_all(folders)
    assert [result.key for result in found] == ["k", "of first", "of second", "of third"]
    assert found[0].costs == {"wall_seconds": 0.0}  # that of the first folder
    # Other numbers of the same job are another result, and so is one without a job.
    job_result("k", value=0.5).write(path_of(folders[1], "k"))
    for folder in folders:
        job_result("").write(path_of(folder, "from elsewhere"))
    keys = [result.key for result in read_all(folders)]
    assert (keys.count("k"), keys.count("")) == (2, 3)


def test_a_folder_without_results_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no results .*seqgan bench --out"):
        read_all([tmp_path])
