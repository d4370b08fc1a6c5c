"""Environment steps per second with terminal reward, where a step's time goes, and what the env
layer adds to the model's calls.

    python -m benchmarks.env_speed [--quick] [--threads N] [--out FILE.json]

A step is one token in one env. The first table steps the vector environment with given tokens,
under a constant reward and under a cheap score; the second is a profile of the same, whose hooks
slow all parts alike. The third writes whole episodes with an LSTM policy that carries its state:
the env layer is what `step` takes beyond the reward's own model calls (scoring, rollouts), and its
overhead is that time as a share of the whole loop. Every configuration is warmed up once; tables
show the median, and the spread is half the range.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.measuring import machine
from seqgan_env import (
    CNNDiscriminator,
    LSTMLanguageModel,
    PrefixValue,
    RewardModel,
    RewardSettings,
    TokenSpec,
    TokenVectorEnv,
)
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import write_json

SEQ_LEN = 20
PARTS = {  # functions whose time, with that of what they call, is a part of a step
    "check of the actions": "core._check_actions",
    "rewards of finished sequences": "model.step_values",
    "infos": "vector_env._infos",
    "reset of finished episodes": "core.reset",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    vocab_sizes: tuple[int, ...] = (50, 500, 5000, 50_000)
    num_envs: tuple[int, ...] = (1, 64, 1024)
    overhead_vocab_size: int = 5000
    overhead_envs: int = 64
    num_rollouts: int = 4
    steps: int = 400
    episodes: int = 20
    repeats: int = 7


QUICK = Sizes(
    (50, 500),
    (1, 16),
    overhead_vocab_size=500,
    overhead_envs=16,
    num_rollouts=1,
    steps=40,
    episodes=1,
    repeats=2,
)


@dataclass(frozen=True)
class Throughput:
    """Steps per second of one configuration, median and half the range."""

    source: str
    vocab_size: int
    num_envs: int
    steps_per_second: float
    spread: float


@dataclass(frozen=True)
class Overhead:
    """Of the env layer, median and half the range: microseconds per call of `step`, and the share
    of the loop's time.
    """

    reward: str
    num_envs: int
    vocab_size: int
    steps_per_second: float
    microseconds: float
    share: float
    spread: float


class CountOfZeros:
    """A cheap score: how many tokens are 0."""

    def score(self, tokens: Tensor) -> Tensor:
        return (tokens == 0).sum(1).float()


class TimedValue:
    """A prefix value that notes the seconds spent in it."""

    def __init__(self, value: PrefixValue) -> None:
        self.value, self.seconds = value, 0.0

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        started = time.perf_counter()
        values = self.value(tokens, lengths, rng)
        self.seconds += time.perf_counter() - started
        return values


def small_task(vocab_size: int) -> OracleTask:
    """An oracle task that keeps next to no data."""
    return OracleTask(
        OracleSettings(vocab_size, SEQ_LEN, num_real=10, num_held_out=10, num_eval=10)
    )


def stepping(env: TokenVectorEnv, steps: int) -> Callable[[], None]:
    """Work: `steps` calls of `step` with uniform tokens that are drawn beforehand."""
    actions = np.random.default_rng(0).integers(
        env.task.spec.vocab_size, size=(steps, env.num_envs)
    )
    env.reset(seed=0)

    def work() -> None:
        for tokens in actions:
            env.step(tokens)

    return work


def seconds_of(work: Callable[[], object], repeats: int) -> list[float]:
    """After a warm-up."""
    work()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def median_and_spread(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), (max(values) - min(values)) / 2


def throughputs(sizes: Sizes) -> list[Throughput]:
    """Of every number of envs, vocabulary and source."""
    found = []
    for vocab_size in sizes.vocab_sizes:
        task = small_task(vocab_size)
        for num_envs, (name, source) in product(
            sizes.num_envs, (("constant", "constant"), ("count of zeros", CountOfZeros()))
        ):
            rewards = RewardModel(
                task, RewardSettings(reward="terminal", source=source), task.oracle
            )
            seconds = seconds_of(
                stepping(TokenVectorEnv(num_envs, rewards), sizes.steps), sizes.repeats
            )
            rates = [sizes.steps * num_envs / s for s in seconds]
            found.append(Throughput(name, vocab_size, num_envs, *median_and_spread(rates)))
    return found


def profile(sizes: Sizes) -> dict[str, float]:
    """The shares of a step's time by part, at the middle number of envs and a cheap score."""
    task = small_task(sizes.vocab_sizes[0])
    rewards = RewardModel(
        task, RewardSettings(reward="terminal", source=CountOfZeros()), task.oracle
    )
    work = stepping(TokenVectorEnv(sizes.num_envs[len(sizes.num_envs) // 2], rewards), sizes.steps)
    work()
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    seconds = {
        f"{Path(file).stem}.{function}": row[3] for (file, _, function), row in stats.items()
    }  # of a function and its calls
    parts = {
        part: seconds[function] / seconds["vector_env.step"] for part, function in PARTS.items()
    }
    return parts | {"tokens, sums and copies": 1 - sum(parts.values())}


class Loop:
    """Episodes that an LSTM policy writes through the environment; the time in `step` apart."""

    def __init__(self, sizes: Sizes, reward: str, source: str) -> None:
        self.rng = torch.Generator().manual_seed(0)
        task = small_task(sizes.overhead_vocab_size)
        self.spec: TokenSpec = task.spec
        self.policy = LSTMLanguageModel.initialised(self.spec, self.rng)
        discriminator = (
            CNNDiscriminator.initialised(self.spec, self.rng) if source == "discriminator" else None
        )
        settings = RewardSettings(reward=reward, source=source, num_rollouts=sizes.num_rollouts)
        rewards = RewardModel(task, settings, self.policy, discriminator)
        self.value = rewards.value = TimedValue(rewards.value)
        self.env = TokenVectorEnv(sizes.overhead_envs, rewards)
        self.env.reset(seed=0)
        self.sampler = self.policy.sampler()
        self.stepping = 0.0

    @torch.no_grad()
    def episode(self) -> None:
        state = self.policy.start(self.env.num_envs)
        inputs = torch.full((self.env.num_envs,), self.spec.start_token)
        for _ in range(self.spec.seq_len):
            hidden, state = self.policy.advance(state, inputs)
            inputs = self.sampler(hidden, torch.rand(self.env.num_envs, generator=self.rng))
            started = time.perf_counter()
            self.env.step(inputs.numpy())
            self.stepping += time.perf_counter() - started

    def measure(self, episodes: int) -> tuple[float, float]:
        """Seconds of the env layer, and of the whole loop."""
        self.stepping = self.value.seconds = 0.0
        started = time.perf_counter()
        for _ in range(episodes):
            self.episode()
        whole = time.perf_counter() - started
        return self.stepping - self.value.seconds, whole


def overhead(sizes: Sizes, reward: str, source: str) -> Overhead:
    """Of the env layer under one reward."""
    episodes = sizes.episodes if reward == "terminal" else 1
    loop = Loop(sizes, reward, source)
    loop.measure(1)
    found = [loop.measure(episodes) for _ in range(sizes.repeats)]
    steps = episodes * SEQ_LEN
    share, spread = median_and_spread([layer / whole for layer, whole in found])
    rate = statistics.median([steps * sizes.overhead_envs / whole for _, whole in found])
    microseconds = 1e6 * statistics.median([layer / steps for layer, _ in found])
    name = f"{reward}, {source}" + (f", N {sizes.num_rollouts}" if reward == "rollout" else "")
    return Overhead(
        name, sizes.overhead_envs, sizes.overhead_vocab_size, rate, microseconds, share, spread
    )


def show(
    rates: list[Throughput],
    parts: dict[str, float],
    overheads: list[Overhead],
    about: dict[str, Any],
) -> list[Table]:
    """The three tables."""
    where = (
        f"{about['cpu']}, {about['threads']} thread(s), torch {about['versions']['torch']}, commit "
        f"{about['commit']}"
    )
    first = Table(
        "source",
        "V",
        "envs",
        "steps per second",
        "spread",
        title=f"steps, terminal reward\n{where}",
    )
    for rate in rates:
        spread = f"± {rate.spread / rate.steps_per_second:.0%}"
        first.add_row(
            rate.source,
            f"{rate.vocab_size:,}",
            f"{rate.num_envs:,}",
            f"{rate.steps_per_second:,.0f}",
            spread,
        )
    second = Table("part of a step", "share", title="where the time goes")
    for part, part_share in parts.items():
        second.add_row(part, f"{part_share:.0%}")
    third = Table(
        "reward",
        "V",
        "envs",
        "steps per second",
        "env layer, µs a call",
        "share",
        title="overhead of the env layer",
    )
    for o in overheads:
        cells = (
            f"{o.vocab_size:,}",
            str(o.num_envs),
            f"{o.steps_per_second:,.0f}",
            f"{o.microseconds:.0f}",
        )
        third.add_row(o.reward, *cells, f"{o.share:.2%} ± {o.spread:.2%}")
    return [first, second, third]


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to check that everything runs"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measurements as JSON")
    arguments = parser.parse_args()
    if arguments.threads < 1:
        parser.error(f"--threads {arguments.threads}; allowed is 1 or more")
    torch.set_num_threads(arguments.threads)
    sizes = QUICK if arguments.quick else Sizes()
    about = machine() | {"threads": arguments.threads}
    rates, parts = throughputs(sizes), profile(sizes)
    overheads = [
        overhead(sizes, *case) for case in (("terminal", "constant"), ("rollout", "discriminator"))
    ]
    console = Console(width=120)
    for table in show(rates, parts, overheads, about):
        console.print(table)
    if arguments.out:
        write_json(
            arguments.out,
            {
                "sizes": asdict(sizes),
                "machine": about,
                "throughput": [asdict(rate) for rate in rates],
                "profile": parts,
                "overhead": [asdict(o) for o in overheads],
            },
        )


if __name__ == "__main__":
    main()
