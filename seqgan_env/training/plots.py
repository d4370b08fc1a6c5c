"""The picture of a run: learning curves with the rivals beside them, and the planes in which knobs
trade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqgan_env.extras import load
from seqgan_env.metrics.catalogue import FAMILIES, METRICS, Plane
from seqgan_env.training.run_directory import write_atomically

Row = Mapping[str, float]
Rows = Sequence[Row]
Named = Mapping[str, Row]  # metrics by policy or by knob

_COLOURS = {"mle": "#4c72b0", "best_knob": "#8c8c8c", "agent": "#c44e52", "constant": "#dd8452"}
# Those drawn first are larger and open, so that all are seen where policies hardly differ.
_FINAL = {
    "mle": {"marker": "o", "markersize": 13, "fillstyle": "none"},
    "best_knob": {"marker": "s", "markersize": 8, "fillstyle": "none"},
    "constant": {"marker": "D", "markersize": 9, "fillstyle": "none"},
    "agent": {"marker": "*", "markersize": 7},
}
_FEW = 30  # points of a curve that are marked
_LABELS = {
    "mle": "MLE (best validation)",
    "best_knob": "best knob of MLE",
    "agent": "agent",
    "constant": "constant reward",
}


def plot_curves(history: Rows, knobs: Named, metrics: Named, path: Path) -> None:
    """Writes the run as a PNG: pre-training, metrics by round, the planes, the referee,
    discriminator and reward.

    Args:
        history: rows of MLE epochs (`phase` 0) and rounds (`phase` 1).
        knobs: by name what the knobs of the pre-trained policy reach.
        metrics: final metrics by policy.
        path: of the PNG.
    """
    figure = figure_of(history, knobs, metrics)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def figure_of(history: Rows, knobs: Named, metrics: Named) -> Any:
    """The figure that `plot_curves` writes; a panel that would be empty is left out."""
    figures = load("matplotlib.figure", "the picture of a run")
    anyone = next(iter(metrics.values()), {})
    # What there is to draw depends on the task: the metrics of any policy tell.
    by_round: tuple[str, ...] = ()
    planes: list[Plane] = []
    for family in FAMILIES:
        if not by_round and family.by_round[0] in anyone:
            by_round = family.by_round
        for plane in family.planes:
            if plane.holds(anyone):
                planes.append(plane)
    judged: dict[str, Row] = {}
    for who, row in metrics.items():
        if "referee_js" in row:
            judged[who] = row

    epochs, rounds = [], []
    for row in history:
        if row["phase"]:
            rounds.append(row)
        else:
            epochs.append(row)
    told = any(key.startswith("discriminator/") for row in rounds for key in row)
    paid = bool(_having(rounds, "agent/reward"))
    fitted = bool(_having(epochs, "mle_loss") or _having(epochs, "nll_validation"))

    # Two rows of panels, those for which this run has numbers.
    num_panels = fitted + len(by_round) + len(planes) + bool(judged) + told + paid
    columns = max(1, -(-num_panels // 2))
    figure = figures.Figure(figsize=(4.7 * columns, 9.0), layout="constrained")
    panels = iter(figure.subplots(2, columns, squeeze=False).ravel())
    if fitted:
        _pretraining(next(panels), epochs)
    for name in by_round:
        _by_round(next(panels), rounds, name, metrics)
    for plane in planes:
        _plane(next(panels), rounds, knobs, metrics, plane)
    if judged:
        _referee(next(panels), judged)
    if told:
        _discriminator(next(panels), rounds)
    if paid:
        _reward(next(panels), rounds)
    for unused in panels:
        unused.set_axis_off()
    return figure


def _pretraining(axes: Any, epochs: Rows) -> None:
    """The loss of maximum likelihood on training and on validation data, of agents that tell it."""
    curves = {
        "mle_loss": ("training", "#8c8c8c"),
        "nll_validation": ("validation", _COLOURS["mle"]),
    }
    for name, (label, colour) in curves.items():
        rows = _having(epochs, name)
        if rows:
            x, y = _column(rows, "epoch"), _column(rows, name)
            _curve(axes, x, y, label=label, color=colour)
    _legend(axes)
    _decorate(axes, "Pre-training by maximum likelihood", "epoch", "-log p (nats per token)")


def _by_round(axes: Any, rounds: Rows, name: str, metrics: Named) -> None:
    """A metric of the agent by round, and what it is to be compared with as level lines."""
    _line(axes, rounds, f"task/{name}", _LABELS["agent"], _COLOURS["agent"])
    level: list[str] = ["mle", "best_knob", "constant"]
    if not rounds:  # an agent that is not trained further is a level line, too
        level = list(_COLOURS)
        axes.set_xticks([])
    for who in level:
        value = metrics.get(who, {}).get(name, math.nan)
        if math.isfinite(value):
            style = {"color": _COLOURS[who], "linestyle": "--", "linewidth": 1.2}
            axes.axhline(value, label=_LABELS[who], **style)
    _legend(axes)
    _decorate(axes, f"{METRICS[name].label} by round", "round", METRICS[name].axis)


def _plane(axes: Any, rounds: Rows, knobs: Named, metrics: Named, plane: Plane) -> None:
    """Knobs as points, temperatures as a curve, the agent's way and where everybody ended."""
    x, y = plane.x, plane.y
    # Temperatures are a curve; every other knob is a point.
    others, temperatures, places = [], [], []
    for row in knobs.values():
        if not plane.holds(row):
            continue
        places.append((row[x], row[y]))
        if "temperature" in row:
            temperatures.append(row)
        else:
            others.append(row)
    grey, blue = "#bbbbbb", _COLOURS["mle"]
    if others:
        axes.plot(_column(others, x), _column(others, y), ".", color=grey, label="other knobs")
    temperatures.sort(key=lambda row: row["temperature"])
    curve = _column(temperatures, x), _column(temperatures, y)
    if temperatures:
        axes.plot(*curve, ".-", color=blue, label="temperatures")
    for row in temperatures:
        at = (row[x], row[y])
        axes.annotate(
            f"{row['temperature']:g}",
            at,
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=7,
            color=blue,
            clip_on=True,
        )

    # The way of the agent, round by round, and above it where everybody ended.
    path = _having(rounds, f"task/{x}")
    if path:
        line = {"color": _COLOURS["agent"], "linewidth": 0.8, "label": "agent by round"}
        axes.plot(_column(path, f"task/{x}"), _column(path, f"task/{y}"), ".-", **line)
    for who, style in _FINAL.items():
        values = metrics.get(who, {})
        if plane.holds(values):
            named = {"color": _COLOURS[who], "label": _LABELS[who], "linestyle": "none"}
            axes.plot(values[x], values[y], **style, **named)
    _zoom(axes, places, metrics, plane)
    _legend(axes)
    _decorate(axes, plane.title, METRICS[x].axis, METRICS[y].axis)


