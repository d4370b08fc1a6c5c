"""The benchmark that repeats a run is one that `seqgan bench` takes, and runs what was run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from seqgan_env.bench.commands import _suite
from seqgan_env.cli.main import build_parser
from seqgan_env.training.repetition import (
    START_SECONDS,
    command_over_seeds,
    duration,
    time_over_seeds,
)
from seqgan_env.training.settings import DECIDED_BY_THE_HARNESS, settings_from
from seqgan_env.trust import names_of_code

MINE = """
from agents.reinforce import Reinforce
from seqgan_env.discriminators.lstm import LSTMDiscriminator
from seqgan_env.generators.knobs import TopK
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.tasks.oracle.task import SmallOracleTask

class Agent(Reinforce): pass
class Critic(LSTMDiscriminator): pass
class Policy(LSTMLanguageModel): pass
class Task(SmallOracleTask): pass
class Butter:
    def score(self, tokens): return (tokens == 1).float().mean(-1)
class Motif:
    name = "motif"
    def __call__(self, samples, task): return 0.5
MOTIF = Motif()
KNOB = TopK(3)
"""


def advised(settings: Mapping[str, Any]) -> list[str]:
    """The words of the command that repeats such a run."""
    return shlex.split(command_over_seeds(settings))


def agents_job(words: list[str]) -> dict[str, Any]:
    """The settings of the agent's own row of the benchmark that these words begin."""
    arguments = build_parser().parse_args(words[1:], argparse.Namespace(trust=False))
    jobs = _suite(arguments).jobs()
    assert [job.settings.source for job in jobs if job.label.endswith(", constant")]
    return asdict(jobs[1].settings)


GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("tiny", {}),
    ("tiny", {"rounds": 7, "mle_epochs": 3, "keep_best": False, "validate": True}),
    ("tiny", {"agent": "actor_critic", "batch_size": 64, "score_as": "probability"}),
    ("tiny", {"agent": "actor_critic", "reward": "rollout", "source": "-0.1 * bleu + constant"}),
    ("tiny", {"agent_options": {"learning_rate": 0.5, "baseline": "none"}, "source": "oracle"}),
    ("tiny", {"task_options": {"num_eval": 50, "seq_len": 6}, "referee": True}),
    ("paper", {"d_batch_size": 16}),
    (
        "tiny",
        {
            "agent": "mine:Agent",
            "task": "mine:Task",
            "policy": "mine:Policy",
            "policy_options": {"hidden_dim": 8},
            "discriminator": "mine:Critic",
            "source": "discriminator + 0.5 * mine:Butter",
            "more_metrics": "mine:MOTIF",
            "more_knobs": "mine:KNOB",
        },
    ),
]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(("preset", "given"), GIVEN)
def test_the_advised_benchmark_runs_what_was_run(preset: str, given: dict[str, Any]) -> None:
    settings = asdict(settings_from(preset, given))
    words = advised(settings)
    job = agents_job(words)
    for name in DECIDED_BY_THE_HARNESS:
        if name != "task":
            del job[name], settings[name]
    assert job == settings
    for value in given.values():
        if isinstance(value, str):
            assert set(names_of_code(value)) <= set(names_of_code(" ".join(words)))


def test_a_run_by_its_defaults_is_repeated_by_a_short_command() -> None:
    words = advised(asdict(settings_from("tiny", {})))
    assert len(words) <= 17
    assert words[-4:] == ["--mle-epochs", "40", "--rounds", "160"]


def test_texts_keep_their_type_in_the_advised_command() -> None:
    options = {"corpus": "my poems.txt", "level": "char", "column": "3", "dedupe": True, "n": None}
    settings = {"agent": "reinforce", "source": "discriminator"} | {
        "task": "text",
        "task_options": options,
    }
    words = advised(settings)
    arguments = build_parser().parse_args(words[1:])
    assert dict(arguments.task_options) == options


def test_the_time_of_the_advised_benchmark_is_made_of_the_seconds_of_the_run() -> None:
    spent = {"data": 1.0, "pretrain": 20.0, "knobs": 30.0, "adversarial": 50.0, "evaluate": 3.0}
    start = START_SECONDS
    one = 3 * (start + 1 + 20 + 3 / 3) + 30 + 50 + 50
    told = time_over_seeds(spent, num_policies=3)
    assert told == f"about {5 * one / 60:.0f} minutes by the seconds of this run"
    del spent["knobs"]
    assert time_over_seeds(spent, 3).endswith(
        "and the time of measuring knobs, which it did not do"
    )
    assert time_over_seeds({}, 3) == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 minutes"), (5_000, "83 minutes"), (9_000, "2.5 hours")],
)
def test_a_time_is_told_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert duration(seconds) == f"about {told}"
