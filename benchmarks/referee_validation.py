r"""The referee where the truth is known: its lower bound of Jensen-Shannon beside the
exact one.

    python -m benchmarks.referee_validation --out benchmarks/results/referee-validation.json \
        --plot docs/images/referee.png

On an oracle task policies of every kind are measured by both: maximum likelihood after few and many
epochs, at temperatures, in mixtures, of other sizes, collapsed, memorising and replaying ones, and
the oracle itself. What is wanted is that it ranks them as the truth does; a lower bound is always
too low, and falls with the number of samples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from agents.cheats import ReplayPolicy
from seqgan_env.generators.knobs import LikelihoodPolicy, MixturePolicy
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.metrics.referee import Referee
from seqgan_env.tasks import make_task
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.run_directory import versions, write_atomically, write_json

SIZES = (1_000, 4_000, 8_000)  # training sequences of the referee, and the others in proportion
KINDS = {
    "MLE by epoch": "#4c72b0",
    "temperature": "#55a868",
    "mixture": "#dd8452",
    "other size": "#8172b3",
    "copies": "#c44e52",
    "oracle": "#000000",
}
Row = dict[str, Any]


def trained(
    task: OracleTask, dim: int, epochs: int, seed: int
) -> Iterator[tuple[int, LSTMLanguageModel]]:
    """A policy by maximum likelihood after every epoch; always the same object."""
    rng = torch.Generator().manual_seed(seed)
    model = LSTMLanguageModel.initialised(task.spec, rng, dim, dim)
    likelihood = MaximumLikelihood(model, rng, 4e-2, learning_rate_decay=0.93, weight_decay=0.1)
    for epoch in range(1, epochs + 1):
        likelihood.fit(task.real_sequences, 1)
        yield epoch, model


def policies(task: OracleTask, seed: int) -> Iterator[tuple[str, str, LikelihoodPolicy]]:
    """Kind, name and policy, one at a time, since a policy that learns changes."""
    for epoch, model in trained(task, 32, 30, seed):
        if epoch in (1, 2, 4, 8, 30):
            yield "MLE by epoch", f"epoch {epoch}", model
    best = model
    for temperature in (1.3, 1.15, 0.9, 0.8, 0.65, 0.5):
        yield "temperature", f"T {temperature}", best.with_temperature(temperature)
    for temperature, weight in ((0.8, 0.5), (0.5, 0.5), (0.3, 0.3), (0.3, 0.9), (0.02, 0.5)):
        cold = best.with_temperature(temperature)
        yield (
            "mixture",
            f"{weight} at T {temperature}",
            MixturePolicy([cold, best], [weight, 1 - weight]),
        )
    for dim in (8, 16, 128):
        *_, (_, other) = trained(task, dim, 20, seed)
        yield "other size", f"LSTM {dim}", other
    for name, num, noise in (
        ("one sequence", 1, 0.0),
        ("training set", None, 0.0),
        ("training set, noise", None, 0.1),
    ):
        replay = ReplayPolicy(task.spec, task.real_sequences[:num], noise)
        yield "copies", name, replay
        yield "copies", f"{name} x 0.5", MixturePolicy([replay, best], [0.5, 0.5])
    yield "oracle", "the oracle itself", task.oracle


def measured(
    task: OracleTask, referees: dict[int, Referee], kind: str, name: str, policy: LikelihoodPolicy
) -> Row:
    """The exact divergence of one policy, and what every referee says."""
    with torch.no_grad():
        exact = task.evaluate(policy, torch.Generator().manual_seed(1))
        row: Row = {
            "kind": kind,
            "name": name,
            "js": exact["js"],
            "kl_mean": exact["kl_mean"],
            "by_size": {},
        }
        for size, referee in referees.items():
            started = time.perf_counter()
            empty = torch.full((referee.num_samples, task.spec.seq_len), task.spec.pad_token)
            rng = torch.Generator().manual_seed(2)
            samples = policy.complete(empty, torch.zeros(len(empty), dtype=torch.int64), rng)
            verdict = referee.judge(samples)
            row["by_size"][size] = {
                "js": verdict.js,
                "error": verdict.error,
                "family": verdict.family,
                "by_family": verdict.by_family,
                "seconds": time.perf_counter() - started,
            }
    return row


def summary(rows: Sequence[Row], size: int) -> dict[str, float]:
    """How well the referee of a size ranks, and how much it finds."""
    exact, found = ([r["js"] for r in rows], [r["by_size"][size]["js"] for r in rows])
    far = [(f, e) for f, e in zip(found, exact, strict=True) if e > 0.1]
    no_copies = [r for r in rows if r["kind"] != "copies"]
    return {
        "rank_correlation": float(stats.spearmanr(exact, found).statistic),
        "rank_correlation_without_copies": float(
            stats.spearmanr(
                [r["js"] for r in no_copies], [r["by_size"][size]["js"] for r in no_copies]
            ).statistic
        ),
        "median_share_found": float(np.median([f / e for f, e in far])),
        "most_above_the_truth": float(
            max((r["by_size"][size]["js"] - r["js"]) / _error(r, size) for r in rows)
        ),
        "seconds": float(np.median([r["by_size"][size]["seconds"] for r in rows])),
    }


def _error(row: Row, size: int) -> float:
    return max(float(row["by_size"][size]["error"]), 1e-3)


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """The referee's bound against the exact divergence, for the smallest and the largest number of
    samples.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    shown = (SIZES[0], SIZES[-1])
    for axis, size in zip(figure.subplots(1, 2, sharey=True), shown, strict=True):
        axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        for kind, colour in KINDS.items():
            of_kind = [row for row in rows if row["kind"] == kind]
            x, y = [row["js"] for row in of_kind], [row["by_size"][size]["js"] for row in of_kind]
            axis.errorbar(
                x,
                y,
                yerr=[2 * _error(row, size) for row in of_kind],
                fmt="o",
                color=colour,
                label=kind,
                markersize=5,
            )
        found = summary(rows, size)
        axis.set_title(
            f"{size:,} training sequences: rank correlation {found['rank_correlation']:.2f}",
            fontsize=10,
        )
        axis.set_xlabel("exact JS divergence, share of ln 2")
        axis.grid(alpha=0.25)
    figure.axes[0].set_ylabel("referee's lower bound, share of ln 2 (± 2 errors)")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def main() -> None:
    """Measures, prints the table, draws the picture and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--task", choices=("oracle-paper", "oracle-small", "oracle-tiny"), default="oracle-tiny"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the policies (default: 0)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = make_task(arguments.task)
    assert isinstance(task, OracleTask)
    real = (task.spec, task.real_sequences, task.validation, task.held_out)
    referees = {
        size: Referee(*real, num_train=size, num_validation=size // 2, num_judged=5 * size // 8)
        for size in SIZES
    }
    rows = []
    for kind, name, policy in policies(task, arguments.seed):
        rows.append(measured(task, referees, kind, name, policy))
        cells = [
            f"{size}: {r['js']:.3f} ± {r['error']:.3f} ({r['family']})"
            for size, r in rows[-1]["by_size"].items()
        ]
        print(f"{kind:13} {name:24} exact {rows[-1]['js']:.3f}  " + "  ".join(cells), flush=True)
    found = {size: summary(rows, size) for size in SIZES}
    for size, values in found.items():
        print(size, {name: round(value, 3) for name, value in values.items()})
    if arguments.plot:
        plot(rows, f"The referee on {arguments.task}", arguments.plot)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "task": arguments.task,
            "seed": arguments.seed,
            "summary": found,
            "rows": rows,
            "versions": versions(),
        }
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
