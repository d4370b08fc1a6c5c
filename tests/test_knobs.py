"""Knobs: what they write is what they say is likely, and a mixture is the mixture of its parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from agents.baselines import Uniform
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.knobs import (
    FEW_KNOBS,
    KNOBS,
    UNTURNED,
    Knob,
    LikelihoodPolicy,
    Mixture,
    MixturePolicy,
    Power,
    Temperature,
    TopK,
    TopP,
    knobs_for,
    parts_of,
)
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.plugins import load_knobs
from seqgan_env.streams import RowStreams
from seqgan_env.tasks.oracle.task import OracleTask
from seqgan_env.training.settings import settings_from
from seqgan_env.training.trainer import Trainer
from seqgan_env.types import RolloutPolicy, TokenSpec

from .conftest import Successor, all_sequences, random_model, rng

NUM = 60_000
TURNED: tuple[Knob, ...] = (
    Temperature(0.5),
    TopK(2),
    TopP(0.7),
    Power(1.7),
    Mixture(((Temperature(0.3), 0.25), (Temperature(1.3), 0.75))),
    Mixture(((TopP(0.6), 0.5), (Temperature(1.0), 0.5))),
)
MINE = Temperature(0.77)
SEVERAL = (MINE, TopK(1))
NO_KNOB = "T 0.77"


@dataclass(frozen=True)
class Named:
    """A temperature under any name, for what a run makes of names."""

    name: str
    value: float = 0.8

    def fits(self, policy: object) -> bool:
        return isinstance(policy, LanguageModel)

    def __call__(self, policy: RolloutPolicy) -> LikelihoodPolicy:
        return Temperature(self.value)(policy)


class Unfit(Named):
    def fits(self, policy: object) -> bool:
        return False


ONE, SAME = Named("mine"), (Named("mine", 0.3), Named("mine", 0.8))
TAKEN, TAKEN_OF_FEW = Named("T 1"), (ONE, Named("nucleus 0.95"))
BUILTIN, UNFIT = TopK(10), Unfit("unfit")
MINE_OF_TASK = Named("of the task")


class LeavesOut(OracleTask):
    """A task with knobs of its own that forgets the user's."""

    def knobs_of(self, policy: RolloutPolicy, more: Sequence[Knob] = ()) -> list[Knob]:
        return [UNTURNED]


class HasItsOwn(OracleTask):
    def knobs_of(self, policy: RolloutPolicy, more: Sequence[Knob] = ()) -> list[Knob]:
        return [UNTURNED, Named("of the task", 0.5), *more]


class CannotBeTurned(Uniform):
    """An agent whose policy has no temperature, and that some knob fits all the same."""

    def __init__(self, env: TokenVectorEnv, seed: int = 0) -> None:
        super().__init__(env, seed)
        self.policy: Any = Successor(self.policy.spec)


class FitsAll(Named):
    def fits(self, policy: object) -> bool:
        return True


ANY = FitsAll("any")


