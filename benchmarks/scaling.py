"""How time and memory of a g-step grow with T, V, N and the batch, each from a stated base, beside
what is to be expected.

    python -m benchmarks.scaling [--quick] [--threads N] [--out FILE.json] [--plot FILE.png]

A g-step of REINFORCE with the small discriminator, whose parameters have just changed, as after
every d-step. Every point is a process of its own: one warm-up, then repeats within a few seconds,
of which the median counts. One more point is large in both V and T; its 4 rollouts of a prefix are
800,000 tokens, and 16 would take minutes at the limit of a core. An exponent is the slope of a
straight line through the three largest points of an axis on log scales.

Expected: T 2, as T (T - 1) / 2 tokens are written per row and rollout; V 1, once the output layer
and the tables of D outweigh the rest; N and batch 1, as tokens are proportional to both. Memory
grows with V at most linearly, by parameters and tables; with the others at most as tokens do, and
not at all once completions go through in chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agents.reinforce import Reinforce
from benchmarks.measuring import in_own_process, machine, measure, peak_memory, read_arguments
from seqgan_env import CNNDiscriminator, RewardSettings, TokenVectorEnv
from seqgan_env.envs.registration import build_rewards
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import write_atomically, write_json

MEMORY_ALLOWED = 8 * 2**30  # of the large point
_SECONDS_PER_POINT = 3.0


@dataclass(frozen=True)
class Point:
    """The sizes of a g-step."""

    seq_len: int = 20
    vocab_size: int = 500
    num_rollouts: int = 4
    batch_size: int = 64


@dataclass(frozen=True)
class Axis:
    """One size that is varied: its field of `Point`, its letter, the exponent of time (at most that
    of memory), its values.
    """

    field: str
    letter: str
    exponent: float
    values: tuple[int, ...]

    def points(self, base: Point) -> list[Point]:
        return [replace(base, **{self.field: value}) for value in self.values]


AXES = (
    Axis("seq_len", "T", 2, (10, 20, 40, 80)),
    Axis("vocab_size", "V", 1, (50, 500, 5_000, 15_000, 50_000)),
    Axis("num_rollouts", "N", 1, (1, 4, 16, 64)),
    Axis("batch_size", "batch", 1, (16, 64, 256, 1024)),
)
BASE, LARGE = Point(), Point(seq_len=80, vocab_size=50_000)
SMALLEST = Point(seq_len=2, vocab_size=8, num_rollouts=1, batch_size=2)
QUICK_AXES = tuple(replace(axis, values=axis.values[:3]) for axis in AXES)
QUICK_BASE, QUICK_LARGE = Point(num_rollouts=1, batch_size=16), Point(40, 5_000, 1, 16)


@dataclass(frozen=True)
class Measurement:
    """Of one point.

    Attributes:
        point: its sizes.
        seconds: median of a g-step.
        spread: half the range.
        peak_bytes: that the process held at most; None if the system does not tell.
        work_bytes: how much more that is than with the smallest g-step.
    """

    point: Point
    seconds: float
    spread: float
    peak_bytes: int | None
    work_bytes: int | None


def measure_point(point: Point, repeats: int) -> Measurement:
    """One point, in this process; fewer repeats where one takes long, and where the first is very
    long it is the only one.
    """
    build_update(
        SMALLEST
    )()  # loads what torch loads at its first use, which is no work of the point
    before = peak_memory()
    update = build_update(point)
    started = time.perf_counter()
    update()
    first = time.perf_counter() - started
    seconds, spread = (
        (first, 0.0)
        if first > 10
        else measure(update, max(1, min(repeats, int(_SECONDS_PER_POINT / first))), update)
    )
    peak = peak_memory()
    return Measurement(
        point,
        seconds,
        spread,
        peak,
        peak - before if peak is not None and before is not None else None,
    )


def build_update(point: Point) -> Callable[[], object]:
    """A g-step of these sizes."""
    task = OracleTask(
        OracleSettings(point.vocab_size, point.seq_len, num_real=10, num_held_out=10, num_eval=10)
    )
    discriminator = CNNDiscriminator.initialised(task.spec, torch.Generator().manual_seed(0))
    rewards = build_rewards(
        task, RewardSettings(num_rollouts=point.num_rollouts), discriminator=discriminator
    )
    agent = Reinforce(TokenVectorEnv(point.batch_size, rewards))
    rewards.bind(agent.policy)

    def update() -> None:
        with torch.no_grad():
            discriminator.output.bias.add_(0.0)  # counts as changed
        agent.update()

    return update


def measure_all(
    axes: tuple[Axis, ...], base: Point, large: Point, repeats: int, threads: int
) -> dict[Point, Measurement]:
    """Every point once, the base and the large one among them, under a progress bar."""
    points = list(
        dict.fromkeys([base, *(point for axis in axes for point in axis.points(base)), large])
    )
    found = {}
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        for point in progress.track(points, description="measuring"):
            found[point] = in_own_process(measure_point, point, repeats, threads=threads)
    return found


def exponent(sizes: list[float], values: list[float]) -> float:
    """The slope of the least-squares line through the three largest points on log scales; NaN if a
    value is not positive.
    """
    if min(values[-3:]) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def fits(
    axes: tuple[Axis, ...], base: Point, found: dict[Point, Measurement]
) -> list[dict[str, Any]]:
    """By axis the exponents, expected and fitted, of time and memory."""
    rows = []
    for axis in axes:
        measured = [found[point] for point in axis.points(base)]
        sizes = [float(value) for value in axis.values]
        memory = [m.work_bytes for m in measured if m.work_bytes is not None]
        rows.append(
            {
                "axis": axis.letter,
                "values": list(axis.values),
                "expected": axis.exponent,
                "seconds": exponent(sizes, [m.seconds for m in measured]),
                "memory": exponent(sizes, [float(m) for m in memory])
                if len(memory) == len(sizes)
                else None,
            }
        )
    return rows


def show(
    axes: tuple[Axis, ...], base: Point, large: Point, found: dict[Point, Measurement], title: str
) -> Table:
    """The table: every axis with its points and exponents, then the large point."""
    table = Table(title=title)
    for name in ("from the base", "seconds", "peak MiB", "of it for the work"):
        table.add_column(name, justify="left" if name == "from the base" else "right")
    for axis, fit in zip(axes, fits(axes, base, found), strict=True):
        for point in axis.points(base):
            table.add_row(f"{axis.letter} {getattr(point, axis.field):,}", *_cells(found[point]))
        memory = (
            ""
            if fit["memory"] is None
            else f"{fit['memory']:.2f}, expected at most {axis.exponent:g}"
        )
        table.add_row(
            "  exponent",
            f"{fit['seconds']:.2f}, expected {axis.exponent:g}",
            "",
            memory,
            end_section=True,
        )
    table.add_row(f"{describe(large)}", *_cells(found[large]))
    return table


def describe(point: Point) -> str:
    return (
        f"T {point.seq_len}, V {point.vocab_size:,}, N {point.num_rollouts}, batch "
        f"{point.batch_size}"
    )


def _cells(measured: Measurement) -> tuple[str, ...]:
    memory = (measured.peak_bytes, measured.work_bytes)
    return f"{measured.seconds:.3f} ± {measured.spread:.3f}", *(
        "" if m is None else f"{m / 2**20:,.0f}" for m in memory
    )


def plot(axes: tuple[Axis, ...], base: Point, found: dict[Point, Measurement], path: Path) -> None:
    """Writes time above memory, an axis a column, with the expected slope through the largest
    point.
    """
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    grid = figure.subplots(2, len(axes), sharey="row")
    for column, (axis, fit) in enumerate(zip(axes, fits(axes, base, found), strict=True)):
        measured = [found[point] for point in axis.points(base)]
        _draw(grid[0, column], axis, [m.seconds for m in measured], fit["seconds"], "expected")
        if fit["memory"] is not None:
            _draw(
                grid[1, column],
                axis,
                [(m.work_bytes or 0) / 2**20 for m in measured],
                fit["memory"],
                "at most",
            )
    grid[0, 0].set_ylabel("seconds per g-step")
    grid[1, 0].set_ylabel("memory of the work, MiB")
    figure.suptitle(
        f"Growth of a g-step from {describe(base)}, small discriminator, one axis at a time"
    )
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def _draw(axes: Axes, axis: Axis, values: list[float], fitted: float, bound: str) -> None:
    sizes = np.array(axis.values, dtype=float)
    axes.loglog(sizes, values, "o-", color="#4c72b0", label=f"measured, exponent {fitted:.2f}")
    last = sizes[-3:]
    line = values[-1] * (last / last[-1]) ** axis.exponent
    axes.loglog(last, line, "--", color="#8c8c8c", label=f"{bound} {axis.exponent:g}")
    axes.set_xticks(
        sizes, [f"{value // 1000}k" if value >= 1000 else str(value) for value in axis.values]
    )
    axes.minorticks_off()
    axes.set_xlabel(axis.letter)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)


def main() -> None:
    """Measures, prints the table, writes the JSON and the picture; fails if the large point needs
    too much memory.
    """
    arguments = read_arguments(__doc__)
    axes, base, large = (
        (QUICK_AXES, QUICK_BASE, QUICK_LARGE) if arguments.quick else (AXES, BASE, LARGE)
    )
    found = measure_all(axes, base, large, 1 if arguments.quick else 5, arguments.threads)
    about = machine()
    title = (
        f"g-steps from {describe(base)}; {about['cpu']}, {arguments.threads} thread(s), commit "
        f"{about['commit']}"
    )
    Console(width=110).print(show(axes, base, large, found, title))
    if arguments.plot:
        plot(axes, base, found, arguments.plot)
    if arguments.out:
        points = [asdict(measurement) for measurement in found.values()]
        content = {
            "base": asdict(base),
            "large": asdict(large),
            "threads": arguments.threads,
            "machine": about,
        }
        write_json(
            arguments.out, content | {"exponents": fits(axes, base, found), "points": points}
        )
    peak = found[large].peak_bytes
    if peak is not None and peak > MEMORY_ALLOWED:
        raise SystemExit(
            f"{describe(large)} held {peak / 2**30:.1f} GiB; allowed are "
            f"{MEMORY_ALLOWED / 2**30:.0f}"
        )


if __name__ == "__main__":
    main()
