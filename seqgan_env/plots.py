"""The picture of a run: learning curves with the references beside them, and the quality-diversity plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from seqgan_env.run_directory import write_atomically

Rows = Sequence[Mapping[str, float]]

_COLOURS = {"mle": "#4c72b0", "mle_at_temperature": "#8c8c8c", "agent": "#c44e52", "constant": "#dd8452"}
_LABELS = {
    "mle": "MLE (best validation)",
    "mle_at_temperature": "MLE at a temperature",
    "agent": "agent",
    "constant": "constant reward",
}
_AXES = {
    "nll_oracle": "nll_oracle (nats per token), lower is better",
    "nll_gen": "nll_gen on held-out data (nats per token), lower is better",
    "bleu4": "BLEU-4 against held-out lines, higher is better",
}


def plot_curves(history: Rows, frontier: Rows, metrics: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Writes the run as a PNG: pre-training, quality, diversity, the quality-diversity plane, discriminator and time.

    Args:
        history: rows of MLE epochs (`phase` 0) and rounds (`phase` 1).
        frontier: metrics of the pre-trained policy by temperature.
        metrics: final metrics by policy.
        path: of the PNG.
    """
    quality = "nll_oracle" if any("task/nll_oracle" in row for row in history) else "bleu4"
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    epochs, rounds = [row for row in history if not row["phase"]], [row for row in history if row["phase"]]
    _pretraining(axes[0], epochs)
    _by_round(axes[1], rounds, quality, metrics)
    _by_round(axes[2], rounds, "nll_gen", metrics)
    _plane(axes[3], rounds, frontier, metrics, quality)
    _discriminator(axes[4], rounds)
    _reward(axes[5], rounds)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _pretraining(axes: Any, epochs: Rows) -> None:
    if any("nll_validation" in row for row in epochs):
        x = [row["epoch"] for row in epochs]
        axes.plot(x, [row["mle_loss"] for row in epochs], label="training", color="#8c8c8c")
        axes.plot(x, [row["nll_validation"] for row in epochs], label="validation", color=_COLOURS["mle"])
        axes.legend(frameon=False)
    _decorate(axes, "Pre-training by maximum likelihood", "epoch", "-log p (nats per token)")


def _by_round(axes: Any, rounds: Rows, name: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
    _line(axes, rounds, f"task/{name}", _LABELS["agent"], _COLOURS["agent"])
    for who in ("mle", "mle_at_temperature", "constant"):
        if name in metrics.get(who, {}):
            axes.axhline(metrics[who][name], label=_LABELS[who], color=_COLOURS[who], linestyle="--", linewidth=1.2)
    axes.legend(frameon=False, fontsize=8)
    _decorate(axes, f"{name} by round", "round", _AXES[name].split(",")[0])


def _plane(axes: Any, rounds: Rows, frontier: Rows, metrics: Mapping[str, Mapping[str, float]], quality: str) -> None:
    if frontier:
        axes.plot(
            [r["nll_gen"] for r in frontier],
            [r[quality] for r in frontier],
            "-",
            color=_COLOURS["mle"],
            label="MLE, temperature only",
        )
        for row in frontier[:: max(1, len(frontier) // 6)]:
            axes.annotate(
                f"{row['temperature']:.2f}", (row["nll_gen"], row[quality]), fontsize=7, color=_COLOURS["mle"], clip_on=True
            )
    path = [r for r in rounds if "task/nll_gen" in r]
    axes.plot(
        [r["task/nll_gen"] for r in path],
        [r[f"task/{quality}"] for r in path],
        ".-",
        color=_COLOURS["agent"],
        linewidth=0.8,
        label="agent by round",
    )
    for who, values in metrics.items():
        if "nll_gen" in values:
            axes.plot(
                values["nll_gen"],
                values[quality],
                "o" if who != "agent" else "*",
                color=_COLOURS[who],
                markersize=9,
                label=_LABELS[who],
            )
    _zoom(axes, frontier, metrics, quality)
    axes.legend(frameon=False, fontsize=8)
    _decorate(axes, "Quality against diversity (numbers: temperature)", _AXES["nll_gen"], _AXES[quality].split(",")[0])


def _zoom(axes: Any, frontier: Rows, metrics: Mapping[str, Mapping[str, float]], quality: str) -> None:
    """Shows what is near the policies; the coldest temperatures would squeeze everything else into a corner."""
    found = [(m["nll_gen"], m[quality]) for m in metrics.values() if "nll_gen" in m]
    if not found:
        return
    low, high = min(x for x, _ in found), max(x for x, _ in found)
    margin = max(0.03, 0.6 * (high - low))
    seen = found + [(row["nll_gen"], row[quality]) for row in frontier if low - margin <= row["nll_gen"] <= high + margin]
    bottom, top = min(y for _, y in seen), max(y for _, y in seen)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(bottom - 0.08 * (top - bottom + 0.01), top + 0.08 * (top - bottom + 0.01))


def _discriminator(axes: Any, rounds: Rows) -> None:
    _line(axes, rounds, "discriminator/accuracy_real_heldout", "held-out real", "#55a868")
    _line(axes, rounds, "discriminator/accuracy_generated_heldout", "fresh generated", "#c44e52")
    _line(axes, rounds, "discriminator/log_ratio_correlation", "correlation with the true log-ratio", "#8172b3")
    axes.axhline(0.5, color="#cccccc", linewidth=1)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    _decorate(axes, "Discriminator, on sequences it never saw", "round", "accuracy, correlation")


def _reward(axes: Any, rounds: Rows) -> None:
    _line(axes, rounds, "agent/reward", "mean reward per token", "#937860")
    _decorate(axes, "Reward (moves with the discriminator)", "round", "reward per token")


def _line(axes: Any, rounds: Rows, key: str, label: str, colour: str) -> None:
    rows = [row for row in rounds if key in row]
    if rows:
        axes.plot([row["round"] for row in rows], [row[key] for row in rows], label=label, color=colour)


def _decorate(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