class MeasuresNone:
    """An oracle task without its knobs."""

    defaults = OracleTask.defaults

    def __init__(self, settings: Any, name: str) -> None:
        task = OracleTask(settings, name)
        for name in ("spec", "name", "real_sequences", "validation", "held_out"):
            setattr(self, name, getattr(task, name))
        self.task = task

    def draw_real(self, num: int, rng: torch.Generator) -> Tensor:
        return self.task.draw_real(num, rng)

    def decode(self, tokens: Tensor) -> str:
        return self.task.decode(tokens)

    def evaluate(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        return self.task.evaluate(policy, rng)

    def to(self, device: str) -> Self:
        return self


@pytest.mark.parametrize("knob", TURNED, ids=lambda knob: knob.name)
def test_probabilities_sum_to_one_and_are_those_of_what_is_written(
    knob: Knob, spec: TokenSpec
) -> None:
    policy = knob(random_model(spec, 1))
    everything = all_sequences(spec)
    probs = policy.log_prob(everything).double().exp()
    # The normaliser of a power is estimated from 16,384 draws.
    error = 0.02 if isinstance(knob, Power) else 1e-5
    assert float(probs.sum()) == pytest.approx(1, abs=error)
    probs /= probs.sum()
    likely = probs.topk(5).indices
    samples = sample_sequences(policy, spec, NUM, rng(2))
    spec.check_sequences(samples)
    for i in likely.tolist():
        share = float((samples == everything[i]).all(1).double().mean())
        p = float(probs[i])
        assert share == pytest.approx(p, abs=4.5 * (p * (1 - p) / NUM) ** 0.5 + 1e-6)


@pytest.mark.parametrize("knob", TURNED, ids=lambda knob: knob.name)
def test_a_completion_goes_on_as_the_whole_distribution_does(knob: Knob, spec: TokenSpec) -> None:
    policy = knob(random_model(spec, 1))
    everything = all_sequences(spec)
    probs = policy.log_prob(everything).double().exp()
    first = int(everything[int(probs.argmax()), 0])
    prefix = torch.full((NUM, spec.seq_len), spec.pad_token)
    prefix[:, 0] = first
    completions = policy.complete(prefix, torch.ones(NUM, dtype=torch.int64), rng(3))
    assert (completions[:, 0] == first).all()
    conditional = probs * (everything[:, 0] == first)
    conditional /= conditional.sum()
    for i in conditional.topk(4).indices.tolist():
        share, p = (
            float((completions == everything[i]).all(1).double().mean()),
            float(conditional[i]),
        )
        assert share == pytest.approx(p, abs=4.5 * (p * (1 - p) / NUM) ** 0.5 + 1e-6)


def test_a_row_is_written_alike_whatever_stands_beside_it(spec: TokenSpec) -> None:
    streams = RowStreams.draw(rng(4), 12)
    empty, lengths = (
        torch.full((12, spec.seq_len), spec.pad_token),
        torch.zeros(12, dtype=torch.int64),
    )
    for knob in TURNED:
        policy = knob(random_model(spec, 1))
        together = policy.complete(empty, lengths, streams)
        alone = [
            policy.complete(empty[i : i + 1], lengths[i : i + 1], streams.select(torch.tensor([i])))
            for i in range(12)
        ]
        assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("knob", TURNED, ids=lambda knob: knob.name)
def test_a_turned_policy_stays_as_it_is_while_the_given_one_learns(
    knob: Knob, spec: TokenSpec
) -> None:
    model = random_model(spec, 1)
    turned, everything = knob(model), all_sequences(spec)
    before = turned.log_prob(everything)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    assert torch.equal(turned.log_prob(everything), before)


def test_temperature_one_is_the_policy_itself(spec: TokenSpec) -> None:
    model = random_model(spec, 1)
    everything = all_sequences(spec)
    assert torch.equal(UNTURNED(model).log_prob(everything), model.log_prob(everything))


def test_every_list_has_the_untouched_policy_and_no_name_twice() -> None:
    for knobs in (KNOBS, FEW_KNOBS):
        names = [knob.name for knob in knobs]
        assert UNTURNED in knobs
        assert len(set(names)) == len(names)


def test_truncations_are_left_out_of_large_vocabularies_and_all_knobs_of_what_cannot_be_turned(
    spec: TokenSpec,
) -> None:
    model = random_model(spec)
    assert knobs_for(model, 50, KNOBS) == list(KNOBS)
    large = knobs_for(model, 5_000, KNOBS)
    assert large
    assert all(isinstance(part, Temperature) for knob in large for part, _ in parts_of(knob))
    assert knobs_for(Successor(spec), 50, KNOBS) == []


@pytest.mark.parametrize("vocab_size", [50, 1_000, 1_001, 5_000])
@pytest.mark.parametrize("builtin", [KNOBS, FEW_KNOBS], ids=["many", "few"])
def test_knobs_that_were_asked_for_are_measured_whatever_the_vocabulary(
    spec: TokenSpec, vocab_size: int, builtin: tuple[Knob, ...]
) -> None:
    model = random_model(spec)
    alone = knobs_for(model, vocab_size, builtin)
    more: list[Knob] = [ONE, TopK(3), Power(1.3)]
    assert knobs_for(model, vocab_size, builtin, more) == [*alone, *more]
    # One that is built in is measured once, and also where it would be left out.
    assert knobs_for(model, vocab_size, builtin, [BUILTIN]).count(BUILTIN) == 1


def test_a_knob_that_was_asked_for_and_does_not_fit_is_refused(spec: TokenSpec) -> None:
    message = "knob 'unfit' of more_knobs does not fit the policy, a LSTMLanguageModel"
    for vocab_size in (50, 5_000):
        with pytest.raises(ValueError, match=message):
            knobs_for(random_model(spec), vocab_size, KNOBS, [ONE, UNFIT])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("UNFIT", {}, "knob 'unfit' of more_knobs does not fit the policy"),
        ("ONE", {"agent": f"{__name__}:CannotBeTurned"}, "'mine' of more_knobs does not fit"),
        ("ANY", {"agent": f"{__name__}:CannotBeTurned"}, "it lacks with_temperature"),
        ("ONE", {"task": f"{__name__}:LeavesOut"}, "leaves out the knob 'mine'"),
        (
            "MINE_OF_TASK",
            {"task": f"{__name__}:HasItsOwn"},
            "two knobs with the name 'of the task'",
        ),
        ("ONE", {"task": f"{__name__}:MeasuresNone"}, "measures no knobs"),
    ],
)
def test_no_knob_that_was_asked_for_is_left_out_in_silence(
    name: str, changes: dict[str, Any], message: str
) -> None:
    options = {"num_real": 50, "num_held_out": 50, "num_eval": 50}
    given = {"more_knobs": f"{__name__}:{name}", "task_options": options} | changes
    settings = settings_from("tiny", given)
    with pytest.raises(ValueError, match=message):  # before anything is trained
        Trainer(settings)
    Trainer(replace(settings, knobs=False))


