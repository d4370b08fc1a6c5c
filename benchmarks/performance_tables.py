r"""The tables of speeds in the documentation that are made of measurements in benchmarks/results.

    python -m benchmarks.performance_tables benchmarks/results --docs docs [--check]

The measurements, by the command that writes each:

    seqgan doctor --threads 1 --out benchmarks/results/doctor.json
    python -m benchmarks.likelihood_speed --out benchmarks/results/likelihood-speed.json
    python -m benchmarks.speed --threads 1 2 --out benchmarks/results/speed.json
    python -m benchmarks.whole_runs --before CHECKOUT --repeats 1 ... \
        --out benchmarks/results/whole-runs-avx512.json
    python -m benchmarks.sb3_speed --out benchmarks/results/sb3-speed.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import likelihood_speed
from benchmarks.leaderboard import update_section
from benchmarks.whole_runs import ROUTES, total
from seqgan_env.bench.tables import Cell, Column, Table
from seqgan_env.training.run_directory import read_json

Content = Mapping[str, Any]


def doctor(content: Content) -> str:
    """Milliseconds of every operation by route, and how many times as fast as torch."""
    routes = list(content["timings"][0]["seconds"])
    rows = []
    for timing in content["timings"]:
        cells = [timing["operation"], f"{timing['size']} size"]
        for route in routes:
            cell = f"{1000 * timing['seconds'][route]:.1f}"
            if route != "torch":
                cell += f" ({timing['ratio'][route]:.1f}x)"
            cells.append(cell)
        rows.append(cells)
    return _table(["operation", "at", *routes], rows)


def likelihood(content: Content) -> str:
    """Milliseconds of the likelihood by route, and as shares of the products alone."""
    names, *rows = likelihood_speed.texts(content["rows"])
    return _table(names, rows)


def speed(content: Content) -> str:
    """The machine's limits, and every work item beside plain torch."""
    limits = []
    for threads, limit in content["limits_by_threads"].items():
        limits.append(
            f"{threads} thread{'s' if threads != '1' else ''}: GEMM {limit['gemm'] / 1e9:.0f} "
            f"GFLOP/s, bfloat16 {limit['gemm_bfloat16'] / 1e9:.0f}, memory "
            f"{limit['bandwidth'] / 1e9:.0f} GB/s"
        )
    names = ["work", "threads", "seconds", "plain torch", "ratio (target)", "GFLOP/s", "of limit"]
    rows = []
    for item in content["items"]:
        one_thread = item["threads"] == 1
        rows.append(
            [
                item["name"] + _if(item["estimated"], ", estimated"),
                f"{item['threads']}",
                f"{item['seconds']:.2f} ± {item['spread']:.2f}",
                f"{item['plain_seconds']:.3g}",
                f"{item['ratio']:.1f}x" + _if(one_thread and item["target_ratio"], " ({:g}x)"),
                f"{item['gflops_per_second']:.0f}",
                f"{100 * item['share_of_limit']:.0f} % {item['bound_by']}",
                f"{item['peak_bytes'] / 2**20:.0f}",
                _if(item["gain"], "{:.2f}x"),
                _if(one_thread and item["target_seconds"], "{:g}"),
                _if(one_thread and item["released_seconds"], "{:g}"),
                _if(one_thread and item["textgan_seconds"], "{:g}"),
            ]
        )
    table = _table([*names, "peak MiB", "gain", "target", "released", "TextGAN"], rows)
    return f"Limits with {'; with '.join(limits)}.\n\n{table}"


def sb3_speed(content: Content) -> str:
    """Steps per second of PPO, ours and stock."""
    rows = []
    for name, found in content["steps_per_second"].items():
        ratio = found["ratio_whole"]
        rows.append(
            [
                *name.split(", "),
                f"{found['ours_whole']['median']:,.0f}",
                f"{found['stock_whole']['median']:,.0f}",
                f"{ratio['median']:.1f}x ({ratio['min']:.1f} to {ratio['max']:.1f})",
                f"{found['ratio_collecting']['median']:.1f}x",
            ]
        )
    names = ["training", "reward", "ours", "stock", "ratio (range)", "ratio while collecting"]
    return _table(names, rows)


def minibatch(content: Content) -> str:
    """Milliseconds of a minibatch of 64 by part."""
    by_policy = content["milliseconds_of_a_minibatch"]
    rows = []
    for name, parts in by_policy.items():
        medians = [part["median"] for part in parts.values()]
        rows.append([name, *(f"{median:.2f}" for median in (*medians, sum(medians)))])
    return _table(["policy", *by_policy["ours"], "sum"], rows)


def whole_runs(content: Content) -> str:
    """Seconds of whole runs by route, medians over turns."""
    rows = []
    for name in dict.fromkeys(row["workload"] for row in content["rows"]):
        before, torch, now = (total(content["rows"], name, route) for route in ROUTES)
        ratio = statistics.median(a / b for a, b in zip(before, now, strict=True))
        cells = [name, *(f"{statistics.median(of):.1f}" for of in (before, torch, now))]
        for phase in ("pretrain", "adversarial"):
            of_routes = (
                total(content["rows"], name, route, [phase]) for route in ("before", "now")
            )
            cells.append(", ".join(f"{statistics.median(of):.1f}" for of in of_routes))
        cells.insert(4, f"{ratio:.1f}")
        rows.append(cells)
    names = ["run", "before", "now, torch alone", "now", "before / now"]
    return _table([*names, "MLE before, now", "rounds before, now"], rows)


@dataclass(frozen=True)
class Section:
    """A table of a page.

    Attributes:
        name: of its markers.
        page: where it stands.
        file: the measurements.
        table: what makes the table of them.
    """

    name: str
    page: str
    file: str
    table: Callable[[Content], str]


SECTIONS = (
    Section("doctor", "performance.md", "doctor.json", doctor),
    Section("likelihood-speed", "performance.md", "likelihood-speed.json", likelihood),
    Section("speed", "performance.md", "speed.json", speed),
    Section("whole-runs", "performance.md", "whole-runs-avx512.json", whole_runs),
    Section("sb3-speed", "performance.md", "sb3-speed.json", sb3_speed),
    Section("minibatch", "sb3_defaults.md", "sb3-speed.json", minibatch),
)


def _if(value: Any, form: str) -> str:
    """A value in a form; nothing where there is none."""
    return form.format(value) if value else ""


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells: list[list[Cell]] = [list(row) for row in rows]
    columns = [Column(name) for name in names]
    return Table("", "", "", columns, cells, [""] * len(cells)).markdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, or puts them into a page; 1 where a checked page is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the measurements")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="of the pages")
    parser.add_argument("--check", action="store_true", help="change nothing")
    chosen = parser.parse_args(arguments)
    statuses = []
    for section in SECTIONS:
        try:
            made = section.table(read_json(chosen.folder / section.file))
        except (ValueError, KeyError) as problem:
            print(f"{section.file} has no table {section.name}: {problem}", file=sys.stderr)
            return 2
        page = chosen.docs / section.page if chosen.docs else None
        markers = (f"<!-- {section.name}:begin -->", f"<!-- {section.name}:end -->")
        statuses.append(update_section(page, made, markers, chosen.check, "performance_tables"))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
