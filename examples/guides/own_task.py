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
from seqgan_env.testing import check_metric, check_scorer, check_task
from seqgan_env.types import Task, TokenSpec

BRACKETS = "()[]"
CLOSES = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class BracketSettings:
    """What is written.

    Attributes:
        seq_len: T, the longest row of brackets, an even number.
        num_real: sequences to train on.
    """

    seq_len: int = option(12, "most brackets in a row, an even number", "BRACKETS")
    num_real: int = option(3_000, "sequences to train on", "SEQUENCES")


class Brackets(RealDataTask):
    """Rows of 4 to T brackets that match."""

    defaults = BracketSettings()

    def __init__(self, settings: BracketSettings = defaults, name: str = "brackets") -> None:
        spec = TokenSpec(
            vocab_size=len(BRACKETS) + 1,  # the last token is the end
            seq_len=settings.seq_len,
            eos_token=len(BRACKETS),
            min_length=4,  # as the shortest row
        )
        self.spec = spec
        rng = torch.Generator().manual_seed(0)
        num_parts = [settings.num_real, 500, 500]  # to train on, to select on, to report on
        rows = []
        for _ in range(sum(num_parts)):
            length = 2 * int(torch.randint(2, spec.seq_len // 2 + 1, (), generator=rng))
            rows.append(self.encode(balanced(length, rng)))
        super().__init__(name, spec, torch.stack(rows).split(num_parts), num_eval=500)

    def decode(self, tokens: Tensor) -> str:
        """(T,) to one line, without the end and the padding behind it."""
        return "".join(BRACKETS[token] for token in tokens.tolist() if token < len(BRACKETS))

    def encode(self, text: str) -> Tensor:
        """One line to (T,): the end behind it, unless it fills the row, and then padding."""
        row = torch.full((self.spec.seq_len,), self.spec.pad_token)
        tokens = [BRACKETS.index(bracket) for bracket in text]
        if len(tokens) < self.spec.seq_len:
            tokens.append(len(BRACKETS))
        row[: len(tokens)] = torch.tensor(tokens)
        return row


class Matches:
    """A reward of this task: 1 for a row that matches, else 0."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def score(self, tokens: Tensor) -> Tensor:
        """(B, T) finished sequences to (B,)."""
        matching = [float(matches(self.task.decode(row))) for row in tokens]
        return torch.tensor(matching, device=tokens.device)


class Balanced:
    """How many samples match: a metric of this task."""

    name = "balanced"
    label = "share that matches"
    good = 1  # high is good

    def __call__(self, samples: Tensor, task: Task) -> Tensor:
        """The share of finished sequences (B, T) whose brackets match."""
        return Matches(task).score(samples).mean()


def matches(text: str) -> bool:
    """Whether every bracket is closed by one of its kind."""
    open_ones: list[str] = []
    for bracket in text:
        if bracket in CLOSES:
            open_ones.append(bracket)
        elif not open_ones or CLOSES[open_ones.pop()] != bracket:
            return False
    return not open_ones


def balanced(length: int, rng: torch.Generator) -> str:
    """A random row of brackets that match."""
    row = ""
    open_ones: list[str] = []
    for left in range(length, 0, -1):
        must_close = len(open_ones) == left
        may_close = open_ones and torch.rand((), generator=rng) < 0.5
        if must_close or may_close:
            row += CLOSES[open_ones.pop()]
        else:
            kind = int(torch.randint(len(CLOSES), (), generator=rng))
            open_ones.append(list(CLOSES)[kind])
            row += open_ones[-1]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    quick = parser.parse_args().quick

    check_task(Brackets)  # an AssertionError says what to mend
    check_metric(Balanced(), Brackets())
    check_scorer(Matches)

    # Nothing is learned here: the environment shows what it pays for rows that are given.
    options: dict[str, Any] = {"task": f"{__name__}:Brackets", "seq_len": 8}
    options |= {"source": f"{__name__}:Matches", "reward": "terminal"}
    env = gym.make("SeqGAN/Task-v0", render_mode="ansi", **options)
    for episode in range(1 if quick else 4):
        env.action_space.seed(episode)
        print("random tokens", written(env, [env.action_space.sample() for _ in range(8)]))
        real: Tensor = env.unwrapped.task.held_out[episode]  # type: ignore[attr-defined]
        print("a real row   ", written(env, real.tolist()))
    print("to train on it: seqgan train --task examples.guides.own_task:Brackets")


def written(env: gym.Env[Any, Any], tokens: list[int]) -> str:
    """An episode that writes these tokens, as the environment shows its end."""
    env.reset(seed=0)
    for token in tokens:
        terminated = env.step(token)[2]
        if terminated:
            break
    return str(env.render())


if __name__ == "__main__":
    main()
