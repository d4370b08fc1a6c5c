"""Seconds of SeqGAN's work items at the paper's sizes, beside plain torch and the machine's limits
in the same run.

    python -m benchmarks.speed [--quick] [--threads N ...] [--round] [--out FILE.json]

Every item runs in a process of its own: one warm-up, then ours and plain torch in turns, of which
the medians and half the range of ours are shown; the ratio is the median over turns. Plain torch
does a sixteenth of the work (quick: a quarter) and its time is multiplied. GFLOP/s is the work that
an item cannot do without (formulas: benchmarks/costs.py) per second, and its share is that of the
machine's limit that binds it, the best of two measurements, before and after. Before all that the
fast routes are compared with plain torch, and the run fails if they differ. With several thread
counts the later ones show their gain over the first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from agents.reinforce import Reinforce, ReinforceConfig
from benchmarks import exactness, plain
from benchmarks.costs import Cost, Costs
from benchmarks.measuring import Limits, in_own_process, machine, measure_in_turns, peak_memory
from seqgan_env import (
    CNNDiscriminator,
    DiscriminatorTrainer,
    LSTMLanguageModel,
    RewardSettings,
    TokenVectorEnv,
)
from seqgan_env.discriminators.cnn import PAPER_CNN
from seqgan_env.envs.registration import build_rewards
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.adversarial import Schedule, train_adversarial
from seqgan_env.training.run_directory import write_json


@dataclass(frozen=True)
class Sizes:
    """How large the work is: the paper's, or small enough to check that everything runs.

    Attributes:
        vocab_size: V.
        seq_len: T.
        num_sequences: real sequences, and as many negatives.
        batch_size: B of a g-step.
        num_rollouts: N.
        repeats: turns; at most three where one takes long.
        parts: plain torch does one of so many parts of the work.
        d_steps: in a round.
        d_epochs: in a d-step.
    """

    vocab_size: int = 5000
    seq_len: int = 20
    num_sequences: int = 10_000
    batch_size: int = 64
    num_rollouts: int = 16
    repeats: int = 5
    parts: int = 16
    d_steps: int = 5
    d_epochs: int = 3

    @property
    def costs(self) -> Costs:
        return Costs(self.vocab_size, self.seq_len, PAPER_CNN)


QUICK = Sizes(vocab_size=500, num_sequences=256, batch_size=16, num_rollouts=4, repeats=2, parts=4)


@dataclass(frozen=True)
class Measurement:
    """A work item with some number of threads.

    Attributes:
        key: of the item in `ITEMS`.
        name: as the table has it.
        threads: of torch.
        seconds: median of our route.
        spread: half the range.
        plain_seconds: of plain torch, scaled from its part.
        ratio: of plain torch's seconds to ours, the median over turns.
        cost: of the useful work.
        peak_bytes: that the process held at most, our route and the interpreter with its libraries;
            None if unknown.
        estimated: whether it is a sum of other items.
    """

    key: str
    name: str
    threads: int
    seconds: float
    spread: float
    plain_seconds: float
    ratio: float
    cost: Cost
    peak_bytes: int | None
    estimated: bool = False


@dataclass(frozen=True)
class Work:
    """What an item runs: ours, plain torch on one of `Sizes.parts` parts, and a part of ours to
    warm up where it takes long.
    """

    ours: Callable[[], object]
    plain: Callable[[], object]
    cost: Cost
    warm_up: Callable[[], object] | None = None


class Bench:
    """The models of the work items, at some sizes and on some device."""

    def __init__(self, sizes: Sizes, device: str = "cpu") -> None:
        self.sizes, self.rng = sizes, torch.Generator(device).manual_seed(0)
        cpu_rng = torch.Generator().manual_seed(0)
        settings = OracleSettings(
            sizes.vocab_size,
            sizes.seq_len,
            num_real=sizes.num_sequences,
            num_held_out=10,
            num_eval=10,
        )
        self.task = OracleTask(settings).to(device)
        self.discriminator = CNNDiscriminator.initialised(self.task.spec, cpu_rng, PAPER_CNN).to(
            device
        )
        reward = RewardSettings(num_rollouts=sizes.num_rollouts)
        self.rewards = build_rewards(
            self.task, reward, discriminator=self.discriminator, device=device
        )
        self.agent = Reinforce(
            TokenVectorEnv(sizes.batch_size, self.rewards),
            config=ReinforceConfig(baseline="none", learning_rate=0.0),
        )
        self.rewards.bind(self.agent.policy)
        assert isinstance(self.agent.policy, LSTMLanguageModel)
        self.plain_policy = plain.PlainPolicy.like(self.agent.policy).to(device)
        self.plain_discriminator = plain.PlainDiscriminator.like(self.discriminator).to(device)

    def sampling(self) -> Work:
        num = self.sizes.num_sequences
        return Work(
            lambda: self.agent.policy.sample(num, self.rng),
            lambda: self.plain_policy.sample(num // self.sizes.parts, self.rng),
            self.sizes.costs.writing(num * self.sizes.seq_len),
        )

    def rollout_reward(self) -> Work:
        sizes, tokens = self.sizes, self.agent.policy.sample(self.sizes.batch_size, self.rng)
        part = tokens[: sizes.batch_size // sizes.parts]

        def ours() -> None:
            self._touch_discriminator()
            self.rewards.action_values(tokens, self.rng)

        def by_prefix() -> None:
            plain.action_values(
                self.plain_policy, self.plain_discriminator, part, sizes.num_rollouts, self.rng
            )

        return Work(ours, by_prefix, sizes.costs.rollouts(sizes.batch_size, sizes.num_rollouts))

    def g_step(self) -> Work:
        sizes, optimizer = self.sizes, self._adam(self.plain_policy)
        models, part = (
            (self.plain_policy, self.plain_discriminator, optimizer),
            sizes.batch_size // sizes.parts,
        )

        def ours() -> None:
            self._touch_discriminator()
            self.agent.update()

        return Work(
            ours,
            lambda: plain.policy_gradient(*models, part, sizes.num_rollouts, self.rng),
            sizes.costs.g_step(sizes.batch_size, sizes.num_rollouts),
        )

    def likelihood_epoch(self) -> Work:
        likelihood = MaximumLikelihood(
            self.agent.policy, torch.Generator().manual_seed(0), learning_rate=0.0
        )
        optimizer, part = self._adam(self.plain_policy), self._part(self.task.real_sequences)
        return Work(
            lambda: likelihood.fit(self.task.real_sequences, 1),
            lambda: plain.fit_policy(self.plain_policy, optimizer, part),
            self.sizes.costs.likelihood_epoch(self.sizes.num_sequences, likelihood.batch_size),
        )

    def discriminator_epoch(self) -> Work:
        real, negatives = (
            self.task.real_sequences,
            self.agent.policy.sample(self.sizes.num_sequences, self.rng),
        )
        trainer, optimizer = (
            DiscriminatorTrainer(self.discriminator),
            self._adam(self.plain_discriminator),
        )
        mixed = torch.cat([self._part(real), self._part(negatives)])
        order = torch.randperm(len(mixed), generator=self.rng, device=self.rng.device)
        labels = (order < len(mixed) // 2).float()
        return Work(
            lambda: trainer.fit(real, negatives, 1, self.rng),
            lambda: plain.fit_discriminator(
                self.plain_discriminator, optimizer, mixed[order], labels
            ),
            self.sizes.costs.discriminator_epoch(2 * self.sizes.num_sequences),
            lambda: trainer.fit(self._part(real), self._part(negatives), 1, self.rng),
        )

    def _touch_discriminator(self) -> None:
        """Makes D count as changed, so that what is derived from its parameters is made anew, as
        after every d-step.
        """
        with torch.no_grad():
            self.discriminator.embedding.weight += 1e-6

    def _part(self, sequences: Tensor) -> Tensor:
        return sequences[: len(sequences) // self.sizes.parts]

    def _adam(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.0)


@dataclass(frozen=True)
class Item:
    """A row of the table: its work, and at the paper's sizes the seconds of the authors' code and
    those that we want.

    Attributes:
        name: with the fields of `Sizes` in braces.
        work: how it is prepared; None for the estimate of the round.
        released_seconds: of the authors' TensorFlow code, as `PEERS` says.
        textgan_seconds: of TextGAN-PyTorch, likewise.
        target_seconds: on one core that multiplies float32 matrices at 98 GFLOP/s.
        target_ratio: to plain torch.
    """

    name: str
    work: Callable[[Bench], Work] | None
    released_seconds: float | None = None
    textgan_seconds: float | None = None
    target_seconds: float | None = None
    target_ratio: float | None = None


PEERS = (
    "seconds of the authors' TensorFlow code and of TextGAN-PyTorch, measured in November 2026 at "
    "the latest on one core of an AMD EPYC (Zen 4, GEMM 98 GFLOP/s), not in this run"
)
ITEMS = {
    "sample": Item("sample {num_sequences:,} sequences", Bench.sampling, 4.95, 24.6, 1.0, 25),
    "rollout": Item(
        "rollout reward, {batch_size} x {seq_len}, N {num_rollouts}",
        Bench.rollout_reward,
        13.6,
        45.2,
        2.5,
        5,
    ),
    "g_step": Item("g-step, {batch_size} x {seq_len}, N {num_rollouts}", Bench.g_step, 13.9),
    "mle": Item(
        "MLE epoch, {num_sequences:,} sequences", Bench.likelihood_epoch, 11.8, 7.6, 4.0, 3
    ),
    "discriminator": Item(
        "D epoch, 2 x {num_sequences:,} sequences", Bench.discriminator_epoch, 36.0, 40.0, 18.0, 2
    ),
    "round": Item("round: g-step, {d_steps} x (sample, {d_epochs} D)", None, 580.0, None, 290.0, 2),
}


def measure_item(key: str, sizes: Sizes) -> Measurement:
    """One item, in this process and with its threads."""
    work_of = ITEMS[key].work
    assert work_of is not None, f"{key} is made of other items"
    work = work_of(Bench(sizes))
    (work.warm_up or work.ours)()
    peak = peak_memory()
    work.plain()
    ours, parts = measure_in_turns(
        work.ours, work.plain, min(sizes.repeats, 3) if work.warm_up else sizes.repeats
    )
    plain_seconds = [seconds * sizes.parts for seconds in parts]
    return Measurement(
        key,
        _name(key, sizes),
        torch.get_num_threads(),
        statistics.median(ours),
        (max(ours) - min(ours)) / 2,
        statistics.median(plain_seconds),
        statistics.median(b / a for a, b in zip(ours, plain_seconds, strict=True)),
        work.cost,
        peak,
    )


def estimate_round(parts: dict[str, Measurement], sizes: Sizes) -> Measurement:
    """A round of Algorithm 1 as the sum of its measured parts, with their spreads added."""
    times = {"g_step": 1, "sample": sizes.d_steps, "discriminator": sizes.d_steps * sizes.d_epochs}
    counted = [(parts[key], count) for key, count in times.items()]
    seconds, plain_seconds = (
        sum(count * getattr(part, name) for part, count in counted)
        for name in ("seconds", "plain_seconds")
    )
    return Measurement(
        "round",
        _name("round", sizes),
        parts["g_step"].threads,
        seconds,
        sum(count * part.spread for part, count in counted),
        plain_seconds,
        plain_seconds / seconds,
        sum((part.cost * count for part, count in counted), Cost()),
        max((part.peak_bytes for part, _ in counted if part.peak_bytes is not None), default=None),
        estimated=True,
    )


def measure_round(sizes: Sizes, estimate: Measurement) -> Measurement:
    """The same round by `train_adversarial`, once, in this process."""
    bench = Bench(sizes)
    schedule = Schedule(
        d_pretrain_steps=0,
        rounds=1,
        d_steps=sizes.d_steps,
        d_epochs=sizes.d_epochs,
        num_negatives=sizes.num_sequences,
        num_heldout=10,
    )
    *_, row = train_adversarial(bench.agent, bench.rewards, schedule)
    seconds = row["time/g_steps"] + row["time/d_steps"]
    ratio = estimate.plain_seconds / seconds
    return replace(
        estimate,
        seconds=seconds,
        spread=0.0,
        ratio=ratio,
        peak_bytes=peak_memory(),
        estimated=False,
    )


def _name(key: str, sizes: Sizes) -> str:
    return ITEMS[key].name.format(**asdict(sizes))


def measure_all(
    sizes: Sizes, threads: Sequence[int], whole_round: bool, advance: Callable[[], object]
) -> list[Measurement]:
    """Every item with every number of threads, each in its own process.

    An item's thread counts follow each other at once, so that a gain is not what the machine did in
    the meantime.
    """
    found: dict[int, dict[str, Measurement]] = {count: {} for count in threads}
    for key, count in product((key for key, item in ITEMS.items() if item.work), threads):
        found[count][key] = in_own_process(measure_item, key, sizes, threads=count)
        advance()
    for count, parts in found.items():
        parts["round"] = estimate_round(parts, sizes)
        if whole_round:
            parts["round"] = in_own_process(measure_round, sizes, parts["round"], threads=count)
            advance()
    return [item for parts in found.values() for item in parts.values()]


def measure_limits(threads: Sequence[int], advance: Callable[[], object]) -> dict[int, Limits]:
    """The machine's limits by thread count."""
    limits = {}
    for count in threads:
        limits[count] = in_own_process(Limits.measured, threads=count)
        advance()
    return limits


