"""seqgan bench, seqgan report and seqgan evaluate --samples, as a user calls them."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from seqgan_env.bench.commands import _suite
from seqgan_env.bench.compare import differences
from seqgan_env.bench.compare import main as compare
from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE
from seqgan_env.bench.results import read_all
from seqgan_env.cli.main import build_parser, main
from seqgan_env.tasks import make_task
from seqgan_env.types import HasReferee
from tests.test_bench import ROOT, TINY

FLAGS = [
    word for name, value in TINY.items() for word in ("--" + name.replace("_", "-"), str(value))
]
ORACLE = ["--task", "oracle-tiny", "--vocab-size", "6", "--seq-len", "4"]
FAULTY = """
from agents.reinforce import Reinforce

class Faulty(Reinforce):
    def update(self):
        raise RuntimeError("no idea what to do")

class Endless(Reinforce):
    def update(self):
        while True:
            pass
"""


def bench(out: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "seqgan_env.cli",
        "bench",
        *words,
        *FLAGS,
        "--out",
        str(out),
    ]
    process: subprocess.Popen[str] = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    return process


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def lines(path: Path, *rows: str) -> Path:
    path.write_text("".join(row + "\n" for row in rows))
    return path


# ---- seqgan bench ----

GRID = ("--agents", "reinforce", "--sources", "noise", "optimal", "--seeds", "2", "--workers", "2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("bench") / "out"
    code, out, err = finish(bench(folder, *GRID, cwd=ROOT))
    assert code == 0, err
    return folder, out


@pytest.mark.slow
def test_a_line_for_every_job_where_there_is_no_terminal_and_the_leaderboard_at_the_end(
    finished: tuple[Path, str],
) -> None:
    told = finished[1].splitlines()
    assert sum(": done. " in line for line in told) == 6
    assert any("mle on oracle-tiny, seed 1: done. " in line for line in told)
    assert "6 jobs: 6 done, 0 failed, 0 kept from before" in told
    assert "Leaderboard" in finished[1]
    assert told[-1] == f"report: {finished[0] / 'report.html'}"


@pytest.mark.slow
def test_a_trial_in_the_folder_of_a_finished_benchmark_is_refused_and_changes_nothing(
    finished: tuple[Path, str],
) -> None:
    before = {path: path.read_bytes() for path in finished[0].rglob("*") if path.is_file()}
    code, _, err = finish(
        bench(finished[0], *GRID[:-4], "--seeds", "1", "--d-epochs", "2", cwd=ROOT)
    )
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "d_epochs is 1 for " in err
    assert "on oracle-tiny there, and 2 here" in err
    assert before == {path: path.read_bytes() for path in finished[0].rglob("*") if path.is_file()}


@pytest.mark.slow
def test_equal_rounds_are_equal_budgets(finished: tuple[Path, str]) -> None:
    results = [result for result in read_all([finished[0]]) if result.label != REFERENCE]
    written = TINY["rounds"] * TINY["batch_size"] * TINY["seq_len"]
    assert {result.budget["env_steps"] for result in results} == {written}
    for result in results:
        assert result.costs.keys() == {"wall_seconds", "cpu_seconds", "peak_bytes"}
        assert all(value > 0 for value in result.costs.values())


@pytest.mark.slow
def test_shards_are_the_whole(finished: tuple[Path, str], tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        assert finish(bench(tmp_path, *GRID, "--shard", shard, cwd=ROOT))[0] == 0
    assert differences(finished[0], tmp_path) == []


@pytest.mark.slow
def test_hash_seeds_threads_and_folders_change_nothing(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    environment = os.environ | {
        "PYTHONHASHSEED": "77",
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "PYTHONPATH": str(ROOT),
    }
    assert finish(bench(tmp_path / "out", *GRID, cwd=tmp_path, env=environment))[0] == 0
    assert compare([str(finished[0]), str(tmp_path / "out")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "parent"])
def test_killed_three_times_at_random_it_ends_with_the_same_results(
    finished: tuple[Path, str], tmp_path: Path, whole_group: bool
) -> None:
    moments = random.Random(20 + whole_group)
    for _ in range(3):
        process = bench(tmp_path, *GRID, cwd=ROOT, start_new_session=True)
        time.sleep(moments.uniform(2, 15))
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate()
    code, out, _ = finish(bench(tmp_path, *GRID, cwd=ROOT))
    assert code == 0
    assert "0 failed" in out
    assert differences(finished[0], tmp_path) == []


@pytest.mark.slow
def test_ctrl_c_ends_everything_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = bench(
        tmp_path / "out",
        *("--agents", "faulty:Endless", "--seeds", "1", "--workers", "2"),
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("results/*.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert err.splitlines() == ["seqgan: interrupted; the same command goes on from here"]
    assert [result.label for result in read_all([tmp_path / "out"])] == [REFERENCE]
    assert len(list((tmp_path / "out" / "results").iterdir())) == 1
    assert not list((tmp_path / "out" / "failures").iterdir())


@pytest.mark.slow
def test_a_failed_job_is_told_with_its_reason_and_fails_the_whole(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code, out, _ = finish(
        bench(
            tmp_path / "out",
            "--agents",
            "faulty:Faulty",
            "--seeds",
            "1",
            cwd=tmp_path,
            env=environment,
        )
    )
    assert code == 1
    assert "failed: faulty:Faulty on oracle-tiny, seed 0: RuntimeError: no idea what to do" in out
    assert "2 jobs: 1 done, 1 failed, 0 kept from before" in out
    (failure,) = (tmp_path / "out" / "failures").iterdir()
    assert "Traceback" in failure.read_text()


SUITE = "[tasks.oracle-tiny]\n[rows.a]\nagent = 'reinforce'\n"

BAD = [
    (["bench"], "needs a suite or --agents"),
    (["bench", "nowhere.toml"], "suite nowhere.toml cannot be read"),
    (["bench", "SUITE", "--agents", "ppo"], "--agents cannot be given with a suite"),
    (
        ["bench", "SUITE", "--set", "learning_rat=1"],
        "has the agent option 'learning_rat'; none of mle, reinforce takes it",
    ),
    (["bench", "--agents", "pppo"], "Did you mean 'ppo'"),
    (["bench", "--agents", "ppo", "--tasks", "oracle-tini"], "Did you mean 'oracle-tiny'"),
    (["bench", "--agents", "ppo", "--rewards", "rolout"], "Did you mean 'rollout'"),
    (["bench", "--agents", "ppo", "--sources", "optimall"], "Did you mean 'optimal'"),
    (["bench", "--agents", "ppo", "--seeds", "0"], "0 is not 1 or more"),
    (["bench", "--agents", "ppo", "--workers", "0"], "0 is not 1 or more"),
    (["bench", "--agents", "ppo", "--shard", "3/2"], "'3/2' is not I/N"),
    (["bench", "--agents", "ppo", "--round", "2"], "Did you mean --rounds"),
    (["bench", "--agents", "ppo", "--out", "/proc/nowhere"], "cannot be written"),
    (["bench", "--agents", "ppo", "--preset", "papre"], "Did you mean 'paper'"),
    (["report", "nowhere"], "has no results"),
    (["evaluate", "--samples", "FILE"], "--samples needs --task"),
    (["evaluate", "RUN", "--samples", "FILE", *ORACLE], "takes a run, or --samples"),
    (["evaluate"], "takes a run, or --samples"),
    (["evaluate", "RUN", "--vocab-size", "3"], "--vocab-size is for --samples"),
    (["evaluate", "--samples", "nowhere", *ORACLE], "samples nowhere cannot be read"),
    (["evaluate", "--samples", "FILE", "--task", "oracle-tinny"], "Did you mean 'oracle-tiny'"),
    (
        ["evaluate", "--samples", "FILE", "--task", "oracle-tiny", "--level", "char"],
        "task oracle-tiny does not take level (--level); it is a setting of text",
    ),
    (["evaluate", "--samples", "FILE", *ORACLE, "--nll-gen", "nan"], "nan is no number of nats"),
]


@pytest.mark.parametrize(
    ("words", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_gets_one_line_and_exit_code_2(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "SUITE": lines(tmp_path / "suite.toml", SUITE),
        "FILE": lines(tmp_path / "samples.txt", "0 1 2 3", "0 1 2 3"),
    }
    try:
        code = main([str(files.get(word, word)) for word in words])
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_flags_go_over_a_suite_key_by_key(tmp_path: Path) -> None:
    shared = "task_options = {vocab_size = 7}\ndiscriminator = 'lstm'\n"
    text = f"[settings]\n{shared}discriminator_options = {{hidden_dim = 9}}\n{SUITE}"
    file = lines(tmp_path / "suite.toml", text)
    words = ["bench", str(file), "--set-task", "seq_len=4", "--discriminator", "ratio"]
    arguments = build_parser().parse_args(words)
    arguments.command_line = words
    settings = _suite(arguments).jobs()[1].settings
    assert settings.task_options == {"vocab_size": 7, "seq_len": 4}
    assert (settings.discriminator, settings.discriminator_options) == ("ratio", {})


@pytest.mark.parametrize(
    ("words", "reward"), [([], "terminal"), (["--rewards", "rollout"], "rollout")]
)
def test_agents_on_the_command_line_get_the_reward_that_they_ask_for(
    words: list[str], reward: str
) -> None:
    arguments = build_parser().parse_args(["bench", "--agents", "rloo", *words])
    assert _suite(arguments).jobs()[1].settings.reward == reward


# ---- seqgan evaluate --samples ----


def evaluate(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


def test_samples_from_elsewhere_become_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path / "mine.txt", "0 1 2 3", "5 5 5 5", "0 1 2 3")
    words = (
        "--samples",
        file,
        *ORACLE,
        "--label",
        "theirs",
        "--seed",
        3,
        "--nll-gen",
        1.5,
        "--out",
        tmp_path / "out",
    )
    assert evaluate(*words) == 0
    (result,) = read_all([tmp_path / "out"])
    assert (result.label, result.task, result.seed) == ("theirs", "oracle-tiny", 3)
    assert result.metrics.keys() == {
        "nll_oracle",
        "nll_gen",
        "effective_vocabulary",
        "unique_tokens",
    }
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(r"│ different tokens +│ 5.0000 │ 6.0000 +│", told)
    assert "real data: 5,000 of validation and 10,000 of training" in told
    assert re.search(r"the referee needs \d+ samples; with 3 the row has no score", told)
    assert (result.metrics["nll_gen"], result.metrics["unique_tokens"]) == (1.5, 5)
    assert result.samples == ["0 1 2 3", "5 5 5 5", "0 1 2 3"]
    file.write_text("0 0 0 0\n1 1 1 1\n")
    assert evaluate(*words) == 0
    assert (
        read_all([tmp_path / "out"])[0].metrics["unique_tokens"] == 2
    )  # the same row, not another


@pytest.mark.parametrize("label", [BEST_KNOB, REFERENCE])
def test_a_row_of_samples_takes_the_name_of_no_row_that_is_always_there(
    label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path / f"{label}.txt", "0 1 2 3", "5 5 5 5")
    for words in (("--label", label), ()):  # the file's name is the label of those that have none
        assert evaluate("--samples", file, *ORACLE, *words, "--out", tmp_path / "out") == 2
        assert f"the label is '{label}', a row that every" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert evaluate("--samples", file, *ORACLE) == 0  # no row is written


@pytest.mark.slow
def test_an_oracles_samples_are_measured_as_a_run_measures_them(tmp_path: Path) -> None:
    task = make_task("oracle-tiny", vocab_size=6, seq_len=4)
    file = lines(tmp_path / "real.txt", *[task.decode(row) for row in task.held_out])
    assert evaluate("--samples", file, *ORACLE, "--out", tmp_path / "out") == 0
    (result,) = read_all([tmp_path / "out"])
    log_prob = task.oracle.log_prob(task.held_out)  # type: ignore[attr-defined]
    assert result.metrics["nll_oracle"] == pytest.approx(-float(log_prob.double().mean()) / 4)
    assert result.metrics["effective_vocabulary"] == result.real["effective_vocabulary"]


def test_text_samples_get_the_metrics_of_real_data(tmp_path: Path) -> None:
    corpus = lines(
        tmp_path / "corpus.txt", *[f"{a} {b} {c}" for a in "abcde" for b in "fghij" for c in "klm"]
    )
    file = lines(tmp_path / "mine.txt", "a f k", "b g l", "a word unknown")
    assert (
        evaluate(
            "--samples",
            file,
            "--task",
            "text",
            "--corpus",
            corpus,
            "--task-label",
            "letters",
            "--out",
            tmp_path,
        )
        == 0
    )
    (result,) = read_all([tmp_path])
    assert result.task == "letters"
    assert result.metrics.keys() >= {
        "bleu2",
        "bleu4",
        "self_bleu4",
        "distinct2",
        "perplexity_reverse",
        "effective_vocabulary",
    }
    assert result.samples[:2] == ["a f k", "b g l"]


@pytest.mark.slow
def test_samples_enough_for_the_referee_are_judged_by_the_first_of_them(tmp_path: Path) -> None:
    rng = random.Random(0)
    drawn = [" ".join(rng.choices("abcdefghijklmnop", k=4)) for _ in range(3_100)]
    corpus = lines(tmp_path / "corpus.txt", *drawn[:1_500])
    task = make_task("text", corpus=str(corpus))
    assert isinstance(task, HasReferee)
    assert task.referee is not None
    num = task.referee.num_samples
    chosen = ("--task", "text", "--corpus", corpus, "--out", tmp_path)
    bad, good = ["k k k k"] * (num + 5), drawn[1_500 : 1_500 + num + 5]
    assert len(good) == num + 5
    for label, rows in (("bad", bad), ("good", good), ("long", [*good[:num], *bad])):
        assert (
            evaluate("--samples", lines(tmp_path / "mine.txt", *rows), "--label", label, *chosen)
            == 0
        )
    found = {result.label: result.metrics["referee_js"] for result in read_all([tmp_path])}
    assert found["bad"] > 0.8
    assert found["good"] < 0.2
    assert found["long"] == found["good"]


BAD_SAMPLES = [
    (b"", ORACLE, "has 0 lines; 2 or more are needed"),
    (b"0 1 2 3\n", ORACLE, "has 1 lines; 2 or more are needed"),
    (b"0 1 2 3\n0 1 2 6\n", ORACLE, "line 2: text '0 1 2 6' holds '6'; allowed are tokens 0..5"),
    (b"0 1 2 3\n0 1 2 -1\n", ORACLE, "line 2: text '0 1 2 -1' holds '-1'"),
    (b"0 1 2 3\n0 1 2 2.5\n", ORACLE, "line 2: text '0 1 2 2.5' holds '2.5'"),
    (
        b"0 1 2\n0 1 2 3\n",
        ORACLE,
        "line 1: text '0 1 2' has 3 tokens; a sequence of this task has 4",
    ),
    (b"0 1 2 3\n\n", ORACLE, "line 2: text '' has 0 tokens"),
    (
        "0 1 2 3\n0 1 2 3\n".encode("utf-16"),
        ORACLE,
        "is not UTF-8 text: byte 0xff at offset 0, in line 1; it looks like UTF-16",
    ),
    (b"a b\nc \xe9\n", ["--task", "text"], "is not UTF-8 text: byte 0xe9 at offset 6, in line 2"),
    (b"a b\n" + b"c " * 40 + b"\n", ["--task", "text"], "line 2: text 'c c c"),
    (
        b"C4 -\nC4 H4\n",
        ["--task", "music", "--max-length", "2"],
        "line 2: 'H4' is no word of a melody",
    ),
    (
        b"C4 -\nC4\n",
        ["--task", "music", "--max-length", "2"],
        "line 2: text 'C4' has 1 words; a melody of this task has 2",
    ),
]


def only_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error; what is said of work that is slow, on a busy machine, is none."""
    lines = capsys.readouterr().err.splitlines()
    (error,) = [line for line in lines if not line.endswith(" ...")]
    return error


