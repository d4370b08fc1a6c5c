"""`seqgan doctor`: what this machine has, how fast the kernels are on it, and what would help."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from seqgan_env import native
from seqgan_env.cli.output import console
from seqgan_env.discriminators.cnn import PAPER_CNN, SMALL_CNN, CNNConfig, CNNDiscriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.registration import build_rewards
from seqgan_env.extras import EXTRAS, is_installed
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.machine import processor
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import write_json

TORCH = "torch"
_TURNS = 5  # of every operation with every route, after one that warms up
_SLOWER = 0.95  # an operation whose kernels do less than this share of torch's work is named


@dataclass(frozen=True)
class Size:
    """How large the operations are.

    Attributes:
        name: as the table has it.
        vocab_size: V.
        seq_len: T.
        num_sequences: that are written, read, or learned from at once.
        batch_size: B of a rollout reward, with 4 rollouts.
        discriminator: the CNN.
    """

    name: str
    vocab_size: int
    seq_len: int
    num_sequences: int
    batch_size: int
    discriminator: CNNConfig


SIZES = (
    Size("default", 50, 10, 4000, 256, SMALL_CNN),
    Size("paper", 5000, 20, 256, 16, PAPER_CNN),
)


class Operations:
    """The work of a run at one size, each a method, on models of its own."""

    def __init__(self, size: Size) -> None:
        self.size, self.rng = size, torch.Generator().manual_seed(0)
        settings = OracleSettings(
            size.vocab_size, size.seq_len, num_real=size.num_sequences, num_held_out=2, num_eval=2
        )
        task = OracleTask(settings)
        self.real = task.real_sequences
        self.policy = LSTMLanguageModel.initialised(task.spec, self.rng)
        self.negatives = self.policy.sample(size.num_sequences, self.rng)
        discriminator = CNNDiscriminator.initialised(task.spec, self.rng, size.discriminator)
        reward = RewardSettings(num_rollouts=4)
        self.rewards = build_rewards(task, reward, discriminator=discriminator)
        self.rewards.bind(self.policy)
        self.likelihood = MaximumLikelihood(self.policy, self.rng)
        self.trainer = DiscriminatorTrainer(discriminator)

    def sample(self) -> None:
        """Writes sequences."""
        self.policy.sample(self.size.num_sequences, self.rng)

    def likelihoods(self) -> None:
        """Reads them."""
        self.policy.log_prob(self.negatives)

    def rollout_reward(self) -> None:
        """Pays every token of a batch."""
        self.rewards.action_values(self.negatives[: self.size.batch_size], self.rng)

    def mle_epoch(self) -> None:
        """Maximum likelihood."""
        self.likelihood.fit(self.real, 1)

    def discriminator_epoch(self) -> None:
        """A pass of the discriminator."""
        self.trainer.fit(self.real, self.negatives, 1, self.rng)


NAMES: dict[str, Callable[[Operations], None]] = {
    "sample": Operations.sample,
    "likelihoods": Operations.likelihoods,
    "rollout reward": Operations.rollout_reward,
    "MLE epoch": Operations.mle_epoch,
    "D epoch": Operations.discriminator_epoch,
}


@dataclass(frozen=True)
class Timing:
    """One operation at one size.

    Attributes:
        size: name of the size.
        operation: name of it.
        seconds: the median, by route: a variant of the kernels, or torch.
        ratio: torch's seconds to those of each variant, the median over turns.
    """

    size: str
    operation: str
    seconds: dict[str, float]
    ratio: dict[str, float]


def doctor(arguments: argparse.Namespace) -> int:
    """Prints the machine, the extras, the table of speeds and the advice; writes machine and
    speeds to a file that is asked for.
    """
    output = console()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found = machine()
    for name, value in found.items():
        output.print(f"{name:12} {value}", highlight=False)
    missing = sorted({extra for library, extra in EXTRAS.items() if not is_installed(library)})
    output.print(f"{'extras':12} missing: {', '.join(missing) or 'none'}", highlight=False)
    timings = measure(output)
    output.print(table(timings))
    for sentence in advice(timings):
        output.print(f"- {sentence}", highlight=False)
    if arguments.out:  # at last: a path that cannot be written costs nothing of the above
        measured = [asdict(timing) for timing in timings]
        write_json(arguments.out, {"machine": found, "timings": measured})
    return 0


def machine() -> dict[str, str]:
    """What runs here."""
    there = ", ".join(native.variants_here()) or "none"
    return {
        "processor": f"{processor()}, {_num_cores()} cores for this process",
        "kernels": f"{native.variant()} in use; built and able to run: {there}",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads, {_accelerator()}",
        "python": f"{platform.python_version()}, seqgan-env {version('seqgan-env')}",
    }


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere a process may use all
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _accelerator() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "no GPU"


def measure(output: Console) -> list[Timing]:
    """Every operation by every route that there is here, in turns."""
    routes = [*native.variants_here(), TORCH]
    with Progress(console=output, transient=True) as progress:
        bar = progress.add_task("measuring", total=len(SIZES) * len(NAMES))
        timings = []
        for size in SIZES:
            prepared = {}
            for route in routes:
                with using(route):  # packed weights of one variant are nothing to another
                    prepared[route] = Operations(size)
            for name, operation in NAMES.items():
                timings.append(_in_turns(size, name, operation, prepared))
                progress.advance(bar)
    return timings


def _in_turns(
    size: Size,
    name: str,
    operation: Callable[[Operations], None],
    prepared: dict[str, Operations],
) -> Timing:
    """One operation, a call by each route in turn, so that what else runs disturbs all alike."""
    turns = []
    for turn in range(1 + _TURNS):
        seconds = {}
        for route, operations in prepared.items():
            with using(route):
                started = time.perf_counter()
                operation(operations)
                seconds[route] = time.perf_counter() - started
        if turn:  # the first one warms up
            turns.append(seconds)
    medians = {route: statistics.median(turn[route] for turn in turns) for route in prepared}
    ratios = {}
    for route in prepared:
        ratios[route] = statistics.median(turn[TORCH] / turn[route] for turn in turns)
    return Timing(size.name, name, medians, ratios)


@contextlib.contextmanager
def using(route: str) -> Iterator[None]:
    """Kernels of one variant, or torch, for a while."""
    before = os.environ.get(native.SETTING)
    os.environ[native.SETTING] = route
    try:
        yield
    finally:
        if before is None:
            del os.environ[native.SETTING]
        else:
            os.environ[native.SETTING] = before


def table(timings: list[Timing]) -> Table:
    """Milliseconds by route; in brackets how many times as fast as torch."""
    found = Table(title="milliseconds, and how many times as fast as torch")
    found.add_column("size")
    found.add_column("operation")
    for route in timings[0].seconds:
        found.add_column(route, justify="right")
    for timing in timings:
        cells = []
        for route, seconds in timing.seconds.items():
            ratio = "" if route == TORCH else f" ({timing.ratio[route]:.1f} x)"
            cells.append(f"{1000 * seconds:.1f}{ratio}")
        found.add_row(timing.size, timing.operation, *cells)
    return found


def advice(timings: list[Timing]) -> list[str]:
    """What would make runs faster here, a sentence each."""
    sentences = []
    used, there = native.variant(), native.variants_here()
    if not there:
        sentences.append(
            "There are no kernels for this processor. With GCC or Clang, and with AVX-512, AVX2 or "
            "NEON, they are built at installation: "
            "pip install --force-reinstall --no-deps seqgan-env."
        )
    elif used == TORCH:
        sentences.append(
            f"{native.SETTING} keeps the kernels from being used; without it {there[0]} would be."
        )
    elif not native.has_threads() and torch.get_num_threads() > 1:
        sentences.append(
            "The kernels were built without OpenMP and use one thread. Built by GCC they use all: "
            "CC=gcc pip install --force-reinstall --no-deps seqgan-env."
        )
    for timing in timings:
        if timing.ratio.get(used, 1.0) < _SLOWER:
            sentences.append(
                f"The {timing.operation} of size {timing.size} is slower by {used} than by torch "
                f"({timing.ratio[used]:.2f} x). {native.SETTING}=torch uses torch for everything."
            )
    if torch.get_num_threads() > 1:
        sentences.append(
            "Small runs gain little from a second thread: `seqgan bench --workers "
            f"{torch.get_num_threads()}` keeps every core busy with runs of one thread each."
        )
    if not sentences:
        sentences.append(
            "Nothing to mend: the fastest kernels that this processor can run are used."
        )
    return sentences
