"""Results of jobs, one JSON file each, which is written last and whole.

docs/benchmarks.md has the schema, for results from elsewhere too.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from seqgan_env.training import run_directory

SCHEMA = 2
RESULTS, FAILURES = "results", "failures"  # folders of a benchmark
# What differs between two runs of one job: fields, and a column of the curve.
OF_THE_MACHINE, SECONDS = ("costs", "origin"), "seconds"

Row = dict[str, float]


@dataclass(frozen=True)
class Result:
    """What one run reached and what it cost.

    Attributes:
        label: label of the row of the table.
        task: name of the column of the table.
        seed: seed of the run; runs of one seed are paired.
        metrics: metrics of the final policy, as `Task.evaluate` names them; a value that is not
            finite is read as NaN.
        key: hash of what determined the result; it names the file.
        knobs: what the knobs of the pre-trained policy reach, by name; of the reference only.
        curve: what was measured, one row a round: `task/...`, `discriminator/...`, `budget/...`,
            and `seconds` since the run began.
        real: metrics of real held-out sequences that say how diverse real data is:
            `effective_vocabulary`.
        budget: `env_steps`, `rollout_tokens`, `sequences_scored`, `sequences_trained`.
        costs: `wall_seconds`, `cpu_seconds`, `peak_bytes`.
        samples: sequences as a person reads them.
        drawing: the samples as one SVG; "" of a task that does not draw them.
        settings: settings of the run; empty for a result from elsewhere.
        origin: versions, machine, commit and command that made it.
    """

    label: str
    task: str
    seed: int
    metrics: dict[str, float]
    key: str = ""
    knobs: dict[str, Row] = field(default_factory=dict)
    curve: list[Row] = field(default_factory=list)
    real: dict[str, float] = field(default_factory=dict)
    budget: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    drawing: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the result, atomically."""
        run_directory.write_json(path, {"schema": SCHEMA} | asdict(self))

    @classmethod
    def read(cls, path: Path) -> Result:
        """Reads a result.

        Raises:
            ValueError: the file is missing, damaged or none of this schema; the message says what
                is wrong with it.
        """
        content = run_directory.read_json(path)
        schema = content.pop("schema", None)
        if schema != SCHEMA:
            raise ValueError(f"{path} has schema {schema!r}; this version reads {SCHEMA}")
        # First the names, then the kinds of the values, and last what is inside them.
        unknown = sorted(set(content).difference(field.name for field in fields(cls)))
        missing = [name for name in ("label", "task", "seed", "metrics") if name not in content]
        if unknown or missing:
            raise ValueError(
                f"{path} is no result: unknown {unknown or 'nothing'}, missing "
                f"{missing or 'nothing'}"
            )
        for name, kind in _KINDS.items():
            # Python has booleans among the whole numbers; a seed is none.
            wrong = kind is int and isinstance(content.get(name), bool)
            if name in content and (wrong or not isinstance(content[name], kind)):
                raise ValueError(
                    f"{path} is no result: {name} is {type(content[name]).__name__}; expected "
                    f"{kind.__name__}"
                )
        _check_texts(content, path)
        for name in ("metrics", "budget", "costs", "real"):
            content[name] = _numbers(content.get(name, {}), f"{path} has {name}")
        curve = []
        for row in content.get("curve", []):
            curve.append(_numbers(row, f"{path} has rows of curve"))
        knobs = {}
        for name, row in content.get("knobs", {}).items():
            knobs[name] = _numbers(row, f"{path} has knobs with metrics")
        content |= {"curve": curve, "knobs": knobs}
        return cls(**content)


_HALF_OF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_KINDS: Mapping[str, type] = {
    "label": str,
    "task": str,
    "seed": int,
    "key": str,
    "settings": dict,
    "origin": dict,
    "metrics": dict,
    "knobs": dict,
    "curve": list,
    "samples": list,
    "drawing": str,
    "budget": dict,
    "costs": dict,
    "real": dict,
}


def _numbers(row: Any, what: str) -> Row:
    """The row in floating-point numbers; null, which stands for what is not finite, becomes NaN.

    Raises:
        ValueError: it is no row of numbers; the message begins with `what`.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{what} that are {type(row).__name__}; expected names with numbers")
    numbers, bad, too_large = {}, [], False
    for name, value in row.items():
        if value is None:
            numbers[name] = math.nan
        elif isinstance(value, (int, float)):
            try:
                numbers[name] = float(value)
            except OverflowError:  # whole numbers of JSON have any length
                too_large = True
        else:
            bad.append(name)
    if bad:
        raise ValueError(f"{what} that are no numbers: {', '.join(bad)}")
    if too_large:
        raise ValueError(f"{what} beyond all floating-point numbers")
    return numbers


def _check_texts(content: Mapping[str, Any], path: Path) -> None:
    """Raises a ValueError for texts that no page or table can hold."""
    if not all(isinstance(sample, str) for sample in content.get("samples", [])):
        raise ValueError(f"{path} is no result: samples are not all texts")
    for name in ("label", "task"):
        check_label(content[name], f"{path} has a {name} that")
    for text in _texts_in(content):
        # JSON can write half of a surrogate pair, which no file in UTF-8 can hold.
        if _HALF_OF_A_CHARACTER.search(text):
            raise ValueError(f"{path} is no result: {text[:40]!r} is half of a character")


def check_label(text: str, what: str) -> None:
    """Raises a ValueError for a label with a line break or another control character.

    Tables and the formulas of pictures would end there. The message begins with `what`.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            raise ValueError(f"{what} holds {character!r}; allowed are characters of one line")


def _texts_in(content: Any) -> Iterator[str]:
    """All texts of a JSON value, keys among them."""
    # No recursion: the content of an untrusted file may be nested deeply.
    left = [content]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            left += each


def path_of(folder: Path, key: str) -> Path:
    """The file of a job's result."""
    return folder / RESULTS / f"{key}.json"


def read_all(folders: Iterable[Path]) -> list[Result]:
    """All results of benchmarks, by file name; of a job that several folders have, one.

    Raises:
        ValueError: a folder has none, or a file is damaged.
    """
    found: list[Result] = []
    of_jobs: dict[str, list[Result]] = {}  # by key
    for folder in folders:
        of_folder = results_in(folder)
        if not of_folder:
            raise ValueError(
                f"{folder} has no results ({RESULTS}/*.json); `seqgan bench --out {folder}` makes "
                "some"
            )
        for result in of_folder:
            of_job = of_jobs.setdefault(result.key, [])
            # Other numbers under the same key stay, and are refused where rows are compared.
            if not result.key or not any(_same_numbers(result, other) for other in of_job):
                found.append(result)
                of_job.append(result)
    return found


def results_in(folder: Path) -> list[Result]:
    """The results of a benchmark, by file name; none where it has not begun.

    Raises:
        ValueError: a file is damaged.
    """
    return list(map(Result.read, sorted((folder / RESULTS).glob("*.json"))))


def _same_numbers(one: Result, other: Result) -> bool:
    return _numbers_in(one) == _numbers_in(other)


def _numbers_in(result: Result) -> str:
    """Everything in a result but what depends on the machine, every digit of it."""
    content = asdict(result)
    for name in OF_THE_MACHINE:
        del content[name]
    for row in content["curve"]:
        row.pop(SECONDS, None)
    return repr(content)  # as text, for NaN is not NaN
