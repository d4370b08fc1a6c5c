"""Writes the pages of the site that are made of the code: environments, agents and the API.

MkDocs runs this before every build, as a hook, so that these pages are never stale. For other
builders there is `python docs/generate.py`. The folders that it writes are not under version
control.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from griffe import Docstring, DocstringSectionKind, parse_google

import seqgan_env
from seqgan_env import plugins, registry
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.online import OnlineSettings
from seqgan_env.rewards.forms import FORMS
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.tasks import default_settings, load_task, presets_of
from seqgan_env.types import DrawsPictures

DOCS = Path(__file__).parent

_NUM_FRAMES = 8  # of a rendered episode
_BUILT_IN = ("seqgan_env.", "agents.")  # where what this package declares is defined

# What the API reference is divided into, in the order of the page.
_PARTS = {
    "envs": "environments, their dynamics, online learning",
    "rewards": "score sources, values of prefixes, forms of reward",
    "discriminators": "who tells real from generated, and how it is trained",
    "generators": "policies: language models, how they are fitted, drawn and turned",
    "metrics": "divergences, the score, the referee, what is told of real data",
    "tasks": "what is written, and its data",
    "training": "Algorithm 1, settings, whole runs and the folder they leave",
    "bench": "grids of runs: jobs, pools, statistics, the report",
    "testing": "checkers of what a user brings",
}
_CORE = ("types", "registry", "plugins", "streams", "trust", "files", "names", "checks", "building")


def on_pre_build(config: Any) -> None:
    """The hook of MkDocs."""
    write_pages()


def write_pages() -> None:
    """Writes every page; one that says the same already is left alone, or a server would build for
    ever.
    """
    for path, content in pages():
        target = DOCS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != content:
            target.write_text(content, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Path in the documentation, and content."""
    ids = {name: spec for name, spec in gym.registry.items() if name.startswith("SeqGAN/")}
    yield "environments/index.md", _environments(list(ids))
    for name, spec in ids.items():
        if _is_ours(spec.kwargs["task"] or registry.DEFAULT_TASK, registry.TASKS):
            yield from _environment(name, spec.kwargs["task"])
    yield "environments/rewards.md", _rewards()
    for name in registry.AGENTS.names():
        if _is_ours(name, registry.AGENTS):
            yield f"agents/{name}.md", _agent(name)
    yield "api/index.md", _api_index()
    core = tuple(f"seqgan_env.{name}" for name in _CORE)
    yield "api/core.md", _api_page("seqgan_env", "what everything speaks", core)
    for part, title in _PARTS.items():
        package = f"seqgan_env.{part}"
        yield f"api/{part}.md", _api_page(package, title, _modules(package))
    yield "api/agents.md", _api_page("agents", "reference agents", _modules("agents"))


def _is_ours(name: str, things: registry.Registry) -> bool:
    return things.module(name).startswith(_BUILT_IN)


# Environments.


def _environments(names: list[str]) -> str:
    rows = [f"| [`{name}`]({_page_of(name)}) | {_summary(_task_of(name))} |" for name in names]
    sections = _sections(TokenEnv)
    return _joined(
        "# Environments",
        "Each id makes a single environment (`gymnasium.make`) and a vector environment "
        "(`gymnasium.make_vec`), which steps a whole batch at once and has the same dynamics. This "
        "page has what all ids share. The page of an id has its task and its own arguments.",
        "`import seqgan_env` registers the ids. Without it Gymnasium knows none of them: "
        "`NamespaceNotFound`.",
        _table("id", "what is written", rows),
        sections["Description"],
        "## Arguments\n\nEvery id takes these beside those of its task.",
        "### What is paid\n\n" + _field_table(RewardSettings),
        "The [rewards](rewards.md) have a page of their own.",
        "### How it is shown\n\n" + _argument_table(TokenEnv.__init__, without=("self", "rewards")),
        "`make_vec` also takes `autoreset_mode`: `same_step` (default), `next_step` or `disabled`.",
        "### Models\n\n`policy`, `discriminator`, `discriminator_options`, `d_batch_size`, "
        "`model_seed` and `device` are those of "
        "[`build_rewards`][seqgan_env.envs.registration.build_rewards]. `rewards` shares a "
        "[`RewardModel`][seqgan_env.rewards.model.RewardModel], which has its own settings.",
        "### Online learning\n\n" + sections["Learning rewards"],
        _field_table(OnlineSettings),
        "`rollout_policy` is `clone`, an LSTM fitted to the episodes, or `live`: the `policy` that "
        "is given.",
    )