def run(
    sizes: Sizes, threads: Sequence[int], whole_round: bool
) -> tuple[list[Measurement], dict[int, Limits], dict[str, Any]]:
    """All measurements and limits, and the comparison with plain torch, under a progress bar."""
    num_items = sum(item.work is not None for item in ITEMS.values()) + whole_round
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        bar = progress.add_task(
            "measuring", total=len(exactness.ROUTES) + len(threads) * (num_items + 2)
        )
        advance = partial(progress.advance, bar)
        checks = exactness.routes(advance)
        before = measure_limits(threads, advance)
        items = measure_all(sizes, threads, whole_round, advance)
        after = measure_limits(threads, advance)
    return items, {count: before[count].best_with(after[count]) for count in threads}, checks


def row_of(item: Measurement, limits: Limits, first: Measurement, quick: bool) -> dict[str, Any]:
    """Everything that is said of an item; what holds for the paper's sizes only is left out if
    `quick`.
    """
    floor, bound = item.cost.floor(limits)
    of_item = ITEMS[item.key]
    row = asdict(item) | {
        "gflops_per_second": item.cost.all_flops / item.seconds / 1e9,
        "share_of_limit": floor / item.seconds,
        "bound_by": bound,
        "gain": first.seconds / item.seconds if item is not first else None,
    }
    names = ("released_seconds", "textgan_seconds", "target_seconds", "target_ratio")
    return row | {name: None if quick else getattr(of_item, name) for name in names}


