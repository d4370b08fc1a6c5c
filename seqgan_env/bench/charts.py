"""The pictures of a report, as Vega-Lite specifications.

Values appear on hovering. The page's legend sets the parameter `hidden`, the rows not to show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE
from seqgan_env.bench.leaderboard import KINDS, Run, Standings
from seqgan_env.bench.statistics import mean, performance_profile, sample_efficiency
from seqgan_env.metrics.catalogue import HEALTH, METRICS

Spec = dict[str, Any]
Values = list[dict[str, Any]]

BUDGETS = {"budget/env_steps": "environment steps", "seconds": "seconds since the run began"}

_HEALTH = [metric.name for metric in HEALTH]

VERSION = "6.4"  # of Vega-Lite

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
# Text follows the page, light or dark.
_INK, _GRID, _GREY = (
    "currentColor",
    "rgba(128, 128, 128, 0.25)",
    "#8c8c8c",
)
_HUES = (
    *(
        "#4c78a8",
        "#f58518",
        "#e45756",
        "#54a24b",
        "#b279a2",
        "#2ca5a5",
        "#c9a227",
        "#9d755d",
        "#ff7fa5",
        "#7a6ff0",
    ),
    *(
        "#6b8e23",
        "#00a0dc",
        "#c2410c",
        "#d6409f",
        "#1b9e77",
        "#8d99ae",
        "#a16207",
        "#5e548e",
        "#b5838d",
        "#84a59d",
    ),
)
_GREYS = {REFERENCE: "#b0b0b0", BEST_KNOB: "#606060"}
_MIDDLE_OUT = (
    "length(datum.label) > 26 ? slice(datum.label, 0, 10) + '…' + slice(datum.label, -15) : "
    "datum.label"
)
_DIVERGENCES = ("kl_forward", "kl_reverse")  # the axes x and y
_FAR = 6.0  # times the median size of a score, below zero, are left out of the picture of scores
# of the best knob's divergences: the picture near it reaches over runs that are no further off
_NEAR = 0.3
_HEIGHT = 300
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": _GRID},
    "axis": {
        "labelColor": _INK,
        "titleColor": _INK,
        "gridColor": _GRID,
        "domainColor": _GRID,
        "tickColor": _GRID,
    }
    | {"titleFontWeight": "normal", "titleFontSize": 12, "labelFontSize": 11, "labelOverlap": True},
}


def colours(standings: Standings) -> dict[str, str]:
    """The colour of every row in all pictures; maximum likelihood and its best knob are grey."""
    hues = cycle(_HUES)
    found = {}
    for label in standings.labels:
        # Grey rows use up no hue, so that the others keep theirs.
        found[label] = _GREYS.get(label) or next(hues)
    return found


def ranking(standings: Standings, kind: str) -> Spec | None:
    """The score of every row with its interval, the best on top; None where nobody has one.

    A row that is many times further away than most would squeeze the others into one point: its
    score is written at the edge.
    """
    values: Values = []
    for entry in standings.entries(kind):
        score = entry.score
        if score is not None:
            ends = _ends(score.low, score.high)
            values.append({"row": entry.label, "x": score.value} | ends)
    if not values:
        return None
    title = METRICS[KINDS[kind].score.name].chart
    # Without an order of its own, Vega-Lite would sort the rows by name.
    row = {
        "field": "row",
        "type": "nominal",
        "sort": [value["row"] for value in values],
        "title": None,
        "axis": {"labelExpr": _MIDDLE_OUT},
    }
    colour, hover = _colour(standings), {"row": "row", "x": title, "low": "low", "high": "high"}

    # The axis is for the rows that are near; of those far below only the number is shown.
    near, far = _without_outliers(values)
    domain = _domain(_reached(near), "x", 0.05)
    intervals = {"x": _axis("low", title, domain), "x2": {"field": "high"}, "y": row} | colour
    at_the_edge = {"x": {"value": 4}, "y": row, "text": {"field": "label"}} | colour

    # A rule at zero, the intervals, and the scores upon them.
    layers = [
        {
            "data": {"values": [{}]},
            "mark": {"type": "rule", "color": _GREY},
            "encoding": {"x": {"datum": 0}},
        },
        *_where_known(
            near, {"mark": {"type": "rule", "strokeWidth": 2, "clip": True}, "encoding": intervals}
        ),
        {
            "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "clip": True},
            "encoding": {"x": _axis("x", title, domain), "y": row} | colour | _tooltip(hover),
        },
    ]
    if far:
        labelled = []
        for value in far:
            labelled.append(value | {"label": f"◂ {value['x']:+.3f}"})
        layers.append(
            {
                "data": {"values": labelled},
                "mark": {"type": "text", "align": "left"},
                "encoding": at_the_edge,
            }
        )
    return _chart({"data": {"values": values}, "layer": layers, "height": 26 * len(values)})


def _reached(values: Values) -> Values:
    """What an axis of scores reaches over: zero, every score and both ends of its interval."""
    reached: Values = []
    for value in values:
        for end in (0.0, value["x"], value.get("low", 0.0), value.get("high", 0.0)):
            reached.append({"x": end})
    return reached


def _without_outliers(values: Values) -> tuple[Values, Values]:
    """The rows whose scores are near the others', and the rows that lie far below."""
    scores = np.array([value["x"] for value in values])
    lowest = -_FAR * float(np.median(np.abs(scores)))
    if lowest == 0:  # half of the scores are zero, and say nothing of what is far
        return values, []
    near, far = [], []
    for value in values:
        if value["x"] >= lowest:
            near.append(value)
        else:
            far.append(value)
    return near, far


