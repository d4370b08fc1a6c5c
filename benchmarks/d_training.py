"""Held-out accuracy of the paper's discriminator over training: compiled kernels beside plain
torch, and batch sizes, over seeds.

    python -m benchmarks.d_training [--quick] [--threads N] [--out FILE.json] [--plot FILE.png]

Real sequences are an oracle's, negatives those of a policy that was trained on them by maximum
likelihood; accuracy is on fresh ones of both. Every seed draws other parameters, negatives and
orders. The seconds are those of training alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.measuring import in_own_process, machine, read_arguments
from seqgan_env import CNNDiscriminator, DiscriminatorTrainer, LSTMLanguageModel
from seqgan_env.discriminators.cnn import PAPER_CNN
from seqgan_env.discriminators.trainer import discriminator_accuracy
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import write_atomically, write_json


@dataclass(frozen=True)
class Sizes:
    """How large the work is.

    Attributes:
        vocab_size: V; T is the paper's 20.
        num_sequences: real sequences, and as many negatives; held out are as many again.
        mle_epochs: of the policy that writes the negatives.
        epochs: of D.
        seeds: as many runs.
    """

    vocab_size: int = 500
    num_sequences: int = 2_000
    mle_epochs: int = 1
    epochs: int = 8
    seeds: int = 5


@dataclass(frozen=True)
class Way:
    """A way to train: by the kernels or by torch, in batches of so many sequences."""

    name: str
    kernels: bool
    batch_size: int


@dataclass(frozen=True)
class Run:
    """What a seed found: after each epoch the held-out accuracy and the loss in nats, and the
    seconds of an epoch, the median.
    """

    way: Way
    seed: int
    accuracy: list[float]
    loss: list[float]
    seconds: float


QUICK = Sizes(vocab_size=200, num_sequences=128, mle_epochs=1, epochs=2, seeds=2)
WAYS = (
    Way("kernels, batch 64", True, 64),
    Way("torch, batch 64", False, 64),
    Way("kernels, batch 128", True, 128),
    Way("kernels, batch 256", True, 256),
)
COLOURS = ("#4c72b0", "#c44e52", "#55a868", "#8172b3")


def train(sizes: Sizes, way: Way, seed: int) -> Run:
    """One run, in this process."""
    num, rng = sizes.num_sequences, torch.Generator().manual_seed(seed)
    task = OracleTask(
        OracleSettings(sizes.vocab_size, 20, num_real=num, num_held_out=num, num_eval=10)
    )
    policy = LSTMLanguageModel.initialised(task.spec, rng)
    MaximumLikelihood(policy, rng).fit(task.real_sequences, sizes.mle_epochs)
    negatives, held_out = policy.sample(num, rng), policy.sample(num, rng)
    model = CNNDiscriminator.initialised(
        task.spec, rng, replace(PAPER_CNN, batch_size=way.batch_size)
    )
    trainer = DiscriminatorTrainer(model)
    accuracy, loss, seconds = [], [], []
    for _ in range(sizes.epochs):
        started = time.perf_counter()
        loss.append(trainer.fit(task.real_sequences, negatives, 1, rng)["loss"])
        seconds.append(time.perf_counter() - started)
        accuracy.append(discriminator_accuracy(model, task.held_out, held_out)["accuracy_heldout"])
    return Run(way, seed, accuracy, loss, statistics.median(seconds))


def train_all(sizes: Sizes, threads: int) -> list[Run]:
    """Every way with every seed, each in a process of its own, under a progress bar."""
    jobs = [(way, seed) for seed in range(sizes.seeds) for way in WAYS]
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        return [
            in_own_process(
                train,
                sizes,
                way,
                seed,
                threads=threads,
                environment={"SEQGAN_ENV_NATIVE": str(int(way.kernels))},
            )
            for way, seed in progress.track(jobs, description="training")
        ]


def show(runs: Sequence[Run], title: str) -> Table:
    """The table: means and ranges over seeds of the accuracy, halfway and at the end, and of the
    loss; seconds of an epoch.
    """
    epochs = len(runs[0].accuracy)
    table = Table(title=title)
    table.add_column("way to train")
    for name in (
        f"accuracy, epoch {epochs // 2}",
        f"epoch {epochs}",
        f"loss, epoch {epochs}",
        "seconds an epoch",
    ):
        table.add_column(name, justify="right")
    for way in WAYS:
        own = [run for run in runs if run.way == way]
        halfway, end = ([run.accuracy[epoch - 1] for run in own] for epoch in (epochs // 2, epochs))
        columns = (halfway, end, [run.loss[-1] for run in own])
        cells = (
            f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            for values in columns
        )
        table.add_row(way.name, *cells, f"{statistics.median(run.seconds for run in own):.2f}")
    return table


def plot(runs: Sequence[Run], path: Path) -> None:
    """Writes accuracy against epochs, and against seconds of training: the mean over seeds, and
    their range as a band.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for way, colour in zip(WAYS, COLOURS, strict=True):
        own = [run for run in runs if run.way == way]
        epochs = list(range(1, len(own[0].accuracy) + 1))
        _draw(left, epochs, own, way, colour)
        _draw(
            right,
            [epoch * statistics.median(run.seconds for run in own) for epoch in epochs],
            own,
            way,
            colour,
        )
    left.set_ylabel("held-out accuracy")
    left.set_xlabel("epochs")
    right.set_xlabel("seconds of training")
    left.legend(loc="lower right", fontsize=9)
    figure.suptitle("Training the paper's discriminator: mean and range over seeds")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def _draw(axes: Axes, x: Sequence[float], runs: Sequence[Run], way: Way, colour: str) -> None:
    columns = list(zip(*(run.accuracy for run in runs), strict=True))
    axes.plot(
        x,
        [statistics.fmean(c) for c in columns],
        "o-" if way.kernels else "x--",
        color=colour,
        label=way.name,
        markersize=4,
    )
    axes.fill_between(
        x,
        [min(c) for c in columns],
        [max(c) for c in columns],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.grid(alpha=0.3)


def main() -> None:
    """Trains, prints the table, writes the JSON and the picture."""
    arguments = read_arguments(__doc__)
    sizes = QUICK if arguments.quick else Sizes()
    runs, about = train_all(sizes, arguments.threads), machine()
    title = (
        f"{sizes.seeds} seeds; {about['cpu']}, {arguments.threads} thread(s), commit "
        f"{about['commit']}"
    )
    Console(width=140).print(show(runs, title))
    if arguments.plot:
        plot(runs, arguments.plot)
    if arguments.out:
        content = {"sizes": asdict(sizes), "threads": arguments.threads, "machine": about}
        write_json(arguments.out, content | {"runs": [asdict(run) for run in runs]})


if __name__ == "__main__":
    main()
