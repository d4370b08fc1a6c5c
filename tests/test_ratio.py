"""The density-ratio discriminator: q against enumeration, p that moves with the policy, and how q
learns.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

import seqgan_env  # noqa: F401  (registers the ids)
from agents.reinforce import Reinforce, returns_to_go
from seqgan_env.discriminators.ratio import RatioDiscriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood, sequences_of_epoch
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.rewards.scorers import OptimalScorer
from seqgan_env.training.adversarial import Schedule, train_adversarial
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, SpecTask, Successor, all_sequences, random_model, rng

LEARNS_BY = ("likelihood", "gan", "both")


def ratio(
    spec: TokenSpec, policy: LSTMLanguageModel | None = None, **options: object
) -> RatioDiscriminator:
    """A small one, bound to a policy."""
    sizes = {} if "q" in options else {"embedding_dim": 4, "hidden_dim": 4}
    chosen = sizes | {"mle_epochs": 2, "batch_size": 64} | options
    made = RatioDiscriminator(spec, rng(8), **chosen)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(10)  # nothing is as likely as anything else
    made.bind(policy or random_model(spec, 5))
    made.score_as = "logit"
    return made


def by_softmax(part: Any, tokens: Tensor) -> Tensor:
    """log p of every token, (B, T), from softmaxes over the whole vocabulary; 0 behind the end."""
    padding = tokens == part.spec.pad_token
    targets = tokens.masked_fill(padding, 0).unsqueeze(2)
    log_probs = part.logits(tokens).log_softmax(2).gather(2, targets)
    found: Tensor = log_probs.squeeze(2).masked_fill(padding, 0.0)
    return found


def by_autograd(model: RatioDiscriminator, tokens: Tensor) -> Tensor:
    """log q(Y), (B,), by `by_softmax`."""
    parts = [by_softmax(part, tokens) for part in model.models]
    return torch.stack(parts).exp().mean(0).log().sum(1)


# Models that q can be, besides the LSTM.
OTHERS = [
    {"q": "gru", "q_options": {"hidden_dim": 5}},
    pytest.param({"q": "huggingface"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("model", OTHERS)
def test_q_can_be_another_language_model(model: dict[str, Any]) -> None:
    if model["q"] == "huggingface":
        pytest.importorskip("transformers")
    task, policy = SpecTask(EOS), random_model(EOS, 5)
    made = RatioDiscriminator(EOS, rng(8), num_models=2, mle_epochs=3, **model)
    made.bind(policy)
    made.score_as = "logit"
    before = float(made.log_density(task.held_out).detach().mean())
    made.pretrain(task.real_sequences, task.validation, rng())
    assert float(made.log_density(task.held_out).detach().mean()) > before

    tokens = all_sequences(EOS)
    wanted = by_autograd(made, tokens) - policy.log_prob(tokens)
    torch.testing.assert_close(made.score(tokens), wanted, rtol=1e-4, atol=1e-4)
    assert float(made.log_density(tokens).detach().exp().sum()) == pytest.approx(1, abs=1e-4)
    EOS.check_sequences(made.mixture.sample(50, rng()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"q": "mymodule:Model"}, "nobody was asked to trust"),
        ({"q": "gpt5"}, "gpt5"),
        ({"q": "gru", "q_options": {"layers": 2}}, "layers"),
        ({"q": "gru", "hidden_dim": 128}, "q_options"),
        ({"q_options": {"hidden_dim": 5}}, "embedding_dim and hidden_dim"),
    ],
)
def test_a_model_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RatioDiscriminator(EOS, rng(), **options)


@pytest.mark.parametrize("power", [1.0, 1.3])
@pytest.mark.parametrize("num_models", [1, 3])
def test_the_logit_is_the_sum_of_what_its_tokens_earn(
    spec: TokenSpec, num_models: int, power: float
) -> None:
    model, policy = ratio(spec, num_models=num_models, power=power), random_model(spec, 5)
    tokens = all_sequences(spec)
    wanted = power * by_autograd(model, tokens) - policy.log_prob(tokens)
    torch.testing.assert_close(model.score(tokens), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.token_scores(tokens).sum(1), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("source", ["discriminator", "optimal"])
def test_what_tokens_earn_has_the_expected_gradient_of_the_values_of_prefixes(
    spec: TokenSpec, source: str
) -> None:
    """E[sum over t of G_t grad log p(y_t | y_1..t-1)] over every sequence: with G_t what the tokens
    from t on earn, and with the enumerated Q(y_1..t) in its place (Yu et al. 2017, eq. 2).
    """
    task, policy = SpecTask(spec), random_model(spec, 5)
    model = ratio(spec, policy, power=1.2)
    tokens = all_sequences(spec)
    chosen = by_softmax(policy, tokens)
    probabilities = chosen.detach().sum(1, keepdim=True).exp()

    settings = RewardSettings("token", source, "logit")
    rewards = RewardModel(task, settings, policy, model)
    earned = returns_to_go(rewards.rewards(tokens, rng(3)), discount=1.0)

    scorer = model if source == "discriminator" else OptimalScorer(task.oracle, policy, "logit")
    scores = scorer.score(tokens).unsqueeze(1)
    values = torch.zeros(tokens.shape)
    for t in range(spec.seq_len):
        _, prefix = tokens[:, : t + 1].unique(dim=0, return_inverse=True)
        shape = (int(prefix.max()) + 1, 1)
        mass = torch.zeros(shape).index_add(0, prefix, probabilities)
        sums = torch.zeros(shape).index_add(0, prefix, probabilities * scores)
        values[:, t] = (sums / mass)[prefix, 0]

    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    written = tokens != spec.pad_token
    gradients = []
    for weights in (earned, values):
        expected = (probabilities * weights * chosen)[written].sum()
        gradients.append(torch.autograd.grad(expected, trained, retain_graph=True))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert float((earned - values)[written].abs().max()) > 0.1  # sequence by sequence they differ


def test_the_policy_that_a_power_teaches_is_the_power_of_q() -> None:
    """Were the policy q^a / Z, every sequence would have the same score."""
    model = ratio(FIXED, power=1.5)
    tokens = all_sequences(FIXED)
    log_target = 1.5 * by_autograd(model, tokens).detach()
    log_target -= log_target.logsumexp(0)

    class Target:
        def complete(self, *args: object) -> Tensor:
            raise AssertionError("not rolled out")

        def log_prob(self, asked: Tensor) -> Tensor:
            return log_target

    model.bind(Target())
    assert float(model.score(tokens).std()) < 1e-5


def test_the_parts_of_a_probability_and_a_power_that_is_none_are_refused() -> None:
    model = ratio(FIXED)
    model.score_as = "probability"
    with pytest.raises(ValueError, match="no sum over tokens"):
        model.token_scores(all_sequences(FIXED))
    for power in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="power is"):
            ratio(FIXED, power=power)
    model.score_as = "logit"
    model.bind(OnlyLikelihoods())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="OnlyLikelihoods has no token_log_probs"):
        model.token_scores(all_sequences(FIXED))


class OnlyLikelihoods:
    """A policy that has no likelihoods of single tokens."""

    def log_prob(self, tokens: Tensor) -> Tensor:
        return torch.zeros(len(tokens))


@pytest.mark.parametrize("num_models", [1, 3])
def test_q_is_a_distribution_over_all_sequences(spec: TokenSpec, num_models: int) -> None:
    q = ratio(spec, num_models=num_models).log_density(all_sequences(spec)).detach()
    assert float(q.double().exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("num_models", [1, 3])
def test_log_q_and_its_gradient_are_those_of_the_softmax(spec: TokenSpec, num_models: int) -> None:
    model, tokens = ratio(spec, num_models=num_models), all_sequences(spec)[:60]
    ours, theirs = model.log_density(tokens), by_autograd(model, tokens)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = torch.randn(len(tokens), generator=rng(1))
    gradients = [torch.autograd.grad((x * weights).sum(), trained) for x in (ours, theirs)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


def test_with_the_oracle_as_q_it_is_the_optimal_discriminator(spec: TokenSpec) -> None:
    task, policy = SpecTask(spec), random_model(spec, 5)
    model = ratio(spec, policy)
    model.models[0].load_state_dict(task.oracle.state_dict())
    tokens = all_sequences(spec)[:50]
    for score_as in ("logit", "probability"):
        model.score_as = score_as
        expected = OptimalScorer(task.oracle, policy, score_as).score(tokens)
        torch.testing.assert_close(model.score(tokens), expected, rtol=1e-4, atol=1e-5)


def test_the_value_of_a_prefix_is_the_enumerated_one() -> None:
    policy = random_model(FIXED, 5)
    model = ratio(FIXED, policy)
    settings = RewardSettings(score_as="logit", num_rollouts=20_000)
    rewards = RewardModel(SpecTask(FIXED), settings, policy, model)
    everything = all_sequences(FIXED)
    begin_alike = everything[:, 0] == 1
    probabilities = policy.log_prob(everything).exp() * begin_alike
    expected = (probabilities * model.logits(everything)).sum() / probabilities.sum()
    prefix = torch.tensor([[1, FIXED.pad_token, FIXED.pad_token]])
    value = rewards.value(prefix, torch.tensor([1]), rng())
    spread = float(model.logits(everything)[begin_alike].std())
    assert float(value) == pytest.approx(float(expected), abs=4 * spread / 20_000**0.5)


def test_p_moves_with_the_policy_and_q_does_not() -> None:
    policy = random_model(EOS, 5)
    model, tokens = ratio(EOS, policy), all_sequences(EOS)[:30]
    before, p_before = model.logits(tokens), policy.log_prob(tokens)
    q_before = model.log_density(tokens)
    with torch.no_grad():
        policy.output.bias.add_(torch.randn(policy.output.bias.shape, generator=rng(2)))
    moved = policy.log_prob(tokens) - p_before
    assert float(moved.abs().max()) > 0.1
    torch.testing.assert_close(model.logits(tokens), before - moved)
    assert torch.equal(model.log_density(tokens), q_before)


def test_the_policy_is_no_part_of_it() -> None:
    policy = random_model(EOS, 5)
    model = ratio(EOS, policy)
    own = {id(parameter) for parameter in model.parameters()}
    assert not own & {id(parameter) for parameter in policy.parameters()}
    assert all(key.startswith("models.") for key in model.state_dict())
    copied, tokens = copy.deepcopy(model), all_sequences(EOS)[:10]
    with torch.no_grad():
        policy.output.bias[1] += 1.0
    assert torch.equal(copied.logits(tokens), model.logits(tokens))  # by handle, so in the copy too


@pytest.mark.parametrize("num_models", [1, 3])
def test_a_score_is_bit_for_bit_the_same_in_any_batch(num_models: int) -> None:
    model, tokens = ratio(EOS, num_models=num_models), random_model(EOS).sample(300, rng())
    parts = torch.cat([model.score(part) for part in tokens.split([1, 2, 7, 90, 200])])
    assert torch.equal(parts, model.score(tokens))


def test_maximum_likelihood_raises_the_likelihood_of_held_out_sequences() -> None:
    task = SpecTask(EOS)
    model = ratio(EOS, mle_epochs=30)
    before = float(model.log_density(task.held_out).detach().mean())
    metrics = model.pretrain(task.real_sequences, task.validation, rng())
    after = float(model.log_density(task.held_out).detach().mean())
    assert after > before + 0.5
    lengths = EOS.lengths(task.validation).sum()
    nll = float(-model.log_density(task.validation).detach().sum() / lengths)
    assert metrics["nll_validation"] == pytest.approx(nll, rel=1e-5)


def test_the_epoch_with_the_best_validation_likelihood_is_kept() -> None:
    task = SpecTask(EOS)
    found = []
    for epochs in (3, 60):  # of few sequences; the later epochs know them by heart
        model = ratio(EOS, mle_epochs=epochs, hidden_dim=32, mle_weight_decay=0.0)
        found.append(model.pretrain(task.real_sequences[:20], task.validation, rng()))
    assert found[1]["nll_validation"] <= found[0]["nll_validation"]


def test_epochs_pass_through_a_corpus_beyond_their_budget_in_parts() -> None:
    task, budget = SpecTask(EOS), 60
    real = task.real_sequences.to(torch.int16)  # as a mapped corpus has them
    assert real.numel() > 2 * budget
    model = ratio(EOS, mle_epochs=3, mle_epoch_tokens=budget)
    part = copy.deepcopy(model.models[0])
    assert isinstance(part, LSTMLanguageModel)
    model.pretrain(real, task.validation, rng())
    seed = int(torch.randint(2**62, (), generator=rng()))
    fitter = MaximumLikelihood(part, torch.Generator().manual_seed(seed), **model.mle_options)
    for epoch in range(3):
        fitter.fit(sequences_of_epoch(task.real_sequences, budget, epoch), 1)
    for ours, theirs in zip(model.models[0].parameters(), part.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_q_sees_every_real_sequence_whatever_an_epoch_of_the_policy_takes() -> None:
    found = []
    for epoch_tokens in (0, 60):
        rewards = build_rewards(
            SpecTask(EOS),
            RewardSettings(num_rollouts=1, score_as="logit"),
            discriminator="ratio",
            discriminator_options={"hidden_dim": 4, "mle_epochs": 2},
        )
        agent = Reinforce(TokenVectorEnv(8, rewards), seed=0)
        schedule = Schedule(rounds=0, epoch_tokens=epoch_tokens, num_heldout=20)
        (row,) = train_adversarial(agent, rewards, schedule)
        found.append(row["discriminator/nll_validation"])
    assert found[0] == found[1]


def test_every_epoch_of_every_model_is_told() -> None:
    task, told = SpecTask(EOS), []
    model = ratio(EOS, mle_epochs=2, num_models=3)
    model.pretrain(
        task.real_sequences,
        task.validation,
        rng(),
        lambda done, total, metrics: told.append((done, total, list(metrics))),
    )
    assert told == [(0, 6, [])] + [(epoch, 6, ["nll_validation"]) for epoch in range(1, 7)]


@pytest.mark.parametrize("learns_by", LEARNS_BY)
def test_q_stays_or_learns_as_it_was_told(learns_by: str) -> None:
    task = SpecTask(EOS)
    rewards = build_rewards(
        task,
        RewardSettings(num_rollouts=1, score_as="logit"),
        discriminator="ratio",
        discriminator_options={"learns_by": learns_by, "hidden_dim": 4, "mle_epochs": 1},
    )
    model = rewards.discriminator
    assert isinstance(model, RatioDiscriminator)
    agent = Reinforce(TokenVectorEnv(8, rewards), seed=0)
    schedule = Schedule(rounds=2, num_negatives=32, d_pretrain_epochs=1, num_heldout=20)
    states = [copy.deepcopy(model.state_dict())]
    for row in train_adversarial(agent, rewards, schedule):
        states.append(copy.deepcopy(model.state_dict()))
        assert ("discriminator/loss" in row) == (learns_by != "likelihood")
    moved = [
        any(not torch.equal(one[key], other[key]) for key in one)
        for one, other in itertools.pairwise(states)
    ]
    assert moved == [True] + [learns_by != "likelihood"] * 2
    assert bool(rewards.budget.sequences_trained) == (learns_by != "likelihood")


def test_the_loss_of_the_gan_moves_q_towards_the_data() -> None:
    data, policy = random_model(EOS, 7), random_model(EOS, 5)
    model = ratio(EOS, policy, learns_by="gan", learning_rate=1e-2)
    held_out = data.sample(500, rng(3))
    before = float(model.log_density(held_out).detach().mean())
    trainer = DiscriminatorTrainer(model)
    trainer.fit(data.sample(500, rng(1)), policy.sample(500, rng(2)), 5, rng(4))
    assert float(model.log_density(held_out).detach().mean()) > before + 0.2


def test_a_policy_without_likelihoods_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Successor has no log_prob\(tokens\)"):
        ratio(EOS).bind(Successor(EOS))
    unbound = RatioDiscriminator(EOS, rng())
    with pytest.raises(RuntimeError, match="bind it"):
        unbound.score(all_sequences(EOS)[:2])


@pytest.mark.parametrize("options", [{"num_models": 0}, {"mle_epochs": 0}, {"batch_size": 0}])
def test_counts_below_one_are_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is 0; allowed is 1 or more"):
        ratio(EOS, **options)
    with pytest.raises(ValueError, match="unknown learns_by of discriminator ratio 'gam'"):
        ratio(EOS, learns_by="gam")


@pytest.mark.parametrize("reward", ["rollout", "terminal"])
def test_online_its_p_is_the_clone_and_q_learns_at_the_first_update(reward: str) -> None:
    envs = gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=8,
        vocab_size=4,
        seq_len=3,
        num_real=50,
        num_held_out=50,
        num_rollouts=1,
        reward=reward,
        score_as="logit",
        discriminator="ratio",
        discriminator_options={"mle_epochs": 2, "hidden_dim": 4, "embedding_dim": 4},
        warm_up=8,
        d_interval=8,
    )
    rewards = envs.unwrapped.rewards  # type: ignore[attr-defined]
    envs.reset(seed=0)
    envs.action_space.seed(0)
    learned = []
    for _ in range(6):
        envs.step(envs.action_space.sample())
        learned.append("discriminator/nll_validation" in rewards.online_metrics())
    assert learned == [False, False, True, True, True, False]
    tokens = rewards.task.real_sequences[:5]
    expected = rewards.discriminator.log_density(tokens) - rewards.policy.log_prob(tokens)
    torch.testing.assert_close(rewards.discriminator.logits(tokens), expected.detach())
