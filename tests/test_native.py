"""The compiled kernels do what torch does: each law compares the two routes."""

import multiprocessing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.sampling import SoftmaxSampler, linear_log_probs, linear_weighted_nll
from seqgan_env.native.adam import Factors, adam_step
from seqgan_env.native.recurrence import lstm_states
from seqgan_env.streams import RowStreams
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, rng

pytestmark = pytest.mark.usefixtures("each_variant")


def layer(
    vocab_size: int, hidden_dim: int, rows: int, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = rng(vocab_size)
    shapes = ((rows, hidden_dim), (vocab_size, hidden_dim), (vocab_size,))
    hidden, weight, bias = (torch.randn(*shape, generator=generator) * scale for shape in shapes)
    return hidden, weight, bias


def both_routes(weight: Tensor, bias: Tensor) -> tuple[SoftmaxSampler, SoftmaxSampler]:
    with pytest.MonkeyPatch.context() as patch:
        fast = SoftmaxSampler(weight, bias)
        patch.setenv("SEQGAN_ENV_NATIVE", "0")
        return fast, SoftmaxSampler(weight, bias)


sizes = st.tuples(
    st.sampled_from([2, 3, 63, 64, 65, 200, 1000]),
    st.sampled_from([1, 4, 16, 33]),
    st.integers(0, 200),
)


@settings(deadline=None)
@given(sizes)
def test_both_routes_draw_the_inverse_of_the_cumulative_distribution(
    size: tuple[int, int, int],
) -> None:
    vocab_size, hidden_dim, rows = size
    hidden, weight, bias = layer(vocab_size, hidden_dim, rows)
    uniform = torch.rand(rows, generator=rng(rows))
    cumulative = (
        torch.addmm(bias.double(), hidden.double(), weight.t().double()).softmax(1).cumsum(1)
    )
    for sampler in both_routes(weight, bias):
        tokens = sampler(hidden, uniform)
        assert tokens.shape == (rows,)
        assert tokens.dtype == torch.int64
        above = cumulative.gather(1, tokens.unsqueeze(1)).squeeze(1)
        below = torch.where(
            tokens > 0, cumulative.gather(1, (tokens - 1).clamp(min=0).unsqueeze(1)).squeeze(1), 0.0
        )
        assert bool((uniform <= above + 1e-5).all() and (uniform >= below - 1e-5).all())


@settings(deadline=None)
@given(sizes, st.sampled_from([0.1, 1.0, 30.0]))
def test_both_routes_know_the_log_probabilities_of_what_they_draw(
    size: tuple[int, int, int], scale: float
) -> None:
    vocab_size, hidden_dim, rows = size
    hidden, weight, bias = layer(vocab_size, hidden_dim, rows, scale)
    plain = torch.addmm(bias.double(), hidden.double(), weight.t().double()).log_softmax(1)
    uniform = torch.rand(rows, generator=rng(rows))
    for sampler in both_routes(weight, bias):
        tokens, log_probs = sampler.draw_with_log_probs(hidden, uniform)
        assert torch.equal(tokens, sampler(hidden, uniform))
        expected = plain.gather(1, tokens.unsqueeze(1)).squeeze(1).float()
        largest = float(plain.abs().max()) if rows else 0.0
        torch.testing.assert_close(log_probs, expected, atol=1e-5 + 1e-6 * largest, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("vocab_size", [2, 50, 5000])
def test_draws_are_distributed_as_the_softmax(vocab_size: int) -> None:
    num = 200_000
    hidden, weight, bias = layer(vocab_size, 32, 1, 0.1)
    probs = torch.addmm(bias, hidden, weight.t()).double().softmax(1)[0]
    draws = SoftmaxSampler(weight, bias)(hidden.expand(num, -1), torch.rand(num, generator=rng(1)))
    assert float(probs.min()) * num >= 5
    assert stats.chisquare(torch.bincount(draws, minlength=vocab_size), probs * num).pvalue > 1e-3


def test_the_two_routes_draw_the_same_but_for_rounding() -> None:
    hidden, weight, bias = layer(1000, 32, 20_000, 0.3)
    fast, plain = both_routes(weight, bias)
    uniform = torch.rand(20_000, generator=rng())
    assert float((fast(hidden, uniform) != plain(hidden, uniform)).float().mean()) < 1e-4


@pytest.mark.parametrize("num_threads", [2, 3])
def test_neither_the_batch_nor_the_threads_change_what_a_row_draws(num_threads: int) -> None:
    hidden, weight, bias = layer(300, 20, 500)
    hidden[::7] *= 100  # rows whose logits have to be shifted
    sampler, uniform = SoftmaxSampler(weight, bias), torch.rand(500, generator=rng())
    together = sampler.draw_with_log_probs(hidden, uniform)
    alone = [
        sampler.draw_with_log_probs(h, u)
        for h, u in zip(hidden.split(1), uniform.split(1), strict=True)
    ]
    torch.set_num_threads(num_threads)
    threaded = sampler.draw_with_log_probs(hidden, uniform)
    torch.set_num_threads(1)
    for i in range(2):
        assert torch.equal(together[i], torch.cat([part[i] for part in alone]))
        assert torch.equal(together[i], threaded[i])


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_only_tokens_with_mass_are_drawn_where_all_others_are_masked(uniform: float) -> None:
    hidden, weight, bias = layer(200, 8, 10)
    bias[:] = -torch.inf
    bias[[70, 130]] = 0.0
    tokens = SoftmaxSampler(weight, bias)(hidden, torch.full((10,), uniform))
    assert set(tokens.tolist()) <= {70, 130}


def test_states_of_another_width_are_refused() -> None:
    hidden, weight, bias = layer(10, 4, 3)
    with pytest.raises(ValueError, match=r"hidden has shape \(3, 3\); expected \(3, 4\)"):
        SoftmaxSampler(weight, bias)(hidden[:, :3], torch.rand(3))


def test_double_precision_takes_the_plain_route() -> None:
    hidden, weight, bias = (t.double() for t in layer(10, 4, 3))
    _, log_probs = SoftmaxSampler(weight, bias).draw_with_log_probs(hidden, torch.rand(3).double())
    assert log_probs.dtype == torch.float64


def plain_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """By autograd in double precision."""
    logits = torch.addmm(bias.double(), hidden.double(), weight.t().double())
    return logits.log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)


@settings(deadline=None)
@given(sizes, st.sampled_from([0.1, 1.0, 30.0]))
def test_log_probs_are_those_of_the_plain_softmax(size: tuple[int, int, int], scale: float) -> None:
    vocab_size, hidden_dim, rows = size
    hidden, weight, bias = layer(vocab_size, hidden_dim, rows, scale)
    bias[1] = -torch.inf
    targets = torch.randint(vocab_size, (rows,), generator=rng(rows)) // 2 * 2
    plain = plain_log_probs(hidden, weight, bias, targets).float()
    largest = float(plain.abs().max()) if rows else 0.0
    torch.testing.assert_close(
        linear_log_probs(hidden, weight, bias, targets), plain, atol=1e-5 + 1e-6 * largest, rtol=0
    )


@settings(deadline=None)
@given(sizes, st.sampled_from([0.1, 1.0]))
def test_the_weighted_loss_and_its_gradients_are_those_of_autograd(
    size: tuple[int, int, int], scale: float
) -> None:
    vocab_size, hidden_dim, rows = size
    hidden, weight, bias = leaves = layer(vocab_size, hidden_dim, rows, scale)
    for leaf in leaves:
        leaf.requires_grad_()
    targets = torch.randint(vocab_size, (rows,), generator=rng(rows))
    row_weights = torch.randn(rows, generator=rng(6))
    fast = linear_weighted_nll(hidden, weight, bias, targets, row_weights)
    terms = -(row_weights * plain_log_probs(hidden, weight, bias, targets))
    plain = terms.sum()
    rounding = 1e-6 * float(terms.detach().abs().sum())  # of terms that may cancel in the sum
    torch.testing.assert_close(fast, plain.float(), atol=1e-5 + rounding, rtol=1e-5)
    pairs = zip(
        torch.autograd.grad(2 * fast, leaves), torch.autograd.grad(2 * plain, leaves), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_constant_on_all_logits_changes_neither_the_loss_nor_its_gradients() -> None:
    hidden, weight, bias = (t.requires_grad_() for t in layer(300, 16, 50))
    targets, row_weights = torch.arange(50), torch.randn(50, generator=rng(6))
    plain = linear_weighted_nll(hidden, weight, bias, targets, row_weights)
    moved = linear_weighted_nll(hidden, weight, bias + 200.0, targets, row_weights)
    torch.testing.assert_close(moved, plain, atol=1e-3, rtol=0)
    leaves = (hidden, weight, bias)
    for a, b in zip(
        torch.autograd.grad(moved, leaves), torch.autograd.grad(plain, leaves), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_masked_token_has_no_gradient() -> None:
    hidden, weight, bias = (t.requires_grad_() for t in layer(100, 8, 30))
    with torch.no_grad():
        bias[70] = -torch.inf
    loss = linear_weighted_nll(hidden, weight, bias, torch.arange(30), torch.ones(30))
    _, grad_weight, grad_bias = torch.autograd.grad(loss, (hidden, weight, bias))
    assert not grad_weight[70].any()
    assert float(grad_bias[70]) == 0


@pytest.mark.parametrize("masses_at_once", [1, 2**22])
def test_the_threads_change_no_bit_of_the_loss_and_its_gradients(
    masses_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqgan_env.native.softmax._MASSES_AT_ONCE", masses_at_once)
    hidden, weight, bias = leaves = layer(1000, 24, 300)
    for leaf in leaves:
        leaf.requires_grad_()
    targets, row_weights = torch.arange(300), torch.randn(300, generator=rng(6))
    results = []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        loss = linear_weighted_nll(hidden, weight, bias, targets, row_weights)
        results.append((loss, *torch.autograd.grad(loss, leaves)))
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("limit", ["_MASSES_AT_ONCE", "_ROWS_AT_ONCE"])
def test_chunks_of_rows_change_no_bit_of_the_loss_and_its_gradients(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = [t.requires_grad_() for t in layer(150, 8, 250)]
    given = (*leaves, torch.arange(250) % 150, torch.randn(250, generator=rng(6)))
    loss = linear_weighted_nll(*given)
    whole = torch.autograd.grad(loss, leaves)
    monkeypatch.setattr(f"seqgan_env.native.softmax.{limit}", 1)
    by_chunks = linear_weighted_nll(*given)
    assert torch.equal(by_chunks, loss)
    for a, b in zip(torch.autograd.grad(by_chunks, leaves), whole, strict=True):
        assert torch.equal(a, b)


def test_a_target_outside_the_vocabulary_is_refused() -> None:
    hidden, weight, bias = layer(10, 4, 2)
    for target in (-1, 10):
        with pytest.raises(IndexError, match=f"token {target} is outside the vocabulary: 0 to 9 "):
            linear_log_probs(hidden, weight, bias, torch.tensor([0, target]))


SPECS = [
    FIXED,
    EOS,
    TokenSpec(2, 1),
    TokenSpec(130, 12, eos_token=129),
    TokenSpec(70, 9, eos_token=3, min_length=8),
]


def model(spec: TokenSpec, hidden_dim: int = 20) -> LSTMLanguageModel:
    generator, made = rng(spec.vocab_size), LSTMLanguageModel(spec, 7, hidden_dim)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def prefixes(spec: TokenSpec, num_rows: int) -> tuple[Tensor, Tensor]:
    """Ragged prefixes, some of them finished, some of them repeated."""
    whole = model(spec).sample(num_rows, rng(2))
    lengths = torch.minimum(
        torch.randint(0, spec.seq_len + 1, (num_rows,), generator=rng(3)), spec.lengths(whole)
    )
    tokens = whole.masked_fill(torch.arange(spec.seq_len) >= lengths.unsqueeze(1), spec.pad_token)
    return tokens.repeat_interleave(3, 0), lengths.repeat_interleave(3)


@pytest.mark.parametrize("hidden_dim", [1, 16, 20])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_both_routes_finish_prefixes_with_the_same_tokens(
    spec: TokenSpec, temperature: float, hidden_dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, lengths = prefixes(spec, 100)
    before, made = tokens.clone(), model(spec, hidden_dim)
    fast = spec.check_sequences(made.complete(tokens, lengths, rng(4), temperature))
    assert torch.equal(tokens, before)
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", "0")
    assert torch.equal(fast, made.complete(tokens, lengths, rng(4), temperature))


@pytest.mark.parametrize("hidden_dim", [1, 16, 20])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_both_routes_give_sequences_the_same_likelihood(
    spec: TokenSpec, temperature: float, hidden_dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(spec, hidden_dim)
    tokens = model(spec, 5).sample(150, rng(4))
    fast = made.token_log_probs(tokens, temperature)
    order = torch.randperm(150, generator=rng(5))
    assert torch.equal(made.token_log_probs(tokens[order], temperature), fast[order])
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", "0")
    torch.testing.assert_close(fast, made.token_log_probs(tokens, temperature), atol=2e-5, rtol=0)


@pytest.mark.slow
def test_in_a_large_vocabulary_rounding_moves_a_few_draws_in_ten_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = LSTMLanguageModel.initialised(TokenSpec(5000, 2), rng())
    fast = made.sample(30_000, rng(1))
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", "0")
    plain = made.sample(30_000, rng(1))
    assert float((fast != plain)[:, 0].float().mean()) < 5e-4


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_neither_the_batch_nor_the_threads_change_how_a_row_is_finished(spec: TokenSpec) -> None:
    made, (tokens, lengths) = model(spec), prefixes(spec, 60)
    streams = RowStreams(torch.arange(len(tokens)))
    together = made.complete(tokens, lengths, streams)
    order = torch.randperm(len(tokens), generator=rng(5))
    shuffled = made.complete(tokens[order], lengths[order], streams.select(order))
    alone = [
        made.complete(tokens[i : i + 1], lengths[i : i + 1], streams.select(torch.tensor([i])))
        for i in range(len(tokens))
    ]
    torch.set_num_threads(2)
    threaded = made.complete(tokens, lengths, streams)
    torch.set_num_threads(1)
    assert torch.equal(shuffled, together[order])
    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(threaded, together)


def test_no_rows_are_finished_to_no_rows() -> None:
    assert model(EOS).sample(0, rng()).shape == (0, EOS.seq_len)


class Stubborn(LSTMLanguageModel):
    """Its state says nothing, so that it writes by the output bias alone."""

    def advance(
        self, state: tuple[Tensor, Tensor, Tensor], inputs: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        hidden, state = super().advance(state, inputs)
        return torch.zeros_like(hidden), state


def test_a_model_with_methods_of_its_own_is_written_by_these() -> None:
    made = Stubborn(FIXED, 4, 4)
    with torch.no_grad():
        made.output.bias.copy_(torch.tensor([-100.0, -100.0, 0.0]))
        made.output.weight.fill_(1e4)
    assert bool((made.sample(50, rng()) == 2).all())


def test_prefixes_of_another_shape_and_tokens_outside_the_vocabulary_are_refused() -> None:
    made = model(FIXED)
    with pytest.raises(ValueError, match=r"shapes \(2, 2\) and \(2,\); expected \(B, 3\)"):
        made.complete(torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, dtype=torch.int64), rng())
    for token in (-1, 5):
        with pytest.raises(IndexError, match=f"token {token} is outside the vocabulary: 0 to 3 "):
            made.complete(torch.full((2, 3), token), torch.ones(2, dtype=torch.int64), rng())
    with pytest.raises(ValueError, match=r"tokens has shape \(2, 2\); expected \(B, 3\)"):
        made.token_log_probs(torch.zeros(2, 2, dtype=torch.int64))
    for token in (-1, 4):
        with pytest.raises(IndexError, match=f"token {token} is outside the vocabulary: 0 to"):
            made.token_log_probs(torch.full((2, 3), token))


def three_hundred_sequences() -> list[list[int]]:
    sequences: list[list[int]] = (
        LSTMLanguageModel.initialised(FIXED, rng()).sample(300, rng(1)).tolist()
    )
    return sequences


def test_a_forked_process_which_has_no_threads_does_the_same() -> None:
    torch.set_num_threads(2)
    expected = three_hundred_sequences()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        forked = pool.apply_async(three_hundred_sequences).get(timeout=20)
    torch.set_num_threads(1)
    assert forked == expected


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 130),
    columns=st.integers(1, 150),
    depth=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_a_step_of_adam_is_that_of_torch(rows: int, columns: int, depth: int, seed: int) -> None:
    starts = [
        torch.randn(*shape, generator=rng(seed))
        for shape in ((rows, columns), (rows, columns), (columns,), (3, 2, rows))
    ]
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    by_kernels, plain = (torch.optim.Adam(parameters, lr=0.01) for parameters in (ours, theirs))
    for step in range(4):
        # whole numbers, whose products are the same in any order: Adam blows up tiny differences
        left, right = (
            torch.randint(-3, 4, shape, generator=rng(step)).float()
            for shape in ((rows, depth), (depth, columns))
        )
        gradients = [torch.randn(start.shape, generator=rng(step)) for start in starts[1:]]
        adam_step(by_kernels, zip(ours[1:], gradients, strict=True), ours[0], Factors(left, right))
        for parameter, gradient in zip(theirs, [left @ right, *gradients], strict=True):
            parameter.grad = gradient
        plain.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        for name, value in plain.state[b].items():
            # 1 - beta2 is a float in the kernel, 1.3e-5 of itself off
            torch.testing.assert_close(by_kernels.state[a][name], value, rtol=2e-5, atol=1e-5)


def recurrence(
    batch: int, steps: int, num_inputs: int, num_units: int
) -> tuple[torch.nn.LSTM, Tensor, Tensor]:
    """A layer, inputs of it, and a gradient of its hidden states."""
    generator, made = rng(num_units), torch.nn.LSTM(num_inputs, num_units, batch_first=True)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    inputs, grad = (
        torch.randn(batch, steps, width, generator=generator) for width in (num_inputs, num_units)
    )
    return made, inputs.requires_grad_(), grad


def weights_of(made: torch.nn.LSTM) -> list[Tensor]:
    """Of inputs and of states, and both biases."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [made.get_parameter(name) for name in names]


def states_and_gradients(made: torch.nn.LSTM, inputs: Tensor, grad: Tensor) -> list[Tensor]:
    """The hidden states, and the gradients of the inputs, both weights and the bias."""
    of_inputs, of_states, bias, other_bias = weights_of(made)
    hidden = lstm_states(inputs, of_inputs, of_states, bias + other_bias)
    leaves = (inputs, of_inputs, of_states, bias)
    return [hidden, *torch.autograd.grad(hidden, leaves, grad)]


@settings(deadline=None)
@given(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)))
def test_an_lstm_layer_and_its_gradients_are_those_of_torch(
    shape: tuple[int, int, int, int],
) -> None:
    made, inputs, grad = recurrence(*shape)
    ours = states_and_gradients(made, inputs, grad)
    made = made.double()
    exact = inputs.detach().double().requires_grad_()
    hidden = made(exact)[0]
    leaves = (exact, *weights_of(made)[:3])
    theirs = [hidden, *torch.autograd.grad(hidden, leaves, grad.double())]
    for a, b in zip(ours, theirs, strict=True):
        largest = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a.double(), b, atol=1e-6 + 1e-5 * largest, rtol=0)


@pytest.mark.parametrize("num_threads", [2, 3])
@pytest.mark.parametrize("widths", [(32, 32), (7, 20), (40, 1)])
def test_neither_the_batch_nor_the_threads_change_the_states_of_a_row(
    widths: tuple[int, int], num_threads: int
) -> None:
    made, inputs, grad = recurrence(110, 5, *widths)
    together = states_and_gradients(made, inputs, grad)
    for row in range(110):
        alone = states_and_gradients(made, inputs[row : row + 1], grad[row : row + 1])
        assert all(
            torch.equal(a, b[row : row + 1]) for a, b in zip(alone[:2], together[:2], strict=True)
        )
    torch.set_num_threads(num_threads)
    threaded = states_and_gradients(made, inputs, grad)
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(threaded, together, strict=True))


def test_a_language_model_has_the_same_states_and_gradients_on_both_routes(
    each_variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = LSTMLanguageModel.initialised(EOS, rng(), 7, 20)
    inputs = made.inputs(made.sample(50, rng(1)))
    trained = [made.embedding.weight, *(p for p in made.lstm.parameters() if p.requires_grad)]
    routes = []
    for route in (each_variant, "torch"):
        monkeypatch.setenv("SEQGAN_ENV_NATIVE", route)
        hidden = made.hidden_states(inputs)
        routes.append([hidden, *torch.autograd.grad(hidden.square().sum(), trained)])
        with torch.no_grad():
            without_gradient = made.hidden_states(inputs)
        if route == each_variant:
            assert torch.equal(without_gradient, hidden)
        # Torch has another LSTM for inference on some processors, with other last bits.
        torch.testing.assert_close(without_gradient, hidden, atol=1e-6, rtol=1e-5)
    for fast, plain in zip(*routes, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-5)


def test_weights_of_another_shape_than_the_inputs_need_are_refused() -> None:
    made, inputs, _ = recurrence(2, 3, 4, 5)
    with pytest.raises(
        ValueError, match=r"have shapes \[\(20, 4\), \(20, 5\), \(20,\)\]; expected \[\(20, 3\)"
    ):
        lstm_states(inputs[:, :, :3], *weights_of(made)[:3])
