"""Jobs, which are the runs of a benchmark, and suites, which are grids of jobs.

The settings of a job, with its data, code and versions, determine its result.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from seqgan_env import native, registry
from seqgan_env.bench.fingerprints import code_of_library, code_of_module, fingerprint
from seqgan_env.bench.results import check_label
from seqgan_env.checks import check_kinds, check_type
from seqgan_env.files import MIB, naming, read_text
from seqgan_env.names import choose, nearest
from seqgan_env.plugins import (
    accepts,
    control_options,
    learns_from_reward,
    option_names_of,
    takes_policy,
    training_settings,
)
from seqgan_env.registry import Registry
from seqgan_env.rewards.sources import names_in
from seqgan_env.tasks import (
    check_settings,
    infer_task,
    setting_names,
    task_names,
)
from seqgan_env.tasks.options import map_paths
from seqgan_env.training import run_directory
from seqgan_env.training.hyperparameters import read_hyperparameters
from seqgan_env.training.portable import options_of_plug_ins_with, options_with
from seqgan_env.training.settings import (
    DECIDED_BY_THE_HARNESS,
    OF_THE_LSTM,
    OPTIONS_OF_PLUG_INS,
    PRESETS,
    TrainSettings,
    options_of,
    options_under,
    settings_from,
    settings_of_task,
)
from seqgan_env.trust import Trust, check_names, texts_in

REFERENCE = "mle"  # the row that every other one is compared with; its knobs are the measure
BEST_KNOB = "best knob"  # the row of the reference's best knob, which nobody ran

_FILE = "hyperparameters"  # of a row: a file whose section of the task is read

_MOST_BYTES_OF_A_SUITE = MIB
_MOST_SEEDS = 10_000
_OF_A_SUITE = (
    "title",
    "seeds",
    "first_seed",
    "fresh_oracles",
    "tasks",
    "rows",
    "settings",
    "sweep",
)
# The text task's built-in English is the documentation of this Python, so that it decides too.
_DECIDING_VERSIONS = (
    "python",
    "seqgan-env",
    "torch",
    "numpy",
    "gymnasium",
    "stable-baselines3",
    "sb3-contrib",
)


@dataclass(frozen=True)
class Job:
    """One run of the grid.

    Attributes:
        label: label of the row that it belongs to; runs of one label differ in task and seed.
        task: name of the column: a task's name, or what the suite calls a task with settings of
            its own.
        settings: settings of the run.
    """

    label: str
    task: str
    settings: TrainSettings

    @functools.cached_property
    def key(self) -> str:
        """A hash of everything that determines the result: settings, data, code and versions.

        It names the file of the result.
        """
        # Data counts by what is in it: where it lies makes no difference.
        settings = asdict(self.settings)
        settings |= options_with(self.settings, lambda path: "")
        data = _data_of(self.settings)

        versions = {}
        for name, version in run_directory.versions().items():
            if name in _DECIDING_VERSIONS:
                versions[name] = version

        code = [code_of_library(), native.built_from()]
        code += map(code_of_module, packages_of(self.settings))
        deciding = [self.label, self.task, settings, data, code, versions]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def name(self) -> str:
        """The name of the job in messages."""
        return f"{self.label} on {self.task}, seed {self.settings.seed}"

    def with_absolute_paths(self) -> Job:
        """The same job with absolute paths, so that it can run in any working directory."""
        options = options_with(self.settings, lambda path: str(path.absolute()))
        return replace(self, settings=replace(self.settings, **options))

    def to_json(self) -> str:
        """The job as a line of JSON."""
        return json.dumps(
            {"label": self.label, "task": self.task, "settings": asdict(self.settings)}
        )

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        content = json.loads(text)
        return cls(content["label"], content["task"], TrainSettings(**content["settings"]))


@dataclass(frozen=True)
class Suite:
    """A grid: every row on every task with every seed, and always the reference beside them.

    Attributes:
        title: title of the report.
        seeds: number of seeds, which are first_seed..first_seed+seeds-1.
        tasks: the settings of each task by its name in the suite, among them `task`.
        rows: the settings of each row by its label, among them `agent` and `source`;
            `hyperparameters` names a file whose settings the row's own go over.
        settings: the settings of all jobs; `preset` may be among them.
        first_seed: the first seed.
        fresh_oracles: whether every seed has an oracle of its own, so that the verdict is about
            a kind of tasks and not about one of them.
        file: the file that the suite was read from, for messages.
        sweep: the table `[sweep]` as it stands in the file, for `seqgan sweep` alone
            (`seqgan_env.sweep.plan`).
        trust: whether files of hyperparameters may name plug-ins that are not installed, or the
            names of those that they may.
    """

    title: str
    seeds: int
    tasks: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    first_seed: int = 0
    fresh_oracles: bool = False
    file: Path | None = None
    sweep: dict[str, Any] | None = None
    trust: Trust = False

    def __post_init__(self) -> None:
        if (
            isinstance(self.seeds, bool)
            or not isinstance(self.seeds, int)
            or not 1 <= self.seeds <= _MOST_SEEDS
        ):
            raise ValueError(
                f"seeds is {self.seeds!r} in suite {self.title!r}; allowed is a whole number "
                f"from 1 to {_MOST_SEEDS}"
            )
        first = self.first_seed
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise ValueError(
                f"first_seed is {first!r} in suite {self.title!r}; allowed is a whole number from 0"
            )
        if not isinstance(self.fresh_oracles, bool):
            raise ValueError(
                f"fresh_oracles is {self.fresh_oracles!r} in suite {self.title!r}; allowed are "
                "true and false"
            )
        # Groups of settings by their heading in the file.
        groups = {"settings": self.settings}
        for label, of_row in self.rows.items():
            groups[f"rows.{label}"] = of_row
        for task, of_task in self.tasks.items():
            groups[f"tasks.{task}"] = of_task

        for name in (*self.tasks, *self.rows):
            check_label(name, f"a name in suite {self.title!r}")
        for where, settings in groups.items():
            if not isinstance(settings, dict):
                raise ValueError(
                    f"{where} of suite {self.title!r} is {settings!r}; expected a table"
                )
            check_kinds(TrainSettings, settings)

        # Only now are the groups known to be tables whose names can be read.
        of_runs, of_tasks = _settings_of_runs(), self._settings_of_tasks()
        for where, settings in groups.items():
            here = []
            if where.startswith("tasks."):
                here = ["task"]
            elif where.startswith("rows."):
                here = [_FILE]
                check_type(f"{_FILE} in {where}", settings.get(_FILE, ""), str)
            for name in settings:
                choose([*of_runs, *here, *of_tasks], name, f"setting in {where}")
        if REFERENCE in self.rows:
            raise ValueError(
                f"suite {self.title!r} has a row {REFERENCE!r}; that one is always there and takes "
                "[settings] alone"
            )
        if BEST_KNOB in self.rows:
            raise ValueError(
                f"suite {self.title!r} has a row {BEST_KNOB!r}, which is the name of what all rows "
                "are compared with; give it another label"
            )

    def _settings_of_tasks(self) -> list[str]:
        """The names of the settings that the suite's tasks and the built-in ones take."""
        tasks = list(task_names())
        for of_task in self.tasks.values():
            if "task" in of_task:
                tasks.append(of_task["task"])
        taken: dict[str, None] = {}  # names once each, in order
        for task in tasks:
            taken |= dict.fromkeys(setting_names(task))
        return _left_to_suites(taken)

    def jobs(self) -> list[Job]:
        """All jobs, seed by seed, the reference first.

        Raises:
            ValueError: settings that cannot be.
        """
        with naming(self.file and f"suite {self.file}"):
            self._check_shared_options()
            rows = {REFERENCE: {"agent": REFERENCE}} | self.rows
            jobs = []
            # Seeds are outermost: a benchmark that is stopped early has whole pairs.
            for seed in range(self.first_seed, self.first_seed + self.seeds):
                for task, of_task in self.tasks.items():
                    for label, of_row in rows.items():
                        settings = self._settings(of_task, of_row, label, seed)
                        jobs.append(Job(label, task, settings))
            return jobs

    def _settings(
        self, of_task: Mapping[str, Any], of_row: Mapping[str, Any], label: str, seed: int
    ) -> TrainSettings:
        """The settings of a run; the task's override those of all, and the row's override both.

        Options are merged key by key.
        """
        agent = {**self.settings, **of_task, **of_row}.get("agent", TrainSettings.agent)
        of_file, sets_rounds = None, "rounds" in of_row
        if _FILE in of_row:
            of_row = dict(of_row)
            file = Path(of_row.pop(_FILE))
            of_file = read_hyperparameters(file, of_task["task"], agent, self.trust)
            of_row = of_file.under(of_row)
        groups = (self.settings, of_task, of_row)
        changes = {**self.settings, **of_task, **of_row}
        for name in _settings_of_the_task(changes):
            del changes[name]  # they are among the task's options
        # What [settings] and the tasks say is meant for the agents that take it.
        policy_options = options_of("policy", *groups)
        if "policy" not in of_row and not takes_policy(agent):
            changes["policy"], policy_options = None, {}

        # Later options override earlier ones: the control's, those shared, the row's.
        options: dict[str, Any] = {}
        if changes.get("source") == "constant":
            options |= control_options(agent)
        for group in (self.settings, of_task):
            # A policy that is named elsewhere takes the place of the LSTM that they are about.
            other = changes.get("policy") and "policy" not in group
            for key, value in group.get("agent_options", {}).items():
                if accepts(agent, key) and not (other and key in OF_THE_LSTM):
                    options[key] = value
        options |= of_row.get("agent_options", {})

        preset = changes.pop("preset", next(iter(PRESETS)))
        changes |= {
            "seed": seed,
            "threads": 1,  # so that results do not depend on the machine's cores
            "control": False,
            "knobs": label == REFERENCE,  # every score is against these
            "agent_options": options,
            "task_options": self._task_options(groups, seed),
            "policy_options": policy_options,
            "discriminator_options": options_of("discriminator", *groups),
        }
        # The file may give a budget of steps, which become rounds when all else is known.
        if of_file is not None and not sets_rounds:
            changes |= of_file.budget(settings_from(preset, changes))
        return settings_from(preset, changes)

    def under(self, given: Mapping[str, Any]) -> Suite:
        """The suite with settings over those of `[settings]`, and under those of tasks and rows.

        Options are merged key by key, but those of a discriminator, a policy or an LSTM in whose
        place another one is given are dropped.

        Args:
            given: settings of all runs; `preset` may be among them.

        Raises:
            ValueError: settings that a suite does not have.
        """
        merged = {**self.settings, **given}
        # A task's setting has two spellings, and what is given stands above both of the file's.
        of_tasks = dict[str, Any]()
        for group in (self.settings, given):
            of_tasks |= settings_of_task(_of_run(group))
        for name in _settings_of_the_task(merged):
            del merged[name]
        options = {"task_options": of_tasks} | options_under(self.settings, given)
        for name, chosen in options.items():
            merged.pop(name, None)
            if chosen:
                merged[name] = chosen
        return replace(self, settings=merged)

    def _task_options(self, groups: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
        """The options of the task of one run; later groups override earlier ones."""
        options: dict[str, Any] = {}
        for group in groups:
            options |= _settings_of_the_task(group) | group.get("task_options", {})
            if self.fresh_oracles and "oracle_seed" in options:
                raise ValueError(
                    f"suite {self.title!r} has both oracle_seed and fresh_oracles; allowed is one"
                )
        if self.fresh_oracles:
            options["oracle_seed"] = seed
        return options

    def _check_shared_options(self) -> None:
        """Raises a ValueError for a shared agent option that no agent of the suite takes.

        Options of [settings] and of tasks are shared.
        """
        agents = self._agents()
        for group in (self.settings, *self.tasks.values()):
            for option in group.get("agent_options", {}):
                if any(accepts(agent, option) for agent in agents):
                    continue
                taken: set[str] = set()
                taken = taken.union(*map(option_names_of, agents))
                raise ValueError(
                    f"suite {self.title!r} has the agent option {option!r}; none of "
                    f"{', '.join(agents)} takes it.{nearest(sorted(taken), option)}"
                )

    def _agents(self) -> list[str]:
        """The names of all agents of the suite, sorted."""
        agents = {REFERENCE}
        for of_task in self.tasks.values():
            for of_row in self.rows.values():
                settings = self.settings | of_task | of_row
                agents.add(settings.get("agent", TrainSettings.agent))
        return sorted(agents)


def _settings_of_runs() -> list[str]:
    """The names of the settings of a run that a suite may set."""
    return ["preset", *_left_to_suites(field.name for field in fields(TrainSettings))]


def _left_to_suites(names: Iterable[str]) -> list[str]:
    """The names of settings that the harness does not decide itself."""
    return [name for name in names if name not in DECIDED_BY_THE_HARNESS]


def _data_of(settings: TrainSettings) -> list[str]:
    """Hashes of every file and folder that a run reads.

    These are the files of its task, named by options or by default, and those that options of its
    plug-ins name.
    """
    found: list[str] = []

    def note(path: Path) -> str:
        found.append(fingerprint(path))
        return ""

    chosen = check_settings(settings.task, settings.task_options)
    values = {each.name: getattr(chosen, each.name) for each in fields(chosen)}
    # Only `note` counts here: the options with changed paths are dropped.
    map_paths(chosen, values, note)
    options_of_plug_ins_with(settings, note)
    return found


def plug_ins(settings: TrainSettings) -> list[tuple[Registry, str]]:
    """What a run uses that may come from outside this package, as registries and names in them."""
    found = [(registry.TASKS, settings.task), (registry.AGENTS, settings.agent)]
    for name in names_in(settings.source):
        found.append((registry.SOURCES, name))
    found.append((registry.DISCRIMINATORS, settings.discriminator))
    optional = (
        (registry.POLICIES, settings.policy),
        (registry.KNOBS, settings.more_knobs),
        (registry.METRICS, settings.more_metrics),
    )
    for kind, chosen in optional:
        if chosen:
            found.append((kind, chosen))
    return found


def code_in_options(settings: TrainSettings) -> list[str]:
    """Every `package.module:Name` in the options of a run: of a tokenizer, a network's features."""
    return [name for text in _texts_of_options(settings) for name in registry.code_in(text)]


def _texts_of_options(settings: TrainSettings) -> list[str]:
    """The texts in the options of a run, the task's defaults among them, once each, in order."""
    chosen = check_settings(settings.task, settings.task_options)
    options: list[Any] = [{each.name: getattr(chosen, each.name) for each in fields(chosen)}]
    options += [getattr(settings, name) for name in OPTIONS_OF_PLUG_INS]
    return list(dict.fromkeys(texts_in(options)))


def packages_of(settings: TrainSettings) -> list[str]:
    """The packages, other than this one, whose code a run uses.

    A plug-in may be named in one package, defined in another, and inherit from a third; all count.
    So does what options name, such as a tokenizer, or a policy that a discriminator is made of.
    """
    modules: set[str] = set()
    for kind, name in plug_ins(settings):
        modules |= {kind.module(name), *_modules_of(kind.load(name))}
    origins = code_in_options(settings)
    for text in _texts_of_options(settings):
        origins += registry.declared_as(text)
    for origin in origins:
        try:
            named = registry.import_object(origin, f"option {origin!r}")
        except ValueError:  # it is no name of code; or it is, and the run will say so
            continue
        modules |= {origin.partition(":")[0], *_modules_of(named)}
    packages = {module.split(".")[0] for module in modules}
    # Of these the version counts, or, of this package, the code in any case.
    known = {name.replace("-", "_") for name in _DECIDING_VERSIONS}
    return sorted(packages - known - sys.stdlib_module_names)


def _modules_of(thing: Any) -> set[str]:
    """The modules in which a thing, its class and what that inherits from are defined; of a
    sequence, those of each thing in it.
    """
    modules: set[str] = set()
    if isinstance(thing, (list, tuple)):
        for item in thing:
            modules |= _modules_of(item)
        return modules
    if isinstance(thing, functools.partial):
        return _modules_of(thing.func)
    defined = [thing]
    defined += thing.__mro__ if isinstance(thing, type) else type(thing).__mro__
    for each in defined:
        module = getattr(each, "__module__", None)
        if isinstance(module, str):  # what is defined in no module has no code of its own
            modules.add(module)
    return modules


def read_suite(path: Path, trust: Trust = False) -> Suite:
    """A suite from a TOML file; docs/benchmarks.md says what it holds.

    Args:
        path: path of the file.
        trust: whether plug-ins that are not installed may be imported, or the names of those that
            may.

    Raises:
        ValueError: the file cannot be read, is no TOML, holds what a suite does not have, or names
            code that is not trusted.
    """
    text = read_text(path, f"suite {path}", _MOST_BYTES_OF_A_SUITE)
    try:
        content = tomllib.loads(text)
    except ValueError as problem:
        raise ValueError(f"suite {path} is no TOML: {problem}") from problem
    except RecursionError as problem:
        raise ValueError(f"suite {path} is no TOML: it is nested too deeply") from problem
    for name in content:
        choose(_OF_A_SUITE, name, f"entry of suite {path}")
    for name in ("tasks", "rows"):
        if not _is_table_of_tables(content.get(name)):
            raise ValueError(f"suite {path} has no tables [{name}.NAME]; it needs one or more")
    # Building the suite imports the plug-ins that it names, so that trust is asked for before.
    shared = [content.get("settings"), content.get("sweep")]
    check_names(
        [*shared, *content["tasks"].values(), *content["rows"].values()],
        f"suite {path}",
        trust,
    )
    if not isinstance(content.get("sweep", {}), dict):
        raise ValueError(f"sweep of suite {path} is {content['sweep']!r}; expected a table")
    tasks = {}
    for name, settings in content["tasks"].items():
        tasks[name] = {"task": name} | settings  # unless it says otherwise, a task is its name
    with naming(f"suite {path}"):
        return Suite(
            title=str(content.get("title", path.stem)),
            seeds=content.get("seeds", 5),
            tasks=tasks,
            rows=content["rows"],
            settings=content.get("settings", {}),
            first_seed=content.get("first_seed", 0),
            fresh_oracles=content.get("fresh_oracles", False),
            file=path,
            sweep=content.get("sweep"),
            trust=trust,
        )


def _is_table_of_tables(value: Any) -> bool:
    """Whether a value of a TOML file is a table that holds nothing but tables."""
    if not isinstance(value, dict):
        return False
    return all(isinstance(entry, dict) for entry in value.values())


def grid(
    agents: Sequence[str],
    tasks: Sequence[str],
    forms: Sequence[str],
    sources: Sequence[str],
    seeds: int,
    settings: dict[str, Any],
) -> Suite:
    """The suite of all combinations of agents, tasks, forms of the reward and its sources.

    An agent that asks for a source of its own gets that one. Without forms or sources, the rows do
    not name any, so that an agent gets what it asks for, as in `seqgan train`. Labels say what
    differs. Without tasks, the one that the settings are about is taken.
    """
    rows: dict[str, dict[str, Any]] = {}
    for agent in agents:
        if not learns_from_reward(agent):
            rows[agent] = {"agent": agent}
            continue
        # What is not named is one choice: whatever the agent gets.
        among: dict[str, list[str | None]] = {"source": [None], "reward": [*forms] or [None]}
        if "source" not in training_settings(agent):
            among["source"] = [*sources] or [None]
        for combination in itertools.product(*among.values()):
            row, parts = {"agent": agent}, [agent]
            for (name, choices), choice in zip(among.items(), combination, strict=True):
                if choice is not None:
                    row[name] = choice
                    if len(choices) > 1:
                        parts.append(choice)  # a label says only what was chosen among several
            rows[", ".join(parts)] = row
    # The reference is in every suite, and a suite refuses a row of that label.
    rows.pop(REFERENCE, None)
    chosen = tasks or [infer_task(settings_of_task(_of_run(settings)))]
    columns = {task: {"task": task} for task in chosen}
    return Suite(f"{', '.join(agents)} on {', '.join(chosen)}", seeds, columns, rows, settings)


def _settings_of_the_task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of a group that stand there by a task's own names for them."""
    of_runs = {*_settings_of_runs(), *DECIDED_BY_THE_HARNESS}
    return {name: value for name, value in settings.items() if name not in of_runs}


def _of_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the preset's name."""
    of_run = dict(settings)
    of_run.pop("preset", None)
    return of_run
