"""Seconds of SeqGAN's work items at the paper's sizes, beside plain torch and the machine's limit in the same run.

    python -m benchmarks.speed [--quick] [--out FILE.json]

Every item is warmed up once and repeated; the table shows the median, the spread (half the range), and the ratio of the plain
route's median to ours. One thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agents.mle import MaximumLikelihood
from agents.reinforce import Reinforce
from seqgan_env import Discriminator, DiscriminatorTrainer, LSTMLanguageModel, RewardSettings, TokenSpec, TokenVectorEnv
from seqgan_env.discriminator import PAPER_DISCRIMINATOR
from seqgan_env.registration import build_rewards
from seqgan_env.run_directory import write_json
from seqgan_env.tasks.oracle import OracleSettings, OracleTask


@dataclass(frozen=True)
class Sizes:
    """How large the work is: the paper's, or small enough to check that everything runs."""

    vocab_size: int = 5000
    seq_len: int = 20
    num_sequences: int = 10_000
    batch_size: int = 64
    num_rollouts: int = 16
    repeats: int = 5


QUICK = Sizes(vocab_size=500, num_sequences=500, batch_size=16, num_rollouts=4, repeats=2)


@dataclass(frozen=True)
class Measurement:
    """One work item: seconds of ours and of the plain route, median and half the range."""

    name: str
    seconds: float
    spread: float
    plain_seconds: float
    released_seconds: float | None  # the authors' TensorFlow code on a core of the same kind, at the full sizes


def measure(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and half the range of the seconds of `work`, after one warm-up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), (max(seconds) - min(seconds)) / 2


def plain_sample(model: LSTMLanguageModel, num: int, rng: torch.Generator) -> Tensor:
    """Sampling as a tutorial writes it: softmax over all logits, torch.multinomial."""
    tokens = torch.zeros(num, 0, dtype=torch.int64)
    with torch.no_grad():
        inputs, state = torch.zeros(num, 1, dtype=torch.int64), None
        for _ in range(model.spec.seq_len):
            hidden, state = model.lstm(model.embedding(inputs), state)
            inputs = torch.multinomial(model.output(hidden[:, 0]).softmax(1), 1, generator=rng)
            tokens = torch.cat([tokens, inputs], dim=1)
    return tokens