def rows_of(
    items: list[Measurement], limits: dict[int, Limits], quick: bool
) -> list[dict[str, Any]]:
    """The table's content, one dict an item and thread count."""
    first: dict[str, Measurement] = {}
    for item in items:
        first.setdefault(item.key, item)
    return [row_of(item, limits[item.threads], first[item.key], quick) for item in items]


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "work": lambda row: row["name"] + (", estimated" if row["estimated"] else ""),
    "threads": lambda row: str(row["threads"]),
    "seconds": lambda row: f"{_short(row['seconds'])} ± {_short(row['spread'])}",
    "plain": lambda row: _short(row["plain_seconds"]),
    "ratio": lambda row: f"{row['ratio']:.1f}x" + _or_blank(row["target_ratio"], " ({:g}x)"),
    "GFLOP/s": lambda row: f"{row['gflops_per_second']:.0f}",
    "of limit": lambda row: f"{row['share_of_limit']:.0%} {row['bound_by']}",
    "peak MiB": lambda row: _or_blank(row["peak_bytes"] and row["peak_bytes"] / 2**20, "{:,.0f}"),
    "gain": lambda row: _or_blank(row["gain"], "{:.2f}x"),
    "target": lambda row: _or_blank(row["target_seconds"], "{:g}"),
    "released": lambda row: _or_blank(row["released_seconds"], "{:g}"),
    "TextGAN": lambda row: _or_blank(row["textgan_seconds"], "{:g}"),
}


