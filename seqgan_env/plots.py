"""The picture of a run: learning curves with the references beside them, and the quality-diversity plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqgan_env.metrics.frontier import Plane, denser, planes
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
    "bleu4": "BLEU-4 against held-out data, higher is better",
    "self_bleu4": "Self-BLEU-4, lower is more diverse",
}


def plot_curves(history: Rows, frontier: Rows, metrics: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Writes the run as a PNG: pre-training, quality, diversity, the quality-diversity planes, discriminator and reward.

    Args:
        history: rows of MLE epochs (`phase` 0) and rounds (`phase` 1).
        frontier: metrics of the pre-trained policy by temperature.
        metrics: final metrics by policy.
        path: of the PNG.
    """
    from matplotlib.figure import Figure  # loaded only where something is drawn

    found = planes(next(iter(metrics.values()), {}))
    by_round = list(dict.fromkeys(name for plane in found for name in (plane.quality, plane.diversity)))
    columns = -(-(3 + len(by_round) + len(found)) // 2)
    figure = Figure(figsize=(4.7 * columns, 7.5), layout="constrained")
    panels = iter(figure.subplots(2, columns, squeeze=False).ravel())
    epochs, rounds = [row for row in history if not row["phase"]], [row for row in history if row["phase"]]
    _pretraining(next(panels), epochs)
    for name in by_round:
        _by_round(next(panels), rounds, name, metrics)
    for plane in found:
        _plane(next(panels), rounds, frontier, metrics, plane)
    _discriminator(next(panels), rounds)
    _reward(next(panels), rounds)
    for unused in panels:
        unused.set_axis_off()
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
    for who in _COLOURS if not rounds else ("mle", "mle_at_temperature", "constant"):
        if name in metrics.get(who, {}):
            axes.axhline(metrics[who][name], label=_LABELS[who], color=_COLOURS[who], linestyle="--", linewidth=1.2)
    _legend(axes)
    _decorate(axes, f"{name} by round", "round", _AXES[name].split(",")[0])


def _plane(axes: Any, rounds: Rows, frontier: Rows, metrics: Mapping[str, Mapping[str, float]], plane: Plane) -> None:
    x, y, curve = plane.diversity, plane.quality, denser(frontier)
    if frontier:
        axes.plot([r[x] for r in curve], [r[y] for r in curve], color=_COLOURS["mle"], label="MLE, temperature only")
        for row in frontier[:: max(1, len(frontier) // 6)]:
            axes.annotate(f"{row['temperature']:.2f}", (row[x], row[y]), fontsize=7, color=_COLOURS["mle"], clip_on=True)
    path = [r for r in rounds if f"task/{x}" in r]
    if path:
        line = {"color": _COLOURS["agent"], "linewidth": 0.8, "label": "agent by round"}
        axes.plot([r[f"task/{x}"] for r in path], [r[f"task/{y}"] for r in path], ".-", **line)
    for who, values in metrics.items():
        if plane.holds(values):
            marker = "*" if who == "agent" else "o"
            axes.plot(values[x], values[y], marker, color=_COLOURS[who], markersize=9, label=_LABELS[who])
    _zoom(axes, curve, metrics, plane)
    _legend(axes)
    _decorate(axes, "Quality against diversity (numbers: temperature)", _AXES[x], _AXES[y].split(",")[0])


def _zoom(axes: Any, frontier: Rows, metrics: Mapping[str, Mapping[str, float]], plane: Plane) -> None:
    """Shows what is near the policies; the coldest temperatures would squeeze everything else into a corner."""
    found = [(m[plane.diversity], m[plane.quality]) for m in metrics.values() if plane.holds(m)]
    if not found:
        return
    low, high = min(x for x, _ in found), max(x for x, _ in found)
    margin = max(0.03, 0.6 * (high - low))
    near = [row for row in frontier if low - margin <= row[plane.diversity] <= high + margin]
    seen = found + [(row[plane.diversity], row[plane.quality]) for row in near]
    bottom, top = min(y for _, y in seen), max(y for _, y in seen)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(bottom - 0.08 * (top - bottom + 0.01), top + 0.08 * (top - bottom + 0.01))


def _discriminator(axes: Any, rounds: Rows) -> None:
    _line(axes, rounds, "discriminator/accuracy_real_heldout", "held-out real", "#55a868")
    _line(axes, rounds, "discriminator/accuracy_generated_heldout", "fresh generated", "#c44e52")
    _line(axes, rounds, "discriminator/log_ratio_correlation", "correlation with the true log-ratio", "#8172b3")
    axes.axhline(0.5, color="#cccccc", linewidth=1)
    _legend(axes)
    _decorate(axes, "Discriminator, on sequences it never saw", "round", "accuracy, correlation")


def _reward(axes: Any, rounds: Rows) -> None:
    _line(axes, rounds, "agent/reward", "mean reward per token", "#937860")
    _decorate(axes, "Reward (moves with the discriminator)", "round", "reward per token")


def _line(axes: Any, rounds: Rows, key: str, label: str, colour: str) -> None:
    rows = [row for row in rounds if key in row]
    if rows:
        axes.plot([row["round"] for row in rows], [row[key] for row in rows], label=label, color=colour)


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _decorate(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