@pytest.mark.parametrize(
    ("content", "task", "message"), BAD_SAMPLES, ids=[message[:30] for _, _, message in BAD_SAMPLES]
)
def test_bad_samples_are_refused_with_file_line_and_what_is_allowed(
    content: bytes,
    task: Sequence[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "samples.txt").write_bytes(content)
    assert evaluate("--samples", tmp_path / "samples.txt", *task, "--out", tmp_path / "out") == 2
    error = only_error(capsys)
    assert "samples.txt" in error
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_row_from_elsewhere_stands_in_the_report(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    file = lines(tmp_path / "mine.txt", "0 1 2 3", "5 4 3 2")
    assert (
        evaluate(
            "--samples",
            file,
            *ORACLE,
            "--label",
            "theirs",
            "--nll-gen",
            1.7,
            "--out",
            tmp_path / "more",
        )
        == 0
    )
    assert (
        main(["report", str(finished[0]), str(tmp_path / "more"), "--out", str(tmp_path / "page")])
        == 0
    )
    for name in ("report.html", "report.md", "runs.csv"):
        assert "theirs" in (tmp_path / "page" / name).read_text()


# ---- comparing ----


def test_folders_that_cannot_be_compared_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare([str(tmp_path), str(tmp_path)]) == 2
    assert "has no results" in capsys.readouterr().err
