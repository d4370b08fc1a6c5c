from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqgan_env.discriminators.cnn import PAPER_CNN, CNNConfig, CNNDiscriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer, discriminator_accuracy
from seqgan_env.envs.registration import build_rewards
from seqgan_env.tasks import make_task
from seqgan_env.training.settings import settings_from
from seqgan_env.types import TokenSpec

from .conftest import EOS, random_model, rng

SMALL = CNNConfig(widths=(1, 3, 6), channels=(5, 7, 4), embedding_dim=8, dropout=0.5)


def discriminator(spec: TokenSpec = EOS, **settings: str) -> CNNDiscriminator:
    return CNNDiscriminator.initialised(spec, rng(), SMALL, **settings)


def test_scoring_by_tables_is_the_convolution() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(300, rng())
    assert model._has_tables()
    plain = model(tokens).detach()
    torch.testing.assert_close(model.logits(tokens), plain, atol=1e-5, rtol=1e-5)


def test_the_bfloat16_highway_moves_a_probability_by_less_than_it_says() -> None:
    spec = TokenSpec(100, 20)
    model = CNNDiscriminator.initialised(spec, rng(), PAPER_CNN)
    with torch.no_grad():
        model.embedding.weight *= 20  # spreads the scores over the whole of 0..1
    tokens = random_model(spec).sample(2000, rng())
    plain = torch.sigmoid(model(tokens).detach())
    assert float(plain.std()) > 0.1
    assert float((model.score(tokens) - plain).abs().max()) < 3e-3


def test_tables_follow_the_parameters() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(50, rng())
    before = model.logits(tokens)
    trainer = DiscriminatorTrainer(model)
    trainer.fit(tokens, tokens.flip(0).roll(1, 1).clamp(max=4), 1, rng(1))
    after = model.logits(tokens)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, model(tokens).detach(), atol=1e-5, rtol=1e-5)
    model.load_state_dict(discriminator().state_dict())
    torch.testing.assert_close(model.logits(tokens), before)


@pytest.mark.parametrize("training", [True, False])
def test_scores_are_without_dropout_in_any_mode(training: bool) -> None:
    model, tokens = discriminator().train(training), random_model(EOS).sample(40, rng())
    torch.testing.assert_close(model.logits(tokens), model(tokens).detach())
    assert not torch.allclose(model.logits(tokens), model(tokens, rng()).detach())


def test_dropout_keeps_the_mean_of_the_features() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(1, rng()).expand(20_000, -1)
    dropped = model(tokens, rng()).detach()
    assert float(dropped.mean()) == pytest.approx(
        float(model(tokens[:1]).detach()), abs=4 * float(dropped.std()) / 20_000**0.5
    )


def test_a_probability_is_the_sigmoid_of_the_logit() -> None:
    tokens = random_model(EOS).sample(40, rng())
    logit, probability = (
        discriminator(score_as=kind).score(tokens) for kind in ("logit", "probability")
    )
    torch.testing.assert_close(probability, torch.sigmoid(logit))


def test_a_score_does_not_depend_on_the_batch() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(40, rng())
    torch.testing.assert_close(
        torch.cat([model.score(row.unsqueeze(0)) for row in tokens]), model.score(tokens)
    )


@pytest.mark.slow
def test_it_learns_to_tell_apart_what_differs_and_not_what_does_not() -> None:
    spec = TokenSpec(20, 8)
    real, other = random_model(spec, 1, 2.0), random_model(spec, 2, 2.0)
    config = CNNConfig(widths=(1, 2, 3), channels=(32, 32, 32))
    for negatives, low, high in ((other, 0.8, 1.0), (real, 0.45, 0.55)):
        model = CNNDiscriminator.initialised(spec, rng(), config)
        DiscriminatorTrainer(model).fit(
            real.sample(3000, rng(1)), negatives.sample(3000, rng(2)), 5, rng(3)
        )
        accuracy = discriminator_accuracy(
            model, real.sample(2000, rng(4)), negatives.sample(2000, rng(5))
        )
        assert low <= accuracy["accuracy_heldout"] <= high


