"""Keeps of a benchmark's results what the documentation quotes, a line of JSON each.

    python -m benchmarks.compact benchmarks/results/algorithms
    python -m benchmarks.compact benchmarks/results/learned-signal-data --curves

Samples and pictures go, and so do curves, of which `--curves` keeps time and divergences. Of knobs
that are not the best by any score only what the scores are made of stays. The standings stay as
they are, and the command that made the results makes all of it again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from seqgan_env.bench.results import RESULTS, Row
from seqgan_env.metrics.score import SCORES, SELECT, best_knob
from seqgan_env.training.run_directory import read_json, write_text

_DIVERGENCES = {score.divergence for score in SCORES}
_OF_SCORES = _DIVERGENCES | {SELECT + name for name in _DIVERGENCES}


_OF_CURVES = {"round", "seconds", *(f"task/{name}" for name in _DIVERGENCES)}


def compact(path: Path, curves: bool = False) -> None:
    """Shortens one result.

    Args:
        path: of the result.
        curves: whether the divergences by round stay.
    """
    result = read_json(path)
    curve = []
    if curves:
        for row in result["curve"]:
            curve.append({name: value for name, value in row.items() if name in _OF_CURVES})
    result |= {"curve": curve, "samples": [], "drawing": "", "knobs": _shortened(result["knobs"])}
    write_text(path, json.dumps(result, separators=(",", ":"), allow_nan=False) + "\n")


def _shortened(knobs: Mapping[str, Row]) -> dict[str, Row]:
    numbers = {name: _without_null(row) for name, row in knobs.items()}
    whole = {best_knob(numbers, score) for score in SCORES}
    found: dict[str, Row] = {}
    for name, row in knobs.items():
        found[name] = row
        if name not in whole:
            found[name] = {key: value for key, value in row.items() if key in _OF_SCORES}
    return found


def _without_null(row: Row) -> Row:
    """A number that is not finite stands as null in JSON, and is left out here."""
    return {name: value for name, value in row.items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Shortens all results of some benchmarks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of a benchmark")
    parser.add_argument("--curves", action="store_true", help="keep the divergences by round")
    chosen = parser.parse_args(arguments)
    for folder in chosen.folders:
        for path in sorted((folder / RESULTS).glob("*.json")):
            compact(path, chosen.curves)


if __name__ == "__main__":
    main()
