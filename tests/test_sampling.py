import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from seqgan_env.generators import sampling
from seqgan_env.generators.sampling import SoftmaxSampler, linear_log_probs, linear_weighted_nll

from .conftest import rng


def layer(vocab_size: int, hidden_dim: int = 6, rows: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    generator = rng(vocab_size)
    return tuple(
        torch.randn(*shape, generator=generator)
        for shape in ((rows, hidden_dim), (vocab_size, hidden_dim), (vocab_size,))
    )  # type: ignore[return-value]


@pytest.mark.parametrize("vocab_size", [2, 7, 50, 1000])
def test_draws_are_distributed_as_the_softmax(vocab_size: int) -> None:
    hidden, weight, bias = layer(vocab_size)
    probs = torch.addmm(bias, hidden[:1], weight.t()).softmax(1)[0].double()
    draws = SoftmaxSampler(weight, bias)(
        hidden[:1].expand(20_000, -1), torch.rand(20_000, generator=rng(1))
    )
    counts = torch.bincount(draws, minlength=vocab_size).double()
    common = probs * 20_000 >= 5
    observed, expected = counts[common].tolist(), (probs[common] * 20_000).tolist()
    if not bool(common.all()):
        observed.append(float(counts[~common].sum()))
        expected.append(float(probs[~common].sum()) * 20_000)
    expected = [e * sum(observed) / sum(expected) for e in expected]
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@settings(deadline=None)
@given(st.integers(2, 200), st.floats(0, 1, exclude_max=True, width=32))
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(
    vocab_size: int, uniform: float
) -> None:
    hidden, weight, bias = layer(vocab_size)
    token = int(SoftmaxSampler(weight, bias)(hidden[:1], torch.tensor([uniform]))[0])
    cumulative = torch.addmm(bias, hidden[:1], weight.t()).double().softmax(1).cumsum(1)[0]
    assert uniform <= float(cumulative[token]) + 1e-5
    assert token == 0 or uniform >= float(cumulative[token - 1]) - 1e-5


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
@pytest.mark.parametrize("masked", [[0], [9], [0, 1, 2, 3, 4, 5, 6, 7, 8], list(range(1, 10))])
def test_a_masked_token_is_never_drawn_not_even_by_rounding(
    uniform: float, masked: list[int]
) -> None:
    hidden, weight, bias = layer(10)
    bias[masked] = -torch.inf
    tokens = SoftmaxSampler(weight, bias)(hidden, torch.full((len(hidden),), uniform))
    assert not set(tokens.tolist()) & set(masked)


def test_logits_too_large_to_exponentiate_are_drawn_from_all_the_same() -> None:
    hidden, weight, bias = layer(30)
    uniform = torch.rand(len(hidden), generator=rng(2))
    plain = SoftmaxSampler(weight, bias)(hidden, uniform)
    assert torch.equal(SoftmaxSampler(weight, bias + 300.0)(hidden, uniform), plain)
    assert torch.equal(SoftmaxSampler(weight, bias - 300.0)(hidden, uniform), plain)
    sharp = SoftmaxSampler(weight * 1e4, bias)(hidden, uniform)
    assert torch.equal(sharp, torch.addmm(bias, hidden, 1e4 * weight.t()).argmax(1))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias = layer(60, rows=100)
    uniform, targets = (
        torch.rand(100, generator=rng(2)),
        torch.randint(60, (100,), generator=rng(3)),
    )
    whole = (
        SoftmaxSampler(weight, bias)(hidden, uniform),
        linear_log_probs(hidden, weight, bias, targets),
    )
    monkeypatch.setattr(sampling, "rows_per_chunk", lambda vocab_size, device: 16)
    assert torch.equal(SoftmaxSampler(weight, bias)(hidden, uniform), whole[0])
    torch.testing.assert_close(linear_log_probs(hidden, weight, bias, targets), whole[1])


def test_log_probs_are_those_of_the_plain_softmax() -> None:
    hidden, weight, bias = layer(300)
    targets = torch.randint(300, (40,), generator=rng(4))
    plain = (
        torch.addmm(bias, hidden, weight.t())
        .log_softmax(1)
        .gather(1, targets.unsqueeze(1))
        .squeeze(1)
    )
    torch.testing.assert_close(
        linear_log_probs(hidden, weight, bias, targets), plain, atol=1e-5, rtol=0
    )


def test_the_weighted_loss_and_its_gradients_are_those_of_autograd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "rows_per_chunk", lambda vocab_size, device: 16)
    leaves = [t.double().requires_grad_() for t in layer(70)]
    hidden, weight, bias = leaves
    targets, row_weights = (
        torch.randint(70, (40,), generator=rng(5)),
        torch.randn(40, generator=rng(6)).double(),
    )
    fast = linear_weighted_nll(hidden, weight, bias, targets, row_weights)
    plain = -(
        row_weights
        * torch.addmm(bias, hidden, weight.t()).log_softmax(1)[torch.arange(40), targets]
    ).sum()
    torch.testing.assert_close(fast, plain)
    for a, b in zip(
        torch.autograd.grad(3 * fast, leaves), torch.autograd.grad(3 * plain, leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("vocab_size", [50, 5000])
def test_layers_of_sixteen_bits_draw_from_their_own_softmax(
    kind: torch.dtype, vocab_size: int
) -> None:
    # As far up and down as a uniform number goes, too, where rounding may leave the vocabulary.
    hidden, weight, bias = (tensor.to(kind) for tensor in layer(vocab_size, rows=400))
    uniform = torch.rand(400, generator=rng(1))
    uniform[:2] = torch.tensor([0.0, 1 - 2**-24])
    tokens, log_probs = SoftmaxSampler(weight, bias).draw_with_log_probs(hidden, uniform)
    of_all = torch.addmm(bias, hidden, weight.t()).double().log_softmax(1)
    cumulative = of_all.exp().cumsum(1)
    upper = cumulative.gather(1, tokens.unsqueeze(1)).squeeze(1)
    lower = upper - of_all.exp().gather(1, tokens.unsqueeze(1)).squeeze(1)
    assert bool((uniform <= upper + 1e-4).all())
    assert bool((uniform >= lower - 1e-4).all())
    expected = of_all.gather(1, tokens.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(log_probs.double(), expected, rtol=0, atol=1e-3)
