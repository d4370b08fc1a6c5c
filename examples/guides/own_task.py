"""A task of your own: writing brackets that match, of which there is a fixed set of examples.

A task is a frozen dataclass of settings and a class that makes sequences of them. `RealDataTask`
does the rest: metrics, referee, held-out data. A metric of your own says whether it is solved.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

import seqgan_env  # noqa: F401  registers the ids
from seqgan_env.tasks.options import option
from seqgan_env.tasks.real_data import RealDataTask
from seqgan_env.testing import check_metric, check_task
from seqgan_env.types import Task, TokenSpec

BRACKETS = "()[]"
CLOSES = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class BracketSettings:
    """What is written.

    Attributes:
        seq_len: T, an even number of brackets.
        num_real: sequences to train on.
    """

    seq_len: int = option(12, "brackets in a row, an even number", "BRACKETS")
    num_real: int = option(3_000, "sequences to train on", "SEQUENCES")


class Brackets(RealDataTask):
    """Rows of brackets that match."""

    defaults = BracketSettings()

    def __init__(self, settings: BracketSettings = defaults, name: str = "brackets") -> None:
        rng = torch.Generator().manual_seed(0)
        num_parts = [settings.num_real, 500, 500]  # to train on, to select on, to report on
        rows = [balanced(settings.seq_len, rng) for _ in range(sum(num_parts))]
        parts = torch.tensor(rows).split(num_parts)
        super().__init__(name, TokenSpec(len(BRACKETS), settings.seq_len), parts, num_eval=500)

    def decode(self, tokens: Tensor) -> str:
        """(T,) to one line."""
        return "".join(BRACKETS[token] for token in tokens.tolist())

    def encode(self, text: str) -> Tensor:
        """One line to (T,)."""
        return torch.tensor([BRACKETS.index(bracket) for bracket in text])


class Balanced:
    """How many samples match: a metric of this task."""

    name = "balanced"
    label = "share that matches"
    good = 1  # high is good

    def __call__(self, samples: Tensor, task: Task) -> float:
        """The share of finished sequences (B, T) whose brackets match."""
        num_matching = 0
        for row in samples:
            num_matching += matches(task.decode(row))
        return num_matching / len(samples)


def matches(text: str) -> bool:
    """Whether every bracket is closed by one of its kind."""
    open_ones: list[str] = []
    for bracket in text:
        if bracket in CLOSES:
            open_ones.append(bracket)
        elif not open_ones or CLOSES[open_ones.pop()] != bracket:
            return False
    return not open_ones


def balanced(length: int, rng: torch.Generator) -> list[int]:
    """A random row of brackets that match, as tokens."""
    row: list[str] = []
    open_ones: list[str] = []
    for left in range(length, 0, -1):
        must_close = len(open_ones) == left
        may_close = open_ones and torch.rand((), generator=rng) < 0.5
        if must_close or may_close:
            row.append(CLOSES[open_ones.pop()])
        else:
            kind = int(torch.randint(len(CLOSES), (), generator=rng))
            row.append(list(CLOSES)[kind])
            open_ones.append(row[-1])
    return [BRACKETS.index(bracket) for bracket in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer episodes")
    quick = parser.parse_args().quick

    check_task(Brackets)  # an AssertionError says what to mend
    check_metric(Balanced(), Brackets())
    options: dict[str, Any] = {"task": f"{__name__}:Brackets", "seq_len": 8}
    env = gym.make("SeqGAN/Task-v0", render_mode="ansi", source="constant", **options)
    for episode in range(1 if quick else 5):
        env.reset(seed=episode)
        env.action_space.seed(episode)
        terminated = False
        while not terminated:
            *_, terminated, _, _ = env.step(env.action_space.sample())
        print(env.render())
    print("now: seqgan train --task examples.guides.own_task:Brackets")


if __name__ == "__main__":
    main()
