"""Tasks by name: no setting is ignored, and one from outside the package is as good as any."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from seqgan_env import registry
from seqgan_env.bench.jobs import Job
from seqgan_env.cli.main import main
from seqgan_env.metrics.catalogue import load_metrics
from seqgan_env.tasks import load_task, make_task, setting_names, task_names
from seqgan_env.testing import check_metric, check_task
from seqgan_env.training.settings import settings_from

TASKS = list(registry.TASKS.builtin)
SETTINGS = sorted({name for task in TASKS for name in setting_names(task)})

# What a user writes: one file, not a line of it about the command line.
COINS = """
from dataclasses import dataclass
from pathlib import Path

import torch

from seqgan_env.tasks.options import option
from seqgan_env.tasks.real_data import RealDataTask
from seqgan_env.types import TokenSpec


@dataclass(frozen=True)
class CoinSettings:
    seq_len: int = option(6, "coins in a row", "COINS")
    bias: float = option(0.8, "of a coin", "SHARE")
    story: str = option("nothing", "a text or a file")
    num_eval: int = option(100, "sequences drawn from a policy to evaluate it", "SEQUENCES")


class Coins(RealDataTask):
    defaults = CoinSettings()
    presets = {"tiny": {"rounds": 1, "mle_epochs": 1, "batch_size": 8, "num_negatives": 16}}

    def __init__(self, settings=CoinSettings(), name="coins"):
        self.settings = settings
        rng = torch.Generator().manual_seed(0)
        coins = torch.rand((300, settings.seq_len), generator=rng) < settings.bias
        parts = coins.long().split([200, 50, 50])
        super().__init__(name, TokenSpec(2, settings.seq_len), parts, settings.num_eval)

    def encode(self, text):
        return torch.tensor(["TH".index(coin) for coin in text])

    def decode(self, tokens):
        return "".join("TH"[token] for token in tokens.tolist())
"""


def given(task: str, name: str) -> Any:
    """A value that a setting of a task could have."""
    value = getattr(load_task(task).defaults, name)
    return {"corpus": "no-such-file", "weights": "no-such-file", "tokenizer": "english"}.get(
        name, value
    )


def taker_of(name: str) -> str:
    return next(task for task in TASKS if name in setting_names(task))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_gets_each_of_its_settings_and_refuses_every_other(task: str, name: str) -> None:
    value = given(task if name in setting_names(task) else taker_of(name), name)
    for changes in ({name: value}, {"task_options": {name: value}}):
        if name in setting_names(task):
            settings = settings_from("tiny", {"task": task} | changes)
            assert settings.task_options == {name: value}
        else:
            with pytest.raises(
                ValueError, match=f"task {task} does not take {name} .*{taker_of(name)}"
            ):
                settings_from("tiny", {"task": task} | changes)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_without_a_task_is_never_lost(name: str) -> None:
    """It is the task's that is found, or an error."""
    changes = {name: given(taker_of(name), name)}
    takers = [task for task in TASKS if name in setting_names(task)]
    if name == "corpus" or ("oracle-tiny" not in takers and len(takers) > 1):
        with pytest.raises(ValueError, match=r"--task|no-such-file"):
            settings_from("tiny", changes)
    else:
        settings = settings_from("tiny", changes)
        assert settings.task_options == changes
        assert settings.task in takers