def _environment(name: str, task: str | None) -> Iterator[tuple[str, str]]:
    """The page of an id, and its picture where the task draws one."""
    env = gym.make(name, render_mode="ansi_list")
    frames = _play_real_sequence(env)
    task_object = env.unwrapped.task
    sections = _sections(TokenEnv)
    lines = [
        f"| action space | `{env.action_space}` |",
        f"| observation space | `{env.observation_space}` |",
        f'| one | `gymnasium.make("{name}")` |',
        f'| many | `gymnasium.make_vec("{name}", num_envs=64)` |',
    ]
    picture = ""
    if isinstance(task_object, DrawsPictures):
        real = task_object.held_out[:6]
        drawing = task_object.drawing([task_object.decode(row) for row in real])
        if drawing:
            file = _page_of(name).replace(".md", ".svg")
            picture = f"![Six sequences of the held-out data]({file})"
            yield f"environments/{file}", drawing
    yield (
        f"environments/{_page_of(name)}",
        _joined(
            f"# {name}",
            _any_task() if task is None else _described(load_task(task)),
            _table("", "", lines),
            "The spaces are those of the default arguments.",
            picture,
            "```text\n" + "\n".join(frames) + "\n```",
            'An episode in which a real sequence is written, by `render_mode="ansi_list"`: tokens '
            "so far, and value and reward of the last one under an untrained discriminator.",
            "## Observation space\n\n" + sections["Observation space"],
            "## Action space\n\n" + sections["Action space"],
            "## Rewards\n\n" + sections["Rewards"] + " The [sources and forms](rewards.md) have a "
            "page of their own.",
            "## Starting state\n\n" + sections["Starting state"],
            "## Episode end\n\n" + sections["Episode end"] + _end_of(task_object),
            "## Info\n\n" + sections["Info"],
            "## Arguments\n\nOf this task; those [of every id](index.md#arguments) go beside them.",
            _field_table(type(default_settings(task or registry.DEFAULT_TASK))),
            _presets(task),
            "## Version history\n\n" + sections["Version history"],
        ),
    )


def _task_of(name: str) -> str | None:
    task: str | None = gym.registry[name].kwargs["task"]
    return task


def _page_of(name: str) -> str:
    """`SeqGAN/Oracle-v0` is on the page oracle.md."""
    return name.partition("/")[2].rpartition("-v")[0].lower() + ".md"


def _any_task() -> str:
    return (
        "Any task, by its name or by `package.module:Class`: "
        '`gymnasium.make("SeqGAN/Task-v0", task="mypkg.tasks:MyTask")`. '
        "[Your own task](../guides/own-task.md) shows one. Without `task` it is "
        f"`{registry.DEFAULT_TASK}`, as below."
    )


def _summary(task: str | None) -> str:
    if task is None:
        return "What any task says, by its name or by `package.module:Class`."
    return _first_sentence(load_task(task))


