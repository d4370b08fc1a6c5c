"""Knobs: what they write is what they say is likely, and a mixture is the mixture of its parts."""

import pytest
import torch

from seqgan_env.generators.knobs import (
    FEW_KNOBS,
    KNOBS,
    UNTURNED,
    Knob,
    Mixture,
    MixturePolicy,
    Power,
    Temperature,
    TopK,
    TopP,
    knobs_for,
    parts_of,
)
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.plugins import load_knobs
from seqgan_env.streams import RowStreams
from seqgan_env.types import TokenSpec

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
