"""What a sweep leaves: a table, a CSV of all trials, and a suite with the settings chosen."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from seqgan_env.bench.jobs import Suite
from seqgan_env.metrics.catalogue import METRICS
from seqgan_env.metrics.validation import VALIDATION
from seqgan_env.sweep.plan import Plan
from seqgan_env.sweep.study import COMPLETE, Searched, Trial
from seqgan_env.training.run_directory import write_csv, write_text

PAGE, TRIALS, BEST = "sweep.md", "sweep.csv", "best.toml"

_MOST_SHOWN = 10  # trials of a row on the terminal


def write_results(plan: Plan, searched: Sequence[Searched], folder: Path) -> None:
    """Writes the page, the CSV and the suite of a sweep, finished or not."""
    rows: list[dict[str, Any]] = []
    for each in searched:
        rows += [_csv_row(each, trial) for trial in each.trials]
    write_csv(folder / TRIALS, rows)
    write_text(folder / PAGE, page(plan, searched))
    write_text(folder / BEST, best_suite(plan, searched))


def table(searched: Searched) -> Table:
    """The best trials of a row for the terminal, the row as it stands among them."""
    metric = METRICS[VALIDATION + searched.metric].label if searched.metric else ""
    shown = Table(title=f"{searched.row}: settings by {metric or 'validation'}")
    labels = _labels(searched.trials)
    for name in ("trial", "divergence", "rounds", "outcome", *labels.values()):
        shown.add_column(name, justify="right")
    lines = _lines(searched, list(labels))
    for line in lines[:_MOST_SHOWN]:
        shown.add_row(*line, style="bold" if line is lines[0] else "")
    if len(lines) > _MOST_SHOWN:
        shown.caption = f"and {len(lines) - _MOST_SHOWN} more in {PAGE}"
    return shown


def page(plan: Plan, searched: Sequence[Searched]) -> str:
    """The result of a sweep in Markdown."""
    seeds = plan.seeds
    parts = [
        f"# Sweep of {plan.suite.title}",
        f"Settings were chosen on seeds {seeds.start}..{seeds.stop - 1} by the divergence on "
        f"validation data after the last round, the mean over tasks and seeds. The lowest of many "
        f"is too low: what the chosen settings reach, `seqgan bench {BEST}` says, on seeds from "
        f"{seeds.stop} and on held-out data.",
    ]
    for each in searched:
        labels = _labels(each.trials)
        head = ["trial", "divergence", "rounds", "outcome", *labels.values()]
        parts.append(f"## {each.row}")
        lines = [head, ["---"] * len(head), *_lines(each, list(labels))]
        parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
        if each.metric:
            parts.append(f"The divergence is {METRICS[VALIDATION + each.metric].label}.")
    return "\n\n".join(parts) + "\n"


def best_suite(plan: Plan, searched: Sequence[Searched]) -> str:
    """The suite with the best settings of every row, as TOML that `seqgan bench` runs."""
    values = {}
    notes = []
    for each in searched:
        if each.best is None:
            notes.append(f"# {each.row}: as it stands; no trial was better")
        else:
            values[each.row] = each.best.values
            was, found = _number(each.as_it_stands), _number(each.best.last)
            notes.append(f"# {each.row}: trial {each.best.number}, {found} (as it stood: {was})")
    seeds = plan.seeds
    head = [
        f"# Made by `seqgan sweep`: settings chosen on seeds {seeds.start}..{seeds.stop - 1} by "
        "validation data.",
        "# The seeds from first_seed on chose nothing.",
        *notes,
    ]
    return "\n".join(head) + "\n" + suite_text(plan.best(values))


def suite_text(suite: Suite) -> str:
    """A suite as TOML."""
    lines = [
        f"title = {_toml(suite.title)}",
        f"seeds = {_toml(suite.seeds)}",
        f"first_seed = {_toml(suite.first_seed)}",
        f"fresh_oracles = {_toml(suite.fresh_oracles)}",
    ]
    # Tables in one line stand for those within these.
    tables = {"settings": suite.settings}
    for kind, entries in (("tasks", suite.tasks), ("rows", suite.rows)):
        for name, of_entry in entries.items():
            tables[f"{kind}.{_key(name)}"] = of_entry
    if suite.sweep is not None:
        tables["sweep"] = suite.sweep
    for header, settings in tables.items():
        lines += ["", f"[{header}]"]
        for key, value in settings.items():
            lines.append(f"{_key(key)} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    """A name in TOML, bare where it may be."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return _toml(name)


def _toml(value: Any) -> str:
    """A value of a suite in TOML, tables in one line."""
    if isinstance(value, str):
        # JSON's escapes are TOML's; TOML asks for one more.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    raise ValueError(f"{value!r} cannot stand in a suite")


def _lines(searched: Searched, paths: list[tuple[str, ...]]) -> list[list[str]]:
    """The lines of a row's table: complete trials and the row as it stands, the best first, then
    the others.
    """
    as_it_stands = ["as it stands", _number(searched.as_it_stands), "", "", *[""] * len(paths)]
    complete = [(searched.as_it_stands, as_it_stands)]
    others: list[list[str]] = []
    for trial in searched.trials:
        line = [str(trial.number), _number(trial.last), str(max(trial.by_round, default=0))]
        line.append(trial.outcome)
        for path in paths:
            line.append(_number(trial.values.get(path)))
        if trial.outcome == COMPLETE:
            complete.append((trial.last, line))
        else:
            others.append(line)
    # Of equals the first one stays first, as `Searched.best` has it.
    complete.sort(key=lambda each: each[0])
    return [line for _, line in complete] + others


def _labels(trials: Sequence[Trial]) -> dict[tuple[str, ...], str]:
    """The settings of some trials with what they are called: by their last name where it is theirs
    alone.
    """
    paths: dict[tuple[str, ...], None] = {}  # in the order in which they are drawn
    for trial in trials:
        paths |= dict.fromkeys(trial.values)
    last = [path[-1] for path in paths]
    labels = {}
    for path in paths:
        is_unique = last.count(path[-1]) == 1
        labels[path] = path[-1] if is_unique else ".".join(path)
    return labels


def _csv_row(searched: Searched, trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = {
        "row": searched.row,
        "trial": trial.number,
        "outcome": trial.outcome,
        "metric": searched.metric,
        "divergence": trial.last,
    }
    for path, value in trial.values.items():
        row[".".join(path)] = value
    for number, value in trial.by_round.items():
        row[f"round {number}"] = value
    return row


def _number(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