def divergences(standings: Standings, task: str) -> Spec:
    """KL(G‖O) against KL(O‖G): knobs, runs and the line on which their mean is the best knob's."""
    knobs, points = _knobs(standings, task, *_DIVERGENCES), _points(standings, task, *_DIVERGENCES)
    both = sum(_of_best_knob(points))
    # On the line x + y is the best knob's, and so is the mean of the two.
    titles = METRICS[_DIVERGENCES[0]].chart, METRICS[_DIVERGENCES[1]].chart
    line = _level_line((0, both), (both, 0))
    return _knobs_and_points(standings, knobs, points, knobs + points, titles, line)


def divergences_near(standings: Standings, task: str) -> Spec:
    """The divergences near the best knob of each seed.

    The best knob of the seed is subtracted from runs and knobs, so that a score of 0 lies on the
    line.
    """
    x, y = _of_best_knob(_points(standings, task, *_DIVERGENCES))
    points = _points(standings, task, *_DIVERGENCES, less_best=True)
    near = [point for point in points if point["x"] < _NEAR * x and point["y"] < _NEAR * y]
    knobs = _knobs(standings, task, *_DIVERGENCES, less_best=True)
    titles = _less_best(_DIVERGENCES[0]), _less_best(_DIVERGENCES[1])
    line = _level_line((-x - y, x + y), (x + y, -x - y))
    return _knobs_and_points(standings, knobs, points, near, titles, line)


def _less_best(name: str) -> str:
    """The title of an axis for a metric minus the best knob's, without which way is good."""
    title = METRICS[name].chart.partition(" (")[0]
    return f"{title}, less the best knob's"


def _of_best_knob(points: Values) -> tuple[float, float]:
    """The mean x and y of the best knob over seeds."""
    xs, ys = [], []
    for point in points:
        if point["row"] == BEST_KNOB:
            xs.append(point["x"])
            ys.append(point["y"])
    return float(np.mean(xs)), float(np.mean(ys))


def _level_line(*ends: tuple[float, float]) -> Spec:
    """A dotted line between two points."""
    values = []
    for x, y in ends:
        values.append({"x": _short(x), "y": _short(y)})
    return {
        "data": {"values": values},
        "mark": {"type": "line", "color": _GREY, "strokeDash": [2, 4], "clip": True},
    }


def quality(standings: Standings, task: str) -> Spec:
    """Quality against diversity as usually reported: the knobs, and every run as a point."""
    kind = KINDS[standings.kind_of[task]]
    names = (kind.diversity, kind.quality)
    points = _points(standings, task, *names)
    titles = METRICS[names[0]].chart, METRICS[names[1]].chart
    return _knobs_and_points(standings, _knobs(standings, task, *names), points, points, titles)


def _knobs_and_points(
    standings: Standings,
    knobs: Values,
    points: Values,
    shown: Values,
    titles: tuple[str, str],
    line: Spec | None = None,
) -> Spec:
    """A picture of the knobs in grey and the runs as coloured points.

    Args:
        standings: what is compared, for the colours.
        knobs: points of the knobs.
        points: points of the runs.
        shown: the points that the axes reach over; others may be clipped.
        titles: of the axes x and y.
        line: a layer that lies under everything.
    """
    x, y = titles
    axes = {"x": _axis("x", x, _domain(shown, "x")), "y": _axis("y", y, _domain(shown, "y"))}
    hover = {"x": x, "y": y}
    layers = [
        *_layers_of_knobs(knobs, axes, hover),
        {
            "data": {"values": points},
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.85, "clip": True},
            "encoding": axes
            | _colour(standings)
            | _tooltip({"row": "row", "seed": "seed", "knob": "knob"} | hover),
        },
    ]
    if line:
        layers.insert(0, line | {"encoding": axes})
    return _chart({"layer": layers})


