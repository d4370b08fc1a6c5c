"""Where the time of a round of Algorithm 1 goes, at the paper's sizes and with the defaults of
`seqgan train`, as a picture.

    python -m benchmarks.profile_round [--quick] [--threads N] [--out FILE.json] [--plot FILE.png]

Timers around public functions, each counting what is not in one inside it. Of the paper's round the
g-step is whole; a part of a d-step is measured and multiplied. What a fused route does in one call
counts for the part that calls it: with the kernels Adam of D holds the gradient of the highway
weight, which is never stored.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agents.reinforce import Reinforce
from benchmarks.measuring import in_own_process, machine, read_arguments
from seqgan_env import DiscriminatorTrainer, RewardSettings, TokenVectorEnv, native
from seqgan_env.envs.registration import build_rewards
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.native import network
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import write_atomically, write_json

PARTS = {
    "rollout sampling": "#4c72b0",
    "table building": "#8172b3",
    "D scoring": "#64b5cd",
    "policy gradient": "#55a868",
    "negatives": "#ccb974",
    "D forward and backward": "#c44e52",
    "Adam of D": "#dd8452",
    "rest": "#8c8c8c",
}


@dataclass(frozen=True)
class Round:
    """A round to be profiled.

    Attributes:
        name: as the picture has it.
        vocab_size: V.
        seq_len: T.
        batch_size: B of a g-step.
        num_rollouts: N.
        discriminator: "small" or "paper".
        num_negatives: of a d-step.
        d_steps: in a round.
        d_epochs: in a d-step.
        measured_negatives: of so many negatives a d-step is measured, for one epoch, and
            multiplied.
        repeats: rounds that are measured; the mean counts.
    """

    name: str
    vocab_size: int
    seq_len: int
    batch_size: int
    num_rollouts: int
    discriminator: str
    num_negatives: int
    d_steps: int
    d_epochs: int
    measured_negatives: int
    repeats: int


ROUNDS = (
    Round("paper's round", 5000, 20, 64, 16, "paper", 10_000, 5, 3, 1_000, 2),
    Round("default round", 50, 10, 256, 4, "small", 2_000, 1, 1, 2_000, 10),
)
QUICK = (
    replace(
        ROUNDS[0], vocab_size=500, batch_size=8, num_rollouts=2, measured_negatives=100, repeats=1
    ),
    replace(ROUNDS[1], repeats=1),
)


class Clock:
    """Seconds by part; a part that runs inside another is not counted in that one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside: list[float] = []  # seconds of the parts within each that runs

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time inside to `part`."""
        started = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[part] += elapsed - self._inside.pop()
            if self._inside:
                self._inside[-1] += elapsed

    def watch(self, owner: object, method: str, part: Callable[[], str]) -> None:
        """Counts every call of the method of an object for what `part` then says."""
        function = getattr(owner, method)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self(part()):
                return function(*arguments, **keywords)

        setattr(owner, method, timed)


class Profiler:
    """The models of a round under a clock."""

    def __init__(self, round_: Round) -> None:
        self.round, self.rng, self.clock = round_, torch.Generator().manual_seed(0), Clock()
        num_real = round_.measured_negatives
        settings = OracleSettings(
            round_.vocab_size, round_.seq_len, num_real=num_real, num_held_out=10, num_eval=10
        )
        self.task = OracleTask(settings)
        reward = RewardSettings(num_rollouts=round_.num_rollouts)
        rewards = build_rewards(self.task, reward, discriminator=round_.discriminator)
        assert rewards.discriminator is not None
        self.discriminator = rewards.discriminator
        self.agent = Reinforce(TokenVectorEnv(round_.batch_size, rewards))
        rewards.bind(self.agent.policy)
        self.trainer = DiscriminatorTrainer(self.discriminator)
        self._writing = "rollout sampling"
        self.clock.watch(self.agent.policy, "complete", lambda: self._writing)
        self.clock.watch(self.discriminator, "score", lambda: "D scoring")
        if native.available():
            self.clock.watch(network, "adam_step", lambda: "Adam of D")
        else:  # the kernels leave alone an optimizer that is watched
            self.clock.watch(self.trainer.optimizer, "step", lambda: "Adam of D")

    def __call__(self) -> dict[str, float]:
        """Seconds by part of one round, after a round that warms up."""
        self._g_step()
        self._d_step()
        g_step = self._mean(self._g_step)
        d_step = self._mean(self._d_step)
        share = self.round.num_negatives / self.round.measured_negatives * self.round.d_steps
        passes = {
            part: share * (1 if part == "negatives" else self.round.d_epochs) for part in PARTS
        }
        return {
            part: g_step.get(part, 0.0) + d_step.get(part, 0.0) * passes[part] for part in PARTS
        }

    def _mean(self, step: Callable[[], None]) -> dict[str, float]:
        self.clock.seconds.clear()
        for _ in range(self.round.repeats):
            step()
        return {part: seconds / self.round.repeats for part, seconds in self.clock.seconds.items()}

    def _g_step(self) -> None:
        self._writing = "rollout sampling"
        with torch.no_grad():
            self.discriminator.get_parameter("embedding.weight").add_(
                1e-6
            )  # so that tables are made anew
        self._build_tables()
        with self.clock("policy gradient"):
            self.agent.update()

    def _build_tables(self) -> None:
        """What scoring by a discriminator that has just changed costs more than scoring by the same
        again.
        """
        tokens = self.task.real_sequences[: 1 + self.round.vocab_size // self.round.seq_len]
        first, again = Clock(), Clock()
        for clock in (first, again):
            with clock("scoring"):
                self.discriminator.logits(tokens)
        self.clock.seconds["table building"] += max(
            0.0, first.seconds["scoring"] - again.seconds["scoring"]
        )

    def _d_step(self) -> None:
        self._writing = "negatives"
        negatives = sample_sequences(
            self.agent.policy, self.task.spec, self.round.measured_negatives, self.rng
        )
        with self.clock("rest"):
            real = self.task.draw_real(self.round.measured_negatives, self.rng)
        with self.clock("D forward and backward"):
            self.trainer.fit(real, negatives, 1, self.rng)


def profile(round_: Round) -> dict[str, float]:
    """Seconds by part, in this process."""
    return Profiler(round_)()


def show(profiles: dict[str, dict[str, float]], title: str) -> Table:
    """The table: seconds and shares by part."""
    table = Table(title=title)
    table.add_column("part")
    for name in profiles:
        table.add_column(f"{name}, seconds", justify="right")
    for part in PARTS:
        cells = (f"{p[part]:.3f} ({p[part] / sum(p.values()):.1%})" for p in profiles.values())
        table.add_row(part, *cells)
    table.add_row("all", *(f"{sum(p.values()):.3f}" for p in profiles.values()))
    return table


def plot(profiles: dict[str, dict[str, float]], path: Path) -> None:
    """Writes the parts as shares of stacked bars, a round a bar, and one more for the g-step of
    each.
    """
    bars = {f"{name}\n{_short(sum(p.values()))} s": p for name, p in profiles.items()}
    for name, parts in profiles.items():
        g_step = {
            part: parts[part]
            for part in ("rollout sampling", "table building", "D scoring", "policy gradient")
        }
        bars[f"g-step of the {name}\n{_short(sum(g_step.values()))} s"] = g_step
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    for row, parts in enumerate(bars.values()):
        _draw(axes, row, parts)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the time, %")
    handles = [axes.barh(0, 0, color=colour, label=part) for part, colour in PARTS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    axes.set_title("Where the time of a round goes")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def _short(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def _draw(axes: Any, row: int, parts: dict[str, float]) -> None:
    left, total = 0.0, sum(parts.values())
    for part, seconds in parts.items():
        share = 100 * seconds / total
        axes.barh(row, share, left=left, color=PARTS[part])
        if share >= 4:
            axes.text(
                left + share / 2,
                row,
                f"{share:.0f} %",
                ha="center",
                va="center",
                color="white",
                fontsize=9,
            )
        left += share


def main() -> None:
    """Measures, prints the table, writes the JSON and the picture."""
    arguments = read_arguments(__doc__)
    rounds = QUICK if arguments.quick else ROUNDS
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        profiles = {
            round_.name: in_own_process(profile, round_, threads=arguments.threads)
            for round_ in progress.track(rounds, description="measuring")
        }
    about = machine()
    title = f"{about['cpu']}, {arguments.threads} thread(s), commit {about['commit']}"
    Console(width=110).print(show(profiles, title))
    if arguments.plot:
        plot(profiles, arguments.plot)
    if arguments.out:
        content = {
            "rounds": [asdict(r) for r in rounds],
            "threads": arguments.threads,
            "machine": about,
        }
        write_json(arguments.out, content | {"seconds": profiles})


if __name__ == "__main__":
    main()