def test_what_cannot_be_turned_is_refused_with_its_name(spec: TokenSpec) -> None:
    with pytest.raises(
        ValueError, match=r"T 0\.5 was asked for; Successor has no with_temperature"
    ):
        Temperature(0.5)(Successor(spec))
    with pytest.raises(ValueError, match="top 2 was asked for; Successor is no LanguageModel"):
        TopK(2)(Successor(spec))


@pytest.mark.parametrize("weights", [(0.5, 0.4), (1.2, -0.2), ()])
def test_weights_of_a_mixture_are_positive_and_sum_to_one(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="allowed are numbers above 0 that sum to 1"):
        Mixture(tuple((Temperature(1.0 + i), weight) for i, weight in enumerate(weights)))


def test_a_mixture_of_mixtures_is_refused() -> None:
    inner = Mixture(((Temperature(0.5), 1.0),))
    with pytest.raises(ValueError, match="give the parts of that one"):
        Mixture(((inner, 1.0),))


def test_a_power_is_the_power_of_the_probability_but_for_what_is_clipped(spec: TokenSpec) -> None:
    model = random_model(spec, 1)
    everything = all_sequences(spec)
    powered = 1.7 * model.log_prob(everything).double()
    expected = (powered - powered.logsumexp(0)).exp()
    found = Power(1.7)(model).log_prob(everything).double().exp()
    assert float((found - expected).abs().sum() / 2) < 0.03  # total variation
    # Without a clip the two would be the same: what differs lies in the few that weigh most.
    ratio = (found / expected).log()
    assert float((ratio - ratio.median()).abs().median()) < 1e-4


def test_a_power_of_one_or_less_is_refused_and_so_is_one_in_a_mixture() -> None:
    with pytest.raises(ValueError, match="allowed is any number above 1"):
        Power(1.0)
    with pytest.raises(ValueError, match="could not go on with one"):
        Mixture(((Power(1.1), 0.5), (Temperature(1.0), 0.5)))


def test_knobs_of_a_users_own_are_loaded_by_name() -> None:
    assert load_knobs(None) == []
    assert load_knobs(f"{__name__}:MINE") == [MINE]
    assert load_knobs(f"{__name__}:SEVERAL") == list(SEVERAL)
    with pytest.raises(ValueError, match="a knob needs name, fits"):
        load_knobs(f"{__name__}:NUM")
    with pytest.raises(ValueError, match="cannot be imported"):
        load_knobs("no_such_module:KNOB")


def test_no_two_knobs_of_a_run_have_one_name() -> None:
    with pytest.raises(ValueError, match=r":SAME' holds two knobs with the name 'mine'"):
        load_knobs(f"{__name__}:SAME")
    for name, taken in (("TAKEN", "T 1"), ("TAKEN_OF_FEW", "nucleus 0.95")):
        with pytest.raises(
            ValueError, match=f":{name}' holds a knob with the name '{taken}', which"
        ):
            load_knobs(f"{__name__}:{name}")
    assert load_knobs(f"{__name__}:BUILTIN") == [BUILTIN]  # the same one, which is no other
    with pytest.raises(ValueError, match="built in"):
        settings_from("tiny", {"more_knobs": f"{__name__}:TAKEN"})


def test_a_mixture_policy_of_one_is_that_policy(spec: TokenSpec) -> None:
    model = random_model(spec, 1)
    everything = all_sequences(spec)
    assert torch.allclose(
        MixturePolicy([model], [1.0]).log_prob(everything), model.log_prob(everything)
    )


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("knob", [Temperature(0.9), TopK(5), TopP(0.9), Power(1.1)])
def test_knobs_turn_policies_of_sixteen_bits(
    knob: Knob, kind: torch.dtype, spec: TokenSpec
) -> None:
    policy = random_model(spec).to(kind)
    spec.check_sequences(sample_sequences(knob(policy), spec, 2000, rng()))
