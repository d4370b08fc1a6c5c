"""Score sources by name, their weighted sums, and how they are made.

A sum is written as it is read, "discriminator + 0.5 * mypkg.scores:QED": the objective-reinforced
GAN (Guimaraes et al. 2017, ORGAN, eq. 5) pays lambda D(Y) + (1 - lambda) O(Y).
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgan_env import registry
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.rewards.scorers import ConstantValue, OptimalScorer, OracleScorer, RandomValue
from seqgan_env.rewards.values import EarnedValue, RolloutValue, additive, checked
from seqgan_env.streams import RowStreams
from seqgan_env.types import HasLogProb, PrefixValue, RolloutPolicy, SequenceScorer, Task

DISCRIMINATOR = "discriminator"
CONTROLS = ("constant", "random", "noise")  # sources that say nothing about a sequence
LOGITS = (DISCRIMINATOR, "optimal")  # sources that score by a probability, or by its logit
TRUTH = ("optimal", "oracle")  # sources that know what nobody knows of real data

# What a source may be in code: a name or a sum of names, what makes one, or one itself.
Source = Any

# Values that need no check of what they return, or check it themselves.
_CHECKED = (RolloutValue, EarnedValue, ConstantValue, RandomValue)

_TERM = re.compile(
    r"\s*(?P<sign>[+-]?)\s*"
    r"(?:(?P<weight>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*)?"
    r"(?P<name>[A-Za-z_][\w.-]*(?::[\w.]+)?)\s*"
)


@dataclass(frozen=True)
class WeightedSum:
    """A sum of score sources, each times a weight.

    Attributes:
        terms: (weight, source) each; a weight is finite and not 0.
    """

    terms: tuple[tuple[float, Source], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a sum of score sources has no terms; it needs one or more")
        for weight, source in self.terms:
            if not math.isfinite(weight) or weight == 0:
                raise ValueError(
                    f"the weight of source {_called(source)} is {weight}; allowed are finite "
                    "numbers other than 0"
                )


def read_source(source: Source) -> WeightedSum:
    """The sum that is meant; of one term with weight 1 where a single source is given.

    Args:
        source: a name, `package.module:Name`, a sum of such as text, a `WeightedSum`, or an object.
            Whether there is a source of a name is not asked: see `check_source`.

    Raises:
        ValueError: the text is no sum of names.
    """
    if isinstance(source, WeightedSum):
        return source
    if isinstance(source, str):
        return _parse(source)
    return WeightedSum(((1.0, source),))


def check_source(source: Source) -> None:
    """Raises a ValueError if the text is no sum of names, there is no source of a name, or an
    object is none.
    """
    for _, term in read_source(source).terms:
        loaded = registry.SOURCES.load(term)
        if not _makes(term, loaded):
            _check_made(term, loaded)


def names_in(source: Source) -> list[str]:
    """The names in a source; what is given as an object has none."""
    names = []
    for _, term in read_source(source).terms:
        if isinstance(term, str):
            names.append(term)
    return names


def is_control(source: Source) -> bool:
    """Whether a source says nothing about a sequence, nor does any part of it."""
    return all(_among(source, CONTROLS))


def knows_the_truth(source: Source) -> bool:
    """Whether a source, or a part of it, sees what a policy is to learn."""
    return any(_among(source, TRUTH))


def has_logit(source: Source) -> bool:
    """Whether a source, or a part of it, scores by a probability or by its logit."""
    return any(_among(source, LOGITS))


def _among(source: Source, names: Collection[str]) -> Iterator[bool]:
    """Of every term of a source, whether it is one of these names; an object is none."""
    for _, term in read_source(source).terms:
        yield isinstance(term, str) and term in names


def _parse(text: str) -> WeightedSum:
    terms: list[tuple[float, Source]] = []
    position = 0
    while position < len(text) or not terms:
        found = _TERM.match(text, position)
        if found is None or (terms and not found["sign"]):
            raise ValueError(
                f"source {text!r} cannot be read from {text[position:]!r} on; write a name, "
                "package.module:Name, or a sum such as 'discriminator + 0.5 * bleu'"
            )
        weight = float(found["weight"] or 1)
        if found["sign"] == "-":
            weight = -weight
        terms.append((weight, found["name"]))
        position = found.end()
    return WeightedSum(tuple(terms))


def make_source(
    source: Source,
    task: Task,
    policy: RolloutPolicy,
    discriminator: Discriminator | None = None,
    score_as: str = "probability",
) -> SequenceScorer | PrefixValue:
    """What scores. A class or function is called with those of the other arguments that it names;
    an object comes back as it is.

    Args:
        source: a name, `package.module:Name`, what makes a source, or a source.
        task: what is written.
        policy: the live one, until another is bound.
        discriminator: if there is one.
        score_as: "probability" or "logit".

    Raises:
        ValueError: it asks for something else, cannot be made, or is no source.
    """
    loaded = registry.SOURCES.load(source)
    if not _makes(source, loaded):
        return _check_made(source, loaded)
    given = {
        "task": task,
        "policy": policy,
        "discriminator": discriminator,
        "score_as": score_as,
    }
    return _check_made(source, loaded(**_asked_for(source, loaded, given)))


def _makes(source: Source, loaded: Any) -> bool:
    """Whether what was loaded makes a source: a class does, and a function that was named."""
    named = isinstance(source, str)
    return inspect.isclass(loaded) or (named and inspect.isroutine(loaded))


def _asked_for(
    source: Source, make: Callable[..., Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of `given` that the parameters of `make` name."""
    parameters = inspect.signature(make).parameters.values()
    for parameter in parameters:
        many = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        by_name = parameter.name in given and parameter.kind != parameter.POSITIONAL_ONLY
        if parameter.default is parameter.empty and not many and not by_name:
            raise ValueError(
                f"source {_called(source)} asks for {parameter.name!r} when it is made; allowed "
                f"are {', '.join(given)}, by name, and whatever has a default"
            )
    return {p.name: given[p.name] for p in parameters if p.name in given}