def test_accuracy_counts_each_side_on_its_own() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(60, rng())
    with torch.no_grad():
        model.output.bias.fill_(100.0)
    accuracy = discriminator_accuracy(model, tokens, tokens)
    assert (
        accuracy["accuracy_real_heldout"],
        accuracy["accuracy_generated_heldout"],
        accuracy["accuracy_heldout"],
    ) == (
        1,
        0,
        0.5,
    )


def test_the_paper_has_1720_filters_and_short_sequences_leave_long_ones_out() -> None:
    assert CNNDiscriminator(TokenSpec(10, 20), PAPER_CNN).output.in_features == 1720
    assert CNNDiscriminator(TokenSpec(10, 10), PAPER_CNN).output.in_features == 1400
    with pytest.raises(ValueError, match="longer than the sequence"):
        CNNDiscriminator(TokenSpec(10, 2), CNNConfig(widths=(3,), channels=(4,)))


def test_training_is_reproducible_and_counts_its_sequences() -> None:
    tokens = random_model(EOS).sample(64, rng())
    states = []
    for _ in range(2):
        trainer = DiscriminatorTrainer(discriminator())
        trainer.fit(tokens, tokens.flip(0), 2, rng(1))
        assert trainer.budget.sequences_trained == 256
        states.append(trainer.discriminator.get_parameter("output.weight"))
    assert torch.equal(*states)


@contextmanager
def kernels(wanted: bool) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if not wanted:
            patch.setenv("SEQGAN_ENV_NATIVE", "0")
        yield


needs_kernels = pytest.mark.usefixtures("each_variant")


def gradients(model: CNNDiscriminator, tokens: Tensor, wanted: bool) -> list[Tensor]:
    """Logits, and their gradients weighted by sequence, by the compiled kernels or by torch; with
    dropout.
    """
    with kernels(wanted):
        logits = model(tokens, rng(3))
        weighted = (logits * torch.randn(len(tokens), generator=rng(4))).sum()
        return [logits.detach(), *torch.autograd.grad(weighted, list(model.parameters()))]


SHAPES = [  # V, T, E, batch, widths: tables where the batch is large beside V, windows elsewhere
    (5, 6, 8, 200, (1, 3, 6)),
    (5, 6, 8, 1, (1, 3, 6)),
    (300, 7, 20, 33, (2, 7)),
    (40, 12, 32, 500, (1, 2, 3, 4)),
    (1000, 20, 64, 70, (1, 4, 10, 20)),
]


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernels_are_the_convolution_and_its_gradient(
    shape: tuple[int, int, int, int, tuple[int, ...]],
) -> None:
    vocab_size, steps, embedding_dim, batch, widths = shape
    config = CNNConfig(widths, (5, 100, 16, 33)[: len(widths)], embedding_dim, dropout=0.3)
    model = CNNDiscriminator.initialised(TokenSpec(vocab_size, steps), rng(), config)
    with torch.no_grad():
        for convolution in model.convolutions:
            convolution.get_parameter("bias").normal_(0, 0.3, generator=rng(1))
    tokens = torch.randint(vocab_size + 1, (batch, steps), generator=rng(2))  # padding among them
    for fast, plain in zip(
        gradients(model, tokens, True), gradients(model, tokens, False), strict=True
    ):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


