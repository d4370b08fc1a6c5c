"""Where everything that a user may bring is found, by one mechanism for every kind of it.

A thing is named in one of three ways: by the name under which a package declares it in the
entry-point group of its kind (`seqgan_env.agents`, `seqgan_env.sources`, ...), as
`package.module:Name`, or, in code, by the object itself. What is built in stands in a table of
`package.module:Name` here, so that it is found without an installation; agents do not, since this
package does not know them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from seqgan_env import agents, faults
from seqgan_env.names import choose, nearest
from seqgan_env.trust import names_of_code

BY_MODULE = "package.module:Name"  # how a thing is named that nobody has declared
DEFAULT_TASK = "oracle-tiny"

_ORIGIN = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_MODULE = re.compile(r"(\w[\w.-]*):")  # of package.module:Name, anywhere in a text


class Registry:
    """All things of one kind.

    Examples:
        >>> DISCRIMINATORS.origin("ratio")
        'seqgan_env.discriminators.ratio:RatioDiscriminator'
        >>> DISCRIMINATORS.load("ratio").__name__
        'RatioDiscriminator'
        >>> DISCRIMINATORS.load("ration")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: unknown discriminator 'ration'; allowed are ... Did you mean 'ratio'?

    Attributes:
        kind: what one of them is called in messages: "agent", "source".
        group: the entry-point group in which packages declare theirs.
        builtin: what is there without any package: name to `package.module:Name`.
        needs: methods that each must have.
        hint: what one of them needs, in words.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str],
        needs: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        """
        Args:
            kind: what one of them is called in messages.
            group: entry-point group.
            builtin: name to `package.module:Name`.
            needs: methods that each must have, classes and objects alike.
            hint: what a thing of this kind needs, as it stands in messages behind "a KIND needs".
        """
        self.kind, self.group, self.builtin = kind, group, dict(builtin)
        self.needs, self.hint = tuple(needs), hint or ", ".join(needs)

    def names(self) -> dict[str, str]:
        """Every name and its origin, `package.module:Name`; what is built in stands first.

        Raises:
            ValueError: two packages declare different things under one name, or a package declares
                one under the name of what is built in.
        """
        found = dict(self.builtin)
        for point in _declared(self.group, _where_packages_lie()):
            if found.get(point.name, point.value) != point.value:
                raise ValueError(self._clash(point, found[point.name]))
            found[point.name] = point.value
        return found

    def origin(self, name: str) -> str:
        """The `package.module:Name` behind a name; itself if it is one.

        Raises:
            ValueError: there is no such name; the message suggests the nearest, and naming it by
                its module.
        """
        if ":" in name:
            return name
        if name in self.builtin:  # without asking every installed package
            return self.builtin[name]
        names = self.names()
        return names[choose([*names, BY_MODULE], name, self.kind)]

    def module(self, name: str) -> str:
        """The module in which the thing of this name is defined, `package.module`."""
        return self.origin(name).partition(":")[0]

    def load(self, thing: Any) -> Any:
        """The class, function or object that is meant.

        Args:
            thing: a name, `package.module:Name`, or what is meant itself.

        Raises:
            ValueError: there is no such thing, it cannot be imported, or it lacks a method.
        """
        loaded = self._import(thing) if isinstance(thing, str) else thing
        missing = [name for name in self.needs if not callable(getattr(loaded, name, None))]
        if missing:
            raise ValueError(
                f"{self.kind} {self._called(thing)} lacks {' and '.join(missing)}; "
                f"{_article(self.kind)} {self.kind} needs {self.hint}"
            )
        return loaded

    def load_several(self, name: str) -> list[Any]:
        """The objects that a name means: one, or a sequence of them. A class is called to make one.

        Raises:
            ValueError: as `load`, or a class wants arguments, which only an object of it has.
        """
        found = self.load(name)
        things = list(found) if isinstance(found, Sequence) else [found]
        return [self._made(name, thing) if inspect.isclass(thing) else thing for thing in things]

    def _made(self, name: str, cls: type) -> object:
        try:
            inspect.signature(cls).bind()
        except TypeError as problem:
            raise ValueError(
                f"{self.kind} {name!r} is a class: {problem}; name an object of it, such as MINE = "
                f"{cls.__name__}(...)"
            ) from None
        return cls()

    def _import(self, name: str) -> Any:
        return import_object(self.origin(name), f"{self.kind} {name!r}")

    def _called(self, thing: Any) -> str:
        if isinstance(thing, str):
            return repr(thing)
        return str(getattr(thing, "__name__", type(thing).__name__))

    def _clash(self, point: EntryPoint, other: str) -> str:
        declared = f"two packages declare the {self.kind} {point.name!r}"
        if point.name in self.builtin:
            declared = f"a package declares the {self.kind} {point.name!r}, which is built in"
        return (
            f"{declared}: {other} and {point.value}; give the entry point in {self.group} another "
            "name"
        )


