"""The command line as a user meets it: whole runs on small settings, and what bad input gets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from seqgan_env.cli.main import main
from seqgan_env.generators.knobs import KNOBS, Temperature
from seqgan_env.training.settings import TrainSettings
from seqgan_env.types import Task

QUICK = [
    "--batch-size",
    "16",
    "--rounds",
    "3",
    "--eval-every",
    "2",
    "--mle-epochs",
    "2",
    "--num-negatives",
    "64",
    "--num-rollouts",
    "1",
    "--threads",
    "1",
]
MY_KNOB = Temperature(0.77)
SMALL = ["--vocab-size", "8", "--seq-len", "4", "--more-knobs", f"{__name__}:MY_KNOB", *QUICK]


class MeanToken:
    name, label = "mean_token", "mean of the tokens"

    def __call__(self, samples: Tensor, task: Task) -> float:
        return float(samples.double().mean())


class OnlyOfPolicies(MeanToken):
    """It fails on real sequences."""

    def __call__(self, samples: Tensor, task: Task) -> float:
        if len(samples) < 1_000:
            raise ValueError("so few")
        return super().__call__(samples, task)


class Different(MeanToken):
    """It counts repeats, of which a resample has more."""

    name, label = "different", "different sequences"

    def __call__(self, samples: Tensor, task: Task) -> float:
        return len(samples.unique(dim=0)) / len(samples)


class Slow(MeanToken):
    name, label = "slow", "slow one"

    def __call__(self, samples: Tensor, task: Task) -> float:
        time.sleep(0.05)
        return super().__call__(samples, task)


MY_METRIC = MeanToken()
MY_METRICS = [MeanToken(), Different(), Slow()]
FEW = ["--num-real", "60", "--num-held-out", "60", "--num-validation", "30", "--num-eval", "60"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "oracle"
    assert main(["train", *SMALL, "--out", str(path)]) == 0
    return path


def test_a_run_leaves_everything_it_promises(run: Path) -> None:
    names = {p.name for p in run.iterdir()}
    assert names >= {
        "config.json",
        "metrics.csv",
        "samples.txt",
        "curves.png",
        "result.json",
        "policy.safetensors",
        "mle.safetensors",
        "tensorboard",
    }
    result = json.loads((run / "result.json").read_text())
    metrics = {
        "nll_oracle",
        "nll_gen",
        "entropy",
        "kl_reverse",
        "kl_forward",
        "effective_vocabulary",
        "unique_tokens",
        "score",
    }
    for who in ("mle", "best_knob", "agent", "constant"):
        assert result[who].keys() >= metrics
    assert result["seconds"].keys() >= {"pretrain", "knobs", "adversarial", "constant"}
    knobs = (run / "knobs.csv").read_text()
    assert all(knob.name in knobs for knob in (*KNOBS, MY_KNOB))
    assert result["best_knob_name"] in knobs
    assert result["best_knob"]["score"] == 0
    assert result["score_error"] > 0
    config = json.loads((run / "config.json").read_text())
    assert TrainSettings(**config["settings"]).task_options["vocab_size"] == 8
    assert config["versions"].keys() >= {"python", "torch", "numpy", "gymnasium", "seqgan-env"}
    assert Image.open(run / "curves.png").size[0] > 1000


def test_the_table_shows_the_same_metrics_of_real_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = f"{__name__}:MY_METRIC"
    words = ["train", *SMALL, *FEW, "--no-knobs", "--no-control", "--more-metrics", metric]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    real = json.loads((tmp_path / "run" / "result.json").read_text())["real"]
    told = capsys.readouterr().out
    assert "real data: 30 of validation and 30 of training" in told
    rows = _rows(told)
    assert rows["nll_oracle"][-1] == f"{real['nll_oracle']:.3f}"
    assert rows["mean of the tokens"][-1] == f"{real['more/mean_token']:.3f}"
    assert rows["nll_gen ↓"][-1] == ""


@pytest.mark.slow
def test_evaluate_shows_labels_intervals_of_own_metrics_and_real_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", "--vocab-size", "40", "--seq-len", "6", *QUICK, *FEW, "--referee"]
    words += ["--no-knobs", "--no-control", "--more-metrics", f"{__name__}:MY_METRICS"]
    assert main([*words, "--out", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", str(run), "--trust"]) == 0
    told = capsys.readouterr().out
    rows = _rows(told)
    assert rows["eff. vocab."][2] == f"{result['real']['effective_vocabulary']:.4f}"

    value, interval, real = rows["mean of the tokens"]
    low, high = map(float, interval.split(" to "))
    assert low < float(value) < high
    assert float(value) == pytest.approx(result["agent"]["more/mean_token"], abs=1e-4)
    assert real == f"{result['real']['more/mean_token']:.4f}"

    # What cannot be resampled has no interval, and one line says why.
    assert rows["different sequences"][1] == rows["slow one"][1] == ""
    assert "no interval for different sequences: it counts repeats" in told
    assert re.search(r"no interval for slow one: one evaluation takes \d+ ms, and only", told)

    # The referee has judged already.
    js, interval, real = rows["referee's JS / ln 2 ↓"]
    error = result["agent"]["referee_js_error"]
    assert float(js) == pytest.approx(result["agent"]["referee_js"], abs=1e-4)
    assert float(interval.split(" to ")[1]) == pytest.approx(float(js) + 1.96 * error, abs=2e-4)
    assert real == ""
    assert "--referee judges fresh samples" in told

    assert main(["evaluate", str(run), "--trust", "--keys", "--referee", "--seed", "5"]) == 0
    told = capsys.readouterr().out
    rows = _rows(told)
    assert rows.keys() >= {"effective_vocabulary", "more/mean_token", "referee_js", "nll_gen"}
    assert rows["referee_js"][0] != js
    assert "--referee" not in told


def _rows(table: str) -> dict[str, list[str]]:
    """The cells of a table by the first of them."""
    found = {}
    for line in table.splitlines():
        first, *cells = [cell.strip() for cell in line.split("│")[1:-1]] or [""]
        found[first] = cells
    return found


@pytest.mark.slow
def test_a_metric_that_fails_on_real_data_loses_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = f"{__name__}:OnlyOfPolicies"
    words = ["train", *SMALL, *FEW, "--no-knobs", "--no-control", "--more-metrics", metric]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "real data are not measured: metric" in capsys.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "more/mean_token" in result["agent"]
    assert result["real"] == {}


def test_tensorboard_has_the_metrics_under_their_names(run: Path) -> None:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    assert tags >= {
        "agent/policy_loss",
        "discriminator/accuracy_heldout",
        "task/nll_oracle",
        "task/score",
        "pretrain/nll_validation",
    }
    assert [event.step for event in events.Scalars("agent/policy_loss")] == [1, 2, 3]


def test_the_same_settings_give_the_same_numbers(run: Path, tmp_path: Path) -> None:
    assert main(["train", *SMALL, "--out", str(tmp_path / "again")]) == 0
    first, second = (json.loads((p / "result.json").read_text()) for p in (run, tmp_path / "again"))
    for who in ("mle", "best_knob", "agent", "constant"):
        assert first[who] == second[who]
    assert (run / "policy.safetensors").read_bytes() == (
        tmp_path / "again" / "policy.safetensors"
    ).read_bytes()


def test_the_trained_policy_can_be_sampled_and_evaluated(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(run), "--num", "7", "--trust"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(re.fullmatch(r"([0-7] ){3}[0-7]", line) for line in lines)
    assert main(["evaluate", str(run), "--trust"]) == 0
    shown = dict(re.findall(r"(\w+)\W+([\d.]+)", capsys.readouterr().out))
    result = json.loads((run / "result.json").read_text())["agent"]
    assert float(shown["nll_gen"]) == pytest.approx(result["nll_gen"], abs=1e-4)


def test_an_existing_run_is_refused_without_force(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "result.json").read_bytes()
    assert main(["train", *SMALL, "--out", str(run)]) == 2
    assert (
        "exists; choose another with --out, or overwrite it with --force" in capsys.readouterr().err
    )
    assert (run / "result.json").read_bytes() == before


@pytest.mark.slow
def test_text_trains_to_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(
        "".join(
            f"the {a} {b} sees {c} .\n"
            for a in ("big", "old", "red")
            for b in ("cat", "dog", "cow")
            for c in "abcdefghij"
        )
    )
    assert (
        main(
            [
                "train",
                "--task",
                "text",
                "--corpus",
                str(corpus),
                *QUICK,
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["agent"].keys() >= {
        "perplexity_heldout",
        "bleu2",
        "bleu4",
        "self_bleu3",
        "distinct2",
    }
    corpus.write_text(corpus.read_text().replace("cat", "rat"))
    capsys.readouterr()
    assert main(["sample", str(tmp_path / "run"), "--num", "100"]) == 0
    samples, notes = capsys.readouterr()
    assert "cat" in samples  # the words that the run was trained on
    assert "rat" not in samples
    assert "has changed since it was trained" in notes


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_with_what_there_is(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "seqgan_env.cli",
        "train",
        *SMALL,
        "--rounds",
        "100000",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 90
    while not list((tmp_path / "run").glob("tensorboard/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["interrupted"] is True
    assert "nll_oracle" in result["agent"]
    assert (tmp_path / "run" / "policy.safetensors").exists()


BAD = [
    (["train", "--task", "oracle-tinny"], "Did you mean 'oracle-tiny'"),
    (["train", "--agent", "reinforc"], "Did you mean 'reinforce'"),
    (["train", "--agent", "no.such:Agent"], "cannot be imported"),
    (
        ["train", "--agent", "seqgan_env.generators.maximum_likelihood:MaximumLikelihood"],
        "lacks pretrain and update",
    ),
    (["train", "--reward", "rolout"], "Did you mean 'rollout'"),
    (["train", "--source", "oracel"], "Did you mean 'oracle'"),
    (["train", "--preset", "papre"], "Did you mean 'paper'"),
    (["train", "--set", "learning_rat=1"], "Did you mean 'learning_rate'"),
    (["train", "--set", "learning_rate"], "is not KEY=VALUE"),
    (["train", "--num-rollouts", "0"], "num_rollouts is 0; allowed is 1 or more"),
    (["train", "--num-rollouts", "many"], "invalid int value: 'many'"),
    (["train", "--roundz", "3"], "Did you mean --rounds"),
    (["train", "--out", "/proc/nowhere"], "cannot be written"),
    (["train", "--task", "text", "--corpus", "/no/such/file"], "/no/such/file"),
    (["train", "--task", "text", "--source", "oracle"], "needs a task with an oracle"),
    (["train", "--weights", "/no/such/file"], "/no/such/file"),
    (["train", "--device", "cudaa"], "cudaa"),
    (["list", "agent"], "Did you mean 'agents'"),
    (["sample", "/no/such/run"], "config.json cannot be read"),
    (["evaluate", "/no/such/run"], "config.json cannot be read"),
    (["sample", "x", "--num", "0"], "0 is not 1 or more"),
    (["trian"], "Did you mean train"),
    (["bench", "--no-knobs"], "seqgan bench: unrecognized arguments: --no-knobs. A benchmark"),
    (["bench", "--agent", "ppo"], "takes --agents, one or several"),
    (["train", "--workers", "2"], "It is a flag of seqgan bench"),
    (["sample", "x", "--temprature", "2"], "seqgan sample: unrecognized arguments: --temprature"),
    (
        ["train", "--agent", "grpo", "--set", "group_size=7"],
        "group_size is 7; allowed are divisors",
    ),
    (["train", "--agent", "ppo", "--set", "n_steps=7"], "allowed are multiples of seq_len 10"),
    (["bench", "--agents", "rloo", "--set", "group_size=7"], "agent rloo: group_size is 7"),
    (
        ["bench", "--agents", "dqn", "--tasks", "music", "--set", "train_freq=7"],
        "agent dqn: train_freq is 7; allowed are multiples of seq_len 32",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    BAD,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = (
        [] if "--out" in arguments or arguments[0] != "train" else ["--out", str(tmp_path / "run")]
    )
    try:
        code = main([*arguments, *out])
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_every_setting_is_in_the_help_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for setting in fields(TrainSettings):
        flag = "--" + setting.name.replace("_", "-")
        assert setting.metadata.get("flag", flag) in text
    assert "--lowercase" in text
    assert "(default: 160; 60 for text, music, molecule and peptide)" in text


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("tasks", "oracle-paper"),
        ("agents", "reinforce"),
        ("rewards", "difference"),
        ("rewards", "seqgan_env.rewards.forms:FORMS discount 1"),
        ("sources", "bleu seqgan_env.metrics.ngram:bleu_source"),
        ("discriminators", "ratio seqgan_env.discriminators.ratio:RatioDiscriminator"),
        ("policies", "gru seqgan_env.generators.gru:GRULanguageModel"),
        ("metrics", "kl_mean seqgan_env.metrics.catalogue:METRICS mean of both KLs ↓"),
        ("knobs", "T 1.1 seqgan_env.generators.knobs:KNOBS"),
    ],
)
def test_lists_show_what_there_is(what: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    assert name in re.sub(" +", " ", capsys.readouterr().out)