def plain_mle_step(model: LSTMLanguageModel, optimizer: torch.optim.Optimizer, tokens: Tensor) -> None:
    """One step with torch's cross-entropy over all logits."""
    logits = model.logits(tokens)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class Bench:
    """The work items, ours and plain."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.rng = sizes, torch.Generator().manual_seed(0)
        settings = OracleSettings(sizes.vocab_size, sizes.seq_len, num_real=sizes.num_sequences, num_held_out=10, num_eval=10)
        self.task = OracleTask(settings)
        self.spec: TokenSpec = self.task.spec
        self.discriminator = Discriminator.initialised(self.spec, self.rng, PAPER_DISCRIMINATOR)
        reward = RewardSettings(num_rollouts=sizes.num_rollouts)
        self.rewards = build_rewards(self.task, reward, discriminator=self.discriminator)
        self.env = TokenVectorEnv(sizes.batch_size, self.rewards)
        self.agent = Reinforce(self.env, baseline="none")
        self.rewards.bind(self.agent.policy)

    def items(self) -> list[Measurement]:
        return [self.sampling(), self.mle_epoch(), self.scoring(), self.g_step(), self.discriminator_epoch()]

    def sampling(self) -> Measurement:
        num, part = self.sizes.num_sequences, self.sizes.num_sequences // 10
        ours = measure(lambda: self.agent.policy.sample(num, self.rng), self.sizes.repeats)
        plain = measure(lambda: plain_sample(self.agent.policy, part, self.rng), 1)[0] * num / part
        return Measurement(f"sample {num:,} sequences", *ours, plain, 4.95)

    def mle_epoch(self) -> Measurement:
        likelihood = MaximumLikelihood(self.agent.policy, self.rng, learning_rate=0.0)
        optimizer = torch.optim.Adam(self.agent.policy.parameters(), lr=0.0)
        part = self.task.real_sequences[: len(self.task.real_sequences) // 10]

        def plain() -> None:
            for rows in part.split(64):
                plain_mle_step(self.agent.policy, optimizer, rows)

        ours = measure(lambda: likelihood.fit(self.task.real_sequences, 1), self.sizes.repeats)
        return Measurement(f"MLE epoch, {len(self.task.real_sequences):,} sequences", *ours, 10 * measure(plain, 1)[0], 11.8)

    def scoring(self) -> Measurement:
        sizes = self.sizes
        num = sizes.batch_size * ((sizes.seq_len - 1) * sizes.num_rollouts + 1)
        tokens = torch.randint(sizes.vocab_size, (num, sizes.seq_len), generator=self.rng)
        part = tokens[: max(64, num // 10)]

        def ours() -> None:
            with torch.no_grad():
                self.discriminator.output.bias += 0.0  # a new version: tables are built anew, as after every d-step
            self.discriminator.score(tokens)

        def plain() -> None:
            with torch.no_grad():
                self.discriminator(part)

        return Measurement(
            f"score {num:,} sequences by D", *measure(ours, sizes.repeats), measure(plain, 1)[0] * num / len(part), None
        )

    def g_step(self) -> Measurement:
        plain = float("nan")
        name = f"g-step, {self.sizes.batch_size} x {self.spec.seq_len}, N {self.sizes.num_rollouts}, full D"
        return Measurement(name, *measure(self.agent.update, self.sizes.repeats), plain, 13.9)

    def discriminator_epoch(self) -> Measurement:
        trainer = DiscriminatorTrainer(self.discriminator)
        part = self.task.real_sequences[: self.sizes.num_sequences // 10]
        ours = measure(lambda: trainer.fit(part, part, 1, self.rng), 1)
        return Measurement(f"D epoch, {2 * self.sizes.num_sequences:,} sequences", *(10 * x for x in ours), float("nan"), 36.0)


def gemm_gflops() -> float:
    """The machine's measured fp32 matrix-multiplication rate with the present threads."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2 * 1024**3 / measure(lambda: a @ b, 10)[0] / 1e9


def commit() -> str:
    """The commit that is measured, or "unknown" outside a checkout."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--out", type=Path, help="write the measurements as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = QUICK if arguments.quick else Sizes()
    with Console().status("measuring"):
        items = Bench(sizes).items()
        machine = {
            "gemm_gflops": gemm_gflops(),
            "threads": arguments.threads,
            "platform": platform.platform(),
            "torch": torch.__version__,
        }
    show(items, machine, arguments.quick)
    if arguments.out:
        content = {"sizes": asdict(sizes), "machine": machine, "commit": commit(), "items": [asdict(item) for item in items]}
        write_json(arguments.out, content)


def show(items: list[Measurement], machine: dict[str, object], quick: bool) -> None:
    """The table."""
    conditions = f"{machine['threads']} thread(s), GEMM {machine['gemm_gflops']:.0f} GFLOP/s"
    table = Table(title=f"{conditions}, torch {machine['torch']}, commit {commit()}")
    for name in ("work", "seconds", "spread", "plain torch", "ratio", "released code"):
        table.add_column(name, justify="left" if name == "work" else "right")
    for item in items:
        plain = "" if item.plain_seconds != item.plain_seconds else f"{item.plain_seconds:.2f}"
        ratio = "" if not plain else f"{item.plain_seconds / item.seconds:.1f}x"
        released = "" if quick or item.released_seconds is None else f"{item.released_seconds:.1f}"
        table.add_row(item.name, f"{item.seconds:.2f}", f"± {item.spread:.2f}", plain, ratio, released)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
