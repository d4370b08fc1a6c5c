"""What a benchmark is made of: jobs, each determined by its settings, and suites, which are grids
of them.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seqgan_env import native, registry
from seqgan_env.bench.fingerprints import code_of_library, code_of_module, fingerprint
from seqgan_env.bench.results import check_label
from seqgan_env.checks import check_kinds
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
    default_settings,
    infer_task,
    setting_names,
    task_names,
)
from seqgan_env.tasks.options import map_paths
from seqgan_env.training import run_directory
from seqgan_env.training.settings import (
    DECIDED_BY_THE_HARNESS,
    OF_THE_LSTM,
    PRESETS,
    TrainSettings,
    settings_from,
    settings_of_task,
)
from seqgan_env.trust import Trust, check_names

REFERENCE = "mle"  # the row that every other one is compared with; its knobs are the measure

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
_CHOSEN = [
    "preset",
    *(field.name for field in fields(TrainSettings) if field.name not in DECIDED_BY_THE_HARNESS),
]
# the built-in English is what this Python's own documentation says
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
        label: the row of the table that it belongs to; runs of one label differ in task and seed.
        task: the column: a task's name, or what the suite calls a task with settings of its own.
        settings: of the run.
    """

    label: str
    task: str
    settings: TrainSettings

    @cached_property
    def key(self) -> str:
        """A hash of everything that determines the result: settings, data, code, versions.

        Names its file.
        """
        settings = asdict(self.settings)
        settings |= options_with(self.settings, lambda path: "")
        data = _data_of(self.settings)
        versions = {
            name: version
            for name, version in run_directory.versions().items()
            if name in _DECIDING_VERSIONS
        }
        code = [code_of_library(), native.built_from()]
        code += [code_of_module(package) for package in packages_of(self.settings)]
        deciding = [self.label, self.task, settings, data, code, versions]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def name(self) -> str:
        """What it is, for a person."""
        return f"{self.label} on {self.task}, seed {self.settings.seed}"

    def with_absolute_paths(self) -> Job:
        """The same job from any working directory."""
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
        title: of the report.
        seeds: how many; first_seed..first_seed+seeds-1.
        tasks: by name, the settings of each, among them `task`.
        rows: by label, the settings of each, among them `agent` and `source`.
        settings: of all; `preset` may be among them.
        first_seed: the first of them.
        file: that it was read from, for messages.
        fresh_oracles: whether every seed has an oracle of its own, so that the verdict is about
            tasks of a kind and not about one of them.
        sweep: the table `[sweep]` as it stands in the file, for `seqgan sweep` alone
            (`seqgan_env.sweep.plan`).
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
        groups = {"settings": self.settings} | {f"rows.{k}": v for k, v in self.rows.items()}
        groups |= {f"tasks.{k}": v for k, v in self.tasks.items()}
        for name in (*self.tasks, *self.rows):
            check_label(name, f"a name in suite {self.title!r}")
        for where, settings in groups.items():
            if not isinstance(settings, dict):
                raise ValueError(
                    f"{where} of suite {self.title!r} is {settings!r}; expected a table"
                )
            check_kinds(TrainSettings, settings)
        of_tasks = self._settings_of_tasks()
        for where, settings in groups.items():
            here = ["task"] if where.startswith("tasks.") else []
            for name in settings:
                choose([*_CHOSEN, *here, *of_tasks], name, f"setting in {where}")
        if REFERENCE in self.rows:
            raise ValueError(
                f"suite {self.title!r} has a row {REFERENCE!r}; that one is always there and takes "
                "[settings] alone"
            )

    def _settings_of_tasks(self) -> list[str]:
        """What the tasks of the suite and the built-in ones take, by their own names."""
        tasks = [*task_names(), *(each["task"] for each in self.tasks.values() if "task" in each)]
        taken = {name: None for task in tasks for name in setting_names(task)}
        return [name for name in taken if name not in DECIDED_BY_THE_HARNESS]

    def jobs(self) -> list[Job]:
        """All jobs, seed by seed, the reference first.

        Raises:
            ValueError: settings that cannot be.
        """
        with naming(self.file and f"suite {self.file}"):
            self._check_shared_options()
            rows = {REFERENCE: {"agent": REFERENCE}} | self.rows
            return [
                Job(label, task, self._settings(of_task, of_row, label, seed))
                for seed in range(self.first_seed, self.first_seed + self.seeds)
                for task, of_task in self.tasks.items()
                for label, of_row in rows.items()
            ]

    def _settings(
        self, of_task: Mapping[str, Any], of_row: Mapping[str, Any], label: str, seed: int
    ) -> TrainSettings:
        """Those of all, then of the task, then of the row; options are merged key by key."""
        changes = {**self.settings, **of_task, **of_row}
        agent = changes.get("agent", TrainSettings.agent)
        # What [settings] and the tasks say is meant for the agents that take it.
        policy_options = _options("policy", self.settings, of_task, of_row)
        if "policy" not in of_row and not takes_policy(agent):
            changes["policy"], policy_options = None, {}
        options = control_options(agent) if changes.get("source") == "constant" else {}
        for group in (self.settings, of_task):
            # A policy that is named elsewhere takes the place of the LSTM that they are about.
            other = changes.get("policy") and "policy" not in group
            options = options | {
                key: value
                for key, value in group.get("agent_options", {}).items()
                if accepts(agent, key) and not (other and key in OF_THE_LSTM)
            }
        options = options | of_row.get("agent_options", {})
        preset = changes.pop("preset", next(iter(PRESETS)))
        changes |= {
            "seed": seed,
            "threads": 1,
            "control": False,
            "knobs": label == REFERENCE,
            "agent_options": options,
            "task_options": self._task_options((self.settings, of_task, of_row), seed),
            "policy_options": policy_options,
            "discriminator_options": _options("discriminator", self.settings, of_task, of_row),
        }
        return settings_from(preset, changes)

    def _task_options(self, groups: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
        """The options of the task of one run; what stands later goes over what stands before."""
        options: dict[str, Any] = {}
        for group in groups:
            options |= group.get("task_options", {})
            if self.fresh_oracles and "oracle_seed" in {*group, *options}:
                raise ValueError(
                    f"suite {self.title!r} has both oracle_seed and fresh_oracles; allowed is one"
                )
        return options | ({"oracle_seed": seed} if self.fresh_oracles else {})

    def _check_shared_options(self) -> None:
        """Raises a ValueError for an agent option of [settings] or of a task that no agent of the
        suite takes.
        """
        shared = [self.settings, *self.tasks.values()]
        rows = [
            self.settings | of_task | of_row
            for of_task in self.tasks.values()
            for of_row in self.rows.values()
        ]
        agents = sorted({row.get("agent", TrainSettings.agent) for row in rows} | {REFERENCE})
        for option in (option for group in shared for option in group.get("agent_options", {})):
            if not any(accepts(agent, option) for agent in agents):
                taken = {name for agent in agents for name in option_names_of(agent)}
                raise ValueError(
                    f"suite {self.title!r} has the agent option {option!r}; none of "
                    f"{', '.join(agents)} takes it.{nearest(sorted(taken), option)}"
                )


def _options(kind: str, *groups: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the discriminator or the policy, those of all groups, key by key; where a
    group names another one, what stands above it is not about that one.
    """
    name, options = getattr(TrainSettings, kind), dict[str, Any]()
    for group in groups:
        if group.get(kind, name) != name:
            name, options = group[kind], {}
        options |= group.get(f"{kind}_options", {})
    return options


def options_with(settings: TrainSettings, change: Callable[[Path], str]) -> dict[str, Any]:
    """The options of a run's task and of its policy with every path in them changed, by the names
    of these settings.
    """
    defaults = default_settings(settings.task)
    return {
        "task_options": map_paths(defaults, settings.task_options, change),
        "policy_options": map_paths(None, settings.policy_options, change),
    }


def _data_of(settings: TrainSettings) -> list[str]:
    """Hashes of every file and folder that a run reads: its task, by its options or by default, and
    its policy.
    """
    found: list[str] = []

    def note(path: Path) -> str:
        found.append(fingerprint(path))
        return ""

    chosen = check_settings(settings.task, settings.task_options)
    values = {each.name: getattr(chosen, each.name) for each in fields(chosen)}
    map_paths(chosen, values, note)
    map_paths(None, settings.policy_options, note)
    return found


def plug_ins(settings: TrainSettings) -> list[tuple[Registry, str]]:
    """What a run is told to use that may come from outside this package: registries and names."""
    return [
        (registry.TASKS, settings.task),
        (registry.AGENTS, settings.agent),
        *((registry.SOURCES, name) for name in names_in(settings.source)),
        (registry.DISCRIMINATORS, settings.discriminator),
        *((registry.POLICIES, name) for name in [settings.policy] if name),
        *((registry.KNOBS, name) for name in [settings.more_knobs] if name),
        *((registry.METRICS, name) for name in [settings.more_metrics] if name),
    ]


def packages_of(settings: TrainSettings) -> list[str]:
    """The packages, other than this one, whose code a run uses: where its plug-ins are named, and
    where they are defined.
    """
    modules: set[str] = set()
    for kind, name in plug_ins(settings):
        defined = getattr(kind.load(name), "__module__", None)
        modules |= {kind.module(name), defined or kind.module(name)}
    packages = {module.split(".")[0] for module in modules}
    return sorted(packages - {"seqgan_env"})  # whose code is hashed in any case


def read_suite(path: Path, trust: Trust = False) -> Suite:
    """A suite from a TOML file; docs/benchmarks.md says what it holds.

    Args:
        path: of the file.
        trust: whether plug-ins that are not installed may be imported, or the names of those that
            may.

    Raises:
        ValueError: it cannot be read, is no TOML, holds what a suite does not have, or names code
            that is not trusted.
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
        if not isinstance(content.get(name), dict) or not all(
            isinstance(entry, dict) for entry in content[name].values()
        ):
            raise ValueError(f"suite {path} has no tables [{name}.NAME]; it needs one or more")
    shared = [content.get("settings"), content.get("sweep")]
    check_names(
        [*shared, *content["tasks"].values(), *content["rows"].values()],
        f"suite {path}",
        trust,
    )
    if not isinstance(content.get("sweep", {}), dict):
        raise ValueError(f"sweep of suite {path} is {content['sweep']!r}; expected a table")
    with naming(f"suite {path}"):
        return Suite(
            title=str(content.get("title", path.stem)),
            seeds=content.get("seeds", 5),
            tasks={name: {"task": name} | settings for name, settings in content["tasks"].items()},
            rows=content["rows"],
            settings=content.get("settings", {}),
            first_seed=content.get("first_seed", 0),
            fresh_oracles=content.get("fresh_oracles", False),
            file=path,
            sweep=content.get("sweep"),
        )


def grid(
    agents: Sequence[str],
    tasks: Sequence[str],
    forms: Sequence[str],
    sources: Sequence[str],
    seeds: int,
    settings: dict[str, Any],
) -> Suite:
    """The suite of all combinations.

    Agents that ask for a source of their own get that one; labels say what differs.
    """
    rows: dict[str, dict[str, Any]] = {}
    for agent in agents:
        if not learns_from_reward(agent):
            rows[agent] = {"agent": agent}
            continue
        own = training_settings(agent).get("source")
        for source in [own] if own else sources:
            for form in forms:
                told = [source] * (own is None and len(sources) > 1) + [form] * (len(forms) > 1)
                rows[", ".join([agent, *told])] = {"agent": agent, "source": source, "reward": form}
    rows.pop(REFERENCE, None)
    chosen = tasks or [infer_task(settings_of_task(_of_run(settings)))]
    columns = {task: {"task": task} for task in chosen}
    return Suite(f"{', '.join(agents)} on {', '.join(chosen)}", seeds, columns, rows, settings)


def _of_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the preset's name."""
    return {name: value for name, value in settings.items() if name != "preset"}