def _check_made(source: Source, made: Any) -> SequenceScorer | PrefixValue:
    if not callable(getattr(made, "score", None)) and not callable(made):
        name = ""
        if isinstance(source, str):
            name = f" {source!r}"
        raise ValueError(
            f"source{name} is a {type(made).__name__} without score(tokens); a source needs "
            f"{registry.SOURCES.hint}"
        )
    found: SequenceScorer | PrefixValue = made
    return found


def _called(source: Source) -> str:
    if isinstance(source, str):
        return repr(source)
    return str(getattr(source, "__name__", type(source).__name__))


class SummedScorer:
    """A weighted sum of scores of the same sequences, or of their tokens' parts."""

    def __init__(self, terms: Sequence[tuple[float, SequenceScorer]]) -> None:
        """
        Args:
            terms: weights and scorers.
        """
        self.terms = tuple(terms)

    def score(self, tokens: Tensor) -> Tensor:
        """Scores (B,) of finished sequences (B, T)."""
        total = torch.zeros(len(tokens), device=tokens.device, dtype=torch.float32)
        for weight, scorer in self.terms:
            total += weight * checked(scorer, scorer.score(tokens), tokens)
        return total

    def token_scores(self, tokens: Tensor) -> Tensor:
        """Parts (B, T) of prefixes (B, T).

        Raises:
            ValueError: a term is no sum over tokens.
        """
        total = torch.zeros(tokens.shape, device=tokens.device, dtype=torch.float32)
        for weight, scorer in self.terms:
            total += weight * additive(scorer).token_scores(tokens)
        return total


class SummedValue:
    """A weighted sum of values of the same prefixes. Terms draw independent noise."""

    def __init__(self, terms: Sequence[tuple[float, PrefixValue]]) -> None:
        """
        Args:
            terms: weights and values.
        """
        self.terms = tuple(terms)

    def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
        streams = RowStreams.draw(rng, len(tokens))
        total = torch.zeros(len(tokens), device=tokens.device, dtype=torch.float32)
        drawing = 0
        for weight, value in self.terms:
            # The first draws what it would alone; completions have streams of their own anyway.
            own = streams
            if drawing:
                own = streams.fold_in(drawing)
            drawing += not isinstance(value, RolloutValue | EarnedValue | ConstantValue)
            total += weight * checked(value, value(tokens, lengths, own), tokens)
        return total


def value_of(
    terms: Sequence[tuple[float, SequenceScorer | PrefixValue]],
    of_scorer: Callable[[SequenceScorer], RolloutValue | EarnedValue],
) -> PrefixValue:
    """The value of a prefix under a weighted sum of sources.

    Scorers share their completions; values of prefixes are taken as they are.

    Args:
        terms: weights and sources.
        of_scorer: the value of a prefix under a scorer.
    """
    scorers: list[tuple[float, SequenceScorer]] = []
    values: list[tuple[float, PrefixValue]] = []
    for weight, source in terms:
        if isinstance(source, SequenceScorer):
            scorers.append((weight, source))
        else:
            values.append((weight, source))
    if scorers:
        weight, scorer = scorers[0]
        if len(scorers) > 1 or weight != 1:
            scorer = SummedScorer(scorers)
        values.insert(0, (1.0, of_scorer(scorer)))
    weight, value = values[0]
    if len(values) == 1 and weight == 1 and isinstance(value, _CHECKED):
        return value
    return SummedValue(values)


# What is built in, as the registry has it.


def discriminator(discriminator: Discriminator | None) -> Discriminator:
    """The discriminator that is trained: P(real), or its logit."""
    if discriminator is None:
        raise ValueError("source 'discriminator' needs a discriminator; none was given")
    return discriminator


def optimal(task: Task, policy: RolloutPolicy, score_as: str) -> OptimalScorer:
    """The exact optimal discriminator of an oracle task."""
    return OptimalScorer(_oracle(task, "optimal"), policy, score_as)


def oracle(task: Task) -> OracleScorer:
    """The oracle's likelihood per token."""
    return OracleScorer(_oracle(task, "oracle"), task.spec)


def noise() -> RandomValue:
    """Uniform noise around zero."""
    return RandomValue(zero_mean=True)


def _oracle(task: Task, source: str) -> HasLogProb:
    oracle: HasLogProb | None = getattr(task, "oracle", None)
    if oracle is None:
        raise ValueError(f"source {source!r} needs a task with an oracle; {task.name} has none")
    return oracle
