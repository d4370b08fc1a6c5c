import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from seqgan_env.generators.gru import GRULanguageModel
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.streams import RowStreams
from seqgan_env.types import TokenSpec

from .conftest import EOS, all_sequences, random_model, rng


class Recurrent(LanguageModel):
    """The LSTM without the carried state: completion encodes every prefix anew."""

    def __init__(self, model: LSTMLanguageModel) -> None:
        super().__init__(model.spec)
        self.embedding, self.lstm, self.output = model.embedding, model.lstm, model.output

    def hidden_states(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.lstm(self.embedding(inputs))[0]
        return hidden


def test_the_probabilities_of_all_sequences_sum_to_one(spec: TokenSpec) -> None:
    total = random_model(spec).log_prob(all_sequences(spec)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_are_distributed_as_log_prob_says(spec: TokenSpec, temperature: float) -> None:
    model, sequences, num = random_model(spec), all_sequences(spec), 20_000
    probs = model.log_prob(sequences, temperature).exp().double()
    index = {tuple(row): i for i, row in enumerate(sequences.tolist())}
    counts = torch.zeros(len(sequences)).double()
    for row in model.sample(num, rng(1), temperature).tolist():
        counts[index[tuple(row)]] += 1  # a sequence outside the enumeration is a KeyError
    common = probs * num >= 5
    observed = [*counts[common].tolist(), float(counts[~common].sum())]
    expected = [*(probs[common] * num).tolist(), float(probs[~common].sum()) * num]
    keep = [i for i, e in enumerate(expected) if e > 0]
    scale = sum(observed) / sum(expected)
    assert (
        stats.chisquare([observed[i] for i in keep], [expected[i] * scale for i in keep]).pvalue
        > 1e-3
    )


def test_carrying_the_state_gives_the_sequences_of_encoding_every_prefix_anew(
    spec: TokenSpec,
) -> None:
    model = random_model(spec)
    assert torch.equal(model.sample(200, rng(2)), Recurrent(model).sample(200, rng(2)))


def test_completions_keep_their_prefix_and_finish(spec: TokenSpec) -> None:
    model = random_model(spec)
    whole = model.sample(300, rng(3))
    lengths = torch.minimum(
        torch.randint(0, spec.seq_len + 1, (300,), generator=rng(4)), spec.lengths(whole)
    )
    prefixes = whole.masked_fill(torch.arange(spec.seq_len) >= lengths.unsqueeze(1), spec.pad_token)
    before = prefixes.clone()
    completed = spec.check_sequences(model.complete(prefixes, lengths, rng(5)))
    written = torch.arange(spec.seq_len) < lengths.unsqueeze(1)
    assert torch.equal(completed[written], prefixes[written])
    assert torch.equal(prefixes, before)
    finished = spec.is_complete(prefixes, lengths)
    assert torch.equal(completed[finished], prefixes[finished])


def test_a_row_is_completed_alike_in_every_batch(spec: TokenSpec) -> None:
    model, streams = random_model(spec), RowStreams(torch.arange(50))
    empty = torch.full((50, spec.seq_len), spec.pad_token)
    together = model.complete(empty, empty.new_zeros(50), streams)
    alone = torch.cat(
        [
            model.complete(empty[:1], empty.new_zeros(1), streams.select(torch.tensor([i])))
            for i in range(50)
        ]
    )
    assert torch.equal(together, alone)


def test_the_end_is_masked_until_min_length() -> None:
    model = random_model(EOS)
    with torch.no_grad():
        model.output.bias[EOS.eos_token] = 20.0
    assert set(EOS.lengths(model.sample(100, rng())).tolist()) == {EOS.min_length + 1}


def test_log_prob_is_the_sum_over_the_plain_softmax(spec: TokenSpec) -> None:
    model = random_model(spec)
    tokens = model.sample(50, rng())
    plain = (
        model.logits(tokens)
        .log_softmax(2)
        .gather(2, tokens.clamp(max=spec.vocab_size - 1).unsqueeze(2))
        .squeeze(2)
    )
    plain = plain.masked_fill(tokens == spec.pad_token, 0)
    torch.testing.assert_close(model.token_log_probs(tokens), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.log_prob(tokens), plain.sum(1), atol=1e-5, rtol=0)


def test_the_weighted_nll_and_its_gradients_are_those_of_autograd(spec: TokenSpec) -> None:
    model = random_model(spec)
    tokens, weights = model.sample(30, rng()), torch.randn(30, spec.seq_len, generator=rng(1))
    plain = (
        model.logits(tokens)
        .log_softmax(2)
        .gather(2, tokens.clamp(max=spec.vocab_size - 1).unsqueeze(2))
        .squeeze(2)
    )
    plain_loss = -(plain.masked_fill(tokens == spec.pad_token, 0) * weights).sum()
    loss = model.weighted_nll(tokens, weights)
    torch.testing.assert_close(loss, plain_loss, atol=1e-4, rtol=1e-5)
    leaves = [p for p in model.parameters() if p.requires_grad]
    for a, b in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(plain_loss, leaves), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_copy_at_a_temperature_is_the_model_sampled_at_it(spec: TokenSpec) -> None:
    model = random_model(spec)
    tokens = model.sample(50, rng(), temperature=0.7)
    assert torch.equal(model.with_temperature(0.7).sample(50, rng()), tokens)
    torch.testing.assert_close(
        model.with_temperature(0.7).log_prob(tokens), model.log_prob(tokens, temperature=0.7)
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="allowed is any number above 0"):
        random_model(EOS).with_temperature(temperature)


def test_one_lstm_bias_is_all_there_is() -> None:
    model = LSTMLanguageModel.initialised(EOS, rng())
    assert not model.get_parameter("lstm.bias_hh_l0").any()
    assert isinstance(model.lstm, nn.LSTM)
    assert not model.lstm.bias_hh_l0.requires_grad


@pytest.mark.parametrize("make", [LSTMLanguageModel, GRULanguageModel])
def test_a_likelihood_is_the_same_bit_by_bit_in_every_batch(
    spec: TokenSpec, make: type[LanguageModel]
) -> None:
    torch.manual_seed(0)
    model = make(spec, 24, 40)  # type: ignore[call-arg]
    sequences = random_model(spec).sample(40, rng())
    together = model.log_prob(sequences)
    for size in (1, 2, 3, 7, 17):
        parts = [model.log_prob(part) for part in sequences.split(size)]
        assert torch.equal(torch.cat(parts), together)