def test_the_task_is_inferred_from_its_corpus(tmp_path: Path) -> None:
    text, music, other = tmp_path / "poems.txt", tmp_path / "midi", tmp_path / "other"
    text.write_text("a b\n")
    (music / "below").mkdir(parents=True)
    (music / "below" / "tune.MID").write_bytes(b"")
    other.mkdir()
    assert settings_from("tiny", {"corpus": str(text)}).task == "text"
    assert settings_from("tiny", {"corpus": str(music)}).task == "music"
    assert settings_from("tiny", {"level": "char"}).task == "text"
    assert settings_from("tiny", {"transpose": True}).task == "music"
    assert settings_from("tiny", {"seq_len": 5}).task == "oracle-tiny"
    for path, message in (
        (other, "is a folder without MIDI files"),
        (tmp_path / "none", "cannot be read"),
        (music / "below" / "tune.MID", "is one MIDI file"),
    ):
        with pytest.raises(ValueError, match=message):
            settings_from("tiny", {"corpus": str(path)})
    with pytest.raises(ValueError, match="task oracle-paper does not take corpus"):
        settings_from("paper", {"corpus": str(text)})
    with pytest.raises(ValueError, match="--level is a setting of text; --transpose is a setting"):
        settings_from("tiny", {"level": "char", "transpose": True})


@pytest.fixture
def coins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_coins", raising=False)
    (tmp_path / "my_coins.py").write_text(COINS)
    return "my_coins:Coins"