@needs_kernels
@pytest.mark.parametrize("batch", [1, 2, 100])
def test_of_equal_maxima_the_first_takes_the_gradient(batch: int) -> None:
    model = CNNDiscriminator.initialised(
        TokenSpec(4, 3), rng(), CNNConfig((1,), (1,), 2, dropout=0.0)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model.embedding.weight[3] = -5.0
    tokens = torch.tensor([[3, 0, 1]]).expand(batch, -1)  # tokens 0 and 1 are worth the same
    of_embedding = gradients(model, tokens, True)[1]
    shared = gradients(model, tokens, False)[1]
    assert bool(of_embedding[0].all())
    assert not of_embedding[1:].any()
    torch.testing.assert_close(of_embedding[0], shared[0] + shared[1])


@needs_kernels
@pytest.mark.parametrize("vocab_size", [5, 2000])
def test_training_by_the_kernels_and_by_torch_takes_the_same_way(vocab_size: int) -> None:
    spec = TokenSpec(vocab_size, 6)
    real, other = (torch.randint(vocab_size, (320, 6), generator=rng(seed)) for seed in (1, 2))
    weights = []
    for wanted in (True, False):
        with kernels(wanted):
            trainer = DiscriminatorTrainer(
                CNNDiscriminator.initialised(spec, rng(), replace(SMALL, batch_size=64))
            )
            trainer.fit(real, other, 2, rng(3))
        weights.append([p.detach() for p in trainer.discriminator.parameters()])
    for fast, plain in zip(*weights, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize(("vocab_size", "batch"), [(30, 400), (2000, 70)])
def test_gradients_do_not_depend_on_the_number_of_threads(vocab_size: int, batch: int) -> None:
    model = CNNDiscriminator.initialised(
        TokenSpec(vocab_size, 9), rng(), replace(SMALL, channels=(5, 100, 33))
    )
    tokens, before = (
        torch.randint(vocab_size, (batch, 9), generator=rng(1)),
        torch.get_num_threads(),
    )
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(gradients(model, tokens, True))
    torch.set_num_threads(before)
    assert all(
        torch.equal(a, b) for other in results[1:] for a, b in zip(other, results[0], strict=True)
    )


@needs_kernels
def test_a_score_is_bit_for_bit_the_same_in_any_batch() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(1100, rng())
    together = model.logits(tokens)
    assert torch.equal(
        torch.cat([model.logits(part) for part in tokens.split([1, 2, 7, 90, 1000])]), together
    )


def test_a_frozen_parameter_stays_and_another_optimizer_is_used() -> None:
    tokens = random_model(EOS).sample(64, rng())
    trainer = DiscriminatorTrainer(discriminator())
    model = trainer.discriminator
    weight = model.get_parameter("embedding.weight")
    before = weight.clone()
    weight.requires_grad_(False)
    trainer.fit(tokens, tokens.flip(0), 1, rng(1))
    assert torch.equal(weight, before)
    trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    others = [parameter.clone() for parameter in model.parameters()]
    trainer.fit(tokens, tokens.flip(0), 1, rng(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), others, strict=True))


def test_the_batch_size_is_a_setting_whose_default_is_that_of_the_size() -> None:
    task = make_task("oracle-tiny")
    chosen = [
        build_rewards(task, discriminator=size, d_batch_size=n)
        for size, n in (("small", None), ("paper", 7))
    ]
    sizes = [rewards.discriminator.batch_size for rewards in chosen if rewards.discriminator]
    assert sizes == [256, 7]
    assert settings_from("tiny", {"d_batch_size": 32}).d_batch_size == 32
    for make in (
        lambda: build_rewards(task, d_batch_size=0),
        lambda: settings_from("tiny", {"d_batch_size": 0}),
    ):
        with pytest.raises(ValueError, match="batch_size is 0; allowed is 1 or more"):
            make()


@needs_kernels
def test_tokens_outside_the_vocabulary_are_refused() -> None:
    model = discriminator()
    for batch in (1, 100):
        with pytest.raises(IndexError):
            model(torch.full((batch, EOS.seq_len), 99))


@needs_kernels
@pytest.mark.parametrize("batch", [2, 100])
def test_short_sequences_are_refused_and_short_integers_are_not(batch: int) -> None:
    model, tokens = discriminator(), random_model(EOS).sample(batch, rng())
    torch.testing.assert_close(model(tokens.int()), model(tokens))
    with pytest.raises(
        ValueError, match="sequences of 3 tokens were given; the widest filter takes 6"
    ):
        model(tokens[:, :3])