def _play_real_sequence(env: gym.Env[Any, Any]) -> list[str]:
    """Frames of an episode in which the first held-out sequence is written."""
    env.reset(seed=0)
    for token in env.unwrapped.task.held_out[0].tolist():
        terminated = env.step(token)[2]
        if terminated:
            break
    frames = env.render()
    step = max(1, -(-len(frames) // _NUM_FRAMES))
    kept = frames[::-step][::-1]
    return [
        textwrap.shorten(frame, 150, placeholder=" ...") if len(frame) > 150 else frame
        for frame in kept
    ]


def _end_of(task: Any) -> str:
    if task.spec.eos_token is None:
        return f" This task has no end token: every episode has {task.spec.seq_len} steps."
    return (
        f" The end token of this task is {task.spec.eos_token}, and T is {task.spec.seq_len} with "
        "the default arguments."
    )


def _presets(task: str | None) -> str:
    presets = presets_of(task) if task else {}
    if not presets:
        return ""
    blocks = [
        f"**{name}**: " + ", ".join(f"`{key}={value!r}`" for key, value in changes.items())
        for name, changes in presets.items()
    ]
    return "What presets of `seqgan train` change for this task:\n\n" + "\n\n".join(blocks)


def _rewards() -> str:
    forms = [
        f"| `{form.name}` | {_form(form.name)} | {form.discount:g} |" for form in FORMS.values()
    ]
    sources = [
        f"| `{name}` | {_first_sentence(registry.SOURCES.load(name))} |"
        for name, origin in registry.SOURCES.names().items()
        if origin.startswith(_BUILT_IN)
    ]
    return _joined(
        "# Rewards",
        "A reward is a score source times a form. The source says what a finished sequence is "
        "worth, and the value Q_t of a prefix is the mean over its completions. The form says what "
        "of that a step pays.",
        _table("form", "a step pays | discount that fits", forms),
        "`env.unwrapped.discount` is the discount that fits. Summing the rewards of `rollout` with "
        "discount 1 would count every score T times.",
        "## Sources",
        _table("source", "score of a sequence", sources),
        'Sums are written as they are read: `source="discriminator + 0.5 * bleu"`. '
        "[Your own reward](../guides/own-reward.md) shows how to bring another.",
    )


def _form(name: str) -> str:
    return {
        "rollout": "Q_t, the paper's: it already is the action value",
        "difference": "Q_t - Q_{t-1}: an episode sums to the score",
        "terminal": "nothing before the end, then the score; no rollouts",
        "token": "the token's own part of a score that is a sum over tokens; no rollouts",
    }[name]


# Agents.


def _agent(name: str) -> str:
    cls = plugins.load_agent_class(name)
    module = inspect.getmodule(cls)
    return _joined(
        f"# {name}",
        _described(cls),
        f"```console\n$ seqgan train --agent {name}\n```",
        f"`{registry.AGENTS.origin(name)}`, in code [`{cls.__name__}`]"
        f"[{cls.__module__}.{cls.__name__}].",
        _asked_for(name),
        "## Where it comes from\n\n" + _own_doc(module),
        _options(cls),
    )


def _asked_for(name: str) -> str:
    """What the agent asks of a run, in words."""
    said = []
    settings = plugins.training_settings(name)
    if settings:
        listed = ", ".join(f"`{key}={value!r}`" for key, value in settings.items())
        said.append(f"It asks for {listed}; what you give goes before it.")
    if not plugins.learns_from_reward(name):
        said.append("It never looks at a reward, so a run of it has no rounds.")
    changed = plugins.control_options(name)
    if changed:
        listed = ", ".join(f"`{key}={value!r}`" for key, value in changed.items())
        said.append(f"Under the constant-reward control it has {listed}.")
    return " ".join(said)


def _options(cls: type) -> str:
    """Tables of the options, those of the agent itself first."""
    blocks = ["## Options"]
    loose = []
    for parameter in inspect.signature(cls).parameters.values():
        if is_dataclass(parameter.default):
            blocks += _option_tables(type(parameter.default))
        elif parameter.name not in ("env", "seed", "policy"):
            loose.append(parameter.name)
    if loose:
        blocks.append(
            "Of the algorithm, under the names of its library: "
            + ", ".join(f"`{each}`" for each in loose)
            + ". [Which defaults differ from the library's, and why](../sb3_defaults.md)."
        )
    if len(blocks) == 1:
        blocks.append("None.")
    return _joined(*blocks)


def _option_tables(config: type) -> list[str]:
    """A table for each class of options, the most special first."""
    blocks = []
    told: set[str] = set()  # what a special class has another default for stands there alone
    for cls in config.__mro__:
        if not is_dataclass(cls):
            continue
        own = [
            each
            for each in fields(cls)
            if each.name in vars(cls).get("__annotations__", {}) and each.name not in told
        ]
        if own:
            told |= {each.name for each in own}
            blocks.append(f"*{_first_sentence(cls)}*\n\n" + _rows(own, _attributes(config)))
    return blocks


# The API.


def _api_index() -> str:
    homes = {name: home for home, names in seqgan_env._HOMES.items() for name in names}
    rows = []
    for name in seqgan_env.__all__:
        home = homes.get(name, "seqgan_env.envs.ids")
        sentence = _first_sentence(getattr(seqgan_env, name))
        rows.append(f"| [`{name}`][{home}.{name}] | {sentence} |")
    parts = [f"| [`seqgan_env.{part}`]({part}.md) | {text} |" for part, text in _PARTS.items()]
    return _joined(
        "# API",
        "What `import seqgan_env` gives by name:",
        _table("name", "what", rows),
        "## Packages",
        _table(
            "package",
            "what",
            [
                "| [`seqgan_env`](core.md) | what everything speaks |",
                *parts,
                "| [`agents`](agents.md) | reference agents |",
            ],
        ),
    )


def _modules(package: str) -> tuple[str, ...]:
    """Every public module below a package, itself first; it alone where it gathers their names."""
    imported = import_module(package)
    if hasattr(imported, "__all__"):
        return (package,)
    found = [package]
    for info in pkgutil.walk_packages(imported.__path__, f"{package}."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            found.append(info.name)
    return tuple(found)


def _api_page(part: str, title: str, modules: tuple[str, ...]) -> str:
    return _joined(
        f"# {part}",
        title[:1].upper() + title[1:] + ".",
        *(f"::: {name}" for name in modules),
    )


# Docstrings and tables.


def _sections(cls: type) -> dict[str, str]:
    """The parts of a docstring under headings, by heading."""
    parts = re.split(r"^## (.+)$", inspect.getdoc(cls) or "", flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def _described(thing: Any) -> str:
    """The docstring of a class without its list of attributes."""
    return _own_doc(thing).partition("\nAttributes:")[0].strip()


def _own_doc(thing: Any) -> str:
    """A docstring, in which pages of the documentation are links from a folder of it."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    return re.sub(r"`docs/([\w-]+)\.md`", r"[`docs/\1.md`](../\1.md)", text)


def _first_sentence(thing: Any) -> str:
    """The first sentence of a docstring, on one line and fit for a table."""
    paragraph = " ".join(_own_doc(thing).partition("\n\n")[0].split())
    sentence = re.split(r"(?<!al)(?<=[a-z0-9)`\"])\.\s+(?=[A-Z])", paragraph)[0]
    sentence = sentence.removesuffix(".") + "."
    return _cell(sentence)


def _attributes(cls: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of its bases say of each field."""
    said: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        said |= _described_items(_own_doc(base), DocstringSectionKind.attributes)
    return said


def _described_items(text: str, kind: DocstringSectionKind) -> dict[str, str]:
    # The parser overlooks a section that nothing stands before.
    sections = parse_google(Docstring(f"A summary.\n\n{text}"), warnings=False)
    items = [item for section in sections if section.kind is kind for item in section.value]
    return {item.name: " ".join(item.description.split()) for item in items}


def _field_table(cls: type) -> str:
    return _rows(list(fields(cls)), _attributes(cls))


def _rows(own: list[Field[Any]], said: dict[str, str]) -> str:
    rows = [
        f"| `{each.name}` | `{_default(each)}` | {_cell(said.get(each.name, ''))} |" for each in own
    ]
    return _table("name", "default | meaning", rows)


def _default(each: Field[Any]) -> str:
    if each.default is not MISSING:
        return _cell(repr(each.default))
    return repr(each.default_factory()) if each.default_factory is not MISSING else "required"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _argument_table(function: Any, without: tuple[str, ...]) -> str:
    said = _described_items(_own_doc(function), DocstringSectionKind.parameters)
    rows = [
        f"| `{parameter.name}` | `{parameter.default!r}` | {said.get(parameter.name, '')} |"
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in without
    ]
    return _table("name", "default | meaning", rows)


def _table(first: str, rest: str, rows: list[str]) -> str:
    columns = 2 + rest.count("|")
    return "\n".join([f"| {first} | {rest} |", "|---" * columns + "|", *rows])


def _joined(*blocks: str) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_pages()
