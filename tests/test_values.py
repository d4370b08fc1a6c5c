"""Monte Carlo values: the parity loop of eq.

4, exact enumeration, and the agreement of every route.
"""

import pytest
import torch
from torch import Tensor

from seqgan_env.rewards.scorers import ConstantValue, RandomValue
from seqgan_env.rewards.values import EarnedValue, LaggedPolicy, RolloutValue, action_values
from seqgan_env.streams import RowStreams
from seqgan_env.types import PrefixValue, RolloutPolicy, SequenceScorer, TokenSpec

from .conftest import Successor, WeightedSum, all_sequences, random_model, rng


def equation_four(
    spec: TokenSpec,
    policy: RolloutPolicy,
    scorer: SequenceScorer,
    num_rollouts: int,
    sequence: list[int],
) -> list[float]:
    """Transcribed from the paper: Q(Y_1:t) = 1/N sum_n D(Y^n) with Y^n in MC(Y_1:t; N) for t < T,
    and D(Y_1:T) for t = T.
    """
    end = len([y for y in sequence if y != spec.pad_token])
    values = []
    for t in range(1, end + 1):
        prefix = torch.tensor([sequence[:t] + [spec.pad_token] * (spec.seq_len - t)])
        if t == end:
            values.append(float(scorer.score(prefix)))
        else:
            completions = [
                policy.complete(prefix, torch.tensor([t]), rng(n)) for n in range(num_rollouts)
            ]
            values.append(sum(float(scorer.score(y)) for y in completions) / num_rollouts)
    return values + [0.0] * (spec.seq_len - end)


def test_the_fast_path_is_equation_four_for_a_deterministic_rollout_policy(spec: TokenSpec) -> None:
    policy, scorer = Successor(spec), WeightedSum(spec)
    tokens = all_sequences(spec)[::7]
    fast = action_values(RolloutValue(spec, policy, scorer, 4), spec, tokens, rng())
    plain = torch.tensor([equation_four(spec, policy, scorer, 4, row) for row in tokens.tolist()])
    torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-6)


def exact_value(
    spec: TokenSpec, policy: object, scorer: SequenceScorer, prefix: list[int]
) -> float:
    """E[score(Y) | Y begins with the prefix], over every sequence that does."""
    everything = all_sequences(spec)
    begins = everything[(everything[:, : len(prefix)] == torch.tensor(prefix)).all(1)]
    probs = policy.log_prob(begins).double().exp()  # type: ignore[attr-defined]
    return float((probs * scorer.score(begins).double()).sum() / probs.sum())


def test_the_value_of_a_prefix_meets_the_enumeration_of_all_completions(spec: TokenSpec) -> None:
    policy, scorer, num_rollouts = random_model(spec), WeightedSum(spec), 20_000
    for prefix in ([], [1], [2, 1]):
        tokens = torch.tensor([prefix + [spec.pad_token] * (spec.seq_len - len(prefix))])
        lengths = torch.tensor([len(prefix)])
        estimate = float(RolloutValue(spec, policy, scorer, num_rollouts)(tokens, lengths, rng()))
        spread = float(
            scorer.score(
                policy.complete(tokens.expand(2000, -1), lengths.expand(2000), rng(1))
            ).std()
        )
        assert (
            abs(estimate - exact_value(spec, policy, scorer, prefix))
            < 4 * spread / num_rollouts**0.5 + 1e-6
        )


def test_a_value_does_not_depend_on_the_batch_it_is_asked_in(spec: TokenSpec) -> None:
    value = RolloutValue(spec, random_model(spec), WeightedSum(spec), 5)
    tokens, streams = random_model(spec).sample(12, rng()), RowStreams(torch.arange(12))
    together = action_values(value, spec, tokens, streams)
    for i in range(12):
        row = torch.tensor([i])
        torch.testing.assert_close(
            action_values(value, spec, tokens[row], streams.select(row)), together[row]
        )


def test_values_of_whole_sequences_are_their_scores(spec: TokenSpec) -> None:
    scorer, tokens = WeightedSum(spec), all_sequences(spec)
    assert torch.equal(
        RolloutValue(spec, random_model(spec), scorer, 3)(tokens, spec.lengths(tokens), rng()),
        scorer.score(tokens),
    )


@pytest.mark.parametrize("value", [ConstantValue(), RandomValue()])
def test_controls_have_a_value_for_every_written_token_and_none_behind_the_end(
    spec: TokenSpec, value: PrefixValue
) -> None:
    tokens = random_model(spec).sample(50, rng())
    values = action_values(value, spec, tokens, rng())
    assert not values[tokens == spec.pad_token].any()
    assert (values[tokens != spec.pad_token] > 0).float().mean() > 0.99


def test_the_lagged_copy_moves_by_its_rate_and_only_when_synced(spec: TokenSpec) -> None:
    live = random_model(spec)
    lagged = LaggedPolicy(live, 0.25)
    before = live.output.bias.detach().clone()
    with torch.no_grad():
        live.output.bias.add_(1.0)
    bias = lagged.copy.get_parameter("output.bias")
    assert torch.equal(bias, before)
    lagged.sync()
    torch.testing.assert_close(bias, before + 0.25)


def test_a_lagged_copy_of_what_has_no_parameters_is_refused(spec: TokenSpec) -> None:
    with pytest.raises(TypeError, match="Successor is not"):
        LaggedPolicy(Successor(spec), 0.5)


class Broken(WeightedSum):
    """A scorer that a user got wrong."""

    def __init__(self, spec: TokenSpec, result: Tensor) -> None:
        super().__init__(spec)
        self.result = result

    def score(self, tokens: Tensor) -> Tensor:
        return self.result[: len(tokens)]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_custom_score_that_is_not_finite_is_refused_and_shown(
    spec: TokenSpec, number: float
) -> None:
    value = RolloutValue(spec, Successor(spec), Broken(spec, torch.full((999,), number)), 2)
    with pytest.raises(
        ValueError, match=r"Broken.score returned (nan|inf) for \[.*scores must be finite"
    ):
        action_values(value, spec, all_sequences(spec)[:2], rng())


def test_custom_scores_of_the_wrong_shape_are_refused(spec: TokenSpec) -> None:
    value = RolloutValue(spec, Successor(spec), Broken(spec, torch.zeros(999, 1)), 2)
    with pytest.raises(ValueError, match=r"expected \(\d+,\)"):
        action_values(value, spec, all_sequences(spec)[:2], rng())


class BrokenParts(WeightedSum):
    """A scorer whose parts of tokens a user got wrong."""

    def __init__(self, spec: TokenSpec, parts: Tensor) -> None:
        super().__init__(spec)
        self.parts = parts

    def token_scores(self, tokens: Tensor) -> Tensor:
        return self.parts.expand(tokens.shape)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (torch.tensor(float("nan")), r"returned nan for \[.*scores must be finite"),
        (torch.tensor(-float("inf")), r"returned -inf for \[.*scores must be finite"),
        (torch.tensor(1), r"returned dtype torch.int64; expected floating point"),
        (torch.ones((), requires_grad=True), "returned a tensor with a graph"),
    ],
)
def test_parts_of_tokens_are_checked_as_scores_are(
    spec: TokenSpec, parts: Tensor, message: str
) -> None:
    value = EarnedValue(BrokenParts(spec, parts))
    with pytest.raises(ValueError, match=f"BrokenParts.token_scores {message}"):
        action_values(value, spec, all_sequences(spec)[:2], rng())
