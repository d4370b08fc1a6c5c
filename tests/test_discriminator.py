import pytest
import torch

from seqgan_env.discriminator import (
    PAPER_DISCRIMINATOR,
    Discriminator,
    DiscriminatorConfig,
    DiscriminatorTrainer,
    discriminator_accuracy,
)
from seqgan_env.types import TokenSpec

from .conftest import EOS, random_model, rng

SMALL = DiscriminatorConfig(widths=(1, 3, 6), channels=(5, 7, 4), embedding_dim=8, dropout=0.5)


def discriminator(spec: TokenSpec = EOS, **settings: str) -> Discriminator:
    return Discriminator.initialised(spec, rng(), SMALL, **settings)


def test_scoring_by_tables_is_the_convolution() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(300, rng())
    assert model._tables_pay(len(tokens))
    plain = model(tokens).detach()
    torch.testing.assert_close(model.logits(tokens), plain, atol=1e-5, rtol=1e-5)


def test_the_bfloat16_highway_moves_a_probability_by_less_than_it_says() -> None:
    spec = TokenSpec(100, 20)
    model = Discriminator.initialised(spec, rng(), PAPER_DISCRIMINATOR)
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
    assert float(dropped.mean()) == pytest.approx(float(model(tokens[:1]).detach()), abs=4 * float(dropped.std()) / 20_000**0.5)


def test_a_probability_is_the_sigmoid_of_the_logit() -> None:
    tokens = random_model(EOS).sample(40, rng())
    logit, probability = (discriminator(score_as=kind).score(tokens) for kind in ("logit", "probability"))
    torch.testing.assert_close(probability, torch.sigmoid(logit))


def test_a_score_does_not_depend_on_the_batch() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(40, rng())
    torch.testing.assert_close(torch.cat([model.score(row.unsqueeze(0)) for row in tokens]), model.score(tokens))


@pytest.mark.slow
def test_it_learns_to_tell_apart_what_differs_and_not_what_does_not() -> None:
    spec = TokenSpec(20, 8)
    real, other = random_model(spec, 1, 2.0), random_model(spec, 2, 2.0)
    config = DiscriminatorConfig(widths=(1, 2, 3), channels=(32, 32, 32))
    for negatives, low, high in ((other, 0.8, 1.0), (real, 0.45, 0.55)):
        model = Discriminator.initialised(spec, rng(), config)
        DiscriminatorTrainer(model).fit(real.sample(3000, rng(1)), negatives.sample(3000, rng(2)), 5, rng(3))
        accuracy = discriminator_accuracy(model, real.sample(2000, rng(4)), negatives.sample(2000, rng(5)))
        assert low <= accuracy["accuracy_heldout"] <= high


def test_accuracy_counts_each_side_on_its_own() -> None:
    model, tokens = discriminator(), random_model(EOS).sample(60, rng())
    with torch.no_grad():
        model.output.bias.fill_(100.0)
    accuracy = discriminator_accuracy(model, tokens, tokens)
    assert (accuracy["accuracy_real_heldout"], accuracy["accuracy_generated_heldout"], accuracy["accuracy_heldout"]) == (
        1,
        0,
        0.5,
    )


def test_the_paper_has_1720_filters_and_short_sequences_leave_long_ones_out() -> None:
    assert Discriminator(TokenSpec(10, 20), PAPER_DISCRIMINATOR).output.in_features == 1720
    assert Discriminator(TokenSpec(10, 10), PAPER_DISCRIMINATOR).output.in_features == 1400
    with pytest.raises(ValueError, match="longer than the sequence"):
        Discriminator(TokenSpec(10, 2), DiscriminatorConfig(widths=(3,), channels=(4,)))


def test_training_is_reproducible_and_counts_its_sequences() -> None:
    tokens = random_model(EOS).sample(64, rng())
    states = []
    for _ in range(2):
        trainer = DiscriminatorTrainer(discriminator())
        trainer.fit(tokens, tokens.flip(0), 2, rng(1))
        assert trainer.budget.sequences_trained == 256
        states.append(trainer.discriminator.output.weight)
    assert torch.equal(*states)