def test_a_task_of_ones_own_is_trained_sampled_and_evaluated(
    coins: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--no-knobs", "--no-control", "--seq-len", "5", "--set-task", "bias=0.9"]
    assert main(["train", "--task", coins, "--out", "run", *quick]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert config["task_options"] == {"seq_len": 5, "bias": 0.9}
    assert (config["rounds"], config["mle_epochs"]) == (1, 1)
    capsys.readouterr()
    assert main(["sample", "run", "--num", "4"]) == 2
    assert f"{coins}. Loading it would run that code" in capsys.readouterr().err
    assert main(["sample", "run", "--num", "4", "--trust-name", coins]) == 0
    drawn = capsys.readouterr().out
    assert {len(line) for line in drawn.split()} == {5}
    (tmp_path / "s.txt").write_text(drawn)
    assert main(["evaluate", "run", "--trust"]) == 0
    words = ["evaluate", "--samples", "s.txt", "--task", coins, "--set-task", "seq_len=5"]
    assert main(words) == 0
    assert main(["train", "--task", coins, "--level", "char"]) == 2
    assert "does not take level" in capsys.readouterr().err


def test_a_task_of_ones_own_is_made_by_gymnasium(coins: str) -> None:
    env = gym.make("SeqGAN/Task-v0", task=coins, seq_len=5, source="bleu")
    assert env.observation_space.shape == (5,)
    assert env.action_space.n == 2  # type: ignore[attr-defined]
    assert make_task(load_task(coins), seq_len=5).spec.seq_len == 5


def test_a_file_that_a_task_reads_is_part_of_its_job(coins: str, tmp_path: Path) -> None:
    """Though the task does not say that the setting is a path."""

    def key() -> str:
        settings = settings_from("tiny", {"task": coins, "story": str(tmp_path / "story.txt")})
        return Job("r", "coins", settings).key

    before = key()
    (tmp_path / "story.txt").write_text("once")
    found = key()
    (tmp_path / "story.txt").write_text("twice")
    assert len({before, found, key()}) == 3


@pytest.mark.slow
def test_a_task_of_ones_own_is_benchmarked(coins: str, tmp_path: Path) -> None:
    words = ["bench", "--agents", "random", "--tasks", coins, "--seeds", "1", "--out", "out"]
    assert main(words) == 0
    assert len(list((tmp_path / "out" / "results").glob("*.json"))) == 2


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_of_a_task_has_help(task: str) -> None:
    assert task in task_names()
    assert all(each.metadata["help"] for each in fields(load_task(task).defaults))


METRICS = """
class Heads:
    name, label, good = "heads", "share of heads", 1

    def __call__(self, samples, task):
        return (samples == 1).double().mean()


def rows(samples, task):
    return len(samples)


rows.name = "rows"
BOTH = [Heads, rows]
NOTHING = 3
"""


def test_metrics_of_ones_own_stand_in_the_table_the_result_and_the_report(
    coins: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_metrics.py").write_text(METRICS)
    words = ["train", "--task", coins, "--no-knobs", "--no-control", "--out", "run"]
    assert main([*words, "--more-metrics", "my_metrics:NOTHING"]) == 2
    assert "my_metrics:NOTHING' is 3; a metric has a name" in capsys.readouterr().err
    assert main([*words, "--more-metrics", "my_metrics:BOTH"]) == 0
    shown = capsys.readouterr().out
    assert "share of heads ↑" in shown
    assert "2000.000" in shown
    found = json.loads((tmp_path / "run" / "result.json").read_text())["agent"]
    assert 0 < found["more/heads"] < 1
    assert main(["evaluate", "run", "--trust"]) == 0
    assert "share of heads" in capsys.readouterr().out
    assert main(["evaluate", "run", "--trust", "--keys"]) == 0
    assert "more/heads" in capsys.readouterr().out


def test_a_metric_of_ones_own_is_measured_of_the_best_knob_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "knob_metrics.py").write_text(METRICS)
    sizes = ["--num-real", "200", "--num-held-out", "200", "--num-eval", "200"]
    words = ["train", "--agent", "mle", "--mle-epochs", "1", *sizes, "--out", "run"]
    assert main([*words, "--more-metrics", "knob_metrics:Heads"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 <= result["best_knob"]["more/heads"] <= 1


def test_a_metric_of_ones_own_changes_no_other_number(coins: str, tmp_path: Path) -> None:
    (tmp_path / "my_metrics.py").write_text(METRICS)
    found = []
    for more in ([], ["--more-metrics", "my_metrics:BOTH"]):
        words = ["train", "--task", coins, "--no-knobs", "--no-control", "--out", "run", "--force"]
        assert main([*words, *more]) == 0
        metrics = json.loads((tmp_path / "run" / "result.json").read_text())["agent"]
        found.append({k: v for k, v in metrics.items() if not k.startswith("more/")})
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_metric_of_ones_own_is_in_the_report(
    coins: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_metrics.py").write_text(METRICS)
    words = ["bench", "--agents", "random", "--tasks", coins, "--seeds", "1", "--out", "out"]
    assert main([*words, "--more-metrics", "my_metrics:BOTH"]) == 0
    shown = capsys.readouterr().out
    assert "heads" in shown
    assert "2000.000" in shown
    assert " heads " in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["oracle-tiny", "text", "music"])
def test_the_tasks_of_this_package_pass_the_checker(task: str) -> None:
    check_task(make_task(task, num_eval=50))


def test_the_checkers_say_what_to_mend(coins: str, tmp_path: Path) -> None:
    cls = load_task(coins)
    check_task(cls)
    with pytest.raises(AssertionError, match="has no defaults"):
        check_task(type("Bare", (), {}))

    class Long(cls):  # type: ignore[misc, valid-type]
        def decode(self, tokens: Any) -> str:
            return "T"

    with pytest.raises(AssertionError, match="encode gave another sequence than decode was given"):
        check_task(Long)

    class Shifty(cls):  # type: ignore[misc, valid-type]
        def draw_real(self, num: int, rng: Any) -> Any:
            return super().draw_real(num + 1, rng)

    with pytest.raises(AssertionError, match=r"draw_real\(7, rng\) gave shape"):
        check_task(Shifty)

    (tmp_path / "my_metrics.py").write_text(METRICS)
    for metric in load_metrics("my_metrics:BOTH"):
        check_metric(metric, cls())

    def vague(samples: Any, task: Any) -> Any:
        return samples

    vague.name = "vague"  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="expected a number"):
        check_metric(vague, cls())


@pytest.mark.parametrize(
    ("rounds", "eval_every", "expected"), [(3, 20, 1), (12, 20, 3), (160, 20, 20), (20, 20, 20)]
)
def test_a_run_of_few_rounds_is_evaluated_within(
    rounds: int, eval_every: int, expected: int
) -> None:
    settings = settings_from("tiny", {"rounds": rounds, "eval_every": eval_every})
    assert settings.schedule().eval_every == expected