def _layers_of_knobs(knobs: Values, axes: Spec, hover: dict[str, str]) -> list[Spec]:
    """The line of temperatures, a point for every knob, and the names of the temperatures."""
    # Only temperatures have an order, and so a line; the names of all knobs would overlap.
    temperatures = [knob for knob in knobs if "temperature" in knob]
    return [
        {
            "data": {"values": temperatures},
            "mark": {"type": "line", "color": _GREY, "clip": True},
            "encoding": axes | {"order": {"field": "temperature"}},
        },
        {
            "data": {"values": knobs},
            "mark": {
                "type": "point",
                "color": _GREY,
                "filled": True,
                "size": 18,
                "opacity": 0.7,
                "clip": True,
            },
            "encoding": axes | _tooltip({"knob": "knob"} | hover),
        },
        {
            "data": {"values": temperatures},
            "mark": {
                "type": "text",
                "color": _INK,
                "fontSize": 10,
                "dx": 6,
                "dy": -6,
                "align": "left",
                "clip": True,
            },
            "encoding": axes | {"text": {"field": "knob"}},
        },
    ]


def curves(standings: Standings, task: str, metric: str, budget: str) -> Spec | None:
    """The mean of a metric over a run, by what the run had cost by then. None where nobody has it.

    Maximum likelihood without a knob, and its best knob, are level lines.

    Args:
        standings: what is compared.
        task: name of the task.
        metric: name of a score, of a quality, or of a measure of the discriminator's health.
        budget: one of `BUDGETS`.
    """
    values: Values = []
    for (label, of), runs in standings.runs.items():
        if of == task:
            values += _curve(standings, label, runs, metric, budget)
    if not values:
        return None
    title = METRICS[metric].chart
    layers = [
        *_band_and_line(standings, values, BUDGETS[budget], title),
        *_level(standings, task, metric),
    ]
    return _chart({"data": {"values": values}, "layer": layers})


def profile(standings: Standings, kind: str) -> Spec | None:
    """The share of runs above every score, by row; None where no row has a score on every task."""
    scores = {}
    for entry in standings.entries(kind):
        if entry.scores is not None:
            scores[entry.label] = entry.scores
    if not scores:
        return None
    everything = np.concatenate(list(map(np.ravel, scores.values())))
    thresholds = np.linspace(everything.min(), everything.max(), 60)
    values: Values = []
    for label, array in scores.items():
        shares = performance_profile(array, thresholds)
        for threshold, share in zip(thresholds.tolist(), shares, strict=True):
            point = {"x": _short(threshold), "y": share.value, "row": label}
            values.append(point | _ends(share.low, share.high))
    layers = _band_and_line(
        standings,
        values,
        METRICS[KINDS[kind].score.name].chart,
        "share of runs above it",
        step=True,
    )
    return _chart({"data": {"values": values}, "layer": layers})


def _knobs(standings: Standings, task: str, x: str, y: str, less_best: bool = False) -> Values:
    """The knobs of maximum likelihood, the mean over seeds."""
    found: Values = []
    shown = standings.knobs(task, less_best)
    # A temperature places its knob on the line, and nothing is to be subtracted from it.
    for name, row in standings.knobs(task).items():
        if {x, y} <= set(shown[name]):
            point = {"knob": name, "x": _short(shown[name][x]), "y": _short(shown[name][y])}
            if "temperature" in row:
                point["temperature"] = row["temperature"]
            found.append(point)
    return found


def _points(standings: Standings, task: str, x: str, y: str, less_best: bool = False) -> Values:
    """Every run that has both metrics; the best knob's runs have its name."""
    on_task: list[Run] = []
    for (_, of), runs in standings.runs.items():
        if of == task:
            on_task += runs
    found: Values = []
    for run in on_task:
        seed, metrics = run.result.seed, run.metrics
        if less_best:
            metrics = standings.less_best_knob(task, seed, metrics)
        if {x, y} <= set(metrics):
            knob = run.result.settings.get("knob", "")
            point = {"x": metrics[x], "y": metrics[y]}
            found.append(point | {"row": run.result.label, "seed": seed, "knob": knob})
    return found


def _curve(
    standings: Standings, label: str, runs: Sequence[Run], metric: str, budget: str
) -> Values:
    """The points of one row: means over the runs that have a curve.

    There is a point where all of these runs have been measured.
    """
    name = metric
    if metric not in _HEALTH:
        name = f"task/{metric}"
    # Rounds are aligned by their number; their budgets may differ between the seeds.
    by_round: dict[float, list[tuple[float, float]]] = {}
    for run in runs:
        for row in run.result.curve:
            measured = row | standings.scores(run.result, row, "task/")
            if name in measured and budget in measured:
                at = row.get("round", row[budget])
                by_round.setdefault(at, []).append((measured[budget], measured[name]))

    # A mean over fewer runs would jump where a run ends before the others.
    most = max(map(len, by_round.values()), default=0)
    whole = []
    for at in sorted(by_round):
        if len(by_round[at]) == most:
            whole.append(np.array(by_round[at]))  # (seeds, 2)
    if not whole:
        return []
    measured_at = np.stack(whole, axis=-1)  # (seeds, 2, rounds): budget and metric
    estimates = sample_efficiency(measured_at[:, 1:], mean)
    values: Values = []
    for spent, found in zip(measured_at[:, 0].mean(0), estimates, strict=True):
        point = {"x": _short(spent), "y": _short(found.value), "row": label}
        values.append(point | _ends(found.low, found.high))
    return values


