"""Which results of a folder do not fit beside the jobs of a benchmark.

Runs of one row on one task are pooled into one verdict, whatever their seeds, and every row of a
task is measured against its knobs. So all of them must have one setting of everything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from seqgan_env.bench.jobs import REFERENCE, Job
from seqgan_env.bench.results import Result
from seqgan_env.training.portable import options_with
from seqgan_env.training.settings import OPTIONS_OF_PLUG_INS, TrainSettings

_TABLES = ("task_options", *OPTIONS_OF_PLUG_INS)
_ORACLE = "task_options.oracle_seed"


@dataclass(frozen=True)
class Difference:
    """A setting that a result and the benchmark have otherwise.

    Attributes:
        name: of the setting; an option has its table before it, `agent_options.learning_rate`.
        there: its value in the result; None where it is not set.
        here: its value in the benchmark; None where it is not set.
    """

    name: str
    there: Any
    here: Any


def told(settings: TrainSettings) -> dict[str, Any]:
    """The settings of a run as its result tells them: with names in place of paths."""
    return asdict(settings) | options_with(settings, lambda path: path.name)


class Places:
    """The places of a benchmark's jobs, by row, task and seed, and what may stand beside them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """
        Args:
            jobs: of the benchmark, or of a part of it.
        """
        self._of_row: dict[tuple[str, str], list[_Flat]] = {}
        self._of_task: dict[str, list[_Flat]] = {}
        self._jobs: dict[tuple[str, str], Job] = {}
        self._keys: dict[tuple[str, str, int], str] = {}
        flat = [_Flat.of(told(job.settings)) for job in jobs]
        for job, settings in zip(jobs, flat, strict=True):
            self._of_row.setdefault((job.label, job.task), []).append(settings)
            self._jobs.setdefault((job.label, job.task), job)
            self._keys[job.label, job.task, job.settings.seed] = job.key
        # A task is what the reference learned, whose knobs all are measured against.
        for of_reference in (True, False):
            for job, settings in zip(jobs, flat, strict=True):
                if (job.label == REFERENCE) == of_reference:
                    self._of_task.setdefault(job.task, []).append(settings)

    def differences(self, result: Result) -> list[Difference]:
        """The settings that a result has otherwise than the jobs of its row and task, the seed
        aside, or, if it is of a row that has none, otherwise than the task.

        None are known of a result from elsewhere, which has no settings, or not those of a run.
        """
        if "task" not in result.settings:
            return []
        own = _Flat.of(result.settings)
        of_row = self._of_row.get((result.label, result.task), [])
        for settings in of_row:
            found = own.less(settings)
            if found:
                return found
        of_task = self._of_task.get(result.task, [])
        if of_row or not of_task:
            return []
        each = [own.less(settings, of_the_task=True) for settings in of_task]
        return each[0] if all(each) else []

    def takes(self, result: Result, key: str) -> bool:
        """Whether a result can stay: it is a job's own, or has nobody's place and no other settings
        than its row or its task.
        """
        place = (result.label, result.task, result.seed)
        if place in self._keys:
            return self._keys[place] == key
        return not self.differences(result)

    def is_of_other_code(self, result: Result, key: str) -> bool:
        """Whether a result that can stay is of a seed that no job has, and other code, data or
        versions made it than the jobs of its row have now.
        """
        job = self._jobs.get((result.label, result.task))
        if job is None or "task" not in result.settings:
            return False
        options = dict(job.settings.task_options)
        if options.get("oracle_seed") == job.settings.seed and _Flat.of(result.settings).is_fresh:
            options["oracle_seed"] = result.seed
        settings = replace(job.settings, seed=result.seed, task_options=options)
        return replace(job, settings=settings).key != key


@dataclass(frozen=True)
class _Flat:
    """Settings of a run in one table, with options behind the names of theirs."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> _Flat:
        """The settings as JSON has them; what is missing was not there yet, and is the default."""
        whole = asdict(TrainSettings()) | dict(settings)
        values = {}
        for name in asdict(TrainSettings()):
            if name not in _TABLES or not isinstance(whole[name], Mapping):
                values[name] = whole[name]
                continue
            for option, value in whole[name].items():
                values[f"{name}.{option}"] = value
        return cls(json.loads(json.dumps(values)))

    @cached_property
    def is_fresh(self) -> bool:
        """Whether the oracle may be that of the run's own seed."""
        return bool(self.values.get(_ORACLE) == self.values["seed"])

    def less(self, other: _Flat, of_the_task: bool = False) -> list[Difference]:
        """What the other has otherwise, the seed aside, and that of fresh oracles.

        Args:
            other: settings of a job.
            of_the_task: whether only what is written counts.
        """
        found = []
        for name in dict.fromkeys([*other.values, *self.values]):
            there, here = self.values.get(name), other.values.get(name)
            if name == "seed" or (name == _ORACLE and self.is_fresh and other.is_fresh):
                continue
            if of_the_task and name != "task" and not name.startswith("task_options."):
                continue
            if there != here:
                found.append(Difference(name, there, here))
        return found


def check_given(
    jobs: Sequence[Job],
    given: Mapping[str, Any] | None,
    results: Iterable[Result],
    folder: object,
) -> None:
    """Checks that the command line displaces no result: a trial must not damage what is finished.

    Args:
        jobs: of the benchmark.
        given: settings of all runs on the command line, by their names in a suite, `preset` among
            them; None if all settings are the command line's.
        results: those in the folder.
        folder: for the message.

    Raises:
        ValueError: a setting that was given is another one in results of the same row or task.
    """
    places, names = Places(jobs), _names(given or {})
    # A preset may be behind whatever differs.
    any_counts = given is None or "preset" in given
    displaced = []
    for result in results:
        found = [each for each in places.differences(result) if any_counts or each.name in names]
        if found:
            displaced.append((result, found[0]))
    if displaced:
        result, first = displaced[0]
        raise ValueError(
            f"{folder} has results of other settings than the command line gives, "
            f"{len(displaced)} in all: {first.name} is {first.there!r} for {result.label} on "
            f"{result.task} there, and {first.here!r} here. Give these settings a folder of their "
            "own, --out OTHER"
        )


def _names(given: Mapping[str, Any]) -> set[str]:
    """The names of settings as differences have them."""
    of_runs, names = asdict(TrainSettings()), set[str]()
    for name, value in given.items():
        if name in _TABLES:
            names |= {f"{name}.{option}" for option in value}
        elif name in of_runs:
            names.add(name)
        else:
            names.add(f"task_options.{name}")
    return names