def _zoom(axes: Any, knobs: Sequence[tuple[float, float]], metrics: Named, plane: Plane) -> None:
    """Shows what is near the policies; the coldest knobs would squeeze everything else into a
    corner.
    """
    xs, ys = [], []
    for row in metrics.values():
        if plane.holds(row):
            xs.append(row[plane.x])
            ys.append(row[plane.y])
    if not xs:
        return
    # Sideways: the policies, and somewhat more than half of their distance on either side.
    margin = max(0.03, 0.6 * (max(xs) - min(xs)))
    low, high = min(xs) - margin, max(xs) + margin
    # Upwards: the policies and the knobs that are seen between these limits.
    for x, y in knobs:
        if low <= x <= high:
            ys.append(y)
    edge = 0.08 * (max(ys) - min(ys) + 0.01)
    axes.set_xlim(low, high)
    axes.set_ylim(min(ys) - edge, max(ys) + edge)


def _referee(axes: Any, judged: Named) -> None:
    """The referee's bound for every policy with its standard error."""
    places, labels = [], []
    for place, (who, row) in enumerate(judged.items()):
        places.append(-place)  # the first one on top
        labels.append(_LABELS[who])
        error = row.get("referee_js_error", 0.0)
        axes.errorbar(
            row["referee_js"], -place, xerr=error, fmt="o", color=_COLOURS[who], capsize=3
        )
    axes.set_yticks(places, labels)
    axes.margins(y=0.3)
    _decorate(
        axes, "Referee: how far from real data (lower is better)", METRICS["referee_js"].axis, ""
    )


def _discriminator(axes: Any, rounds: Rows) -> None:
    """What the discriminator knows of sequences that it was not trained on."""
    _line(axes, rounds, "discriminator/accuracy_real_heldout", "held-out real", "#55a868")
    _line(axes, rounds, "discriminator/accuracy_generated_heldout", "fresh generated", "#c44e52")
    _line(
        axes,
        rounds,
        "discriminator/log_ratio_correlation",
        "correlation with the true log-ratio",
        "#8172b3",
    )
    axes.axhline(0.5, color="#cccccc", linewidth=1)  # who guesses is right half of the time
    _legend(axes)
    _decorate(axes, "Discriminator, on sequences it never saw", "round", "accuracy, correlation")


def _reward(axes: Any, rounds: Rows) -> None:
    """What the agent was paid."""
    _line(axes, rounds, "agent/reward", "mean reward per token", "#937860")
    _decorate(axes, "Reward (moves with the discriminator)", "round", "reward per token")


def _line(axes: Any, rounds: Rows, key: str, label: str, colour: str) -> None:
    """A number by round, of those rounds that have it."""
    rows = _having(rounds, key)
    if rows:
        _curve(axes, _column(rows, "round"), _column(rows, key), label=label, color=colour)


def _curve(axes: Any, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    """A line; where it has few points, these are marked, and the axis counts in whole numbers."""
    marker = ""
    if len(x) <= _FEW:
        marker = "."
    axes.plot(x, y, marker=marker, **style)
    if len(x) <= _FEW:
        axes.xaxis.get_major_locator().set_params(integer=True)


def _having(rows: Rows, name: str) -> list[Row]:
    """The rows that have a number of this name."""
    return [row for row in rows if name in row]


def _column(rows: Rows, name: str) -> list[float]:
    """The numbers of this name, row by row."""
    return [row[name] for row in rows]


def _legend(axes: Any) -> None:
    """A legend below the panel, if there is something to name: inside it would hide points."""
    names = axes.get_legend_handles_labels()[1]
    if names:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
        axes.legend(**below, ncols=min(len(names), 2), fontsize=8, frameon=False)


def _decorate(axes: Any, title: str, x: str, y: str) -> None:
    """Title, axes and grid of a panel."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