def _short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.2f}"


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def show(rows: list[dict[str, Any]], limits: dict[int, Limits], about: dict[str, Any]) -> Table:
    """The table, with the machine above it and what a column means below."""
    rates = "; ".join(
        f"{count} thread{'s' * (count > 1)}: GEMM {limit.gemm / 1e9:.0f} GFLOP/s, bfloat16 "
        f"{limit.gemm_bfloat16 / 1e9:.0f}, memory {limit.bandwidth / 1e9:.0f} GB/s"
        for count, limit in limits.items()
    )
    table = Table(
        title=(
            f"{about['cpu']}, torch {about['versions']['torch']}, commit {about['commit']}\n{rates}"
        )
    )
    shown = {name: [form(row) for row in rows] for name, form in COLUMNS.items()}
    for name, cells in shown.items():
        if any(cells):
            table.add_column(name, justify="left" if name == "work" else "right", no_wrap=True)
    for row in zip(*(cells for cells in shown.values() if any(cells)), strict=True):
        table.add_row(*row)
    table.caption = (
        "plain: seconds of plain torch, from a part; ratio: to it (target); target: seconds on one "
        f"core; released, TextGAN: {PEERS}"
    )
    return table


def main() -> None:
    """Compares, measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, to check that everything runs and is exact",
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1],
        metavar="N",
        help="torch threads (default: 1)",
    )
    parser.add_argument(
        "--round",
        action="store_true",
        help="measure a whole round, in place of the sum of its parts",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measurements as JSON")
    arguments = parser.parse_args()
    if min(arguments.threads) < 1:
        parser.error(f"--threads {min(arguments.threads)}; allowed is 1 or more")
    sizes = QUICK if arguments.quick else Sizes()
    items, limits, checks = run(sizes, list(dict.fromkeys(arguments.threads)), arguments.round)
    about, rows = machine(), rows_of(items, limits, arguments.quick)
    console = Console(width=160)
    console.print(exactness.table(checks))
    console.print(show(rows, limits, about))
    if arguments.out:
        write_json(arguments.out, content(sizes, about, limits, rows, checks))
    if exactness.failures(checks):
        sys.exit(f"not exact: {', '.join(exactness.failures(checks))}")


def content(
    sizes: Sizes,
    about: dict[str, Any],
    limits: dict[int, Limits],
    rows: list[dict[str, Any]],
    checks: dict[str, list[exactness.Check]],
) -> dict[str, Any]:
    """Of the JSON file."""
    return {
        "sizes": asdict(sizes),
        "machine": about,
        "limits_by_threads": {str(count): asdict(limit) for count, limit in limits.items()},
        "items": rows,
        "exactness": {
            route: [asdict(check) | {"passed": check.passed} for check in row]
            for route, row in checks.items()
        },
    }


if __name__ == "__main__":
    main()
