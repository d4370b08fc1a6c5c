"""Writes the report of a benchmark: a page, and the same tables as Markdown and as CSV files."""

from __future__ import annotations

import base64
import functools
import json
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgan_env.bench import charts
from seqgan_env.bench.leaderboard import KINDS, ORACLE, Standings
from seqgan_env.bench.results import Result, read_all
from seqgan_env.bench.story import story
from seqgan_env.bench.tables import Table, all_tables, plain_markdown, runs_rows
from seqgan_env.extras import load
from seqgan_env.files import naming
from seqgan_env.metrics.catalogue import HEALTH, METRICS
from seqgan_env.training import run_directory
from seqgan_env.types import Estimate

PAGE, TABLES, CSV_FOLDER, RUNS = "report.html", "report.md", "tables", "runs.csv"
NUM_SAMPLES = 5  # shown of a row


@dataclass(frozen=True)
class Figure:
    """A picture with its heading and its caption; `spec` is for Vega-Lite."""

    heading: str
    caption: str
    spec: charts.Spec


def write_report(
    folders: Sequence[Path],
    out: Path,
    title: str,
    command: Sequence[str],
    tell: Callable[[Standings], None] = lambda standings: None,
) -> Standings:
    """Reads the results of benchmarks and writes their report.

    The files are `report.html`, `report.md`, `runs.csv` and `tables/*.csv`.

    Args:
        folders: folders of benchmarks.
        out: folder of the report; it is made if need be.
        title: title of the page.
        command: command that repeats the benchmark; empty where none is known.
        tell: called with the standings as soon as the tables are written. The page comes after
            it, and needs an extra.

    Raises:
        ValueError: there are no results, one is damaged, they cannot be compared, `out` cannot be
            written, or the libraries of the page are missing.
    """
    results = read_all(folders)
    with naming(", ".join(map(str, folders))):
        standings = Standings(results)
        boards, others = all_tables(standings)
    with _written_to(out):
        (out / CSV_FOLDER).mkdir(parents=True, exist_ok=True)
        run_directory.write_text(
            out / TABLES, markdown(standings, [*boards, *others], title, command)
        )
        for table in (*boards, *others):
            run_directory.write_csv(out / CSV_FOLDER / f"{table.name}.csv", table.csv_rows())
        run_directory.write_csv(out / RUNS, runs_rows(standings))
    tell(standings)

    # The page is last: it alone needs an extra, and the tables are there without.
    text = page(standings, boards, others, title, command)
    with _written_to(out):
        run_directory.write_text(out / PAGE, text)
    return standings


@contextmanager
def _written_to(out: Path) -> Iterator[None]:
    """Turns a failure to write into an error that names the folder."""
    try:
        yield
    except OSError as problem:
        raise ValueError(
            f"the report cannot be written to {out}: {problem.strerror or problem}"
        ) from problem


def markdown(
    standings: Standings, tables: Sequence[Table], title: str, command: Sequence[str]
) -> str:
    """The story, the tables and where they come from, as one Markdown text."""
    parts = [f"# {plain_markdown(title)}", *map(plain_markdown, story(standings))]
    for table in tables:
        heading, note = plain_markdown(table.title), plain_markdown(table.note)
        parts.append(f"## {heading}\n\n{note}\n\n{table.markdown()}")

    lines = []
    for name, value in origins_of(standings.results).items():
        lines.append(plain_markdown(f"- {name}: {value}"))
    origins = "\n".join(lines)
    repeat = ""
    if command:
        # The command is shown in one line even where an argument has a line break.
        in_a_line = " ".join(shlex.join(command).split())
        repeat = f"```console\n$ {in_a_line}\n```\n\n"
    parts.append(f"## Origin\n\n{repeat}{origins}")
    return "\n\n".join(map(str.strip, parts)) + "\n"


def page(
    standings: Standings,
    boards: Sequence[Table],
    others: Sequence[Table],
    title: str,
    command: Sequence[str],
) -> str:
    """The page as HTML, with everything that it needs: it makes no request."""
    jinja2, bundle = _page_libraries()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seqgan_env.bench", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    groups = figures_of(standings)
    specs = []  # in the order of the page, which finds each by its number
    for _, figures in groups:
        specs += [figure.spec for figure in figures]
    content = json.dumps({"specs": specs, "config": charts.CONFIG})
    html: str = environment.get_template("report.html.j2").render(
        title=title,
        story=story(standings),
        command=shlex.join(command),
        boards=boards,
        tables=others,
        cells=cells_of,
        colours=charts.colours(standings),
        groups=groups,
        content=content.replace("<", "\\u003c"),  # so that no label ends the script element
        samples=samples_of(standings),
        drawings=drawings_of(standings),
        origins=origins_of(standings.results),
        bundle=bundle,
    )
    return html


def cells_of(table: Table) -> list[tuple[str, list[tuple[str, float | str]]]]:
    """The rows of a table as the page needs them.

    Of each row there are the mark and the cells, and of each cell the text and what to sort by.
    """

    def sort_by(cell: Any, text: str) -> float | str:
        # A number sorts by its value and not by its text; what is unknown goes together.
        value = cell
        if isinstance(cell, Estimate):
            value = cell.value
        if isinstance(value, str):
            return text
        if isinstance(value, (int, float)) and not math.isnan(value):
            return value
        return ""

    rows = []
    for mark, row, texts in zip(table.marks, table.rows, table.texts(), strict=True):
        keys = map(sort_by, row, texts)
        rows.append((mark, list(zip(texts, keys, strict=True))))
    return rows


