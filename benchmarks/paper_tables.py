r"""The tables of the paper (Yu et al. 2017), as one command each, beside the published numbers.

    python -m benchmarks.paper_tables 1 --weights target_params_py3.pkl \
        --out benchmarks/results/paper-table-1.json
    # a poem a line, characters separated by spaces
    python -m benchmarks.paper_tables 2 --corpus poems.txt
    # default: the built-in English
    python -m benchmarks.paper_tables 3 [--corpus speeches.txt]
    # default: the built-in tunes
    python -m benchmarks.paper_tables 4 [--corpus folder-of-midi]

`--size full` has the paper's schedule, sizes and number of seeds. Every run is a process of its own
with one torch thread; a finished one is kept under --runs and not repeated. A failed run fails.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.runs import add_arguments, read_rows, train_all
from seqgan_env.metrics.catalogue import METRICS
from seqgan_env.metrics.score import SELECT, scores
from seqgan_env.training.run_directory import RESULT, read_json, versions, write_json

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A row of every table.

    Attributes:
        label: as printed.
        run: name of the run it comes from.
        policy: which policy of that run.
        published: key of the published numbers.
    """

    label: str
    run: str
    policy: str
    published: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: as printed.
        metrics: what is printed of every row; the first ones are the paper's.
        published: numbers of the paper by row, for its metrics in this order.
        task: arguments of `seqgan train` for the task.
        quick: arguments for the quick size.
        full: arguments for the full size.
    """

    title: str
    metrics: tuple[str, ...]
    published: dict[str, tuple[float, ...]]
    task: str
    quick: str
    full: str


RUNS = {
    "random": "--agent random --no-knobs",
    "mle-best": "--agent mle --keep-best",
    "mle": "--agent mle --no-knobs",
    "scheduled_sampling": "--agent scheduled_sampling --no-knobs",
    "pg_bleu": "--agent pg_bleu --no-knobs --no-control",
    "seqgan": "--agent seqgan --no-knobs",
}
ROWS = (
    Row("random", "random", "agent", "random"),
    Row("MLE, last epoch (the paper's)", "mle", "agent", "mle"),
    Row("MLE, best validation epoch", "mle-best", "agent"),
    Row("scheduled sampling", "scheduled_sampling", "agent", "scheduled_sampling"),
    Row("PG-BLEU", "pg_bleu", "agent", "pg_bleu"),
    Row("SeqGAN", "seqgan", "agent", "seqgan"),
    Row("constant reward", "seqgan", "constant"),
)
BASELINE = "MLE, last epoch (the paper's)"

LIKELIHOODS = ("nll_oracle", "nll_gen", "kl_mean", "score", "js", "effective_vocabulary")
_TEXT = ("nll_gen", "self_bleu4", "referee_js", "referee_score")
_PAPER = "--preset paper"
_ORACLE_QUICK = (
    f"{_PAPER} --discriminator small --mle-epochs 20 --d-pretrain-steps 5 --rounds 100 --d-steps 1 "
    "--num-negatives 2000 --eval-every 25"
)
_TEXT_QUICK = (
    f"{_PAPER} --discriminator small --mle-epochs 20 --d-pretrain-steps 5 --rounds 60 --d-steps 1 "
    "--num-negatives 1000 --eval-every 20 --num-rollouts 8"
)
TABLES = {
    1: Table(
        "Table 1: synthetic data",
        LIKELIHOODS,
        {
            "random": (10.310,),
            "mle": (9.038,),
            "scheduled_sampling": (8.985,),
            "pg_bleu": (8.946,),
            "seqgan": (8.736,),
        },
        "--task oracle-paper",
        _ORACLE_QUICK,
        _PAPER,
    ),
    2: Table(
        "Table 2: Chinese poems",
        ("bleu2", *_TEXT),
        {"mle": (0.6670,), "seqgan": (0.7389,)},
        "--task text --fixed-length --max-length 20",
        _TEXT_QUICK,
        _PAPER,
    ),
    3: Table(
        "Table 3: English speeches",
        ("bleu3", "bleu4", *_TEXT),
        {"mle": (0.519, 0.416), "seqgan": (0.556, 0.427)},
        "--task text --max-length 50",
        _TEXT_QUICK,
        _PAPER,
    ),
    4: Table(
        "Table 4: melodies",
        ("bleu4", "mse", *_TEXT),
        {"mle": (0.9210, 22.38), "seqgan": (0.9406, 20.62)},
        "--task music",
        _TEXT_QUICK,
        _PAPER,
    ),
}


def directory(runs: Path, name: str, seed: int) -> Path:
    """Where a run goes."""
    return runs / f"{name}-{seed}"


def rows_of_seed(runs: Path, seed: int) -> dict[str, dict[str, float]]:
    """Metrics by row label; every score is against the best knob of the best-validation MLE of the
    same seed.
    """
    best = directory(runs, "mle-best", seed)
    knobs = {str(row.pop("knob")): row for row in read_rows(best / "knobs.csv", text=("knob",))}
    found: dict[str, dict[str, float]] = {}
    for row in ROWS:
        metrics = read_json(directory(runs, row.run, seed) / RESULT)[row.policy]
        found[row.label] = metrics | scores(knobs, metrics)
    best_knob = read_json(best / RESULT)["best_knob_name"]
    shown = {
        f"its best knob ({best_knob})": knobs[best_knob],
        "its temperature 0.8": knobs["T 0.8"],
    }
    return found | {name: _without_choice(row) | scores(knobs, row) for name, row in shown.items()}


def _without_choice(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith(SELECT)}


def summary(seeds: Sequence[Mapping[str, Metrics]], table: Table) -> dict[str, dict[str, Any]]:
    """By row: mean and standard error of every metric, and the p-value of the paper's first metric
    against MLE.

    The p-value is that of a paired t-test on the seeds, two-sided.
    """
    found: dict[str, dict[str, Any]] = {}
    for label in seeds[0]:
        values = {
            name: [seed[label][name] for seed in seeds]
            for name in table.metrics
            if name in seeds[0][label]
        }
        found[label] = {
            name: {"mean": float(np.mean(v)), "standard_error": _error(v)}
            for name, v in values.items()
        }
        if label != BASELINE and len(seeds) > 1:
            first = table.metrics[0]
            baseline = [seed[BASELINE][first] for seed in seeds]
            found[label]["p_value"] = float(stats.ttest_rel(values[first], baseline).pvalue)
    return found


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def markdown(found: Mapping[str, Mapping[str, Any]], table: Table) -> str:
    """The table with the published numbers beside it."""
    ours = [name for name in table.metrics if any(name in row for row in found.values())]
    paper = table.metrics[: len(next(iter(table.published.values())))]
    labels = [METRICS[name].label for name in ours]
    of_paper = [f"published {METRICS[name].label}" for name in paper]
    head = ["", *labels, "p against MLE", *of_paper]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    published = {row.label: table.published.get(row.published, ()) for row in ROWS}
    for label, row in found.items():
        cells = [
            f"{row[name]['mean']:.3f} ± {row[name]['standard_error']:.3f}" if name in row else ""
            for name in ours
        ]
        numbers = [f"{value:.3f}" for value in published.get(label, ())] or [""] * len(paper)
        p_value = "" if math.isnan(row.get("p_value", math.nan)) else f"{row['p_value']:.2g}"
        lines.append("| " + " | ".join([label, *cells, p_value, *numbers]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("table", type=int, choices=sorted(TABLES))
    parser.add_argument("--size", choices=("quick", "full"), default="quick")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="seeds 0..N-1 (default: 3, full: 12)"
    )
    parser.add_argument(
        "--weights", help="table 1: the authors' released oracle (default: an oracle of our own)"
    )
    parser.add_argument("--corpus", help="tables 2 to 4: the data")
    add_arguments(parser, "runs/paper-table-TABLE-SIZE")
    arguments = parser.parse_args()
    if arguments.table == 2 and not arguments.corpus:
        parser.error("table 2 needs --corpus: a poem of 20 characters a line, separated by spaces")
    table, num_seeds = (
        TABLES[arguments.table],
        arguments.seeds or (3 if arguments.size == "quick" else 12),
    )
    runs = arguments.runs or Path(f"runs/paper-table-{arguments.table}-{arguments.size}")
    given = {"--weights": arguments.weights, "--corpus": arguments.corpus}
    data = [text for flag, value in given.items() if value for text in (flag, value)]
    size = table.quick if arguments.size == "quick" else table.full
    train = [*table.task.split(), *size.split(), *data]
    started = time.perf_counter()
    jobs = {
        directory(runs, name, seed): [*train, *RUNS[name].split(), "--seed", str(seed)]
        for seed in range(num_seeds)
        for name in RUNS
    }
    train_all(jobs, arguments.workers, table.title)
    found = summary([rows_of_seed(runs, seed) for seed in range(num_seeds)], table)
    print(f"{table.title}, {num_seeds} seeds\n{markdown(found, table)}")
    if arguments.out:
        content = {
            "title": table.title,
            "arguments": [*train[: len(train) - len(data)], *(Path(text).name for text in data)],
            "seeds": num_seeds,
            "table": found,
            "published": table.published,
        }
        content |= {
            "seconds": time.perf_counter() - started,
            "machine": platform.processor(),
            "versions": versions(),
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
