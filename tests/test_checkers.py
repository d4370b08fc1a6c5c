"""The checkers of score sources, policies and knobs: they pass what keeps its contract, and say of
what does not what is to be mended.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from agents.reinforce import Reinforce
from seqgan_env.generators.gru import GRULanguageModel
from seqgan_env.generators.knobs import Mixture, Power, Temperature, TopK, TopP
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.registry import SOURCES
from seqgan_env.testing import (
    check_agent,
    check_knob,
    check_policy,
    check_scorer,
)
from seqgan_env.types import RolloutPolicy, TokenSpec

from .conftest import EOS, Successor, random_model


class Counts:
    """A good scorer: how often a token stands in a sequence."""

    def score(self, tokens: Tensor) -> Tensor:
        return (tokens == 1).sum(1).float()


class Good(GRULanguageModel):
    """A good language model."""


def returning(score: Callable[[Any, Tensor], Any]) -> object:
    """A scorer that answers so."""
    return type("Scorer", (), {"score": score})()


class Counting:
    """Gives another number at every call."""

    calls = 0

    def score(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return torch.full((len(tokens),), float(self.calls))


def spoil(tokens: Tensor) -> Tensor:
    tokens[0, 0] = 0
    return torch.zeros(len(tokens))


@pytest.mark.parametrize(
    "source", ["bleu", "oracle", "optimal", "constant", "random", "noise", Counts, Counts()]
)
def test_a_good_source_passes(source: object) -> None:
    check_scorer(SOURCES.origin(source) if isinstance(source, str) else source)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (object(), "is a object without score(tokens)"),
        (returning(lambda self, x: x.float()), "Scorer.score returned shape (24, 5)"),
        (returning(lambda self, x: x.sum(1)), "returned dtype torch.int64; expected floating"),
        (returning(lambda self, x: x.sum(1).log() * torch.nan), "returned nan"),
        (returning(lambda self, x: 1 / 0), "Scorer.score raised ZeroDivisionError"),
        (returning(lambda self, x: spoil(x)), "changed the caller's arrays"),
        (returning(lambda self, x: torch.rand(len(x))), "draws from torch's global generator"),
        (Counting(), "gave other numbers for the same sequences"),
        (
            returning(lambda self, x: torch.arange(len(x)).float()),
            "depends on the order of the batch",
        ),
        (
            returning(lambda self, x: x.float().mean() + torch.zeros(len(x))),
            "depends on the rest of the batch",
        ),
    ],
)
def test_a_source_that_breaks_its_contract_is_told_how(scorer: object, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_scorer(scorer)


class Parts(Counts):
    """A scorer that says what its tokens add."""

    def token_scores(self, tokens: Tensor) -> Tensor:
        return (tokens == 1).float()


class HalfParts(Parts):
    def token_scores(self, tokens: Tensor) -> Tensor:
        return 0.5 * super().token_scores(tokens)


class AtTheEnd(Parts):
    def token_scores(self, tokens: Tensor) -> Tensor:
        parts = torch.zeros(tokens.shape)
        parts[:, 0] = self.score(tokens)
        return parts


def test_what_tokens_add_sums_to_the_score_and_does_not_look_ahead() -> None:
    check_scorer(Parts)
    with pytest.raises(AssertionError, match=r"HalfParts\.token_scores do not sum"):
        check_scorer(HalfParts)
    with pytest.raises(AssertionError, match="of a token changes with what comes behind it"):
        check_scorer(AtTheEnd)


def test_the_value_of_a_prefix_draws_from_its_own_streams() -> None:
    class OneDraw:
        def __call__(self, tokens: Tensor, lengths: Tensor, rng: torch.Generator) -> Tensor:
            return torch.rand(len(tokens), generator=rng)

    with pytest.raises(AssertionError, match="OneDraw depends on the order of the batch"):
        check_scorer(OneDraw())


class LooksAhead(Good):
    def hidden_states(self, inputs: Tensor) -> Tensor:
        hidden = super().hidden_states(inputs)
        return hidden + hidden.mean(1, keepdim=True)

    start = LanguageModel.start
    advance = LanguageModel.advance


class Forgets(Good):
    def advance(self, state: Any, inputs: Tensor) -> tuple[Tensor, Any]:
        hidden, _ = super().advance(state, inputs)
        return hidden, state


class Flat(Good):
    def hidden_states(self, inputs: Tensor) -> Tensor:
        return super().hidden_states(inputs).mean(2)


class NoOutput(LanguageModel):
    """Its author forgot the layer that everything else reads."""

    def hidden_states(self, inputs: Tensor) -> Tensor:
        return torch.zeros(*inputs.shape, 4)


class NoBias(NoOutput):
    def __init__(self, spec: TokenSpec) -> None:
        super().__init__(spec)
        self.output = nn.Linear(4, spec.vocab_size, bias=False)


class TooNarrow(NoOutput):
    def __init__(self, spec: TokenSpec) -> None:
        super().__init__(spec)
        self.output = nn.Linear(4, spec.vocab_size - 1)


class Tuples(Good):
    def hidden_states(self, inputs: Tensor) -> Any:
        return super().hidden_states(inputs), None


class OnlyHidden(Good):
    def advance(self, state: Any, inputs: Tensor) -> Any:
        return super().advance(state, inputs)[0]


class Wrong(nn.Module):
    """It takes a spec and writes nothing."""

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()


@pytest.mark.parametrize("policy", [Good, LSTMLanguageModel, random_model(EOS, 3)])
def test_a_good_policy_passes(policy: object) -> None:
    check_policy(policy)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (LooksAhead, "LooksAhead.hidden_states looks ahead"),
        (Forgets, "Forgets.advance gives another state than hidden_states at position 1"),
        (Flat, "Flat.hidden_states returned shape (8, 5) for inputs (8, 5); expected (8, 5, 32)"),
        (NoOutput, "NoOutput has no output layer; give it self.output, a torch.nn.Linear with a"),
        (NoBias, "NoBias.output is Linear(in_features=4, out_features=6, bias=False); give it"),
        (TooNarrow, "TooNarrow.output has 5 rows; give it self.output"),
        (Tuples, "Tuples.hidden_states returned a tuple; expected a torch.Tensor"),
        (OnlyHidden, "OnlyHidden.advance returned a Tensor; expected a tuple of the hidden"),
        (Wrong, "the policy, a Wrong, has no complete(tokens, lengths, rng)"),
        (Successor(EOS), "different seeds gave the same completions"),
    ],
)
def test_a_policy_that_breaks_its_contract_is_told_how(policy: object, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_policy(policy)


class Overconfident:
    """A policy that says of every sequence that it is likelier than it is."""

    def __init__(self, policy: LanguageModel) -> None:
        self.complete, self._policy = policy.complete, policy

    def log_prob(self, tokens: Tensor) -> Tensor:
        return self._policy.log_prob(tokens) + 0.2


@dataclass(frozen=True)
class Turned:
    """A knob that is right, or wrong in one way."""

    name: str = "turned"
    wrong: str = ""

    def fits(self, policy: object) -> bool:
        return isinstance(policy, LanguageModel)

    def __call__(self, policy: RolloutPolicy) -> Any:
        assert isinstance(policy, LanguageModel)
        if self.wrong == "changes":
            with torch.no_grad():
                policy.output.weight.mul_(2)
            return policy.with_temperature(1.0)
        turned = policy.with_temperature(0.5)
        if self.wrong == "no density":
            return Successor(policy.spec)
        if self.wrong == "density":
            return Overconfident(turned)
        if self.wrong == "writes":
            turned.complete = policy.complete  # type: ignore[method-assign]
        return turned


class ByIdentity(Turned):
    """Compared by identity."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "knob",
    [
        Turned,
        Temperature(0.5),
        TopK(2),
        TopP(0.7),
        Power(1.2),
        Mixture(((TopK(1), 0.5), (Temperature(1.0), 0.5))),
    ],
    ids=repr,
)
def test_a_good_knob_passes(knob: object) -> None:
    check_knob(knob)


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        (3, "int is no knob; a knob needs name, fits(policy) and __call__(policy)"),
        (Turned(""), "Turned.name is ''"),
        (ByIdentity(), "ByIdentity is not equal to its copy"),
        (Turned(wrong="changes"), "Turned changed the policy that it was given"),
        (Turned(wrong="no density"), "Turned makes a policy without log_prob"),
        (Turned(wrong="density"), "the probabilities of all sequences sum to 1.221"),
        (Turned(wrong="writes"), "of what is written; log_prob says"),
    ],
)
def test_a_knob_that_breaks_its_contract_is_told_how(knob: object, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_knob(knob)


def python_blocks(page: str) -> list[str]:
    """The code on a page of the documentation, block by block."""
    text = (Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_examples_of_the_documentation_keep_their_contracts() -> None:
    found: dict[str, Any] = {"__name__": __name__}
    checks = ""
    for block in python_blocks("plugins.md"):
        if "check_agent(" in block:
            checks = block  # it stands before what it checks
        elif "class " in block:
            exec(block, found)
    for checker in ("scorer", "policy", "discriminator", "knob", "task", "metric", "tracker"):
        assert f"check_{checker}(" in checks
    exec(checks, found)
    for knob in found["SEVERAL"]:
        check_knob(knob)


def test_the_policy_of_the_documentation_that_carries_a_state_is_right() -> None:
    found: dict[str, Any] = {"torch": torch, "nn": nn, "LanguageModel": LanguageModel}
    [block] = [block for block in python_blocks("custom_policy.md") if "def advance(" in block]
    exec(block, found)
    check_policy(found["Recurrent"])


def test_an_agents_traits_are_checked() -> None:
    class Odd(Reinforce):
        control_options: ClassVar[Any] = ["baseline"]

    class Unsure(Reinforce):
        learns_from_reward: ClassVar[Any] = "no"

    with pytest.raises(AssertionError, match="agent Odd: control_options is a list; expected a"):
        check_agent(Odd)
    with pytest.raises(AssertionError, match="agent Unsure: learns_from_reward is 'no'; allowed"):
        check_agent(Unsure)


def test_an_agent_that_takes_gymnasiums_spec_is_told_where_the_other_one_is() -> None:
    class Mistaken(Reinforce):
        def __init__(self, env: Any, seed: int = 0) -> None:
            super().__init__(env, GRULanguageModel(env.unwrapped.spec), seed)

    with pytest.raises(AssertionError, match=r"TokenSpec is env\.unwrapped\.task\.spec"):
        check_agent(Mistaken)