def figures_of(standings: Standings) -> list[tuple[str, list[Figure]]]:
    """The pictures by heading: those over all tasks of a kind, then those of every task.

    A kind without pictures is left out.
    """
    groups = []
    for kind in standings.kinds:
        figures = _figures_of_kind(standings, kind)
        if figures:
            groups.append((kind[0].upper() + kind[1:], figures))
    for task in standings.tasks:
        groups.append((task, [*_planes(standings, task), *_curves(standings, task)]))
    return groups


def samples_of(standings: Standings) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """The samples of every row by task: those of the first seed that has some."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for (label, task), runs in standings.runs.items():
        for run in runs:
            if run.result.samples:
                shown = run.result.samples[:NUM_SAMPLES]
                found.setdefault(task, []).append((label, shown))
                break
    return sorted(found.items())


def drawings_of(standings: Standings) -> dict[tuple[str, str], str]:
    """The drawing of the first seed that has one, as a `data:` address, by (task, row)."""
    found = {}
    for (label, task), runs in standings.runs.items():
        for run in runs:
            if run.result.drawing:
                # As the address of an image, no script in a drawing from elsewhere would run.
                data = base64.b64encode(run.result.drawing.encode()).decode()
                found[task, label] = f"data:image/svg+xml;base64,{data}"
                break
    return found


def origins_of(results: Sequence[Result]) -> dict[str, str]:
    """What made the results, such as versions and machines: all values that occur, by name."""
    found: dict[str, set[str]] = {}
    for result in results:
        for name, value in result.origin.items():
            values = found.setdefault(name, set())
            if value is not None:
                values.add(str(value))
    origins = {}
    for name, values in found.items():
        if values:
            origins[name] = ", ".join(sorted(values))
    return origins


def _figures_of_kind(standings: Standings, kind: str) -> list[Figure]:
    """The pictures over all tasks of a kind; those for which there are no scores are left out."""
    found = (
        ("Scores", (
            "The mean over runs with the interval at the level of its test; at 0 turning a knob "
            "does as well. What is far below is written at the edge."
        ),
         charts.ranking(standings, kind)),
        ("Performance profile", (
            "The share of runs whose score is above a threshold, with 95 % intervals; right is "
            "better."
        ),
         charts.profile(standings, kind)),
    )  # fmt: skip
    figures = []
    for heading, caption, spec in found:
        if spec is not None:
            figures.append(Figure(heading, caption, spec))
    return figures


def _planes(standings: Standings, task: str) -> list[Figure]:
    """Planes of two metrics with knobs and runs: both divergences, and what is usually reported."""
    found = []
    if standings.kind_of[task] == ORACLE:
        whole = (
            "Every large point is a run; small grey ones are the knobs of maximum likelihood, its "
            "temperatures joined by a line. On the dotted line the mean of both divergences is "
            "that of the best knob, over all seeds: below it is better. A run that is infinitely "
            "far is not shown."
        )
        near = (
            "The same near the best knob, every run and knob less the best one of its seed: below "
            "the dotted line a score is positive."
        )
        found = [
            Figure("Both divergences", whole, charts.divergences(standings, task)),
            Figure(
                "Both divergences, near the best knob",
                near,
                charts.divergences_near(standings, task),
            ),
        ]
    caption = (
        "What is usually reported, as a picture and never as a rank: a mixture of two temperatures "
        "goes beyond the line of temperatures without having learned anything."
    )
    return [*found, Figure("Quality and diversity", caption, charts.quality(standings, task))]


def _curves(standings: Standings, task: str) -> list[Figure]:
    """The curves of a task: score, quality and the discriminator's health, over every budget."""
    kind, found = KINDS[standings.kind_of[task]], list[Figure]()
    health = {metric.name: metric.label for metric in HEALTH}
    for metric in (kind.score.name, kind.quality, *health):
        name = health.get(metric) or METRICS[metric].chart.partition(",")[0].partition(" (")[0]
        heading = name
        if "_" not in name:
            heading = name[0].upper() + name[1:]
        caption = "Mean over seeds with its 95 % bootstrap interval, from the end of pre-training."
        if metric in health:
            caption = f"Discriminator, {name}. {caption}"
        else:
            caption += " Dashed: maximum likelihood as it is (light) and its best knob (dark)."
        # A discriminator's health is shown over the first budget alone, or the page would be long.
        for budget, unit in charts.BUDGETS.items():
            spec = charts.curves(standings, task, metric, budget)
            if spec is not None and (metric not in health or budget == next(iter(charts.BUDGETS))):
                found.append(Figure(f"{heading} by {unit.partition(' since')[0]}", caption, spec))
    return found


@functools.cache
def _page_libraries() -> tuple[Any, str]:
    """Jinja and the script that draws the pictures; a missing extra is an error that names it."""
    purpose = "the page"
    jinja2, vl_convert = load("jinja2", purpose), load("vl_convert", purpose)
    # The bundle must not end the script element that it stands in.
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", charts.VERSION)
    return jinja2, bundle.replace("</script", "<\\/script")
