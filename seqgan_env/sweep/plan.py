"""What a sweep does: a suite, the rows whose settings are searched, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from seqgan_env.bench.jobs import REFERENCE, Job, Suite
from seqgan_env.checks import check_count, check_kinds, check_seed
from seqgan_env.names import choose, nearest
from seqgan_env.plugins import accepts, option_names_of
from seqgan_env.sweep.space import Parameter, Space, changed, read_space
from seqgan_env.training.settings import DECIDED_BY_THE_HARNESS, TrainSettings

SAMPLERS, PRUNERS = ("tpe", "random"), ("median", "none")

_SCHEMA = 1
# What is compared stays as it is: the task, who writes, and how it is measured.
_FIXED = (
    *DECIDED_BY_THE_HARNESS,
    "task_options",
    "agent",
    "device",
    "eval_every",
    "more_knobs",
    "more_metrics",
    "referee",
    "validate",
    "keep_best_round",
)
_SWEPT = [each.name for each in fields(TrainSettings) if each.name not in _FIXED]


@dataclass(frozen=True)
class SweepSettings:
    """How settings are searched: the numbers and names in `[sweep]`.

    Attributes:
        trials: of every row.
        seeds: runs of a trial on every task; their mean counts.
        seed: of the search.
        sampler: "tpe" proposes what resembles the better half of the trials (Bergstra et al. 2011);
            "random" looks at none of them.
        random_trials: that "tpe" begins with.
        pruner: "median" ends a trial that is worse than the median of those before it in the same
            round; "none" ends none.
        startup_trials: that run to their end before any is pruned.
        warmup_rounds: of a trial before which it is not pruned.
    """

    trials: int = 20
    seeds: int = 3
    seed: int = 0
    sampler: str = "tpe"
    random_trials: int = 8
    pruner: str = "median"
    startup_trials: int = 5
    warmup_rounds: int = 0

    def __post_init__(self) -> None:
        check_kinds(SweepSettings, vars(self))
        for name in ("trials", "seeds", "random_trials"):
            check_count(name, getattr(self, name))
        for name in ("startup_trials", "warmup_rounds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is 0 or more")
        check_seed(self.seed)
        choose(SAMPLERS, self.sampler, "sampler")
        choose(PRUNERS, self.pruner, "pruner")


@dataclass(frozen=True)
class Plan:
    """A suite and the search over the settings of its rows.

    Attributes:
        suite: as it stands.
        settings: of the search.
        spaces: by row, what is drawn; rows without a space are not in it.
    """

    suite: Suite
    settings: SweepSettings = SweepSettings()
    spaces: dict[str, list[Parameter]] = field(default_factory=dict)

    @property
    def seeds(self) -> range:
        """The seeds that settings are chosen on; none of them is reported."""
        first = self.suite.first_seed
        return range(first, first + self.settings.seeds)

    def jobs(self, row: str, values: Mapping[tuple[str, ...], Any] | None = None) -> list[Job]:
        """The runs of a trial: a row with these values on every task and seed, seed by seed.

        Raises:
            ValueError: the values cannot be.
        """
        settings = changed(self.suite.rows[row], values or {})
        chosen = replace(self.suite, rows={row: settings}, seeds=len(self.seeds))
        return [job for job in chosen.jobs() if job.label == row]

    def best(self, values: Mapping[str, Mapping[tuple[str, ...], Any]]) -> Suite:
        """The suite with the values that were chosen, by row, on seeds of which none chose."""
        rows = {}
        for name, settings in self.suite.rows.items():
            rows[name] = changed(settings, values.get(name, {}))
        return replace(self.suite, rows=rows, first_seed=self.seeds.stop, sweep=None)

    def key(self, row: str) -> str:
        """A hash of all that decides the trials of a row but their number.

        Jobs bring in their settings, the data, the code and the versions.
        """
        search = dict(vars(self.settings))
        del search["trials"]  # more of them go on from those that are there
        space = [parameter.described() for parameter in self.spaces[row]]
        keys = [job.key for job in self.jobs(row)]
        deciding = [_SCHEMA, row, space, search, keys]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:20]


def plan_of(suite: Suite) -> Plan:
    """The plan in the `[sweep]` of a suite, with everything checked that can be before it begins.

    Raises:
        ValueError: there is no such table, it holds what a sweep does not have, or values cannot
            be.
    """
    of_sweep = suite.sweep
    what = f"suite {suite.title!r}"
    if of_sweep is None:
        raise ValueError(
            f"{what} has no table [sweep]; `seqgan sweep` needs one with a [sweep.settings] or a "
            "[sweep.rows.NAME] of what to change"
        )
    names = [each.name for each in fields(SweepSettings)]
    for name in of_sweep:
        choose([*names, "settings", "rows"], name, f"entry of [sweep] in {what}")
    given = dict(of_sweep)
    for spaces in ("settings", "rows"):
        given.pop(spaces, None)
    plan = Plan(suite, SweepSettings(**given), _spaces(suite, of_sweep, what))
    _try_out(plan)
    return plan


def _spaces(suite: Suite, of_sweep: Mapping[str, Any], what: str) -> dict[str, list[Parameter]]:
    """What is drawn for every row: what is of all rows and fits it, under what is its own."""
    shared = read_space(of_sweep.get("settings", {}), f"[sweep.settings] of {what}")
    of_rows = of_sweep.get("rows", {})
    if not isinstance(of_rows, Mapping):
        raise ValueError(f"[sweep.rows] of {what} is {of_rows!r}; expected tables by row")
    for row in of_rows:
        if row == REFERENCE:
            raise ValueError(
                f"{what} sweeps row {REFERENCE!r}, which is always there and takes [settings] "
                f'alone; add a row of another name with agent = "{REFERENCE}"'
            )
        choose(suite.rows, row, f"row in [sweep] of {what}")
    taken: set[str] = set()  # what is of all rows and fits one at least, by the last name
    spaces: dict[str, list[Parameter]] = {}
    for row, of_row in suite.rows.items():
        agent = {**suite.settings, **of_row}.get("agent", TrainSettings.agent)
        fitting = _placed(shared, agent, fitting_only=True)
        for path in fitting:
            taken.add(path[-1])
        own = _placed(read_space(of_rows.get(row, {}), f"[sweep.rows.{row}] of {what}"), agent)
        space = fitting | own
        if space:
            spaces[row] = list(space.values())
    for path in shared:
        if path[-1] not in taken:
            raise ValueError(f"{'.'.join(path)} in [sweep.settings] of {what}: no row takes it")
    if not spaces:
        raise ValueError(f"[sweep] of {what} names nothing to change; see docs/sweeps.md")
    return spaces


def _placed(space: Space, agent: str, fitting_only: bool = False) -> Space:
    """A space with options of an agent that stand without their group put into it.

    Args:
        space: as it was read.
        agent: of the row.
        fitting_only: whether options that the agent does not take are left out, for it is about
            others.

    Raises:
        ValueError: a name is no setting that can be swept and no option of the agent.
    """
    placed: Space = {}
    for path, parameter in space.items():
        # A name that is no setting of a run is an option of the row's agent.
        is_option = path[0] == "agent_options" or path[0] not in _SWEPT
        if is_option and path[0] in (*_FIXED, "task"):
            raise ValueError(
                f"{path[0]} cannot be swept: it is part of what is compared. Give it a suite of "
                "its own"
            )
        if is_option and not accepts(agent, path[-1]):
            if fitting_only:
                continue
            known = [*_SWEPT, *option_names_of(agent)]
            raise ValueError(
                f"unknown setting {'.'.join(path)!r} in a sweep of agent {agent!r}; allowed are "
                f"settings of a run and the agent's options.{nearest(known, path[-1])}"
            )
        if is_option:
            path = ("agent_options", path[-1])
        placed[path] = replace(parameter, path=path)
    return placed


def _try_out(plan: Plan) -> None:
    """Raises a ValueError for an end of a range, or a choice, that no run can have."""
    for row, space in plan.spaces.items():
        _check_rounds(plan.jobs(row))
        for parameter in space:
            for value in parameter.extremes():
                try:
                    plan.jobs(row, {parameter.path: value})
                except ValueError as problem:
                    raise ValueError(
                        f"[sweep] of row {row!r}, {parameter.name} = {value!r}: {problem}"
                    ) from problem


def rounds_measured(job: Job) -> list[int]:
    """The rounds after which a policy is measured, the last one among them."""
    schedule = job.settings.schedule()
    found = list(range(schedule.eval_every, schedule.rounds + 1, schedule.eval_every))
    if schedule.rounds not in found:
        found.append(schedule.rounds)
    return found


def _check_rounds(jobs: list[Job]) -> None:
    first, *others = jobs
    for job in others:
        if rounds_measured(job) != rounds_measured(first):
            raise ValueError(
                f"{first.task} and {job.task} are evaluated in different rounds; a sweep compares "
                "trials round by round: put rounds and eval_every into [settings]"
            )