def _level(standings: Standings, task: str, metric: str) -> list[Spec]:
    """Level lines for what has no curve, at the final values.

    These are maximum likelihood without a knob and its best knob.
    """
    data = []
    for label in (REFERENCE, BEST_KNOB):
        runs = standings.runs[label, task]
        found = [run.metrics[metric] for run in runs if metric in run.metrics]
        if found:
            data.append({"row": label, "y": _short(float(np.mean(found)))})
    if not data:
        return []
    encoding = (
        {"y": _axis("y", METRICS[metric].chart)}
        | _colour(standings)
        | _tooltip({"row": "row", "y": METRICS[metric].chart})
    )
    return [
        {
            "data": {"values": data},
            "mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1.5},
            "encoding": encoding,
        }
    ]


def _band_and_line(
    standings: Standings, values: Values, x: str, y: str, step: bool = False
) -> list[Spec]:
    """Layers of the intervals as areas and of the means as lines.

    Lines go from point to point, or in steps without points.
    """
    across, colour = {"x": _axis("x", x)}, _colour(standings)
    hover = {"row": "row", "x": x, "y": y, "low": "low", "high": "high"}
    shape, opacity = {"interpolate": "linear"}, 0.15
    if step:
        shape, opacity = {"interpolate": "step-after"}, 0.08
    band = {
        "mark": {"type": "area", "opacity": opacity, "tooltip": None} | shape,
        "encoding": across | {"y": _axis("low", y), "y2": {"field": "high"}} | colour,
    }
    line = {
        "mark": {"type": "line", "point": not step} | shape,
        "encoding": across | {"y": _axis("y", y)} | colour | _tooltip(hover),
    }
    return [*_where_known(values, band), line]


def _where_known(values: Values, layer: Spec) -> list[Spec]:
    """The layer of intervals, if there are any: over one seed there are none."""
    for value in values:
        if "low" in value:
            return [layer]
    return []


def _axis(field: str, title: str, domain: list[float] | None = None) -> Spec:
    """The encoding of a field along an axis, which need not show zero."""
    scale: Spec = {"zero": False}
    if domain:
        scale |= {"domain": domain, "nice": False}
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": scale,
        "axis": {"tickCount": 6},
    }


def _domain(points: Iterable[dict[str, Any]], name: str, margin: float = 0.2) -> list[float] | None:
    """The ends of the values with a margin, a share of their distance; None without any."""
    values = [point[name] for point in points]
    if not values:
        return None
    wider = margin * (max(values) - min(values)) or 0.05  # one value alone has no extent
    return [_short(min(values) - wider), _short(max(values) + wider)]


def _tooltip(titles: dict[str, str]) -> Spec:
    """What hovering shows: fields of a point and their titles."""
    fields = []
    for name, title in titles.items():
        field = {"field": name, "title": title}
        if name not in ("row", "seed", "knob"):  # a number
            field |= {"type": "quantitative", "format": ".4~g"}
        fields.append(field)
    return {"tooltip": fields}


def _colour(standings: Standings) -> Spec:
    """The encoding of rows by colour; the page has a legend of its own."""
    found = colours(standings)
    scale = {"domain": list(found), "range": list(found.values())}
    return {"color": {"field": "row", "type": "nominal", "scale": scale, "legend": None}}


def _ends(low: float, high: float) -> dict[str, float]:
    """The ends of an interval, where there is one."""
    if not math.isfinite(low):
        return {}
    return {"low": _short(low), "high": _short(high)}


def _short(value: float) -> float:
    """The value rounded to six digits: more than a picture shows, and the page stays small."""
    return float(f"{value:.6g}")


def _chart(content: Spec) -> Spec:
    """A chart whose rows the page's legend can switch off.

    The filter is put on the data of the chart and on the data of its layers.
    """
    shown = {"transform": [{"filter": "indexof(hidden, datum.row) < 0"}]}
    layers = []
    for layer in content["layer"]:
        if "data" in layer:
            layer = layer | shown
        layers.append(layer)
    size = {
        "width": "container",
        "height": _HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
    }
    hidden: Spec = {"params": [{"name": "hidden", "value": []}]}
    if "data" in content:
        hidden |= shown
    return {"$schema": _SCHEMA} | size | content | hidden | {"layer": layers}