@functools.lru_cache(maxsize=256)
def _declared(group: str, where: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group, sorted.

    Every installed package is asked, which takes tens of milliseconds; a suite asks for hundreds of
    names. So they are asked again only when `where`, what `_where_packages_lie` says, has changed.
    """
    return tuple(sorted(entry_points(group=group)))


def _where_packages_lie() -> tuple[tuple[str, int], ...]:
    """Every folder in which Python looks for packages, and when a package was last put there."""
    found = []
    for folder in sys.path:
        path = Path(folder).absolute()  # "" is the working folder
        try:
            changed = path.stat().st_mtime_ns
        except OSError:  # Python passes over folders that are not there
            continue
        found.append((str(path), changed))
    return tuple(found)


def import_object(origin: str, called: str) -> Any:
    """What `package.module:Name` means. No other place makes code of a name.

    It runs the module: names out of files pass `seqgan_env.trust.check_names` before.

    Args:
        origin: `package.module:Name`.
        called: what it is called in messages, as in "agent 'mine:Agent'".

    Raises:
        ValueError: the module cannot be imported, or has nothing of that name.
    """
    module_name, _, path = origin.partition(":")
    faults.remember(called, module_name)  # an import may fail in the plug-in's code, too
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as problem:  # a module of the user's may fail in any way
        raise ValueError(f"{called} cannot be imported: {agents.told(problem)}") from problem
    for part in path.split("."):
        if not hasattr(found, part):
            public = [other for other in vars(found) if not other.startswith("_")]
            raise ValueError(
                f"{called}: module {module_name} has no {path!r}.{nearest(public, part)}"
            )
        found = getattr(found, part)
    faults.remember(called, module_name, found)
    return found


def code_in(text: str) -> list[str]:
    """Every `package.module:Name` in the text of an option whose package can be found.

    Others are taken for texts that mean something else.
    """
    found = []
    for name in names_of_code(text):
        if _ORIGIN.fullmatch(name) and _is_found(name.partition(":")[0].partition(".")[0]):
            found.append(name)
    return found


def declared_as(name: str) -> list[str]:
    """What is built in or declared under a name, of whatever kind, as `package.module:Name`."""
    found = []
    for kind in KINDS:
        if name in kind.builtin:
            found.append(kind.builtin[name])
        for point in _declared(kind.group, _where_packages_lie()):
            if point.name == name:
                found.append(point.value)
    return found


def find_in_working_folder(texts: Iterable[str]) -> None:
    """Lets modules be found in the working folder if a text names one, `package.module:Name`, that
    is found nowhere else.

    Otherwise the folder stays out of sight: standing in one that someone sent must not make its
    modules stand for libraries that are missing, nor its metadata declare plug-ins.
    """
    modules = {name for text in texts for name in _MODULE.findall(text)}
    if not all(_is_found(module.partition(".")[0]) for module in modules):
        sys.path.append(str(Path.cwd()))


def _is_found(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


AGENTS = Registry(
    "agent",
    "seqgan_env.agents",
    {},
    needs=("pretrain", "update"),
    hint="policy, pretrain(sequences, num_epochs) and update()",
)
TASKS = Registry(
    "task",
    "seqgan_env.tasks",
    {
        "oracle-tiny": "seqgan_env.tasks.oracle.task:OracleTask",
        "oracle-small": "seqgan_env.tasks.oracle.task:SmallOracleTask",
        "oracle-paper": "seqgan_env.tasks.oracle.task:PaperOracleTask",
        "text": "seqgan_env.tasks.text.task:CorpusTask",
        "music": "seqgan_env.tasks.music.task:MusicTask",
        "molecule": "seqgan_env.tasks.molecule.task:MoleculeTask",
        "peptide": "seqgan_env.tasks.peptide.task:PeptideTask",
    },
    needs=("draw_real", "evaluate", "decode", "to"),
    hint="defaults, draw_real(num, rng), evaluate(policy, rng), decode(tokens) and to(device)",
)
# What is known of the tasks of this package before their classes are imported: objects of
# `seqgan_env.tasks.options.Defaults`.
TASK_DEFAULTS = Registry(
    "task",
    "seqgan_env.task_defaults",
    {
        "oracle-tiny": "seqgan_env.tasks.oracle.settings:TINY",
        "oracle-small": "seqgan_env.tasks.oracle.settings:SMALL",
        "oracle-paper": "seqgan_env.tasks.oracle.settings:PAPER",
        "text": "seqgan_env.tasks.text.settings:TEXT",
        "music": "seqgan_env.tasks.music.settings:MUSIC",
        "molecule": "seqgan_env.tasks.molecule.settings:MOLECULE",
        "peptide": "seqgan_env.tasks.peptide.settings:PEPTIDE",
    },
)
SOURCES = Registry(
    "source",
    "seqgan_env.sources",
    {
        "discriminator": "seqgan_env.rewards.sources:discriminator",
        "optimal": "seqgan_env.rewards.sources:optimal",
        "oracle": "seqgan_env.rewards.sources:oracle",
        "bleu": "seqgan_env.metrics.ngram:bleu_source",
        "constant": "seqgan_env.rewards.scorers:ConstantValue",
        "random": "seqgan_env.rewards.scorers:RandomValue",
        "noise": "seqgan_env.rewards.sources:noise",
        "validity": "seqgan_env.tasks.molecule.sources:validity",
        "uniqueness": "seqgan_env.tasks.molecule.sources:uniqueness",
        "qed": "seqgan_env.tasks.molecule.sources:qed",
        "penalised_logp": "seqgan_env.tasks.molecule.sources:penalised_logp",
        "accessibility": "seqgan_env.tasks.molecule.sources:accessibility",
        "similarity": "seqgan_env.tasks.molecule.sources:similarity",
        "rediscovery": "seqgan_env.tasks.molecule.sources:rediscovery",
        "hydrophobicity": "seqgan_env.tasks.peptide.task:hydrophobicity",
        "charge": "seqgan_env.tasks.peptide.task:charge",
        "stability": "seqgan_env.tasks.peptide.task:stability",
        "helical_moment": "seqgan_env.tasks.peptide.task:helical_moment",
    },
    hint="score(tokens), or to be callable with tokens, lengths, rng",
)
DISCRIMINATORS = Registry(
    "discriminator",
    "seqgan_env.discriminators",
    {
        "small": "seqgan_env.discriminators.cnn:small",
        "paper": "seqgan_env.discriminators.cnn:paper",
        "lstm": "seqgan_env.discriminators.lstm:LSTMDiscriminator",
        "ratio": "seqgan_env.discriminators.ratio:RatioDiscriminator",
    },
    hint="Class(spec, rng, **options), a subclass of seqgan_env.Discriminator",
)
POLICIES = Registry(
    "policy",
    "seqgan_env.policies",
    {
        "gru": "seqgan_env.generators.gru:GRULanguageModel",
        "huggingface": "seqgan_env.generators.hugging_face:HuggingFaceModel",
        "lstm": "seqgan_env.generators.language_model:LSTMLanguageModel",
    },
    hint="hidden_states(inputs) and an output layer",
)
KNOBS = Registry("knob", "seqgan_env.knobs", {}, hint="name, fits(policy) and __call__(policy)")
METRICS = Registry("metric", "seqgan_env.metrics", {})
TRACKERS = Registry(
    "tracker",
    "seqgan_env.trackers",
    {
        "tensorboard": "seqgan_env.tracking.tensorboard:TensorBoardTracker",
        "wandb": "seqgan_env.tracking.weights_and_biases:WandbTracker",
        "mlflow": "seqgan_env.tracking.mlflow:MLflowTracker",
    },
    needs=("begin", "log", "end"),
    hint="begin(config), log(step, metrics) and end(status)",
)

# What options may name. Trackers change no number, and what a task's defaults are stands in its own
# module.
KINDS = (AGENTS, TASKS, SOURCES, DISCRIMINATORS, POLICIES, KNOBS, METRICS)
