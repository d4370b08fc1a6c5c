r"""The paper's pictures (Yu et al. 2017) of what SeqGAN depends on, as one command each.

    python -m benchmarks.paper_figures stability --out benchmarks/results/stability.json \
        --plot docs/images/stability.png
    python -m benchmarks.paper_figures rollouts --out benchmarks/results/rollouts.json \
        --plot docs/images/rollouts.png

Stability (its figure 3) is about how much the policy (g-steps) and the discriminator (d-steps of k
epochs) learn in a round; rollouts about N, the Monte Carlo completions of a prefix. Every setting
makes as many policy updates as any other. The quick size is the task oracle-tiny, the full one the
paper's schedule on oracle-paper. A run is a process of its own with one torch thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.runs import add_arguments, read_rows, train_all
from seqgan_env.metrics.catalogue import OF_ORACLES
from seqgan_env.training.run_directory import METRICS, versions, write_atomically, write_json

Curve = dict[str, Any]

SIZES = {
    "quick": ("--preset tiny --task oracle-tiny --batch-size 64 --num-negatives 1000", 3, 300),
    "full": ("--preset paper", 5, 3000),
}  # arguments of `seqgan train`, seeds, policy updates
_SHOWN = (OF_ORACLES.quality, OF_ORACLES.diversity)
SHOWN = {f"task/{metric.name}": metric.axis for metric in _SHOWN}  # column to label of its axis
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52")
POINTS = 20  # of a curve, at most


@dataclass(frozen=True)
class Setting:
    """One curve.

    Attributes:
        label: as printed.
        arguments: of `seqgan train`.
        g_steps: policy updates in a round.
    """

    label: str
    arguments: str
    g_steps: int = 1

    @property
    def folder(self) -> str:
        """Of its runs, less the seed."""
        return "".join(c for c in self.label if c.isalnum())


def _stability(g_steps: int, d_steps: int, epochs: int) -> Setting:
    label = f"g-steps {g_steps}, d-steps {d_steps}, k {epochs}"
    return Setting(label, f"--g-steps {g_steps} --d-steps {d_steps} --d-epochs {epochs}", g_steps)


FIGURES = {
    "stability": (
        "How much each side learns in a round",
        (_stability(100, 1, 10), _stability(30, 1, 30), _stability(1, 1, 10), _stability(1, 5, 3)),
    ),
    "rollouts": (
        "The number of rollouts",
        tuple(Setting(f"N {num}", f"--num-rollouts {num}") for num in (1, 4, 16, 64)),
    ),
}


def curve(runs: Sequence[Path], setting: Setting) -> Curve:
    """What a setting reached: policy updates (K,), and of every metric shown its values (seeds, K)
    at these.
    """
    histories = [
        [row for row in read_rows(run / METRICS) if SHOWN.keys() <= row.keys()] for run in runs
    ]
    updates = [row["round"] * setting.g_steps for row in histories[0]]
    return {"label": setting.label, "updates": updates} | {
        name: [[row[name] for row in rows] for rows in histories] for name in SHOWN
    }


def plot(
    curves: Sequence[Curve], controls: Mapping[str, Sequence[float]], title: str, path: Path
) -> None:
    """Draws the mean of every curve with the range over seeds, and where a constant reward ends;
    writes a PNG, atomically.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axis, (name, label) in zip(figure.subplots(1, len(SHOWN)), SHOWN.items(), strict=True):
        for colour, found in zip(COLOURS, curves, strict=True):
            values = np.array(found[name])
            axis.plot(
                found["updates"],
                values.mean(0),
                color=colour,
                marker="o",
                markersize=3,
                label=found["label"],
            )
            axis.fill_between(
                found["updates"],
                values.min(0),
                values.max(0),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        axis.axhline(
            np.mean(controls[name]),
            color="#8c8c8c",
            linestyle="--",
            label="constant reward, at the end",
        )
        axis.set(xlabel="policy updates (g-steps)", ylabel=label)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(f"{title}: mean and range over {len(curves[0][name])} seeds")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def markdown(
    curves: Sequence[Curve], controls: Mapping[str, Sequence[float]], seconds: Mapping[str, float]
) -> str:
    """Where every setting ended: mean and standard error over seeds."""
    quality, diversity = (metric.label for metric in _SHOWN)
    lines = [
        f"| setting | best {quality} | last {quality} | last {diversity} | seconds a run |",
        "|---|---|---|---|---|",
    ]
    for found in curves:
        of_quality, of_diversity = (np.array(found[name]) for name in SHOWN)
        cells = [
            _cell(of_quality.min(1)),
            _cell(of_quality[:, -1]),
            _cell(of_diversity[:, -1]),
            f"{seconds[found['label']]:.0f}",
        ]
        lines.append(f"| {found['label']} | {' | '.join(cells)} |")
    ends = [_cell(np.array(values)) for values in controls.values()]
    return "\n".join([*lines, f"| constant reward | | {ends[0]} | {ends[1]} | |"])


def _cell(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def main() -> None:
    """Runs what is missing, prints the table, draws the picture and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("figure", choices=sorted(FIGURES))
    parser.add_argument("--size", choices=sorted(SIZES), default="quick")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="seeds 0..N-1, 2 or more (default: 3, full: 5)"
    )
    parser.add_argument(
        "--weights",
        help="the authors' released oracle, for --size full (default: an oracle of our own)",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="the picture (default: in the folder of the runs)"
    )
    add_arguments(parser, "runs/paper-FIGURE-SIZE")
    arguments = parser.parse_args()
    (title, settings), (size, num_seeds, num_updates) = (
        FIGURES[arguments.figure],
        SIZES[arguments.size],
    )
    num_seeds = arguments.seeds or num_seeds
    runs = arguments.runs or Path(f"runs/paper-{arguments.figure}-{arguments.size}")
    common = [
        *size.split(),
        *(["--weights", arguments.weights] if arguments.weights else []),
        "--no-knobs",
    ]
    folders = {
        setting.label: [runs / f"{setting.folder}-{seed}" for seed in range(num_seeds)]
        for setting in settings
    }
    jobs: dict[Path, list[str]] = {}
    for setting in settings:
        rounds = num_updates // setting.g_steps
        counts = ["--rounds", str(rounds), "--eval-every", str(max(1, rounds // POINTS))]
        for seed, folder in enumerate(folders[setting.label]):
            jobs[folder] = [*common, *setting.arguments.split(), *counts, "--seed", str(seed)]
    started = time.perf_counter()
    results = train_all(jobs, arguments.workers, title)
    curves = [curve(folders[setting.label], setting) for setting in settings]
    last = folders[settings[-1].label]
    controls = {
        name: [results[folder]["constant"][name.removeprefix("task/")] for folder in last]
        for name in SHOWN
    }
    seconds = {
        label: float(np.mean([results[f]["seconds"]["adversarial"] for f in of]))
        for label, of in folders.items()
    }
    print(f"{title}, {num_seeds} seeds\n{markdown(curves, controls, seconds)}")
    picture = arguments.plot or runs / f"{arguments.figure}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    plot(curves, controls, title, picture)
    if arguments.out:
        content = {
            "title": title,
            "arguments": common,
            "seeds": num_seeds,
            "curves": curves,
            "constant": controls,
        }
        content |= {
            "seconds_a_run": seconds,
            "seconds": time.perf_counter() - started,
            "versions": versions(),
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
